//! Layer normalisation, with the second derivative that the gradient penalty needs.
//!
//! J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016.

use super::params::{Initial, Layout, Vector, Weights};
use crate::backend::cpu::{Buffer, Real, math};

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

    /// dy (M,D) becomes dx.
    pub fn backward<R: Real>(&self, w: &Weights<R>, dy: &mut [R], trace: &NormTrace<R>, grads: Option<&mut [R]>) {
        if let Some(grads) = grads {
            math::add_product_columns(w.isa, dy, &trace.normal, self.gain.of_mut(grads));
            math::add_columns(w.isa, dy, self.bias.of_mut(grads));
        }
        math::scale_columns(w.isa, self.gain.of(&w.params), dy);
        math::centre(w.isa, dy, &trace.normal, &trace.inverse);
    }

    /// The tangent of [`LayerNorm::forward`]: dx (M,D) becomes the change of y; `change` (M,D) that of n.
    pub fn tangent<R: Real>(&self, w: &Weights<R>, dx: &mut [R], trace: &NormTrace<R>, change: &mut Buffer<R>) {
        math::centre(w.isa, dx, &trace.normal, &trace.inverse);
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
        trace: &NormTrace<R>,
        change: &[R],
        grads: &mut [R],
    ) {
        math::add_product_columns(w.isa, dy, &trace.normal, self.gain.of_mut(grads));
        math::add_product_columns(w.isa, dty, change, self.gain.of_mut(grads));
        math::add_columns(w.isa, dy, self.bias.of_mut(grads));
        let (gain, n, rows) = (self.gain.of(&w.params), &trace.normal, trace.inverse.len());
        let share = R::ONE / R::from_f64(self.gain.len as f64);
        let mut sums = [(); 3].map(|()| vec![R::ZERO; rows]);
        let [m2, k, d_deviation] = &mut sums;
        math::scale_columns(w.isa, gain, dty);
        math::scale_columns(w.isa, gain, dy);
        math::row_products(w.isa, n, tx, m2);
        math::row_products(w.isa, n, dty, k);
        math::row_products(w.isa, dty, change, d_deviation);
        let width = self.gain.len;
        for (row, &inverse) in trace.inverse.iter().enumerate() {
            let range = row * width..(row + 1) * width;
            math::axpy(w.isa, -(inverse * m2[row] * share), &dty[range.clone()], &mut dy[range.clone()]);
            math::axpy(w.isa, -(inverse * k[row] * share), &tx[range.clone()], &mut dy[range]);
        }
        math::centre(w.isa, dty, n, &trace.inverse);
        math::centre(w.isa, dy, n, &trace.inverse);
        for (row, &inverse) in trace.inverse.iter().enumerate() {
            let range = row * width..(row + 1) * width;
            // ds/dx = n / D
            math::axpy(w.isa, -(d_deviation[row] * inverse * share), &n[range.clone()], &mut dy[range]);
        }
    }
}
