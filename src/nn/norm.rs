//! Layer normalisation, with the second derivative that the gradient penalty needs.
//!
//! J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016.

use std::ops::Range;

use super::params::{Initial, Layout, Vector, Weights};
use crate::backend::cpu::{Buffer, Isa, Real, math};

const EPSILON: f64 = 1e-5;

/// y = gain * n + bias with n = (x - mean) / deviation, over the last dimension.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    pub gain: Vector,
    pub bias: Vector,
}

/// What the backward pass needs of the forward pass.
#[derive(Clone, Debug, Default)]
pub struct NormTrace<R> {
    /// n (M,D)
    pub normal: Buffer<R>,
    /// 1 / deviation (M)
    pub inverse: Buffer<R>,
}

/// Some rows of a [`NormTrace`].
#[derive(Clone, Copy)]
pub struct NormRows<'a, R> {
    normal: &'a [R],
    inverse: &'a [R],
}

impl<R: Real> NormTrace<R> {
    pub fn all(&self) -> NormRows<'_, R> {
        self.rows(0..self.inverse.len())
    }

    pub fn rows(&self, rows: Range<usize>) -> NormRows<'_, R> {
        let width = self.normal.len() / self.inverse.len();
        NormRows { normal: &self.normal[rows.start * width..rows.end * width], inverse: &self.inverse[rows] }
    }

    pub fn last(&self, rows: usize) -> NormRows<'_, R> {
        self.rows(self.inverse.len() - rows..self.inverse.len())
    }
}

impl LayerNorm {
    pub fn new(layout: &mut Layout, name: &str, width: usize) -> LayerNorm {
        LayerNorm {
            gain: layout.vector(format!("{name}.weight"), width, Initial::Ones),
            bias: layout.vector(format!("{name}.bias"), width, Initial::Zeros),
        }
    }

    /// x (M,D) -> y, in place.
    pub fn forward<R: Real>(&self, w: &Weights<R>, x: &mut [R], trace: &mut NormTrace<R>) {
        let width = self.gain.len;
        let (gain, bias) = (self.gain.of(&w.params), self.bias.of(&w.params));
        let (normal, inverse) = (trace.normal.fit(x.len()), trace.inverse.fit(x.len() / width));
        math::layer_norm(w.isa, x, normal, inverse, gain, bias, R::from_f64(EPSILON));
    }

    /// dy (M,D) -> gradients of gain and bias.
    pub fn gradient<R: Real>(&self, isa: Isa, dy: &[R], rows: NormRows<R>, grads: &mut [R]) {
        math::add_product_columns(isa, dy, rows.normal, self.gain.of_mut(grads));
        math::add_columns(isa, dy, self.bias.of_mut(grads));
    }

    /// dy (M,D) becomes dx.
    pub fn backward<R: Real>(&self, w: &Weights<R>, dy: &mut [R], rows: NormRows<R>) {
        math::scale_columns(w.isa, self.gain.of(&w.params), dy);
        math::centre(w.isa, dy, rows.normal, rows.inverse);
    }

    /// The tangent of [`LayerNorm::forward`]: dx (M,D) becomes the change of y; `change` (M,D) that of n.
    pub fn tangent<R: Real>(&self, w: &Weights<R>, dx: &mut [R], rows: NormRows<R>, change: &mut Buffer<R>) {
        math::centre(w.isa, dx, rows.normal, rows.inverse);
        change.fit(dx.len()).copy_from_slice(dx);
        math::scale_columns(w.isa, self.gain.of(&w.params), dx);
    }

    /// The reverse of forward and [`LayerNorm::tangent`] together. dy (M,D): gradient of y, becomes that of
    /// x. dty (M,D): gradient of y's tangent, becomes that of x's. tx (M,D): tangent of x as it went in.
    ///
    /// With q = gain * dty / s, m2 = mean(n tx), k = mean(n q), change = (tx - mean(tx) - n m2) / s:
    /// gradient of tx: q - mean(q) - n k; of n: -q m2 - tx k; of s: -sum(gain dty change) / s.
    pub fn tangent_backward<R: Real>(
        &self,
        w: &Weights<R>,
        dy: &mut [R],
        dty: &mut [R],
        tx: &[R],
        rows: NormRows<R>,
        change: &[R],
        grads: &mut [R],
    ) {
        self.gradient(w.isa, dy, rows, grads);
        math::add_product_columns(w.isa, dty, change, self.gain.of_mut(grads));
        let NormRows { normal: n, inverse } = rows;
        let gain = self.gain.of(&w.params);
        let share = R::ONE / R::from_f64(self.gain.len as f64);
        let mut sums = [(); 3].map(|()| vec![R::ZERO; inverse.len()]);
        let [m2, k, d_deviation] = &mut sums;
        math::scale_columns(w.isa, gain, dty);
        math::scale_columns(w.isa, gain, dy);
        math::row_products(w.isa, n, tx, m2);
        math::row_products(w.isa, n, dty, k);
        math::row_products(w.isa, dty, change, d_deviation);
        let width = self.gain.len;
        for (row, &inverse) in inverse.iter().enumerate() {
            let range = row * width..(row + 1) * width;
            math::axpy(w.isa, -(inverse * m2[row] * share), &dty[range.clone()], &mut dy[range.clone()]);
            math::axpy(w.isa, -(inverse * k[row] * share), &tx[range.clone()], &mut dy[range]);
        }
        math::centre(w.isa, dty, n, inverse);
        math::centre(w.isa, dy, n, inverse);
        for (row, &inverse) in inverse.iter().enumerate() {
            let range = row * width..(row + 1) * width;
            // ds/dx = n / D
            math::axpy(w.isa, -(d_deviation[row] * inverse * share), &n[range.clone()], &mut dy[range]);
        }
    }
}
