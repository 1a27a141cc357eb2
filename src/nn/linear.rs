//! y = x w^T + b, and the leaky rectifier that follows it in most places.

use super::gradients::Gradients;
use super::params::{Initial, Layout, Matrix, To, Vector, Weights};
use crate::backend::cpu::{Isa, Real, math};

/// Slope of LeakyReLU below 0.
pub const LEAK: f64 = 0.2;

#[derive(Clone, Copy, Debug)]
pub struct Linear {
    pub weight: Matrix,
    pub bias: Vector,
}

impl Linear {
    /// Tensors `name`.weight (O,I) and `name`.bias (O), both uniform +-1/sqrt(I).
    pub fn new(layout: &mut Layout, name: &str, inputs: usize, outputs: usize) -> Linear {
        Linear::with(layout, name, inputs, outputs, Initial::fan(inputs), Initial::fan(inputs))
    }

    /// Xavier-uniform weight, zero bias: the generator's and the critics'.
    pub fn xavier(layout: &mut Layout, name: &str, inputs: usize, outputs: usize) -> Linear {
        Linear::with(layout, name, inputs, outputs, Initial::xavier(inputs, outputs), Initial::Zeros)
    }

    pub fn with(
        layout: &mut Layout,
        name: &str,
        inputs: usize,
        outputs: usize,
        weight: Initial,
        bias: Initial,
    ) -> Linear {
        Linear {
            weight: layout.matrix(format!("{name}.weight"), outputs, inputs, weight),
            bias: layout.vector(format!("{name}.bias"), outputs, bias),
        }
    }

    /// x (M,I) -> y (M,O)
    pub fn forward<R: Real>(&self, w: &Weights<R>, x: &[R], y: &mut [R]) {
        self.weight.forward(w, x, y, R::ONE, To::Write);
        math::add_row(w.isa, self.bias.of(&w.params), y);
    }

    /// dy (M,O), x (M,I) as the forward saw it -> gradients of weight and bias.
    pub fn gradient<R: Real>(&self, isa: Isa, dy: &[R], x: &[R], grads: &mut Gradients<R>) {
        self.weight.gradient(isa, dy, x, grads);
        math::add_columns(isa, dy, self.bias.of_mut(grads));
    }

    /// dy (M,O) -> dx (M,I) written
    pub fn backward<R: Real>(&self, w: &Weights<R>, dy: &[R], dx: &mut [R]) {
        self.weight.backward(w, dy, dx, R::ONE, To::Write);
    }
}

/// x <- x where positive, else 0.2 x
pub fn leaky_relu<R: Real>(isa: Isa, x: &mut [R]) {
    math::leaky_relu(isa, x, R::from_f64(LEAK));
}

/// y as [`leaky_relu`] left it; dy becomes dx.
pub fn leaky_relu_backward<R: Real>(isa: Isa, y: &[R], dy: &mut [R]) {
    math::leaky_relu_backward(isa, y, dy, R::from_f64(LEAK));
}
