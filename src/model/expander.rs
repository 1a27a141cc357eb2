//! Summary (B,S) -> latent sequence (N,L) in [-1,1].

use crate::backend::cpu::{Buffer, Real, math};
use crate::config::{Config, Expand};
use crate::nn::dropout::{Site, dropout_backward};
use crate::nn::linear::{leaky_relu, leaky_relu_backward};
use crate::nn::lstm::{LayerTrace, Lstm};
use crate::nn::norm::NormTrace;
use crate::nn::params::{Initial, Matrix, To, Vector};
use crate::nn::{Dropout, Gradients, LayerNorm, Layout, Linear, Steps, Weights};

/// Width of the mlp kind's positional encoding.
pub(crate) const POSITIONS: usize = 32;
/// 2 * 3.14159: five decimals of pi, as trained models expect.
#[allow(clippy::approx_constant)]
const TWO_PI: f64 = 6.28318;

#[derive(Clone, Debug)]
pub struct Expander {
    pub(crate) summary: usize,
    pub(crate) latent: usize,
    pub(crate) hidden: usize,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// The previous output and the summary are the input of every step; step 0 sees zeros.
    Lstm { init_hidden: Linear, init_cell: Linear, lstm: Lstm, output: Linear },
    /// The summary and an encoding of t / T, through an MLP.
    Mlp {
        summary: Matrix,
        position: Matrix,
        bias: Vector,
        norms: [LayerNorm; 2],
        middle: Linear,
        last: Linear,
        dropout: f64,
    },
    /// The same at every step.
    Repeat { first: Linear, norm: LayerNorm, last: Linear },
}

#[derive(Clone, Debug, Default)]
pub struct ExpanderTrace<R> {
    /// (N,L)
    pub y: Buffer<R>,
    layers: Vec<LayerTrace<R>>,
    /// lstm: states before step 0, layer after layer in a row (B, layers H).
    init: [Buffer<R>; 2],
    /// lstm: those of one layer (B,H), layer by layer.
    states: Vec<[Buffer<R>; 2]>,
    /// mlp: what of the first layer is the same at every step (B,H).
    shared: Buffer<R>,
    /// mlp and repeat: hidden layers, and what dropout made of the first.
    hidden: [Buffer<R>; 2],
    dropped: Buffer<R>,
    mask: Buffer<R>,
    norms: [NormTrace<R>; 2],
    positions: Buffer<R>,
}

impl Expander {
    pub fn new(layout: &mut Layout, c: &Config) -> Expander {
        let (s, h, l) = (c.summary_dim, c.expander_hidden_dim, c.latent_dim);
        let kind = match c.expand_type {
            Expand::Lstm => {
                let layers = c.expander_num_layers;
                Kind::Lstm {
                    init_hidden: Linear::new(layout, "expander.init_hidden", s, h * layers),
                    init_cell: Linear::new(layout, "expander.init_cell", s, h * layers),
                    lstm: Lstm::new(layout, "expander.lstm", l, s, h, layers, c.expander_dropout),
                    output: Linear::new(layout, "expander.output.0", h, l),
                }
            }
            Expand::Mlp => {
                let fan = Initial::fan(s + POSITIONS);
                let [summary, position] = layout.blocks("expander.mlp.0.weight".into(), h, [s, POSITIONS], fan);
                let bias = layout.vector("expander.mlp.0.bias".into(), h, fan);
                let first = LayerNorm::new(layout, "expander.mlp.1", h);
                let middle = Linear::new(layout, "expander.mlp.4", h, h);
                let norms = [first, LayerNorm::new(layout, "expander.mlp.5", h)];
                let last = Linear::new(layout, "expander.mlp.7", h, l);
                Kind::Mlp { summary, position, bias, norms, middle, last, dropout: c.expander_dropout }
            }
            Expand::Repeat => Kind::Repeat {
                first: Linear::new(layout, "expander.transform.0", s, h),
                norm: LayerNorm::new(layout, "expander.transform.1", h),
                last: Linear::new(layout, "expander.transform.3", h, l),
            },
        };
        Expander { summary: s, latent: l, hidden: h, kind }
    }

    /// z (B,S) -> trace.y (N,L). seq_lens (B): the T of each row's positional encoding (mlp).
    pub fn forward<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        seq_lens: &[usize],
        z: &[R],
        dropout: Option<(&Dropout, Site)>,
        trace: &mut ExpanderTrace<R>,
    ) {
        match &self.kind {
            Kind::Lstm { .. } => self.lstm(w, steps, z, dropout, trace),
            Kind::Mlp { .. } => self.mlp(w, steps, seq_lens, z, dropout, trace),
            Kind::Repeat { .. } => self.repeat(w, steps, z, trace),
        }
    }

    /// dy (N,L) is used up; dz (B,S) written.
    pub fn backward<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        z: &[R],
        dropped: bool,
        dy: &mut [R],
        trace: &mut ExpanderTrace<R>,
        dz: &mut Buffer<R>,
        grads: &mut Gradients<R>,
    ) {
        let dz = dz.fit(steps.rows() * self.summary);
        match &self.kind {
            Kind::Lstm { .. } => self.lstm_backward(w, steps, z, dropped, dy, trace, dz, grads),
            Kind::Mlp { .. } => self.mlp_backward(w, steps, z, dropped, dy, trace, dz, grads),
            Kind::Repeat { .. } => self.repeat_backward(w, steps, z, dy, trace, dz, grads),
        }
    }

    fn lstm<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        z: &[R],
        dropout: Option<(&Dropout, Site)>,
        trace: &mut ExpanderTrace<R>,
    ) {
        let Kind::Lstm { init_hidden, init_cell, lstm, output } = &self.kind else { return };
        let (hidden, l, layers) = (self.hidden, self.latent, lstm.layers.len());
        let dropout = dropout.filter(|_| lstm.dropout > 0.0);
        for (linear, init) in [init_hidden, init_cell].into_iter().zip(&mut trace.init) {
            linear.forward(w, z, init.fit(steps.rows() * hidden * layers));
        }
        trace.states.resize_with(layers, Default::default);
        for (k, state) in trace.states.iter_mut().enumerate() {
            for (init, state) in trace.init.iter().zip(state) {
                of_layer(init, k, hidden, layers, state);
            }
        }
        trace.layers.resize_with(layers, LayerTrace::default);
        for (k, (layer, trace)) in lstm.layers.iter().zip(&mut trace.layers).enumerate() {
            trace.begin(layer, w, steps.total(), z, dropout.is_some() && k + 1 < layers);
        }
        trace.y.fit(steps.total() * l);
        for t in 0..steps.len() {
            let gates_here = steps.step(t, 4 * hidden);
            for (k, layer) in lstm.layers.iter().enumerate() {
                let (below, here) = trace.layers.split_at_mut(k);
                let here = &mut here[0];
                let gates = &mut here.gates[gates_here.clone()];
                match below.last() {
                    Some(below) => {
                        let x = if dropout.is_some() { &below.dropped } else { &below.h };
                        layer.input.forward(w, &x[steps.step(t, hidden)], gates, R::ONE, To::Write);
                    }
                    None if t == 0 => gates.fill(R::ZERO),
                    None => layer.input.forward(w, &trace.y[steps.before(t, l)], gates, R::ONE, To::Write),
                }
                let [h0, c0] = &trace.states[k];
                here.step(layer, w, steps, t, (h0, c0));
                if let Some((dropout, site)) = dropout.filter(|_| k + 1 < layers) {
                    here.drop(w.isa, steps, t, hidden, lstm.dropout, dropout, site + k as Site);
                }
            }
            let y = &mut trace.y[steps.step(t, l)];
            output.forward(w, &trace.layers[layers - 1].h[steps.step(t, hidden)], y);
            math::tanh(w.isa, y);
        }
    }

    fn lstm_backward<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        z: &[R],
        dropped: bool,
        dy: &mut [R],
        trace: &mut ExpanderTrace<R>,
        dz: &mut [R],
        grads: &mut Gradients<R>,
    ) {
        let Kind::Lstm { init_hidden, init_cell, lstm, output } = &self.kind else { return };
        let (hidden, l, layers, rows) = (self.hidden, self.latent, lstm.layers.len(), steps.rows());
        let dropped = dropped && lstm.dropout > 0.0;
        let mut dh = vec![vec![R::ZERO; rows * hidden]; layers];
        let mut dc = dh.clone();
        let mut dy_layer = vec![R::ZERO; rows * hidden];
        for t in (0..steps.len()).rev() {
            let n = steps.running(t);
            let (past, here) = dy.split_at_mut(steps.step(t, l).start);
            let dy = &mut here[..n * l];
            math::tanh_backward(w.isa, &trace.y[steps.step(t, l)], dy);
            let dy_layer = &mut dy_layer[..n * hidden];
            output.backward(w, dy, dy_layer);
            for (k, layer) in lstm.layers.iter().enumerate().rev() {
                let initial_c = &trace.states[k][1];
                trace.layers[k].step_backward(layer, w, steps, t, initial_c, &mut dh[k], dy_layer, &mut dc[k]);
                let dgates = &trace.layers[k].gates[steps.step(t, 4 * hidden)];
                if k > 0 {
                    layer.input.backward(w, dgates, dy_layer, R::ONE, To::Write);
                    if dropped {
                        dropout_backward(w.isa, &trace.layers[k - 1].mask[steps.step(t, hidden)], dy_layer);
                    }
                } else if t > 0 {
                    layer.input.backward(w, dgates, &mut past[steps.before(t, l)], R::ONE, To::Add);
                }
            }
        }
        output.gradient(w.isa, dy, &trace.layers[layers - 1].h, grads);
        let zeros = vec![R::ZERO; rows * l];
        for (k, layer) in lstm.layers.iter().enumerate() {
            let LayerTrace { gates, h, .. } = &trace.layers[k];
            layer.gradient(w.isa, &trace.layers[k], steps.shifted(h, &trace.states[k][0], hidden), z, grads);
            match k {
                0 => layer.input.gradient_of_rows(w.isa, gates, steps.shifted(&trace.y, &zeros, l), grads),
                _ if dropped => layer.input.gradient(w.isa, gates, &trace.layers[k - 1].dropped, grads),
                _ => layer.input.gradient(w.isa, gates, &trace.layers[k - 1].h, grads),
            }
        }
        dz.fill(R::ZERO);
        if let Some(constant) = lstm.layers[0].constant {
            constant.backward(w, &trace.layers[0].dconstant, dz, R::ONE, To::Add);
        }
        for (linear, dstates) in [(init_hidden, &dh), (init_cell, &dc)] {
            let layer_rows = (0..rows).flat_map(|b| dstates.iter().map(move |d| &d[b * hidden..(b + 1) * hidden]));
            let dinit: Vec<R> = layer_rows.flatten().copied().collect();
            linear.gradient(w.isa, &dinit, z, grads);
            linear.weight.backward(w, &dinit, dz, R::ONE, To::Add);
        }
    }

    fn mlp<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        seq_lens: &[usize],
        z: &[R],
        dropout: Option<(&Dropout, Site)>,
        trace: &mut ExpanderTrace<R>,
    ) {
        let Kind::Mlp { summary, position, bias, norms, middle, last, dropout: p } = &self.kind else { return };
        let hidden = self.hidden;
        encode_positions(steps, seq_lens, &mut trace.positions);
        let shared = trace.shared.fit(steps.rows() * hidden);
        summary.forward(w, z, shared, R::ONE, To::Write);
        math::add_row(w.isa, bias.of(&w.params), shared);
        let [first, second] = &mut trace.hidden;
        let x = first.fit(steps.total() * hidden);
        position.forward(w, &trace.positions, x, R::ONE, To::Write);
        for t in 0..steps.len() {
            let x = &mut x[steps.step(t, hidden)];
            math::axpy(w.isa, R::ONE, &shared[..x.len()], x);
        }
        norms[0].forward(w, x, &mut trace.norms[0]);
        leaky_relu(w.isa, x);
        let mut seen: &[R] = x;
        if let Some((dropout, site)) = dropout.filter(|_| *p > 0.0) {
            let (dropped, mask) = (trace.dropped.fit(seen.len()), trace.mask.fit(seen.len()));
            dropout.apply_steps(w.isa, (site, *p), steps, hidden, seen, dropped, mask);
            seen = dropped;
        }
        let x = second.fit(steps.total() * hidden);
        middle.forward(w, seen, x);
        norms[1].forward(w, x, &mut trace.norms[1]);
        leaky_relu(w.isa, x);
        let y = trace.y.fit(steps.total() * self.latent);
        last.forward(w, x, y);
        math::tanh(w.isa, y);
    }

    fn mlp_backward<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        z: &[R],
        dropped: bool,
        dy: &mut [R],
        trace: &ExpanderTrace<R>,
        dz: &mut [R],
        grads: &mut Gradients<R>,
    ) {
        let Kind::Mlp { summary, position, bias, norms, middle, last, dropout: p } = &self.kind else { return };
        let dropped = dropped && *p > 0.0;
        math::tanh_backward(w.isa, &trace.y, dy);
        last.gradient(w.isa, dy, &trace.hidden[1], grads);
        let mut dx = vec![R::ZERO; trace.hidden[1].len()];
        last.backward(w, dy, &mut dx);
        leaky_relu_backward(w.isa, &trace.hidden[1], &mut dx);
        norms[1].gradient(w.isa, &dx, trace.norms[1].all(), grads);
        norms[1].backward(w, &mut dx, trace.norms[1].all());
        middle.gradient(w.isa, &dx, if dropped { &trace.dropped } else { &trace.hidden[0] }, grads);
        let mut dfirst = vec![R::ZERO; dx.len()];
        middle.backward(w, &dx, &mut dfirst);
        if dropped {
            dropout_backward(w.isa, &trace.mask, &mut dfirst);
        }
        leaky_relu_backward(w.isa, &trace.hidden[0], &mut dfirst);
        norms[0].gradient(w.isa, &dfirst, trace.norms[0].all(), grads);
        norms[0].backward(w, &mut dfirst, trace.norms[0].all());
        position.gradient(w.isa, &dfirst, &trace.positions, grads);
        let sums = sum_steps(w, steps, &dfirst, self.hidden);
        summary.gradient(w.isa, &sums, z, grads);
        math::add_columns(w.isa, &sums, bias.of_mut(grads));
        summary.backward(w, &sums, dz, R::ONE, To::Write);
    }

    fn repeat<R: Real>(&self, w: &Weights<R>, steps: &Steps, z: &[R], trace: &mut ExpanderTrace<R>) {
        let Kind::Repeat { first, norm, last } = &self.kind else { return };
        let [x, y] = &mut trace.hidden;
        let x = x.fit(steps.rows() * self.hidden);
        first.forward(w, z, x);
        norm.forward(w, x, &mut trace.norms[0]);
        leaky_relu(w.isa, x);
        let y = y.fit(steps.rows() * self.latent);
        last.forward(w, x, y);
        math::tanh(w.isa, y);
        trace.y.clear();
        for t in 0..steps.len() {
            trace.y.extend_from_slice(&y[..steps.running(t) * self.latent]);
        }
    }

    fn repeat_backward<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        z: &[R],
        dy: &[R],
        trace: &ExpanderTrace<R>,
        dz: &mut [R],
        grads: &mut Gradients<R>,
    ) {
        let Kind::Repeat { first, norm, last } = &self.kind else { return };
        let mut dy = sum_steps(w, steps, dy, self.latent);
        math::tanh_backward(w.isa, &trace.hidden[1], &mut dy);
        last.gradient(w.isa, &dy, &trace.hidden[0], grads);
        let mut dx = vec![R::ZERO; trace.hidden[0].len()];
        last.backward(w, &dy, &mut dx);
        leaky_relu_backward(w.isa, &trace.hidden[0], &mut dx);
        norm.gradient(w.isa, &dx, trace.norms[0].all(), grads);
        norm.backward(w, &mut dx, trace.norms[0].all());
        first.gradient(w.isa, &dx, z, grads);
        first.backward(w, &dx, dz);
    }
}

/// States of all layers (B, layers H) -> those of layer k (B,H).
pub(super) fn of_layer<R: Real>(init: &[R], k: usize, hidden: usize, layers: usize, state: &mut Buffer<R>) {
    state.clear();
    init.chunks(hidden * layers).for_each(|row| state.extend_from_slice(&row[k * hidden..][..hidden]));
}

/// x (N,width) -> (B,width): sums over the steps of each row.
fn sum_steps<R: Real>(w: &Weights<R>, steps: &Steps, x: &[R], width: usize) -> Buffer<R> {
    let mut sums = Buffer::zeros(steps.rows() * width);
    for t in 0..steps.len() {
        let x = &x[steps.step(t, width)];
        math::axpy(w.isa, R::ONE, x, &mut sums[..x.len()]);
    }
    sums
}

/// (N,POSITIONS): sines, then cosines, of t / T times falling frequencies.
fn encode_positions<R: Real>(steps: &Steps, seq_lens: &[usize], into: &mut Buffer<R>) {
    let frequency = |i: usize| 10_000f64.powf(-2.0 * i as f64 / POSITIONS as f64);
    let of_steps =
        (0..steps.len()).flat_map(|t| seq_lens[..steps.running(t)].iter().map(move |&n| t as f64 / n as f64));
    for (row, part) in into.fit(steps.total() * POSITIONS).chunks_exact_mut(POSITIONS).zip(of_steps) {
        let (sines, cosines) = row.split_at_mut(POSITIONS / 2);
        for (i, (sine, cosine)) in sines.iter_mut().zip(cosines).enumerate() {
            let angle = part * frequency(i) * TWO_PI;
            (*sine, *cosine) = (R::from_f64(angle.sin()), R::from_f64(angle.cos()));
        }
    }
}
