//! A linear layer with or without spectral norm, as critics have them.

use std::ops::Range;

use crate::backend::cpu::{Buffer, Real, math};
use crate::nn::params::{Initial, Matrix, To, Vector};
use crate::nn::spectral::Normed;
use crate::nn::{Gradients, Layout, Linear, SpectralLinear, Weights};

/// Calls of a critic whose rows follow each other, as many for each, and the spectral norms of each.
#[derive(Clone, Copy)]
pub struct Calls<'a, R> {
    pub norms: &'a [Vec<Normed<R>>],
    pub rows: usize,
}

impl<'a, R> Calls<'a, R> {
    /// The last call alone.
    pub fn last(self) -> Self {
        Calls { norms: &self.norms[self.norms.len() - 1..], rows: self.rows }
    }

    /// The norms of a layer with the rows that they are for, of so many. Those beyond the calls' are the last call's, too.
    fn parts(self, place: usize, rows: usize) -> impl Iterator<Item = (&'a Normed<R>, Range<usize>)> {
        let last = self.norms.len() - 1;
        let end = move |call: usize| if call == last { rows } else { (call + 1) * self.rows };
        self.norms.iter().enumerate().map(move |(i, norms)| (&norms[place], i * self.rows..end(i)))
    }
}

#[derive(Clone, Debug)]
pub enum Dense {
    Plain(Linear),
    /// With its place among the norms of a call.
    Spectral(SpectralLinear, usize),
}

impl Dense {
    /// Xavier-uniform weight, zero bias. norms: spectral layers so far; one more if `spectral`.
    pub fn new(
        layout: &mut Layout,
        name: &str,
        inputs: usize,
        outputs: usize,
        spectral: bool,
        norms: &mut usize,
    ) -> Dense {
        if !spectral {
            return Dense::Plain(Linear::xavier(layout, name, inputs, outputs));
        }
        let weight = Initial::xavier(inputs, outputs);
        *norms += 1;
        Dense::Spectral(SpectralLinear::with(layout, name, inputs, outputs, weight, Initial::Zeros), *norms - 1)
    }

    /// Appends this layer's norm of one call, if it has one.
    pub fn normalise<R: Real>(&self, params: &[R], buffers: &mut [R], training: bool, norms: &mut Vec<Normed<R>>) {
        if let Dense::Spectral(linear, place) = self {
            debug_assert_eq!(*place, norms.len());
            norms.push(linear.normalise(params, buffers, training));
        }
    }

    pub fn inputs(&self) -> usize {
        self.weight().inputs
    }

    pub fn outputs(&self) -> usize {
        self.weight().outputs
    }

    pub(crate) fn weight(&self) -> &Matrix {
        match self {
            Dense::Plain(linear) => &linear.weight,
            Dense::Spectral(linear, _) => &linear.weight,
        }
    }

    pub(crate) fn bias(&self) -> &Vector {
        match self {
            Dense::Plain(linear) => &linear.bias,
            Dense::Spectral(linear, _) => &linear.bias,
        }
    }

    #[cfg(feature = "cuda")]
    pub(crate) fn spectral(&self) -> Option<(&SpectralLinear, usize)> {
        match self {
            Dense::Plain(_) => None,
            Dense::Spectral(linear, place) => Some((linear, *place)),
        }
    }

    /// x (N,I) -> y (N,O)
    pub fn forward<R: Real>(&self, w: &Weights<R>, calls: Calls<R>, x: &[R], y: &mut [R]) {
        self.tangent(w, calls, x, y);
        math::add_row(w.isa, self.bias().of(&w.params), y);
    }

    /// tx (N,I) -> ty (N,O): the change of y for a change of x.
    pub fn tangent<R: Real>(&self, w: &Weights<R>, calls: Calls<R>, tx: &[R], ty: &mut [R]) {
        let Matrix { inputs, outputs, .. } = *self.weight();
        match self {
            Dense::Plain(linear) => linear.weight.forward(w, tx, ty, R::ONE, To::Write),
            Dense::Spectral(linear, place) => {
                for (normed, rows) in calls.parts(*place, tx.len() / inputs) {
                    linear.tangent(w, normed, part(tx, &rows, inputs), part_mut(ty, &rows, outputs));
                }
            }
        }
    }

    /// dy (N,O) -> dx (N, as many as `inputs`) written, as [`Matrix::backward_columns`].
    pub fn backward<R: Real>(&self, w: &Weights<R>, calls: Calls<R>, dy: &[R], inputs: Range<usize>, dx: &mut [R]) {
        let (width, outputs) = (inputs.len(), self.outputs());
        match self {
            Dense::Plain(linear) => linear.weight.backward_columns(w, dy, inputs, dx, R::ONE, To::Write),
            Dense::Spectral(linear, place) => {
                for (normed, rows) in calls.parts(*place, dy.len() / outputs) {
                    let (dy, dx) = (part(dy, &rows, outputs), part_mut(dx, &rows, width));
                    linear.backward_columns(w, normed, dy, inputs.clone(), dx);
                }
            }
        }
    }

    /// Gradients from y = f(x) and, after a tangent sweep, from ty = f'(tx) as well: dy (N+T,O), those of ty (T,O) behind
    /// those of y (N,O). scratch: any.
    pub fn gradient<R: Real>(
        &self,
        w: &Weights<R>,
        calls: Calls<R>,
        dy: &[R],
        (x, tx): (&[R], &[R]),
        scratch: &mut Buffer<R>,
        grads: &mut Gradients<R>,
    ) {
        let Matrix { inputs, outputs, .. } = *self.weight();
        let mut seen = x.chunks_exact(inputs).chain(tx.chunks_exact(inputs));
        match self {
            Dense::Plain(linear) => linear.weight.gradient_of_rows(w.isa, dy, seen, grads),
            Dense::Spectral(linear, place) => {
                for (normed, rows) in calls.parts(*place, dy.len() / outputs) {
                    linear.outer(w.isa, part(dy, &rows, outputs), seen.by_ref().take(rows.len()), scratch);
                    linear.finish(&w.params, normed, scratch, grads);
                }
            }
        }
        let of_calls = dy[..x.len() / inputs * outputs].chunks_exact(calls.rows * outputs);
        of_calls.for_each(|dy| math::add_columns(w.isa, dy, self.bias().of_mut(grads)));
    }
}

/// Rows of a matrix of this width.
fn part<'a, R>(x: &'a [R], rows: &Range<usize>, width: usize) -> &'a [R] {
    &x[rows.start * width..rows.end * width]
}

fn part_mut<'a, R>(x: &'a mut [R], rows: &Range<usize>, width: usize) -> &'a mut [R] {
    &mut x[rows.start * width..rows.end * width]
}
