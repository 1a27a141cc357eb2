//! A linear layer divided by its largest singular value.
//!
//! T. Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018; PyTorch's
//! `spectral_norm`: one power iteration per call in training mode, before the weight is used; sigma =
//! u^T w v is differentiated with u and v held constant.

use std::ops::Range;

use super::gradients::Gradients;
use super::params::{Initial, Layout, Matrix, To, Vector, Weights, outer_product};
use crate::backend::cpu::{Buffer, Isa, Real, math};

const EPSILON: f64 = 1e-12;

/// Tensors `name`.weight_orig (O,I), `name`.bias (O) and the buffers `name`.weight_u (O), `name`.weight_v (I).
#[derive(Clone, Copy, Debug)]
pub struct SpectralLinear {
    pub weight: Matrix,
    pub bias: Vector,
    u: Vector,
    v: Vector,
}

/// One call's normalisation: later calls move u and v, its gradient needs them as they were.
#[derive(Clone, Debug, Default)]
pub struct Normed<R> {
    pub sigma: R,
    u: Vec<R>,
    v: Vec<R>,
}

impl SpectralLinear {
    pub fn with(
        layout: &mut Layout,
        name: &str,
        inputs: usize,
        outputs: usize,
        weight: Initial,
        bias: Initial,
    ) -> Self {
        SpectralLinear {
            bias: layout.vector(format!("{name}.bias"), outputs, bias),
            weight: layout.matrix(format!("{name}.weight_orig"), outputs, inputs, weight),
            u: layout.buffer(format!("{name}.weight_u"), outputs, Initial::UnitVector),
            v: layout.buffer(format!("{name}.weight_v"), inputs, Initial::UnitVector),
        }
    }

    #[cfg(feature = "cuda")]
    pub(crate) fn vectors(&self) -> [Vector; 2] {
        [self.u, self.v]
    }

    /// What one call uses. In training mode u and v advance first.
    pub fn normalise<R: Real>(&self, params: &[R], buffers: &mut [R], training: bool) -> Normed<R> {
        let w = |o: usize| &params[self.weight.offset + o * self.weight.stride..][..self.weight.inputs];
        let mut u: Vec<f64> = self.u.of(buffers).iter().map(|x| x.to_f64()).collect();
        let mut v: Vec<f64> = self.v.of(buffers).iter().map(|x| x.to_f64()).collect();
        let times_v = |v: &[f64]| -> Vec<f64> {
            (0..self.weight.outputs).map(|o| w(o).iter().zip(v).map(|(w, v)| w.to_f64() * v).sum()).collect()
        };
        if training {
            v.fill(0.0);
            for (o, u) in u.iter().enumerate() {
                v.iter_mut().zip(w(o)).for_each(|(v, w)| *v += u * w.to_f64());
            }
            unit(&mut v);
            u = times_v(&v);
            unit(&mut u);
            self.u.of_mut(buffers).iter_mut().zip(&u).for_each(|(b, &u)| *b = R::from_f64(u));
            self.v.of_mut(buffers).iter_mut().zip(&v).for_each(|(b, &v)| *b = R::from_f64(v));
        }
        let sigma = times_v(&v).iter().zip(&u).map(|(wv, u)| wv * u).sum();
        let real = |x: &[f64]| x.iter().map(|&x| R::from_f64(x)).collect();
        Normed { sigma: R::from_f64(sigma), u: real(&u), v: real(&v) }
    }

    /// x (M,I) -> y (M,O) = x (w / sigma)^T + b
    pub fn forward<R: Real>(&self, w: &Weights<R>, normed: &Normed<R>, x: &[R], y: &mut [R]) {
        self.tangent(w, normed, x, y);
        math::add_row(w.isa, self.bias.of(&w.params), y);
    }

    /// Without the bias: the change of y for a change of x.
    pub fn tangent<R: Real>(&self, w: &Weights<R>, normed: &Normed<R>, x: &[R], y: &mut [R]) {
        self.weight.forward(w, x, y, R::ONE / normed.sigma, To::Write);
    }

    /// dy (M,O) -> dx (M,I) written
    pub fn backward<R: Real>(&self, w: &Weights<R>, normed: &Normed<R>, dy: &[R], dx: &mut [R]) {
        self.backward_columns(w, normed, dy, 0..self.weight.inputs, dx);
    }

    /// As [`Matrix::backward_columns`].
    pub fn backward_columns<R: Real>(
        &self,
        w: &Weights<R>,
        normed: &Normed<R>,
        dy: &[R],
        inputs: Range<usize>,
        dx: &mut [R],
    ) {
        self.weight.backward_columns(w, dy, inputs, dx, R::ONE / normed.sigma, To::Write);
    }

    /// dy (M,O), M rows x (I) -> dw = dy^T x, where w is the divided weight. See [`SpectralLinear::finish`].
    pub fn outer<'x, R: Real>(&self, isa: Isa, dy: &[R], x: impl Iterator<Item = &'x [R]>, dw: &mut Buffer<R>) {
        let (outputs, inputs) = (self.weight.outputs, self.weight.inputs);
        let dw = dw.fit(outputs * inputs);
        outer_product(isa, dy, outputs, x, inputs, (dw, inputs), To::Write);
    }

    /// Gradient of the divided weight, dw (O,I) -> of the weight itself: dw / sigma - <dw, w> / sigma^2 u v^T
    pub fn finish<R: Real>(&self, params: &[R], normed: &Normed<R>, dw: &[R], grads: &mut Gradients<R>) {
        let m = self.weight;
        let row = |o: usize| m.offset + o * m.stride..m.offset + o * m.stride + m.inputs;
        let mut along = 0.0;
        for (o, dw) in dw.chunks_exact(m.inputs).enumerate() {
            along += dw.iter().zip(&params[row(o)]).map(|(dw, w)| dw.to_f64() * w.to_f64()).sum::<f64>();
        }
        let inverse = R::ONE / normed.sigma;
        let along = R::from_f64(along) * inverse * inverse;
        let grads = grads.of(&m);
        for ((o, dw), &u) in dw.chunks_exact(m.inputs).enumerate().zip(&normed.u) {
            for ((g, &dw), &v) in grads[row(o)].iter_mut().zip(dw).zip(&normed.v) {
                *g += dw * inverse - along * u * v;
            }
        }
    }

    /// dy (M,O), x (M,I) as the forward saw it -> gradients of weight and bias. scratch: any.
    pub fn gradient<R: Real>(
        &self,
        w: &Weights<R>,
        normed: &Normed<R>,
        dy: &[R],
        x: &[R],
        scratch: &mut Buffer<R>,
        grads: &mut Gradients<R>,
    ) {
        self.outer(w.isa, dy, x.chunks_exact(self.weight.inputs), scratch);
        self.finish(&w.params, normed, scratch, grads);
        math::add_columns(w.isa, dy, self.bias.of_mut(grads));
    }
}

fn unit(v: &mut [f64]) {
    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt().max(EPSILON);
    v.iter_mut().for_each(|x| *x /= norm);
}
