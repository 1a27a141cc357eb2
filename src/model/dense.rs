//! A linear layer with or without spectral norm, as critics have them.

use std::ops::Range;

use crate::backend::cpu::{Buffer, Real, math};
#[cfg(feature = "cuda")]
use crate::nn::params::Vector;
use crate::nn::params::{Initial, Matrix, To};
use crate::nn::spectral::Normed;
use crate::nn::{Layout, Linear, SpectralLinear, Weights};

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

    pub fn outputs(&self) -> usize {
        self.weight().outputs
    }

    pub(crate) fn weight(&self) -> &Matrix {
        match self {
            Dense::Plain(linear) => &linear.weight,
            Dense::Spectral(linear, _) => &linear.weight,
        }
    }

    #[cfg(feature = "cuda")]
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

    /// x (M,I) -> y (M,O)
    pub fn forward<R: Real>(&self, w: &Weights<R>, norms: &[Normed<R>], x: &[R], y: &mut [R]) {
        match self {
            Dense::Plain(linear) => linear.forward(w, x, y),
            Dense::Spectral(linear, place) => linear.forward(w, &norms[*place], x, y),
        }
    }

    /// tx (M,I) -> ty (M,O): the change of y for a change of x.
    pub fn tangent<R: Real>(&self, w: &Weights<R>, norms: &[Normed<R>], tx: &[R], ty: &mut [R]) {
        match self {
            Dense::Plain(linear) => linear.weight.forward(w, tx, ty, R::ONE, To::Write),
            Dense::Spectral(linear, place) => linear.tangent(w, &norms[*place], tx, ty),
        }
    }

    /// dy (M,O) -> dx (M,I) written
    pub fn backward<R: Real>(&self, w: &Weights<R>, norms: &[Normed<R>], dy: &[R], dx: &mut [R]) {
        self.backward_columns(w, norms, dy, 0..self.weight().inputs, dx);
    }

    /// As [`Matrix::backward_columns`].
    pub fn backward_columns<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[Normed<R>],
        dy: &[R],
        inputs: Range<usize>,
        dx: &mut [R],
    ) {
        match self {
            Dense::Plain(linear) => linear.weight.backward_columns(w, dy, inputs, dx, R::ONE, To::Write),
            Dense::Spectral(linear, place) => linear.backward_columns(w, &norms[*place], dy, inputs, dx),
        }
    }

    /// Gradients from y = f(x) and, after a tangent sweep, from ty = f'(tx) as well: dy (M,O), with dty (M,O) behind it
    /// where there is tx. scratch: any.
    pub fn gradient<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[Normed<R>],
        dy: &[R],
        (x, tx): (&[R], Option<&[R]>),
        scratch: &mut Buffer<R>,
        grads: &mut [R],
    ) {
        let Matrix { inputs, outputs, .. } = *self.weight();
        let rows = x.chunks_exact(inputs).chain(tx.unwrap_or_default().chunks_exact(inputs));
        let bias = match self {
            Dense::Plain(linear) => {
                linear.weight.gradient_of_rows(w.isa, dy, rows, grads);
                linear.bias
            }
            Dense::Spectral(linear, place) => {
                linear.outer(w.isa, dy, rows, scratch);
                linear.finish(&w.params, &norms[*place], scratch, grads);
                linear.bias
            }
        };
        math::add_columns(w.isa, &dy[..x.len() / inputs * outputs], bias.of_mut(grads));
    }
}
