//! summary (B,S), condition (B,C) -> score (B). The seed's discriminator; its tensors keep that name.
//!
//! projection: T. Miyato, M. Koyama, "cGANs with projection discriminator", ICLR 2018.
//!
//! Four sweeps. `forward` and `backward` are the usual ones. The gradient penalty needs the derivative of
//! |dscore/dz|: with v fixed, v . dscore/dz is the change of the score along v, so `tangent` computes that
//! change and `tangent_backward` differentiates it. LeakyReLU has no second derivative; LayerNorm and
//! spectral norm bring their own.

use super::dense::Dense;
use super::embed::{Embed, EmbedTrace, concatenate, split};
use crate::backend::cpu::{Buffer, Real, math};
use crate::config::{Config, CriticKind};
use crate::nn::linear::{leaky_relu, leaky_relu_backward};
use crate::nn::norm::NormTrace;
use crate::nn::params::{COLUMNS, To};
use crate::nn::spectral::Normed;
use crate::nn::{LayerNorm, Layout, Linear, Weights};

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

/// What the reverse sweeps need of the forward ones.
#[derive(Clone, Debug, Default)]
pub struct CriticTrace<R> {
    /// (M): mean over the scales.
    pub score: Buffer<R>,
    /// (M,S): gradient of z, where it was wanted.
    pub dz: Buffer<R>,
    scales: Vec<ScaleTrace<R>>,
    flow: Flow<R>,
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

/// Which gradients of a scale's input a reverse sweep is to give.
#[derive(Clone, Copy)]
struct Wanted {
    z: bool,
    e: bool,
}

#[derive(Clone, Debug, Default)]
struct ScaleTrace<R> {
    z: Buffer<R>,
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
    dtz: Buffer<R>,
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

    /// The norms of one call; in training mode each advances by one power iteration.
    pub fn normalise<R: Real>(&self, params: &[R], buffers: &mut [R], training: bool) -> Vec<Normed<R>> {
        let mut norms = Vec::new();
        for scale in &self.scales {
            scale.layers.iter().for_each(|(dense, _)| dense.normalise(params, buffers, training, &mut norms));
            scale.output.normalise(params, buffers, training, &mut norms);
        }
        norms
    }

    fn share<R: Real>(&self) -> R {
        R::from_f64(1.0 / self.scales.len() as f64)
    }

    /// z (M,S), condition (M,C) -> trace.score (M)
    pub fn forward<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[Normed<R>],
        z: &[R],
        condition: &[R],
        trace: &mut CriticTrace<R>,
    ) {
        trace.scales.resize_with(self.scales.len(), ScaleTrace::default);
        let mut first = std::mem::take(&mut trace.scales[0].z);
        first.clear();
        first.extend_from_slice(z);
        trace.scales[0].z = first;
        for (i, down) in self.downscalers.iter().enumerate() {
            let (above, below) = trace.scales.split_at_mut(i + 1);
            let rows = z.len() / self.scales[0].summary;
            let next = below[0].z.fit(rows * down.weight.outputs);
            down.forward(w, &above[i].z, next);
            leaky_relu(w.isa, next);
        }
        let score = trace.score.fit(z.len() / self.scales[0].summary);
        score.fill(R::ZERO);
        for (scale, memo) in self.scales.iter().zip(&mut trace.scales) {
            scale.forward(w, norms, condition, memo);
            math::axpy(w.isa, self.share(), &memo.score, score);
        }
    }

    /// dscore (M) -> trace.dz (M,S) where `dz`, and gradients of the parameters where there are `grads`.
    pub fn backward<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[Normed<R>],
        (condition, dscore): (&[R], &[R]),
        trace: &mut CriticTrace<R>,
        dz: bool,
        mut grads: Option<&mut [R]>,
    ) {
        let dscore: Vec<R> = dscore.iter().map(|&d| d * self.share()).collect();
        let CriticTrace { scales, flow, .. } = trace;
        for i in (0..self.scales.len()).rev() {
            let (here, below) = scales[i..].split_at_mut(1);
            let here = &mut here[0];
            // What is below the first z are the downscalers' parameters.
            let wanted = Wanted { z: dz || (i > 0 && grads.is_some()), e: grads.is_some() };
            self.scales[i].backward(w, norms, (condition, &dscore), here, wanted, flow, grads.as_deref_mut());
            if let (Some(down), Some(below)) = (self.downscalers.get(i), below.first_mut()) {
                leaky_relu_backward(w.isa, &below.z, &mut below.dz);
                if let Some(grads) = grads.as_deref_mut() {
                    down.gradient(w.isa, &below.dz, &here.z, grads);
                }
                if wanted.z {
                    down.weight.backward(w, &below.dz, &mut here.dz, R::ONE, To::Add);
                }
            }
        }
        trace.dz.clone_from(&trace.scales[0].dz);
    }

    /// v (M,S): a direction for each z of the last forward. Returns nothing: what `tangent_backward` needs is kept.
    pub fn tangent<R: Real>(&self, w: &Weights<R>, norms: &[Normed<R>], v: &[R], trace: &mut CriticTrace<R>) {
        trace.scales[0].tz.clear();
        trace.scales[0].tz.extend_from_slice(v);
        for (i, down) in self.downscalers.iter().enumerate() {
            let (above, below) = trace.scales.split_at_mut(i + 1);
            let below = &mut below[0];
            let next = below.tz.fit(below.z.len());
            down.weight.forward(w, &above[i].tz, next, R::ONE, To::Write);
            leaky_relu_backward(w.isa, &below.z, next);
        }
        for (scale, memo) in self.scales.iter().zip(&mut trace.scales) {
            scale.tangent(w, norms, memo);
        }
    }

    /// Adds to grads the gradient of sum over rows of (change of the score along v), with v held constant.
    pub fn tangent_backward<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[Normed<R>],
        condition: &[R],
        trace: &mut CriticTrace<R>,
        grads: &mut [R],
    ) {
        let CriticTrace { scales, flow, .. } = trace;
        for i in (0..self.scales.len()).rev() {
            let (here, below) = scales[i..].split_at_mut(1);
            let here = &mut here[0];
            let dz = i > 0;
            self.scales[i].tangent_backward(w, norms, (condition, self.share()), here, dz, flow, grads);
            if let (Some(down), Some(below)) = (self.downscalers.get(i), below.first_mut()) {
                leaky_relu_backward(w.isa, &below.z, &mut below.dz);
                leaky_relu_backward(w.isa, &below.z, &mut below.dtz);
                down.gradient(w.isa, &below.dz, &here.z, grads);
                down.weight.gradient(w.isa, &below.dtz, &here.tz, grads);
                if dz {
                    down.weight.backward(w, &below.dz, &mut here.dz, R::ONE, To::Add);
                    down.weight.backward(w, &below.dtz, &mut here.dtz, R::ONE, To::Add);
                }
            }
        }
    }
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
    fn forward<R: Real>(&self, w: &Weights<R>, norms: &[Normed<R>], condition: &[R], trace: &mut ScaleTrace<R>) {
        let rows = trace.z.len() / self.summary;
        self.embed.forward(w, condition, &mut trace.embed);
        trace.x.resize_with(self.layers.len() + 1, Buffer::default);
        trace.norms.resize_with(self.layers.len(), NormTrace::default);
        if self.projection {
            trace.x[0].clone_from(&trace.z);
        } else {
            concatenate(&trace.z, &trace.embed.e, self.embed.outputs(), &mut trace.x[0]);
        }
        for (i, (dense, norm)) in self.layers.iter().enumerate() {
            let (x, next) = trace.x.split_at_mut(i + 1);
            let y = next[0].fit(rows * dense.outputs());
            dense.forward(w, norms, &x[i], y);
            norm.forward(w, y, &mut trace.norms[i]);
            leaky_relu(w.isa, y);
        }
        let x = &trace.x[self.layers.len()];
        self.output.forward(w, norms, x, trace.score.fit(rows));
        if self.projection {
            let width = self.embed.outputs();
            for ((score, x), e) in trace.score.iter_mut().zip(x.chunks(width)).zip(trace.embed.e.chunks(width)) {
                *score += dot(x, e);
            }
        }
    }

    /// dscore (M) -> trace.dz
    fn backward<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[Normed<R>],
        (condition, dscore): (&[R], &[R]),
        trace: &mut ScaleTrace<R>,
        wanted: Wanted,
        flow: &mut Flow<R>,
        mut grads: Option<&mut [R]>,
    ) {
        let Flow { dx: [dx, below], de, rest, weight } = flow;
        let last = &trace.x[self.layers.len()];
        if let Some(grads) = grads.as_deref_mut() {
            self.output.gradient(w, norms, dscore, (last, None), weight, grads);
        }
        self.output.backward(w, norms, dscore, dx.fit(last.len()));
        if self.projection {
            add_scaled_rows(dscore, &trace.embed.e, dx);
            de.fit(last.len()).fill(R::ZERO);
            add_scaled_rows(dscore, last, de);
        }
        for (i, (dense, norm)) in self.layers.iter().enumerate().rev() {
            leaky_relu_backward(w.isa, &trace.x[i + 1], dx);
            norm.backward(w, dx, &trace.norms[i], grads.as_deref_mut());
            if let Some(grads) = grads.as_deref_mut() {
                dense.gradient(w, norms, dx, (&trace.x[i], None), weight, grads);
            }
            if i > 0 {
                dense.backward(w, norms, dx, below.fit(trace.x[i].len()));
                std::mem::swap(dx, below);
            }
        }
        self.input_backward(w, norms, wanted, dx, below, (&mut trace.dz, de, rest));
        if let Some(grads) = grads {
            self.embed.backward(w, condition, de, &mut trace.embed, grads);
        }
    }

    /// dy (M,O) of the first layer -> dz, and de where the layer saw the embedding, as far as they are wanted.
    fn input_backward<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[Normed<R>],
        wanted: Wanted,
        dy: &[R],
        dx: &mut Buffer<R>,
        (dz, de, rest): (&mut Buffer<R>, &mut Buffer<R>, &mut Buffer<R>),
    ) {
        let (first, _) = &self.layers[0];
        let rows = dy.len() / first.outputs();
        let e = if wanted.e && !self.projection { self.embed.outputs() } else { 0 };
        let start = if wanted.z { 0 } else { self.summary / COLUMNS * COLUMNS };
        dz.clear();
        if e > 0 {
            let dx = dx.fit(rows * (self.summary + e - start));
            first.backward_columns(w, norms, dy, start..self.summary + e, dx);
            split(dx, self.summary - start, e, if wanted.z { dz } else { rest }, de);
        } else if wanted.z {
            first.backward_columns(w, norms, dy, 0..self.summary, dz.fit(rows * self.summary));
        }
    }

    fn tangent<R: Real>(&self, w: &Weights<R>, norms: &[Normed<R>], trace: &mut ScaleTrace<R>) {
        let rows = trace.z.len() / self.summary;
        let layers = self.layers.len();
        trace.tx.resize_with(layers + 1, Buffer::default);
        trace.ty.resize_with(layers, Buffer::default);
        trace.change.resize_with(layers, Buffer::default);
        if self.projection {
            trace.tx[0].clone_from(&trace.tz);
        } else {
            // The condition does not move.
            concatenate(&trace.tz, &vec![R::ZERO; trace.embed.e.len()], self.embed.outputs(), &mut trace.tx[0]);
        }
        for (i, (dense, norm)) in self.layers.iter().enumerate() {
            let (tx, next) = trace.tx.split_at_mut(i + 1);
            let ty = trace.ty[i].fit(rows * dense.outputs());
            dense.tangent(w, norms, &tx[i], ty);
            next[0].clear();
            next[0].extend_from_slice(ty);
            norm.tangent(w, &mut next[0], &trace.norms[i], &mut trace.change[i]);
            leaky_relu_backward(w.isa, &trace.x[i + 1], &mut next[0]);
        }
    }

    /// The reverse of forward and tangent together, for a gradient of `dts` at every row's tangent score
    /// and none at the score itself; trace.dz and trace.dtz where `dz`.
    fn tangent_backward<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[Normed<R>],
        (condition, dts): (&[R], R),
        trace: &mut ScaleTrace<R>,
        dz: bool,
        flow: &mut Flow<R>,
        grads: &mut [R],
    ) {
        let Flow { dx: [dx, below], de, rest, weight } = flow;
        let layers = self.layers.len();
        let rows = trace.z.len() / self.summary;
        let (x, tx) = (&trace.x[layers], &trace.tx[layers]);
        let mut dscore = vec![R::ZERO; 2 * rows];
        dscore[rows..].fill(dts);
        let dts = &dscore[rows..];
        self.output.gradient(w, norms, &dscore, (x, Some(tx)), weight, grads);
        self.output.backward(w, norms, &dscore, dx.fit(2 * x.len()));
        if self.projection {
            add_scaled_rows(dts, &trace.embed.e, &mut dx[x.len()..]);
            de.fit(x.len()).fill(R::ZERO);
            add_scaled_rows(dts, tx, de);
        }
        for (i, (dense, norm)) in self.layers.iter().enumerate().rev() {
            let y = &trace.x[i + 1];
            let (d, dt) = dx.split_at_mut(y.len());
            leaky_relu_backward(w.isa, y, d);
            leaky_relu_backward(w.isa, y, dt);
            norm.tangent_backward(w, d, dt, &trace.ty[i], &trace.norms[i], &trace.change[i], grads);
            dense.gradient(w, norms, dx, (&trace.x[i], Some(&trace.tx[i])), weight, grads);
            if i > 0 {
                dense.backward(w, norms, dx, below.fit(2 * trace.x[i].len()));
                std::mem::swap(dx, below);
            }
        }
        let (d, dt) = dx.split_at(trace.x[1].len());
        self.input_backward(w, norms, Wanted { z: dz, e: true }, d, below, (&mut trace.dz, de, rest));
        // The condition does not move.
        self.input_backward(
            w,
            norms,
            Wanted { z: dz, e: false },
            dt,
            below,
            (&mut trace.dtz, &mut Buffer::default(), rest),
        );
        self.embed.backward(w, condition, de, &mut trace.embed, grads);
    }
}

fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
}

/// y (M,W) += scale (M) x (M,W), row by row.
fn add_scaled_rows<R: Real>(scale: &[R], x: &[R], y: &mut [R]) {
    let width = x.len() / scale.len();
    for ((&scale, x), y) in scale.iter().zip(x.chunks_exact(width)).zip(y.chunks_exact_mut(width)) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y += scale * x);
    }
}
