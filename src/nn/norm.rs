//! Layer normalisation, with the second derivative that the gradient penalty needs.
//!
//! J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016.

use super::fit;
use super::params::{Initial, Layout, Vector, Weights};
use crate::backend::cpu::{Real, math};

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
    pub normal: Vec<R>,
    /// 1 / deviation (M)
    pub inverse: Vec<R>,
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
        let normal = fit(&mut trace.normal, x.len());
        let inverse = fit(&mut trace.inverse, x.len() / width);
        for ((x, n), inverse) in x.chunks_exact_mut(width).zip(normal.chunks_exact_mut(width)).zip(inverse) {
            let mean = mean(x.iter().copied());
            let variance = self::mean(x.iter().map(|&x| (x - mean) * (x - mean)));
            *inverse = R::ONE / (variance + R::from_f64(EPSILON)).sqrt();
            for (((x, n), &gain), &bias) in x.iter_mut().zip(n).zip(gain).zip(bias) {
                *n = (*x - mean) * *inverse;
                *x = gain * *n + bias;
            }
        }
    }

    /// dy (M,D) becomes dx.
    pub fn backward<R: Real>(&self, w: &Weights<R>, dy: &mut [R], trace: &NormTrace<R>, grads: Option<&mut [R]>) {
        if let Some(grads) = grads {
            math::add_product_columns(w.isa, dy, &trace.normal, self.gain.of_mut(grads));
            math::add_columns(w.isa, dy, self.bias.of_mut(grads));
        }
        let width = self.gain.len;
        let gain = self.gain.of(&w.params);
        let rows = dy.chunks_exact_mut(width).zip(trace.normal.chunks_exact(width)).zip(&trace.inverse);
        for ((dy, n), &inverse) in rows {
            dy.iter_mut().zip(gain).for_each(|(dy, &gain)| *dy *= gain);
            centre(dy, n, inverse);
        }
    }

    /// The tangent of [`LayerNorm::forward`]: dx (M,D) becomes the change of y; `change` (M,D) that of n.
    pub fn tangent<R: Real>(&self, w: &Weights<R>, dx: &mut [R], trace: &NormTrace<R>, change: &mut Vec<R>) {
        let width = self.gain.len;
        let gain = self.gain.of(&w.params);
        let change = fit(change, dx.len());
        let rows = dx.chunks_exact_mut(width).zip(change.chunks_exact_mut(width));
        for (((dx, change), n), &inverse) in rows.zip(trace.normal.chunks_exact(width)).zip(&trace.inverse) {
            centre(dx, n, inverse);
            for ((dx, change), &gain) in dx.iter_mut().zip(change).zip(gain) {
                *change = *dx;
                *dx *= gain;
            }
        }
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
        let width = self.gain.len;
        let gain = self.gain.of(&w.params);
        for (row, &inverse) in trace.inverse.iter().enumerate() {
            let range = row * width..(row + 1) * width;
            let (dy, dty) = (&mut dy[range.clone()], &mut dty[range.clone()]);
            let (n, tx, change) = (&trace.normal[range.clone()], &tx[range.clone()], &change[range]);
            let mut d_deviation = R::ZERO;
            for ((dty, &gain), &change) in dty.iter_mut().zip(gain).zip(change) {
                *dty *= gain;
                d_deviation -= *dty * change * inverse;
            }
            let m2 = mean(n.iter().zip(tx).map(|(&n, &tx)| n * tx));
            let k = mean(n.iter().zip(&*dty).map(|(&n, &q)| n * q * inverse));
            for (((dy, &gain), &q), &tx) in dy.iter_mut().zip(gain).zip(&*dty).zip(tx) {
                *dy = *dy * gain - q * inverse * m2 - tx * k;
            }
            centre(dty, n, inverse);
            centre(dy, n, inverse);
            let share = d_deviation / R::from_f64(width as f64); // ds/dx = n / D
            dy.iter_mut().zip(n).for_each(|(dy, &n)| *dy += share * n);
        }
    }
}

fn mean<R: Real>(values: impl ExactSizeIterator<Item = R>) -> R {
    let n = R::from_f64(values.len() as f64);
    values.sum::<R>() / n
}

/// v <- (v - mean(v) - n mean(n v)) * inverse: the Jacobian of n, which is symmetric.
fn centre<R: Real>(v: &mut [R], n: &[R], inverse: R) {
    let along = mean(v.iter().zip(n).map(|(&v, &n)| v * n));
    let mean = mean(v.iter().copied());
    v.iter_mut().zip(n).for_each(|(v, &n)| *v = (*v - mean - n * along) * inverse);
}
