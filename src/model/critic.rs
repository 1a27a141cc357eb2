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
use crate::backend::cpu::{Real, math};
use crate::config::{Config, CriticKind};
use crate::nn::linear::{leaky_relu, leaky_relu_backward};
use crate::nn::norm::NormTrace;
use crate::nn::params::To;
use crate::nn::spectral::Normed;
use crate::nn::{LayerNorm, Layout, Linear, Weights, fit};

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
    pub score: Vec<R>,
    /// (M,S): gradient of z.
    pub dz: Vec<R>,
    scales: Vec<ScaleTrace<R>>,
    scratch: Vec<R>,
}

#[derive(Clone, Debug, Default)]
struct ScaleTrace<R> {
    z: Vec<R>,
    dz: Vec<R>,
    embed: EmbedTrace<R>,
    /// x[i]: what layer i saw; the last is what the output layer saw.
    x: Vec<Vec<R>>,
    norms: Vec<NormTrace<R>>,
    score: Vec<R>,
    /// Tangents: of z, of x[i], of what LayerNorm i saw, and of its normal values.
    tz: Vec<R>,
    tx: Vec<Vec<R>>,
    ty: Vec<Vec<R>>,
    change: Vec<Vec<R>>,
    dtz: Vec<R>,
}

impl<R> CriticTrace<R> {
    /// (M,C): gradient of the condition, scale by scale.
    pub fn dconditions(&self) -> impl Iterator<Item = &[R]> {
        self.scales.iter().map(|s| s.embed.dcondition.as_slice())
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
            let next = fit(&mut below[0].z, rows * down.weight.outputs);
            down.forward(w, &above[i].z, next);
            leaky_relu(w.isa, next);
        }
        let score = fit(&mut trace.score, z.len() / self.scales[0].summary);
        score.fill(R::ZERO);
        for (scale, memo) in self.scales.iter().zip(&mut trace.scales) {
            scale.forward(w, norms, condition, memo);
            math::axpy(w.isa, self.share(), &memo.score, score);
        }
    }

    /// dscore (M) -> trace.dz (M,S); gradients of the parameters where wanted.
    pub fn backward<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[Normed<R>],
        condition: &[R],
        dscore: &[R],
        trace: &mut CriticTrace<R>,
        mut grads: Option<&mut [R]>,
    ) {
        let dscore: Vec<R> = dscore.iter().map(|&d| d * self.share()).collect();
        let CriticTrace { scales, scratch, .. } = trace;
        for i in (0..self.scales.len()).rev() {
            let (here, below) = scales[i..].split_at_mut(1);
            let here = &mut here[0];
            self.scales[i].backward(w, norms, condition, &dscore, here, scratch, grads.as_deref_mut());
            if let (Some(down), Some(below)) = (self.downscalers.get(i), below.first_mut()) {
                leaky_relu_backward(w.isa, &below.z, &mut below.dz);
                if let Some(grads) = grads.as_deref_mut() {
                    down.gradient(w.isa, &below.dz, &here.z, grads);
                }
                down.weight.backward(w, &below.dz, &mut here.dz, R::ONE, To::Add);
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
            let next = fit(&mut below.tz, below.z.len());
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
        let CriticTrace { scales, scratch, .. } = trace;
        for i in (0..self.scales.len()).rev() {
            let (here, below) = scales[i..].split_at_mut(1);
            let here = &mut here[0];
            self.scales[i].tangent_backward(w, norms, condition, self.share(), here, scratch, grads);
            if let (Some(down), Some(below)) = (self.downscalers.get(i), below.first_mut()) {
                leaky_relu_backward(w.isa, &below.z, &mut below.dz);
                leaky_relu_backward(w.isa, &below.z, &mut below.dtz);
                down.gradient(w.isa, &below.dz, &here.z, grads);
                down.weight.gradient(w.isa, &below.dtz, &here.tz, grads);
                down.weight.backward(w, &below.dz, &mut here.dz, R::ONE, To::Add);
                down.weight.backward(w, &below.dtz, &mut here.dtz, R::ONE, To::Add);
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
        trace.x.resize_with(self.layers.len() + 1, Vec::new);
        trace.norms.resize_with(self.layers.len(), NormTrace::default);
        if self.projection {
            trace.x[0].clone_from(&trace.z);
        } else {
            concatenate(&trace.z, &trace.embed.e, self.embed.outputs(), &mut trace.x[0]);
        }
        for (i, (dense, norm)) in self.layers.iter().enumerate() {
            let (x, next) = trace.x.split_at_mut(i + 1);
            let y = fit(&mut next[0], rows * dense.outputs());
            dense.forward(w, norms, &x[i], y);
            norm.forward(w, y, &mut trace.norms[i]);
            leaky_relu(w.isa, y);
        }
        let x = &trace.x[self.layers.len()];
        self.output.forward(w, norms, x, fit(&mut trace.score, rows));
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
        condition: &[R],
        dscore: &[R],
        trace: &mut ScaleTrace<R>,
        scratch: &mut Vec<R>,
        mut grads: Option<&mut [R]>,
    ) {
        let last = &trace.x[self.layers.len()];
        if let Some(grads) = grads.as_deref_mut() {
            self.output.gradient(w, norms, (dscore, last), None, scratch, grads);
        }
        let mut dx = vec![R::ZERO; last.len()];
        self.output.backward(w, norms, dscore, &mut dx);
        let mut de = vec![R::ZERO; trace.embed.e.len()];
        if self.projection {
            add_scaled_rows(dscore, &trace.embed.e, &mut dx);
            add_scaled_rows(dscore, last, &mut de);
        }
        for (i, (dense, norm)) in self.layers.iter().enumerate().rev() {
            leaky_relu_backward(w.isa, &trace.x[i + 1], &mut dx);
            norm.backward(w, &mut dx, &trace.norms[i], grads.as_deref_mut());
            if let Some(grads) = grads.as_deref_mut() {
                dense.gradient(w, norms, (&dx, &trace.x[i]), None, scratch, grads);
            }
            let mut below = vec![R::ZERO; trace.x[i].len()];
            dense.backward(w, norms, &dx, &mut below);
            dx = below;
        }
        self.split_input(dx, &mut trace.dz, Some(&mut de));
        if let Some(grads) = grads {
            self.embed.backward(w, condition, &mut de, &mut trace.embed, grads);
        }
    }

    /// dx (M,·) of the first layer -> dz, and de where the layer saw the embedding and it is wanted.
    fn split_input<R: Real>(&self, dx: Vec<R>, dz: &mut Vec<R>, de: Option<&mut Vec<R>>) {
        if self.projection {
            *dz = dx;
        } else {
            split(&dx, self.summary, self.embed.outputs(), dz, de.unwrap_or(&mut Vec::new()));
        }
    }

    fn tangent<R: Real>(&self, w: &Weights<R>, norms: &[Normed<R>], trace: &mut ScaleTrace<R>) {
        let rows = trace.z.len() / self.summary;
        let layers = self.layers.len();
        trace.tx.resize_with(layers + 1, Vec::new);
        trace.ty.resize_with(layers, Vec::new);
        trace.change.resize_with(layers, Vec::new);
        if self.projection {
            trace.tx[0].clone_from(&trace.tz);
        } else {
            // The condition does not move.
            concatenate(&trace.tz, &vec![R::ZERO; trace.embed.e.len()], self.embed.outputs(), &mut trace.tx[0]);
        }
        for (i, (dense, norm)) in self.layers.iter().enumerate() {
            let (tx, next) = trace.tx.split_at_mut(i + 1);
            let ty = fit(&mut trace.ty[i], rows * dense.outputs());
            dense.tangent(w, norms, &tx[i], ty);
            next[0].clear();
            next[0].extend_from_slice(ty);
            norm.tangent(w, &mut next[0], &trace.norms[i], &mut trace.change[i]);
            leaky_relu_backward(w.isa, &trace.x[i + 1], &mut next[0]);
        }
    }

    /// The reverse of forward and tangent together, for a gradient of `dts` at every row's tangent score
    /// and none at the score itself.
    fn tangent_backward<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[Normed<R>],
        condition: &[R],
        dts: R,
        trace: &mut ScaleTrace<R>,
        scratch: &mut Vec<R>,
        grads: &mut [R],
    ) {
        let layers = self.layers.len();
        let rows = trace.z.len() / self.summary;
        let (dts, no_score) = (vec![dts; rows], vec![R::ZERO; rows]);
        let (x, tx) = (&trace.x[layers], &trace.tx[layers]);
        self.output.gradient(w, norms, (&no_score, x), Some((&dts, tx)), scratch, grads);
        let (mut dx, mut dtx) = (vec![R::ZERO; x.len()], vec![R::ZERO; x.len()]);
        self.output.backward(w, norms, &dts, &mut dtx);
        let mut de = vec![R::ZERO; trace.embed.e.len()];
        if self.projection {
            add_scaled_rows(&dts, &trace.embed.e, &mut dtx);
            add_scaled_rows(&dts, tx, &mut de);
        }
        for (i, (dense, norm)) in self.layers.iter().enumerate().rev() {
            leaky_relu_backward(w.isa, &trace.x[i + 1], &mut dx);
            leaky_relu_backward(w.isa, &trace.x[i + 1], &mut dtx);
            let (memo, change) = (&trace.norms[i], &trace.change[i]);
            norm.tangent_backward(w, &mut dx, &mut dtx, &trace.ty[i], memo, change, grads);
            dense.gradient(w, norms, (&dx, &trace.x[i]), Some((&dtx, &trace.tx[i])), scratch, grads);
            let (mut below, mut below_t) = (vec![R::ZERO; trace.x[i].len()], vec![R::ZERO; trace.x[i].len()]);
            dense.backward(w, norms, &dx, &mut below);
            dense.backward(w, norms, &dtx, &mut below_t);
            (dx, dtx) = (below, below_t);
        }
        self.split_input(dx, &mut trace.dz, Some(&mut de));
        self.split_input(dtx, &mut trace.dtz, None);
        self.embed.backward(w, condition, &mut de, &mut trace.embed, grads);
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
