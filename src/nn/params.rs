//! Parameters, gradients and moments live in flat arenas that one name table describes.

use std::ops::Range;

use super::gradients::Gradients;
use crate::backend::cpu::gemm::{Left, Packed, gemm};
/// Columns that are packed together.
pub use crate::backend::cpu::lanes::LANES as COLUMNS;
use crate::backend::cpu::{Isa, Pool, Real};
use crate::rng::{Rng, Stream};

/// How a tensor starts (PyTorch's rules).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    Zeros,
    Ones,
    /// Uniform in +-bound.
    Uniform(f64),
    /// A normal vector of length 1: spectral norm's u and v.
    UnitVector,
}

impl Initial {
    /// Linear and LSTM layers: uniform +-1/sqrt(width).
    pub fn fan(width: usize) -> Initial {
        Initial::Uniform(1.0 / (width as f64).sqrt())
    }

    /// Glorot and Bengio, AISTATS 2010.
    pub fn xavier(inputs: usize, outputs: usize) -> Initial {
        Initial::Uniform((6.0 / (inputs + outputs) as f64).sqrt())
    }
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub shape: Vec<usize>,
    pub offset: usize,
    pub initial: Initial,
}

impl Entry {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// The name table of an arena, and the list of its matrices that kernels want packed.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Trained tensors, one after the other.
    pub entries: Vec<Entry>,
    /// Tensors that training moves without a gradient (spectral norm's u and v), in an arena of their own.
    pub buffers: Vec<Entry>,
    pub(super) matrices: Vec<Matrix>,
}

/// A bias, gain or other row of numbers in an arena.
#[derive(Clone, Copy, Debug)]
pub struct Vector {
    pub offset: usize,
    pub len: usize,
}

impl Vector {
    pub fn of<'a, R>(&self, arena: &'a [R]) -> &'a [R] {
        &arena[self.offset..self.offset + self.len]
    }

    pub fn of_mut<'a, R>(&self, arena: &'a mut [R]) -> &'a mut [R] {
        &mut arena[self.offset..self.offset + self.len]
    }
}

/// A weight w (O,I), or a block of columns of one.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    pub offset: usize,
    /// Columns of the tensor that it is a block of.
    pub stride: usize,
    pub outputs: usize,
    pub inputs: usize,
    /// Its place among its layout's matrices.
    pub(super) index: usize,
}

impl Layout {
    pub fn len(&self) -> usize {
        self.entries.last().map_or(0, |e| e.range().end)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn buffer_len(&self) -> usize {
        self.buffers.last().map_or(0, |e| e.range().end)
    }

    /// The largest of what each matrix needs.
    #[cfg(feature = "cuda")]
    pub(crate) fn largest(&self, need: impl Fn(&Matrix) -> usize) -> usize {
        self.matrices.iter().map(need).max().unwrap_or(0)
    }

    fn add(&mut self, name: String, shape: &[usize], initial: Initial) -> usize {
        let offset = self.len();
        self.entries.push(Entry { name, shape: shape.to_vec(), offset, initial });
        offset
    }

    pub fn vector(&mut self, name: String, len: usize, initial: Initial) -> Vector {
        Vector { offset: self.add(name, &[len], initial), len }
    }

    /// A tensor (outputs, inputs).
    pub fn matrix(&mut self, name: String, outputs: usize, inputs: usize, initial: Initial) -> Matrix {
        let [whole] = self.blocks(name, outputs, [inputs], initial);
        whole
    }

    /// A tensor (outputs, sum of widths) whose blocks of columns are used apart.
    pub fn blocks<const N: usize>(
        &mut self,
        name: String,
        outputs: usize,
        widths: [usize; N],
        initial: Initial,
    ) -> [Matrix; N] {
        let stride = widths.iter().sum();
        let mut offset = self.add(name, &[outputs, stride], initial);
        widths.map(|inputs| {
            let block = Matrix { offset, stride, outputs, inputs, index: self.matrices.len() };
            self.matrices.push(block);
            offset += inputs;
            block
        })
    }

    pub fn buffer(&mut self, name: String, len: usize, initial: Initial) -> Vector {
        let offset = self.buffer_len();
        self.buffers.push(Entry { name, shape: vec![len], offset, initial });
        Vector { offset, len }
    }

    /// Initial values: of the trained tensors, and of the buffers.
    pub fn initialise<R: Real>(&self, seed: u64) -> (Vec<R>, Vec<R>) {
        let draw = |entries: &[Entry], stream| {
            let tensors = entries.iter().zip(0u64..);
            tensors.flat_map(|(entry, i)| initial_values(entry, &mut Rng::new(seed, stream, i))).collect()
        };
        (draw(&self.entries, Stream::InitialWeights), draw(&self.buffers, Stream::SpectralVectors))
    }
}

fn initial_values<R: Real>(entry: &Entry, rng: &mut Rng) -> Vec<R> {
    let n = entry.len();
    match entry.initial {
        Initial::Zeros => vec![R::ZERO; n],
        Initial::Ones => vec![R::ONE; n],
        Initial::Uniform(bound) => (0..n).map(|_| R::from_f64(rng.range(-bound, bound))).collect(),
        Initial::UnitVector => {
            let v: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
            let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
            v.iter().map(|x| R::from_f64(x / norm)).collect()
        }
    }
}

/// An arena of parameters with its matrices packed both ways for the kernels. Pack again after a change.
#[derive(Clone, Debug)]
pub struct Weights<R> {
    pub isa: Isa,
    pub params: Vec<R>,
    packs: Vec<Pack<R>>,
}

#[derive(Clone, Debug)]
struct Pack<R> {
    matrix: Matrix,
    /// (I,O): y = x w^T
    forward: Packed<R>,
    /// (O,I): dx = dy w
    backward: Packed<R>,
}

impl<R: Real> Pack<R> {
    fn fill(&mut self, params: &[R]) {
        let (m, w) = (self.matrix, &params[self.matrix.offset..]);
        self.forward.pack(m.inputs, m.outputs, w, 1, m.stride);
        self.backward.pack(m.outputs, m.inputs, w, m.stride, 1);
    }
}

impl<R: Real> Weights<R> {
    pub fn new(isa: Isa, layout: &Layout, params: Vec<R>) -> Self {
        assert_eq!(params.len(), layout.len());
        let empty = |&matrix| Pack { matrix, forward: Packed::default(), backward: Packed::default() };
        let mut weights = Weights { isa, params, packs: layout.matrices.iter().map(empty).collect() };
        weights.pack(0..layout.len());
        weights
    }

    /// Packs the matrices in a range of the arena, after a change there.
    pub fn pack(&mut self, range: Range<usize>) {
        self.packs.iter_mut().filter(|p| range.contains(&p.matrix.offset)).for_each(|p| p.fill(&self.params));
    }

    /// The same on several threads.
    pub fn pack_with(&mut self, pool: &mut Pool, range: Range<usize>) {
        let mut packs: Vec<_> = self.packs.iter_mut().filter(|p| range.contains(&p.matrix.offset)).collect();
        pool.for_each(&mut packs, |_, _, pack| pack.fill(&self.params));
    }

    /// Rounds the matrices in a range of the arena to 16 bits a weight, in the products y = x w^T alone: `params` stay. For
    /// sampling, where one row at a time has little to do for every weight; see [`Packed::halve`].
    pub fn halve(&mut self, range: Range<usize>) {
        self.packs.iter_mut().filter(|p| range.contains(&p.matrix.offset)).for_each(|p| p.forward.halve());
    }

    /// Products y = x w^T of the matrices in a range of the arena become those of parts of floats; see `tiles`.
    pub fn split(&mut self, range: Range<usize>) {
        self.packs.iter_mut().filter(|p| range.contains(&p.matrix.offset)).for_each(|p| p.forward.split());
    }
}

/// What happens to what a result buffer held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum To {
    Write,
    Add,
}

impl Matrix {
    /// x (M,I) -> y (M,O) = alpha x w^T
    pub fn forward<R: Real>(&self, w: &Weights<R>, x: &[R], y: &mut [R], alpha: R, to: To) {
        let left = Left::rows(x, x.len() / self.inputs, self.inputs);
        gemm(w.isa, left, w.packs[self.index].forward.whole(), y, self.outputs, alpha, to == To::Add);
    }

    /// dy (M,O) -> dx (M,I) = alpha dy w
    pub fn backward<R: Real>(&self, w: &Weights<R>, dy: &[R], dx: &mut [R], alpha: R, to: To) {
        self.backward_columns(w, dy, 0..self.inputs, dx, alpha, to);
    }

    /// The same for some of the inputs: dx (M, as many). They begin at a multiple of [`COLUMNS`].
    pub fn backward_columns<R: Real>(
        &self,
        w: &Weights<R>,
        dy: &[R],
        inputs: Range<usize>,
        dx: &mut [R],
        alpha: R,
        to: To,
    ) {
        let left = Left::rows(dy, dy.len() / self.outputs, self.outputs);
        let width = inputs.len();
        gemm(w.isa, left, w.packs[self.index].backward.columns(inputs), dx, width, alpha, to == To::Add);
    }

    /// dy (M,O), x (M,I) -> dw (O,I) += dy^T x
    pub fn gradient<R: Real>(&self, isa: Isa, dy: &[R], x: &[R], grads: &mut Gradients<R>) {
        self.gradient_of_rows(isa, dy, x.chunks_exact(self.inputs), grads);
    }

    /// The same with the rows of x one by one.
    pub fn gradient_of_rows<'x, R: Real>(
        &self,
        isa: Isa,
        dy: &[R],
        x: impl Iterator<Item = &'x [R]>,
        grads: &mut Gradients<R>,
    ) {
        if dy.is_empty() {
            return;
        }
        let to = grads.begin(self);
        let dw = &mut grads[self.offset..];
        outer_product(isa, dy, self.outputs, x, self.inputs, (dw, self.stride), to);
    }
}

/// dy (M,O), M rows x (I) -> dw (O,I) = or += dy^T x, with so many numbers between the rows of dw.
pub fn outer_product<'x, R: Real>(
    isa: Isa,
    dy: &[R],
    outputs: usize,
    x: impl Iterator<Item = &'x [R]>,
    inputs: usize,
    (dw, stride): (&mut [R], usize),
    to: To,
) {
    /// Rows whose product is summed in registers before it is added to dw.
    const BLOCK: usize = 128;
    let (mut x, mut packed) = (x, Packed::default());
    for (i, dy) in dy.chunks(BLOCK * outputs).enumerate() {
        packed.pack_rows(dy.len() / outputs, inputs, &mut x);
        gemm(isa, Left::transposed(dy, outputs), packed.whole(), dw, stride, R::ONE, i > 0 || to == To::Add);
    }
}
