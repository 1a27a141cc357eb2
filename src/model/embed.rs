//! Condition (B,C) -> embedding (B,E): linear, LeakyReLU, linear, and LeakyReLU again where asked.

use crate::backend::cpu::{Buffer, Real};
use crate::nn::linear::{leaky_relu, leaky_relu_backward};
use crate::nn::{Gradients, Layout, Linear, Weights};

#[derive(Clone, Debug)]
pub struct Embed {
    pub(crate) first: Linear,
    pub(crate) second: Linear,
    pub(crate) last_activation: bool,
}

#[derive(Clone, Debug, Default)]
pub struct EmbedTrace<R> {
    hidden: Buffer<R>,
    /// (B,E)
    pub e: Buffer<R>,
    dhidden: Buffer<R>,
    /// (B,C): gradient of the condition.
    pub dcondition: Buffer<R>,
}

impl Embed {
    pub fn new(
        layout: &mut Layout,
        name: &str,
        inputs: usize,
        hidden: usize,
        outputs: usize,
        last_activation: bool,
    ) -> Embed {
        let first = Linear::xavier(layout, &format!("{name}.0"), inputs, hidden);
        Embed { first, second: Linear::xavier(layout, &format!("{name}.2"), hidden, outputs), last_activation }
    }

    pub fn outputs(&self) -> usize {
        self.second.weight.outputs
    }

    pub fn forward<R: Real>(&self, w: &Weights<R>, condition: &[R], trace: &mut EmbedTrace<R>) {
        let rows = condition.len() / self.first.weight.inputs;
        let hidden = trace.hidden.fit(rows * self.first.weight.outputs);
        self.first.forward(w, condition, hidden);
        leaky_relu(w.isa, hidden);
        let e = trace.e.fit(rows * self.outputs());
        self.second.forward(w, hidden, e);
        if self.last_activation {
            leaky_relu(w.isa, e);
        }
    }

    /// de (B,E) is used up; trace.dcondition written.
    pub fn backward<R: Real>(
        &self,
        w: &Weights<R>,
        condition: &[R],
        de: &mut [R],
        trace: &mut EmbedTrace<R>,
        grads: &mut Gradients<R>,
    ) {
        if self.last_activation {
            leaky_relu_backward(w.isa, &trace.e, de);
        }
        self.second.gradient(w.isa, de, &trace.hidden, grads);
        let dhidden = trace.dhidden.fit(trace.hidden.len());
        self.second.backward(w, de, dhidden);
        leaky_relu_backward(w.isa, &trace.hidden, dhidden);
        self.first.gradient(w.isa, dhidden, condition, grads);
        self.first.backward(w, dhidden, trace.dcondition.fit(condition.len()));
    }
}

/// Rows of a (N,A) and b (M,B), each with its width, side by side: (N,A+B). b begins again where it ends.
pub fn concatenate<R: Real>((a, a_width): (&[R], usize), (b, b_width): (&[R], usize), into: &mut Buffer<R>) {
    into.clear();
    for (a, b) in a.chunks_exact(a_width).zip(b.chunks_exact(b_width).cycle()) {
        into.extend_from_slice(a);
        into.extend_from_slice(b);
    }
}

/// The reverse of [`concatenate`]: ab (M,A+B) -> a (M,A), b (M,B).
pub fn split<R: Real>(ab: &[R], a_width: usize, b_width: usize, a: &mut Buffer<R>, b: &mut Buffer<R>) {
    a.clear();
    b.clear();
    for row in ab.chunks_exact(a_width + b_width) {
        a.extend_from_slice(&row[..a_width]);
        b.extend_from_slice(&row[a_width..]);
    }
}
