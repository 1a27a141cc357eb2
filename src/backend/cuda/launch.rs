//! One function for each kernel, with the kernel's arguments above it. What they compute stands in kernels/*.cu; the shapes of
//! launches are those named there.

use super::context::Context;
use super::kernels::Kernel;
use super::plan::{Rows, Span};
use super::session::{Arg, Session, Shape};
use crate::error::Result;
use crate::nn::Matrix;
use crate::train::shards::ROWS;

/// What becomes of a result before it is stored.
pub(super) const ADD: usize = 1;
pub(super) const LEAKY: usize = 2;
pub(super) const TANH: usize = 4;

/// Rows of a batch whose share of a gradient is summed apart.
pub(super) const CHUNK: usize = 256;
/// Numbers that [`Session::matrix_gradient`] needs beside the result.
pub(super) fn gradient_room(matrix: &Matrix, rows: usize) -> usize {
    if rows > CHUNK { rows.div_ceil(CHUNK) * matrix.outputs * (matrix.inputs + 1) } else { 0 }
}

/// Bytes of shared memory that spectral_normalise needs.
fn spectral_bytes(matrix: &Matrix) -> usize {
    8 * (2 * matrix.outputs + matrix.inputs)
}

/// Whether a device has the memory for the norm of a matrix.
pub(super) fn spectral_fits(context: &Context, matrix: &Matrix) -> bool {
    /// What the kernel has beside what it is given, and more.
    const OWN: usize = 1024;
    spectral_bytes(matrix) + OWN <= context.shared()
}

/// Sides of a product's tiles of results.
const NARROW: usize = 32;
const WIDE: usize = 64;

fn grid([x, y, z]: [usize; 3]) -> Shape {
    Shape::Grid(x, y, z)
}

/// Tiles of so many rows and columns of results, so many times.
fn tiles(side: usize, [rows, columns, times]: [usize; 3]) -> [usize; 3] {
    [rows.div_ceil(side), columns.div_ceil(side), times]
}

impl Session {
    /// A product with so many results, so many times, in wide tiles where they leave no multiprocessor idle: those read
    /// less for each result. Both give the same bits.
    fn tiled(&self, [narrow, wide]: [Kernel; 2], results: [usize; 3]) -> (Kernel, [usize; 3]) {
        let wide_enough = tiles(WIDE, results).into_iter().product::<usize>() >= self.multiprocessors;
        let (kernel, side) = if wide_enough { (wide, WIDE) } else { (narrow, NARROW) };
        (kernel, tiles(side, results))
    }

    /// float* y (M,O), const float* x (M,I), const float* w (O,I), const float* bias (O), const float* bias2 (O),
    /// const float* alpha (1), const int* rows, int inputs, int outputs, int stride, int flags: of all three kernels
    pub(super) fn matrix_forward(
        &self,
        matrix: &Matrix,
        (y, x, w): (Span, Span, Span),
        [bias, bias2]: [Option<Span>; 2],
        alpha: Option<Span>,
        rows: Rows,
        flags: usize,
    ) -> Result<()> {
        let results = [rows.most, matrix.outputs, 1];
        let (kernel, blocks) = if self.tf32 {
            (Kernel::matrix_forward_tf32, tiles(WIDE, results))
        } else {
            self.tiled([Kernel::matrix_forward, Kernel::matrix_forward_wide], results)
        };
        let sizes = [matrix.inputs.into(), matrix.outputs.into(), matrix.stride.into(), flags.into()];
        let pointers = [y.into(), x.into(), w.into(), bias.into(), bias2.into(), alpha.into(), rows.into()];
        self.launch(kernel, grid(blocks), 0, &[&pointers[..], &sizes].concat())
    }

    /// float* dx (M,I), const float* dy (M,O), const float* w (O,I), const float* alpha (1), const float* x (M,I),
    /// const int* rows, int inputs, int outputs, int stride, int flags. leaky: the x that LeakyReLU has left.
    pub(super) fn matrix_backward(
        &self,
        matrix: &Matrix,
        (dx, dy, w): (Span, Span, Span),
        alpha: Option<Span>,
        leaky: Option<Span>,
        rows: Rows,
        flags: usize,
    ) -> Result<()> {
        let kernels = [Kernel::matrix_backward, Kernel::matrix_backward_wide];
        let (kernel, blocks) = self.tiled(kernels, [rows.most, matrix.inputs, 1]);
        let sizes = [matrix.inputs.into(), matrix.outputs.into(), matrix.stride.into(), flags.into()];
        let pointers = [dx.into(), dy.into(), w.into(), alpha.into(), leaky.into(), rows.into()];
        self.launch(kernel, grid(blocks), 0, &[&pointers[..], &sizes].concat())
    }

    /// float* partials (ceil(M/256),O,I+1), float* dw (O,I), float* db, float* db2 (O), const float* dy (M,O),
    /// const float* x (M,I), const int* rows, int inputs, int outputs, int stride, int flags; then, for more than 256 rows,
    /// matrix_gradient_add
    pub(super) fn matrix_gradient(
        &self,
        matrix: &Matrix,
        (dw, stride, flags): (Span, usize, usize),
        biases: [Option<Span>; 2],
        (dy, x): (Span, Span),
        room: Span,
        rows: Rows,
    ) -> Result<()> {
        let (inputs, outputs) = (matrix.inputs, matrix.outputs);
        let extra = usize::from(biases[0].is_some());
        let chunks = rows.most.div_ceil(CHUNK);
        let partials = (chunks > 1).then_some(room);
        let kernels = [Kernel::matrix_gradient, Kernel::matrix_gradient_wide];
        let (kernel, mut blocks) = self.tiled(kernels, [outputs, inputs, chunks]);
        blocks[1] += extra;
        let sizes = [inputs, outputs, stride, flags];
        let to = [dw.into(), biases[0].into(), biases[1].into()];
        let from = [dy.into(), x.into(), rows.into()];
        let args = [&[partials.into()], &to[..], &from, &sizes.map(Arg::from)].concat();
        self.launch(kernel, grid(blocks), 0, &args)?;
        let Some(partials) = partials else { return Ok(()) };
        self.matrix_gradient_add(to, partials, rows, sizes, outputs * (inputs + extra))
    }

    /// float* dw (O,I), float* db, float* db2 (O), const float* partials (ceil(M/256),O,I+1), const int* rows, int inputs,
    /// int outputs, int stride, int flags
    pub(super) fn matrix_gradient_add(
        &self,
        to: [Arg; 3],
        partials: Span,
        rows: Rows,
        sizes: [usize; 4],
        results: usize,
    ) -> Result<()> {
        let args = [&to[..], &[partials.into(), rows.into()], &sizes.map(Arg::from)].concat();
        self.launch(Kernel::matrix_gradient_add, Shape::Each(results), 0, &args)
    }

    /// float* partials (ceil(M/256),D,2), float* dgain, float* dbias (D), const float* dy, const float* normal (M,D),
    /// const float* dty, const float* change (M,D), const int* rows, int width; then, for more than 256 rows,
    /// matrix_gradient_add
    pub(super) fn layer_norm_gradient(
        &self,
        (dgain, dbias): (Span, Span),
        (dy, normal): (Span, Span),
        tangent: Option<(Span, Span)>,
        room: Span,
        rows: Rows,
        width: usize,
    ) -> Result<()> {
        let chunks = rows.most.div_ceil(CHUNK);
        let partials = (chunks > 1).then_some(room);
        let (dty, change) = tangent.unzip();
        let to = [partials.into(), dgain.into(), dbias.into()];
        let from = [dy.into(), normal.into(), dty.into(), change.into(), rows.into(), width.into()];
        self.launch(Kernel::layer_norm_gradient, Shape::Columns(width, chunks), 0, &[&to[..], &from].concat())?;
        let Some(partials) = partials else { return Ok(()) };
        // As of a weight of one input, which is the gain, and a bias.
        let to = [dgain.into(), dbias.into(), Arg::Null];
        self.matrix_gradient_add(to, partials, rows, [1, width, 1, ADD], 2 * width)
    }

    /// float* x (M,D), float* normal (M,D), float* inverse (M), const float* gain, const float* bias (D),
    /// const int* rows, int width, int flags
    pub(super) fn layer_norm_forward(
        &self,
        x: Span,
        (normal, inverse): (Span, Span),
        (gain, bias): (Span, Span),
        rows: Rows,
        width: usize,
        flags: usize,
    ) -> Result<()> {
        let args = [
            x.into(),
            normal.into(),
            inverse.into(),
            gain.into(),
            bias.into(),
            rows.into(),
            width.into(),
            flags.into(),
        ];
        self.launch(Kernel::layer_norm_forward, Shape::Warps(rows.most), 0, &args)
    }

    /// float* dy (M,D), const float* normal (M,D), const float* inverse (M), const float* gain (D), const int* rows,
    /// int width
    pub(super) fn layer_norm_backward(
        &self,
        dy: Span,
        (normal, inverse): (Span, Span),
        gain: Span,
        rows: Rows,
        width: usize,
    ) -> Result<()> {
        let args = [dy.into(), normal.into(), inverse.into(), gain.into(), rows.into(), width.into()];
        self.launch(Kernel::layer_norm_backward, Shape::Warps(rows.most), 0, &args)
    }

    /// float* dy, float* change, const float* dx (M,D), const float* normal (M,D), const float* inverse (M),
    /// const float* gain (D), const float* y (M,D), const int* rows, int width. y: what LeakyReLU has left.
    pub(super) fn layer_norm_tangent(
        &self,
        (dx, dy, change): (Span, Span, Span),
        (normal, inverse): (Span, Span),
        (gain, y): (Span, Span),
        rows: Rows,
        width: usize,
    ) -> Result<()> {
        let pointers = [dy, change, dx, normal, inverse, gain, y].map(Arg::Span);
        let args = [&pointers[..], &[rows.into(), width.into()]].concat();
        self.launch(Kernel::layer_norm_tangent, Shape::Warps(rows.most), 0, &args)
    }

    /// float* dy, float* dty (M,D), const float* tx (M,D), const float* normal (M,D), const float* change (M,D),
    /// const float* inverse (M), const float* gain (D), const int* rows, int width
    pub(super) fn layer_norm_tangent_backward(
        &self,
        (dy, dty): (Span, Span),
        (tx, change): (Span, Span),
        (normal, inverse): (Span, Span),
        gain: Span,
        rows: Rows,
        width: usize,
    ) -> Result<()> {
        let pointers = [dy, dty, tx, normal, change, inverse, gain].map(Arg::Span);
        let args = [&pointers[..], &[rows.into(), width.into()]].concat();
        self.launch(Kernel::layer_norm_tangent_backward, Shape::Warps(rows.most), 0, &args)
    }

    /// float* x (M,W), float value, const int* rows, int width
    pub(super) fn fill(&self, x: Span, value: f32, rows: Rows, width: usize) -> Result<()> {
        let args = [x.into(), Arg::Float(value), rows.into(), width.into()];
        self.launch(Kernel::fill, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* out, const float* x, const float* y (M,W), const int* rows, int width
    pub(super) fn plus(&self, out: Span, x: Span, y: Span, rows: Rows, width: usize) -> Result<()> {
        let args = [out.into(), x.into(), y.into(), rows.into(), width.into()];
        self.launch(Kernel::plus, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* out, const float* x, const float* y (M,W), const int* rows, int width, int flags
    pub(super) fn product(&self, out: Span, x: Span, y: Span, rows: Rows, width: usize, flags: usize) -> Result<()> {
        let args = [out.into(), x.into(), y.into(), rows.into(), width.into(), flags.into()];
        self.launch(Kernel::product, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* to, const float* from (M,W), const int* rows, int width
    pub(super) fn copy_rows(&self, to: Span, from: Span, rows: Rows, width: usize) -> Result<()> {
        let args = [to.into(), from.into(), rows.into(), width.into()];
        self.launch(Kernel::copy_rows, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* to (M,A+B), const float* a (M,A), const float* b (M,B), const int* rows, int a_width, int b_width
    pub(super) fn join_columns(
        &self,
        to: Span,
        (a, b): (Span, Option<Span>),
        rows: Rows,
        widths: [usize; 2],
    ) -> Result<()> {
        let args = [to.into(), a.into(), b.into(), rows.into(), widths[0].into(), widths[1].into()];
        self.launch(Kernel::join_columns, Shape::Each(rows.most * (widths[0] + widths[1])), 0, &args)
    }

    /// float* a (M,A), float* b (M,B), const float* from (M,A+B), const int* rows, int a_width, int b_width. b is added to.
    pub(super) fn split_columns(
        &self,
        (a, b): (Option<Span>, Option<Span>),
        from: Span,
        rows: Rows,
        widths: [usize; 2],
    ) -> Result<()> {
        let args = [a.into(), b.into(), from.into(), rows.into(), widths[0].into(), widths[1].into()];
        self.launch(Kernel::split_columns, Shape::Each(rows.most * (widths[0] + widths[1])), 0, &args)
    }

    /// float* dy (M,W), const float* y (M,W), const int* rows, int width
    pub(super) fn tanh_backward(&self, dy: Span, y: Span, rows: Rows, width: usize) -> Result<()> {
        let args = [dy.into(), y.into(), rows.into(), width.into()];
        self.launch(Kernel::tanh_backward, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* dx (M,W), const float* z (M,W), float weight, float limit, const int* rows, int width
    pub(super) fn hold_rows(
        &self,
        dx: Span,
        z: Span,
        [weight, limit]: [f64; 2],
        rows: Rows,
        width: usize,
    ) -> Result<()> {
        let numbers = [weight, limit].map(|x| Arg::Float(x as f32));
        let args = [dx.into(), z.into(), numbers[0], numbers[1], rows.into(), width.into()];
        self.launch(Kernel::hold_rows, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* x (M,W), const int* rows, int width
    pub(super) fn centre_rows(&self, x: Span, rows: Rows, width: usize) -> Result<()> {
        let args = [x.into(), rows.into(), width.into()];
        self.launch(Kernel::centre_rows, Shape::Each(rows.most.div_ceil(ROWS) * width), 0, &args)
    }

    /// float* x (M,W), const int* rows, int width
    pub(super) fn leaky_relu(&self, x: Span, rows: Rows, width: usize) -> Result<()> {
        let args = [x.into(), rows.into(), width.into()];
        self.launch(Kernel::leaky_relu, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* dy (M,W), const float* y (M,W), const int* rows, int width
    pub(super) fn leaky_relu_backward(&self, y: Span, dy: Span, rows: Rows, width: usize) -> Result<()> {
        let args = [dy.into(), y.into(), rows.into(), width.into()];
        self.launch(Kernel::leaky_relu_backward, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* y (M,W), const float* scale (M), const float* x (M,W), const int* rows, int width
    pub(super) fn add_scaled_rows(&self, scale: Span, x: Span, y: Span, rows: Rows, width: usize) -> Result<()> {
        let args = [y.into(), scale.into(), x.into(), rows.into(), width.into()];
        self.launch(Kernel::add_scaled_rows, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* out (M), const float* x, const float* y (M,W), const int* rows, int width
    pub(super) fn add_row_dots(&self, out: Span, x: Span, y: Span, rows: Rows, width: usize) -> Result<()> {
        let args = [out.into(), x.into(), y.into(), rows.into(), width.into()];
        self.launch(Kernel::add_row_dots, Shape::Warps(rows.most), 0, &args)
    }

    /// float* to (M,W), const float* from (n,W), const int* chosen (M), const int* rows, int width
    pub(super) fn gather_rows(&self, to: Span, from: Span, chosen: Span, rows: Rows, width: usize) -> Result<()> {
        let args = [to.into(), from.into(), chosen.into(), rows.into(), width.into()];
        self.launch(Kernel::gather_rows, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* normed (1 + O + I), float* u (O), float* v (I), const float* w (O,I), int inputs, int outputs, int stride,
    /// int training
    pub(super) fn spectral_normalise(
        &self,
        matrix: &Matrix,
        normed: Span,
        (u, v): (Span, Span),
        w: Span,
        training: bool,
    ) -> Result<()> {
        let (inputs, outputs) = (matrix.inputs, matrix.outputs);
        let sizes = [inputs.into(), outputs.into(), matrix.stride.into(), usize::from(training).into()];
        let args = [&[normed.into(), u.into(), v.into(), w.into()][..], &sizes].concat();
        self.launch(Kernel::spectral_normalise, Shape::Blocks(1), spectral_bytes(matrix), &args)
    }

    /// float* grads (O,I), const float* dw (O,I), const float* w (O,I), const float* normed (1 + O + I), int inputs,
    /// int outputs, int stride
    pub(super) fn spectral_finish(
        &self,
        matrix: &Matrix,
        (grads, w): (Span, Span),
        dw: Span,
        normed: Span,
    ) -> Result<()> {
        let sizes = [matrix.inputs.into(), matrix.outputs.into(), matrix.stride.into()];
        let args = [&[grads.into(), dw.into(), w.into(), normed.into()][..], &sizes].concat();
        self.launch(Kernel::spectral_finish, Shape::Blocks(1), 0, &args)
    }
}
