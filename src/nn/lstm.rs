//! LSTM stacks over whole sequences. Gate order i f g o, two bias vectors a layer (PyTorch's).
//!
//! S. Hochreiter, J. Schmidhuber, "Long short-term memory", 1997. The input products of all steps are one
//! GEMM; only the recurrent product runs step by step. What is the same at every step, biases and the share of a constant
//! input, is added in the cell. The backward pass turns the stored gates into their gradients in place, so that all weight
//! gradients are GEMMs over the whole sequence as well.

use super::Steps;
use super::dropout::{Dropout, Site, dropout_backward};
use super::gradients::Gradients;
use super::params::{Initial, Layout, Matrix, To, Vector, Weights};
use crate::backend::cpu::{Buffer, Isa, Real, math};

/// One layer. Tensors `name`.weight_ih_lK (4H,I), .weight_hh_lK (4H,H), .bias_ih_lK, .bias_hh_lK (4H).
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    pub input: Matrix,
    /// The share of the input that is the same at every step, if the layer has one.
    pub constant: Option<Matrix>,
    pub recurrent: Matrix,
    pub bias_ih: Vector,
    pub bias_hh: Vector,
    pub hidden: usize,
}

impl Layer {
    fn new(layout: &mut Layout, name: &str, k: usize, inputs: usize, constant: usize, hidden: usize) -> Layer {
        let initial = Initial::fan(hidden);
        let tensor = |kind| format!("{name}.{kind}_l{k}");
        let (input, constant) = match constant {
            0 => (layout.matrix(tensor("weight_ih"), 4 * hidden, inputs, initial), None),
            _ => {
                let [a, b] = layout.blocks(tensor("weight_ih"), 4 * hidden, [inputs, constant], initial);
                (a, Some(b))
            }
        };
        Layer {
            input,
            constant,
            recurrent: layout.matrix(tensor("weight_hh"), 4 * hidden, hidden, initial),
            bias_ih: layout.vector(tensor("bias_ih"), 4 * hidden, initial),
            bias_hh: layout.vector(tensor("bias_hh"), 4 * hidden, initial),
            hidden,
        }
    }

    /// What every step adds to its gates: of constant (B,S) a row for each (B,4H), or, where the layer has no such input,
    /// one for all (4H).
    pub fn constant_gates<R: Real>(&self, w: &Weights<R>, constant: &[R], gates: &mut Buffer<R>) {
        let rows = self.constant.map_or(1, |matrix| constant.len() / matrix.inputs);
        let both = || self.bias_ih.of(&w.params).iter().zip(self.bias_hh.of(&w.params));
        for row in gates.fit(rows * 4 * self.hidden).chunks_exact_mut(4 * self.hidden) {
            row.iter_mut().zip(both()).for_each(|(gate, (&a, &b))| *gate = a + b);
        }
        if let Some(matrix) = self.constant {
            matrix.forward(w, constant, gates, R::ONE, To::Add);
        }
    }

    /// Gradients of all weights but those of the input, from what the backward steps left in a trace. before: N rows (H), h
    /// one step earlier. constant (B,S) as the forward saw it.
    pub fn gradient<'h, R: Real>(
        &self,
        isa: Isa,
        trace: &LayerTrace<R>,
        before: impl Iterator<Item = &'h [R]>,
        constant: &[R],
        grads: &mut Gradients<R>,
    ) {
        self.recurrent.gradient_of_rows(isa, &trace.gates, before, grads);
        for bias in [self.bias_ih, self.bias_hh] {
            math::add_columns(isa, &trace.dconstant, bias.of_mut(grads));
        }
        if let Some(matrix) = self.constant {
            matrix.gradient(isa, &trace.dconstant, constant, grads);
        }
    }
}

/// Gates, cells and outputs of one layer over a sequence.
#[derive(Clone, Debug, Default)]
pub struct LayerTrace<R> {
    /// (N,4H): activated gates; after the backward pass, gradients before activation.
    pub gates: Buffer<R>,
    /// What every step adds to its gates, as [`Layer::constant_gates`] made it, and the gradient of that.
    constant: Buffer<R>,
    pub dconstant: Buffer<R>,
    pub c: Buffer<R>,
    pub h: Buffer<R>,
    /// h after dropout and the mask, where there is dropout.
    pub dropped: Buffer<R>,
    pub mask: Buffer<R>,
}

impl<R: Real> LayerTrace<R> {
    /// Makes room for so many steps in all. constant (B,S): see [`Layer::constant`].
    pub fn begin(&mut self, layer: &Layer, w: &Weights<R>, total: usize, constant: &[R], dropout: bool) {
        let hidden = layer.hidden;
        layer.constant_gates(w, constant, &mut self.constant);
        self.gates.fit(total * 4 * hidden);
        self.c.fit(total * hidden);
        self.h.fit(total * hidden);
        if dropout {
            self.dropped.fit(total * hidden);
            self.mask.fit(total * hidden);
        }
    }

    /// Adds the recurrent product and what is constant to the gates of step t, and runs the cell. initial: (h, c) (B,H)
    /// before step 0.
    pub fn step(&mut self, layer: &Layer, w: &Weights<R>, steps: &Steps, t: usize, initial: (&[R], &[R])) {
        let hidden = layer.hidden;
        let here = steps.step(t, hidden);
        let gates = &mut self.gates[steps.step(t, 4 * hidden)];
        let (h_past, h_rest) = self.h.split_at_mut(here.start);
        let (c_past, c_rest) = self.c.split_at_mut(here.start);
        let (h0, c0) = match t {
            0 => (&initial.0[..here.len()], &initial.1[..here.len()]),
            _ => (&h_past[steps.before(t, hidden)], &c_past[steps.before(t, hidden)]),
        };
        layer.recurrent.forward(w, h0, gates, R::ONE, To::Add);
        math::lstm_cell(w.isa, gates, &self.constant, c0, &mut c_rest[..here.len()], &mut h_rest[..here.len()], hidden);
    }

    /// Outputs of step t after dropout, if any.
    pub fn drop(&mut self, isa: Isa, steps: &Steps, t: usize, hidden: usize, p: f64, dropout: &Dropout, site: Site) {
        let here = steps.step(t, hidden);
        let (h, dropped) = (&self.h[here.clone()], &mut self.dropped[here.clone()]);
        dropout.apply(isa, (site, p), t, hidden, h, dropped, &mut self.mask[here]);
    }

    /// The reverse of [`LayerTrace::step`], from the last step to the first: dh (B,H) holds the gradient of step t's output
    /// that its successor has, dy (as many rows as run) what it has from elsewhere, dc (B,H) that of its cell. dh and dc become
    /// those of the step before, the gates their gradients.
    pub fn step_backward(
        &mut self,
        layer: &Layer,
        w: &Weights<R>,
        steps: &Steps,
        t: usize,
        initial_c: &[R],
        dh: &mut [R],
        dy: &[R],
        dc: &mut [R],
    ) {
        let hidden = layer.hidden;
        let here = steps.step(t, hidden);
        if t + 1 == steps.len() {
            self.dconstant.fit(self.constant.len()).fill(R::ZERO);
        }
        let (past, gates) = self.gates.split_at_mut(steps.step(t, 4 * hidden).start);
        let gates = &mut gates[..4 * here.len()];
        let (c0, next) = match t {
            0 => (&initial_c[..here.len()], &[][..]),
            _ => (&self.c[steps.before(t, hidden)], &past[steps.before(t, 4 * hidden)]),
        };
        let n = here.len();
        let (c, dconstant) = (&self.c[here], &mut self.dconstant);
        math::lstm_cell_backward(w.isa, gates, dconstant, c0, c, &dh[..n], dy, &mut dc[..n], next, hidden);
        layer.recurrent.backward(w, gates, &mut dh[..n], R::ONE, To::Write);
    }
}

/// A stack of layers; dropout on the outputs of all but the last.
#[derive(Clone, Debug)]
pub struct Lstm {
    pub layers: Vec<Layer>,
    pub dropout: f64,
}

/// What the backward pass needs, and buffers of its own that are kept for the next batch.
#[derive(Clone, Debug, Default)]
pub struct LstmTrace<R> {
    pub layers: Vec<LayerTrace<R>>,
    zeros: Buffer<R>,
    dh: Buffer<R>,
    dc: Buffer<R>,
    dy: Buffer<R>,
}

impl<R: Real> LstmTrace<R> {
    /// (N,H): outputs of the last layer.
    pub fn output(&self) -> &[R] {
        self.layers.last().map_or(&[], |l| &l.h)
    }
}

impl Lstm {
    /// constant: numbers of the first layer's input that are the same at every step (0: none).
    pub fn new(
        layout: &mut Layout,
        name: &str,
        inputs: usize,
        constant: usize,
        hidden: usize,
        layers: usize,
        dropout: f64,
    ) -> Lstm {
        let layer = |k| match k {
            0 => Layer::new(layout, name, 0, inputs, constant, hidden),
            _ => Layer::new(layout, name, k, hidden, 0, hidden),
        };
        Lstm { layers: (0..layers).map(layer).collect(), dropout }
    }

    pub fn hidden(&self) -> usize {
        self.layers[0].hidden
    }

    /// x (N,I), constant (B,S) or empty -> trace.output() (N,H). dropout: of a training step, with the site of
    /// the first layer; its successors have the next ones.
    pub fn forward<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        x: &[R],
        constant: &[R],
        dropout: Option<(&Dropout, Site)>,
        trace: &mut LstmTrace<R>,
    ) {
        let hidden = self.hidden();
        let dropout = dropout.filter(|_| self.dropout > 0.0);
        trace.layers.resize_with(self.layers.len(), LayerTrace::default);
        trace.zeros.fit(steps.rows() * hidden).fill(R::ZERO);
        for (k, layer) in self.layers.iter().enumerate() {
            let drops = dropout.filter(|_| k + 1 < self.layers.len());
            let (below, here) = trace.layers.split_at_mut(k);
            let here = &mut here[0];
            here.begin(layer, w, steps.total(), constant, drops.is_some());
            let x = below.last().map_or(x, |below| if dropout.is_some() { &below.dropped } else { &below.h });
            layer.input.forward(w, x, &mut here.gates, R::ONE, To::Write);
            for t in 0..steps.len() {
                here.step(layer, w, steps, t, (&trace.zeros, &trace.zeros));
                if let Some((dropout, site)) = drops {
                    here.drop(w.isa, steps, t, hidden, self.dropout, dropout, site + k as Site);
                }
            }
        }
    }

    /// dy (N,H): gradient of the outputs. x and constant as the forward saw them. dx (N,I) and dconstant (B,S)
    /// are written where wanted. `dropped`: whether the forward had dropout.
    pub fn backward<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        x: &[R],
        constant: &[R],
        dropped: bool,
        dy: &[R],
        trace: &mut LstmTrace<R>,
        dx: Option<&mut Buffer<R>>,
        dconstant: Option<&mut Buffer<R>>,
        grads: &mut Gradients<R>,
    ) {
        let hidden = self.hidden();
        let dropped = dropped && self.dropout > 0.0;
        let state = steps.rows() * hidden;
        let LstmTrace { layers, zeros, dh, dc, dy: dy_below } = trace;
        for (k, layer) in self.layers.iter().enumerate().rev() {
            let (below, here) = layers.split_at_mut(k);
            let here = &mut here[0];
            let top = k + 1 == self.layers.len();
            let dy = if top { dy } else { &dy_below[..] };
            dh.fit(state).fill(R::ZERO);
            dc.fit(state).fill(R::ZERO);
            for t in (0..steps.len()).rev() {
                here.step_backward(layer, w, steps, t, zeros, dh, &dy[steps.step(t, hidden)], dc);
            }
            layer.gradient(w.isa, here, steps.shifted(&here.h, zeros, hidden), constant, grads);
            match below.last() {
                Some(below) => {
                    let input = if dropped { &below.dropped } else { &below.h };
                    layer.input.gradient(w.isa, &here.gates, input, grads);
                    dy_below.fit(steps.total() * hidden);
                    layer.input.backward(w, &here.gates, dy_below, R::ONE, To::Write);
                    if dropped {
                        dropout_backward(w.isa, &below.mask, dy_below);
                    }
                }
                None => layer.input.gradient(w.isa, &here.gates, x, grads),
            }
        }
        let (first, trace) = (&self.layers[0], &layers[0]);
        if let Some(dx) = dx {
            first.input.backward(w, &trace.gates, dx.fit(steps.total() * first.input.inputs), R::ONE, To::Write);
        }
        if let (Some(matrix), Some(dconstant)) = (first.constant, dconstant) {
            matrix.backward(w, &trace.dconstant, dconstant.fit(steps.rows() * matrix.inputs), R::ONE, To::Write);
        }
    }
}
