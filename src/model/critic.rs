//! summary (B,S), condition (B,C) -> score (B). The seed's discriminator; its tensors keep that name.
//!
//! projection: T. Miyato, M. Koyama, "cGANs with projection discriminator", ICLR 2018.
//!
//! Four sweeps. `forward` is the usual one, and `backward` its reverse. The gradient penalty needs the derivative of
//! |dscore/dz|: with v fixed, v . dscore/dz is the change of the score along v. So `backward_to_z` gives dscore/dz, `tangent`
//! computes that change, and `backward` is then the reverse of both. LeakyReLU has no second derivative; LayerNorm and
//! spectral norm bring their own.
//!
//! Calls that see the same conditions (real, fake and interpolated summaries) go through the sweeps together, their rows behind
//! each other: products are larger, and a weight's gradient is one product.

use super::dense::{Calls, Dense};
use super::embed::{Embed, EmbedTrace, concatenate, split};
use crate::backend::cpu::{Buffer, Real, math};
use crate::config::{Config, CriticKind};
use crate::nn::linear::{leaky_relu, leaky_relu_backward};
use crate::nn::norm::NormTrace;
use crate::nn::params::{COLUMNS, To};
use crate::nn::spectral::Normed;
use crate::nn::{Gradients, LayerNorm, Layout, Linear, Weights};

/// Standard and projection critics are one scale of the multiscale critic.
#[derive(Clone, Debug)]
pub struct Critic {
    pub(crate) scales: Vec<Scale>,
    /// z of scale i+1 is lrelu(linear(z of scale i)), half as wide.
    pub(crate) downscalers: Vec<Linear>,
}

#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub summary: usize,
    pub projection: bool,
    pub embed: Embed,
    pub layers: Vec<(Dense, LayerNorm)>,
    pub output: Dense,
}

/// Spectral norms of a call: one for each layer that has them.
pub type CallNorms<R> = Vec<Normed<R>>;

/// What the reverse sweeps need of the forward ones: of N rows, those of all calls, and of T tangents, which the last T have.
#[derive(Clone, Debug, Default)]
pub struct CriticTrace<R> {
    /// (N): mean over the scales.
    pub score: Buffer<R>,
    /// (M,S): gradient of the last call's z.
    pub dz: Buffer<R>,
    scales: Vec<ScaleTrace<R>>,
    flow: Flow<R>,
    tangents: usize,
}

/// Buffers of a reverse sweep.
#[derive(Clone, Debug, Default)]
struct Flow<R> {
    /// Gradients of a layer's result and of its input, with those of their tangents behind them.
    dx: [Buffer<R>; 2],
    /// Of the embedding.
    de: Buffer<R>,
    /// What is not wanted.
    rest: Buffer<R>,
    /// Of a layer's weight, before its spectral norm's share.
    weight: Buffer<R>,
}

#[derive(Clone, Debug, Default)]
struct ScaleTrace<R> {
    z: Buffer<R>,
    /// Of z, and of its tangents behind it where a reverse sweep is of both.
    dz: Buffer<R>,
    embed: EmbedTrace<R>,
    /// x[i]: what layer i saw; the last is what the output layer saw.
    x: Vec<Buffer<R>>,
    norms: Vec<NormTrace<R>>,
    score: Buffer<R>,
    /// Tangents: of z, of x[i], of what LayerNorm i saw, and of its normal values.
    tz: Buffer<R>,
    tx: Vec<Buffer<R>>,
    ty: Vec<Buffer<R>>,
    change: Vec<Buffer<R>>,
}

impl<R: Real> ScaleTrace<R> {
    /// x[i], and its tangents where there are any.
    fn seen(&self, i: usize, tangents: usize) -> (&[R], &[R]) {
        (&self.x[i], if tangents > 0 { &self.tx[i] } else { &[] })
    }
}

impl<R> CriticTrace<R> {
    /// (M,C): gradient of the condition, scale by scale.
    pub fn dconditions(&self) -> impl Iterator<Item = &[R]> {
        self.scales.iter().map(|s| &s.embed.dcondition[..])
    }
}

impl Critic {
    pub fn new(layout: &mut Layout, c: &Config) -> Critic {
        let mut norms = 0;
        if c.discriminator_type != CriticKind::Multiscale {
            let spectral = c.discriminator_use_spectral_norm;
            let scale = Scale::new(
                layout,
                "discriminator",
                c.summary_dim,
                c,
                &c.discriminator_hidden_dims,
                spectral,
                &mut norms,
            );
            return Critic { scales: vec![scale], downscalers: Vec::new() };
        }
        let (mut scales, mut downscalers, mut width) = (Vec::new(), Vec::new(), c.summary_dim);
        let hidden = [c.discriminator_hidden_dims[0]; 2];
        for i in 0..c.discriminator_n_scales {
            let name = format!("discriminator.discriminators.{i}");
            scales.push(Scale::new(layout, &name, width, c, &hidden, true, &mut norms));
            if i + 1 < c.discriminator_n_scales {
                let name = format!("discriminator.downscalers.{i}.0");
                downscalers.push(Linear::xavier(layout, &name, width, width / 2));
                width /= 2;
            }
        }
        Critic { scales, downscalers }
    }

    /// The norms of so many calls, one after the other; in training mode each advances by one power iteration.
    pub fn normalise<R: Real>(
        &self,
        params: &[R],
        buffers: &mut [R],
        training: bool,
        calls: usize,
    ) -> Vec<CallNorms<R>> {
        let mut call = || {
            let mut norms = Vec::new();
            for scale in &self.scales {
                scale.layers.iter().for_each(|(dense, _)| dense.normalise(params, buffers, training, &mut norms));
                scale.output.normalise(params, buffers, training, &mut norms);
            }
            norms
        };
        (0..calls).map(|_| call()).collect()
    }

    fn share<R: Real>(&self) -> R {
        R::from_f64(1.0 / self.scales.len() as f64)
    }

    /// z (N,S), condition (M,C), the same for every call: N = M times the calls -> trace.score (N)
    pub fn forward<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[CallNorms<R>],
        z: &[R],
        condition: &[R],
        trace: &mut CriticTrace<R>,
    ) {
        trace.tangents = 0;
        trace.scales.resize_with(self.scales.len(), ScaleTrace::default);
        trace.scales[0].z.clear();
        trace.scales[0].z.extend_from_slice(z);
        let rows = z.len() / self.scales[0].summary;
        for (i, down) in self.downscalers.iter().enumerate() {
            let (above, below) = trace.scales.split_at_mut(i + 1);
            let next = below[0].z.fit(rows * down.weight.outputs);
            down.forward(w, &above[i].z, next);
            leaky_relu(w.isa, next);
        }
        let score = trace.score.fit(rows);
        score.fill(R::ZERO);
        for (scale, memo) in self.scales.iter().zip(&mut trace.scales) {
            scale.forward(w, Calls { norms, rows: rows / norms.len() }, condition, memo);
            math::axpy(w.isa, self.share(), &memo.score, score);
        }
    }

    /// dscore (M) of the last call -> trace.dz (M,S)
    pub fn backward_to_z<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[CallNorms<R>],
        dscore: &[R],
        trace: &mut CriticTrace<R>,
    ) {
        let dscore: Vec<R> = dscore.iter().map(|&d| d * self.share()).collect();
        let calls = Calls { norms, rows: dscore.len() }.last();
        let CriticTrace { scales, flow, .. } = trace;
        for i in (0..self.scales.len()).rev() {
            let (here, below) = scales[i..].split_at_mut(1);
            self.scales[i].backward_to_z(w, calls, &dscore, &mut here[0], flow);
            if let (Some(down), Some(below)) = (self.downscalers.get(i), below.first_mut()) {
                leaky_relu_backward(w.isa, last(&below.z, below.dz.len()), &mut below.dz);
                down.weight.backward(w, &below.dz, &mut here[0].dz, R::ONE, To::Add);
            }
        }
        trace.dz.clone_from(&trace.scales[0].dz);
    }

    /// v (M,S): a direction for each z of the last call. Returns nothing: what `backward` needs is kept.
    pub fn tangent<R: Real>(&self, w: &Weights<R>, norms: &[CallNorms<R>], v: &[R], trace: &mut CriticTrace<R>) {
        trace.tangents = v.len() / self.scales[0].summary;
        trace.scales[0].tz.clear();
        trace.scales[0].tz.extend_from_slice(v);
        for (i, down) in self.downscalers.iter().enumerate() {
            let (above, below) = trace.scales.split_at_mut(i + 1);
            let below = &mut below[0];
            let next = below.tz.fit(trace.tangents * down.weight.outputs);
            down.weight.forward(w, &above[i].tz, next, R::ONE, To::Write);
            leaky_relu_backward(w.isa, last(&below.z, next.len()), next);
        }
        let calls = Calls { norms, rows: trace.tangents }.last();
        for (scale, memo) in self.scales.iter().zip(&mut trace.scales) {
            scale.tangent(w, calls, memo);
        }
    }

    /// Adds to grads what comes from the scores, whose gradients are dscore (N), and after a tangent sweep from the sum of
    /// all changes, with v held constant.
    pub fn backward<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[CallNorms<R>],
        (condition, dscore): (&[R], &[R]),
        trace: &mut CriticTrace<R>,
        grads: &mut Gradients<R>,
    ) {
        let changes = std::iter::repeat_n(R::ONE, trace.tangents);
        let dscore: Vec<R> = dscore.iter().copied().chain(changes).map(|d| d * self.share()).collect();
        let calls = Calls { norms, rows: trace.score.len() / norms.len() };
        let CriticTrace { scales, flow, tangents, .. } = trace;
        for i in (0..self.scales.len()).rev() {
            let (here, below) = scales[i..].split_at_mut(1);
            let here = &mut here[0];
            // What is below the first z are the downscalers' parameters.
            let dz = i > 0;
            self.scales[i].backward(w, calls, (condition, &dscore), here, dz, flow, grads);
            if let (Some(down), Some(below)) = (self.downscalers.get(i), below.first_mut()) {
                let (d, dt) = below.dz.split_at_mut(below.z.len());
                leaky_relu_backward(w.isa, &below.z, d);
                leaky_relu_backward(w.isa, last(&below.z, dt.len()), dt);
                let tz = &here.tz[..*tangents * down.weight.inputs];
                Dense::Plain(*down).gradient(w, calls, &below.dz, (&here.z, tz), &mut flow.weight, grads);
                if dz {
                    down.weight.backward(w, &below.dz, &mut here.dz, R::ONE, To::Add);
                }
            }
        }
    }
}

/// The last `len` numbers.
fn last<R>(x: &[R], len: usize) -> &[R] {
    &x[x.len() - len..]
}

impl Scale {
    fn new(
        layout: &mut Layout,
        name: &str,
        summary: usize,
        c: &Config,
        hidden: &[usize],
        spectral: bool,
        norms: &mut usize,
    ) -> Scale {
        let projection = c.discriminator_type == CriticKind::Projection;
        let (middle, outputs) = if projection { (64, hidden[hidden.len() - 1]) } else { (32, 64) };
        let embed =
            Embed::new(layout, &format!("{name}.cond_embed"), c.condition_inputs(), middle, outputs, !projection);
        let mut width = summary + if projection { 0 } else { outputs };
        let mut layers = Vec::new();
        for (i, &h) in hidden.iter().enumerate() {
            let dense = Dense::new(layout, &format!("{name}.layers.{i}"), width, h, spectral, norms);
            layers.push((dense, LayerNorm::new(layout, &format!("{name}.norms.{i}"), h)));
            width = h;
        }
        let output = Dense::new(layout, &format!("{name}.output"), width, 1, spectral, norms);
        Scale { summary, projection, embed, layers, output }
    }

    /// score = output(x) [+ x . e]
    fn forward<R: Real>(&self, w: &Weights<R>, calls: Calls<R>, condition: &[R], trace: &mut ScaleTrace<R>) {
        let rows = trace.z.len() / self.summary;
        self.embed.forward(w, condition, &mut trace.embed);
        trace.x.resize_with(self.layers.len() + 1, Buffer::default);
        trace.norms.resize_with(self.layers.len(), NormTrace::default);
        if self.projection {
            trace.x[0].clone_from(&trace.z);
        } else {
            concatenate((&trace.z, self.summary), (&trace.embed.e, self.embed.outputs()), &mut trace.x[0]);
        }
        for (i, (dense, norm)) in self.layers.iter().enumerate() {
            let (x, next) = trace.x.split_at_mut(i + 1);
            let y = next[0].fit(rows * dense.outputs());
            dense.forward(w, calls, &x[i], y);
            norm.forward(w, y, &mut trace.norms[i]);
            leaky_relu(w.isa, y);
        }
        let x = &trace.x[self.layers.len()];
        self.output.forward(w, calls, x, trace.score.fit(rows));
        if self.projection {
            let width = self.embed.outputs();
            let e = trace.embed.e.chunks(width).cycle();
            for ((score, x), e) in trace.score.iter_mut().zip(x.chunks(width)).zip(e) {
                *score += dot(x, e);
            }
        }
    }

    /// dscore (M) of the last call -> trace.dz (M,S)
    fn backward_to_z<R: Real>(
        &self,
        w: &Weights<R>,
        call: Calls<R>,
        dscore: &[R],
        trace: &mut ScaleTrace<R>,
        flow: &mut Flow<R>,
    ) {
        let Flow { dx: [dx, below], .. } = flow;
        let rows = dscore.len();
        self.output.backward(w, call, dscore, 0..self.output.inputs(), dx.fit(rows * self.output.inputs()));
        if self.projection {
            add_scaled_rows(dscore, &trace.embed.e, dx);
        }
        for (i, (dense, norm)) in self.layers.iter().enumerate().rev() {
            leaky_relu_backward(w.isa, last(&trace.x[i + 1], dx.len()), dx);
            norm.backward(w, dx, trace.norms[i].last(rows));
            if i > 0 {
                dense.backward(w, call, dx, 0..dense.inputs(), below.fit(rows * dense.inputs()));
                std::mem::swap(dx, below);
            }
        }
        self.layers[0].0.backward(w, call, dx, 0..self.summary, trace.dz.fit(rows * self.summary));
    }

    fn tangent<R: Real>(&self, w: &Weights<R>, call: Calls<R>, trace: &mut ScaleTrace<R>) {
        let layers = self.layers.len();
        trace.tx.resize_with(layers + 1, Buffer::default);
        trace.ty.resize_with(layers, Buffer::default);
        trace.change.resize_with(layers, Buffer::default);
        if self.projection {
            trace.tx[0].clone_from(&trace.tz);
        } else {
            // The condition does not move.
            let still = vec![R::ZERO; self.embed.outputs()];
            concatenate((&trace.tz, self.summary), (&still, still.len()), &mut trace.tx[0]);
        }
        for (i, (dense, norm)) in self.layers.iter().enumerate() {
            let (tx, next) = trace.tx.split_at_mut(i + 1);
            let ty = trace.ty[i].fit(call.rows * dense.outputs());
            dense.tangent(w, call, &tx[i], ty);
            next[0].clear();
            next[0].extend_from_slice(ty);
            norm.tangent(w, &mut next[0], trace.norms[i].last(call.rows), &mut trace.change[i]);
            leaky_relu_backward(w.isa, last(&trace.x[i + 1], next[0].len()), &mut next[0]);
        }
    }

    /// The reverse of forward and tangent together. dscore (N+T): gradients of the scores, and of the changes that the last T
    /// of them have. -> trace.dz (N+T,S) where `dz`
    fn backward<R: Real>(
        &self,
        w: &Weights<R>,
        calls: Calls<R>,
        (condition, dscore): (&[R], &[R]),
        trace: &mut ScaleTrace<R>,
        dz: bool,
        flow: &mut Flow<R>,
        grads: &mut Gradients<R>,
    ) {
        let Flow { dx: [dx, below], de, rest, weight } = flow;
        let layers = self.layers.len();
        let rows = trace.z.len() / self.summary;
        let tangents = dscore.len() - rows;
        let x = &trace.x[layers];
        self.output.gradient(w, calls, dscore, trace.seen(layers, tangents), weight, grads);
        self.output.backward(w, calls, dscore, 0..self.output.inputs(), dx.fit(dscore.len() * self.output.inputs()));
        if self.projection {
            add_scaled_rows(dscore, &trace.embed.e, dx);
            de.fit(x.len()).fill(R::ZERO);
            add_scaled_rows(&dscore[..rows], x, de);
            if tangents > 0 {
                let from = x.len() - tangents * self.embed.outputs();
                add_scaled_rows(&dscore[rows..], &trace.tx[layers], &mut de[from..]);
            }
        }
        for (i, (dense, norm)) in self.layers.iter().enumerate().rev() {
            let (d, dt) = dx.split_at_mut(trace.x[i + 1].len());
            leaky_relu_backward(w.isa, &trace.x[i + 1], d);
            leaky_relu_backward(w.isa, last(&trace.x[i + 1], dt.len()), dt);
            let (without, with) = d.split_at_mut(d.len() - dt.len());
            // Each call's sum by itself: where real and fake summaries cancel, they do so exactly.
            for (call, d) in without.chunks_exact_mut(calls.rows * dense.outputs()).enumerate() {
                let norms = trace.norms[i].rows(call * calls.rows..(call + 1) * calls.rows);
                norm.gradient(w.isa, d, norms, grads);
                norm.backward(w, d, norms);
            }
            if tangents > 0 {
                let (ty, change) = (&trace.ty[i], &trace.change[i]);
                norm.tangent_backward(w, with, dt, ty, trace.norms[i].last(tangents), change, grads);
            }
            dense.gradient(w, calls, dx, trace.seen(i, tangents), weight, grads);
            if i > 0 {
                dense.backward(w, calls, dx, 0..dense.inputs(), below.fit(dscore.len() * dense.inputs()));
                std::mem::swap(dx, below);
            }
        }
        self.backward_to_inputs(w, calls, dz, (dx, rows), below, (&mut trace.dz, de, rest));
        // Every call saw the same embedding.
        let (first, others) = de.split_at_mut(calls.rows * self.embed.outputs());
        others.chunks_exact(first.len()).for_each(|other| math::axpy(w.isa, R::ONE, other, first));
        self.embed.backward(w, condition, first, &mut trace.embed, grads);
    }

    /// dy (N+T,O) of the first layer -> dz (N+T,S) if wanted, and de (N,E) where the layer saw the embedding.
    fn backward_to_inputs<R: Real>(
        &self,
        w: &Weights<R>,
        calls: Calls<R>,
        wanted: bool,
        (dy, rows): (&[R], usize),
        dx: &mut Buffer<R>,
        (dz, de, rest): (&mut Buffer<R>, &mut Buffer<R>, &mut Buffer<R>),
    ) {
        let (first, _) = &self.layers[0];
        let (dy, dty) = dy.split_at(rows * first.outputs());
        dz.clear();
        if self.projection {
            if wanted {
                first.backward(w, calls, dy, 0..self.summary, dz.fit(rows * self.summary));
            }
        } else {
            let start = if wanted { 0 } else { self.summary / COLUMNS * COLUMNS };
            let dx = dx.fit(rows * (first.inputs() - start));
            first.backward(w, calls, dy, start..first.inputs(), dx);
            split(dx, self.summary - start, self.embed.outputs(), if wanted { dz } else { rest }, de);
        }
        if wanted && !dty.is_empty() {
            // The condition does not move.
            let (of_z, tangents) = (dz.len(), dty.len() / first.outputs());
            let dtz = &mut dz.fit(of_z + tangents * self.summary)[of_z..];
            first.backward(w, calls.last(), dty, 0..self.summary, dtz);
        }
    }
}

fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
}

/// y (N,W) += scale (N) x, row by row; x has as many rows, or is that of every call.
fn add_scaled_rows<R: Real>(scale: &[R], x: &[R], y: &mut [R]) {
    let width = y.len() / scale.len();
    for ((&scale, x), y) in scale.iter().zip(x.chunks_exact(width).cycle()).zip(y.chunks_exact_mut(width)) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y += scale * x);
    }
}
