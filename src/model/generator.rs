//! noise (B,N), condition (B,C) -> summary (B,S) in [-1,1].  x <- lrelu(norm(linear(x))) [+ skip(x)]
//!
//! film: E. Perez et al., "FiLM: visual reasoning with a general conditioning layer", AAAI 2018.

use super::embed::{Embed, EmbedTrace, concatenate, split};
use crate::backend::cpu::{Buffer, Real, math};
use crate::config::{Config, GeneratorKind};
use crate::nn::linear::{leaky_relu, leaky_relu_backward};
use crate::nn::norm::NormTrace;
use crate::nn::params::{Initial, To};
use crate::nn::{Gradients, LayerNorm, Layout, Linear, Weights};

/// Width of the condition's embedding.
pub(crate) const EMBED: usize = 64;

#[derive(Clone, Debug)]
pub struct Generator {
    pub(crate) embed: Embed,
    pub(crate) noise: usize,
    pub(crate) film: bool,
    pub(crate) blocks: Vec<Block>,
    pub(crate) output: Linear,
}

#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub linear: Linear,
    pub norm: LayerNorm,
    /// film: y <- scale(e) y + shift(e)
    pub film: Option<(Linear, Linear)>,
    pub skip: Skip,
}

#[derive(Clone, Debug)]
pub(crate) enum Skip {
    None,
    Same,
    Project(Linear),
}

#[derive(Clone, Debug, Default)]
pub struct GeneratorTrace<R> {
    embed: EmbedTrace<R>,
    /// x[i]: what block i saw (M,·); the last is what the output layer saw.
    x: Vec<Buffer<R>>,
    blocks: Vec<BlockTrace<R>>,
    /// (M,S)
    pub z: Buffer<R>,
    /// (M,N): gradient of the noise.
    pub dnoise: Buffer<R>,
}

#[derive(Clone, Debug, Default)]
struct BlockTrace<R> {
    norm: NormTrace<R>,
    /// film: the normalised layer before modulation, and its scale.
    normal: Buffer<R>,
    scale: Buffer<R>,
    /// After LeakyReLU.
    active: Buffer<R>,
}

impl<R> GeneratorTrace<R> {
    /// (M,C): gradient of the condition.
    pub fn dcondition(&self) -> &[R] {
        &self.embed.dcondition
    }
}

impl Generator {
    pub fn new(layout: &mut Layout, c: &Config) -> Generator {
        let film = c.generator_type == GeneratorKind::Film;
        let embed = Embed::new(layout, "generator.cond_embed", c.condition_inputs(), 32, EMBED, !film);
        let mut width = c.noise_dim + if film { 0 } else { EMBED };
        let mut blocks = Vec::new();
        for (i, &hidden) in c.generator_hidden_dims.iter().enumerate() {
            let linear = Linear::xavier(layout, &format!("generator.layers.{i}"), width, hidden);
            let norm = LayerNorm::new(layout, &format!("generator.norms.{i}"), hidden);
            // Modulation starts as scale = sum of the embedding, shift = 0.
            let mut modulate = |kind, initial| {
                Linear::with(layout, &format!("generator.film_{kind}.{i}"), EMBED, hidden, initial, Initial::Zeros)
            };
            let modulation = film.then(|| (modulate("scale", Initial::Ones), modulate("shift", Initial::Zeros)));
            let skip = match () {
                () if film || !c.generator_use_residual => Skip::None,
                () if width == hidden => Skip::Same,
                () => Skip::Project(Linear::xavier(layout, &format!("generator.residual_projs.{i}"), width, hidden)),
            };
            blocks.push(Block { linear, norm, film: modulation, skip });
            width = hidden;
        }
        let output = Linear::xavier(layout, "generator.output", width, c.summary_dim);
        Generator { embed, noise: c.noise_dim, film, blocks, output }
    }

    /// noise (M,N), condition (M,C) -> trace.z (M,S)
    pub fn forward<R: Real>(&self, w: &Weights<R>, noise: &[R], condition: &[R], trace: &mut GeneratorTrace<R>) {
        let rows = noise.len() / self.noise;
        self.embed.forward(w, condition, &mut trace.embed);
        trace.x.resize_with(self.blocks.len() + 1, Buffer::default);
        trace.blocks.resize_with(self.blocks.len(), BlockTrace::default);
        if self.film {
            trace.x[0].clear();
            trace.x[0].extend_from_slice(noise);
        } else {
            concatenate((noise, self.noise), (&trace.embed.e, EMBED), &mut trace.x[0]);
        }
        for (i, (block, memo)) in self.blocks.iter().zip(&mut trace.blocks).enumerate() {
            let (x, next) = trace.x.split_at_mut(i + 1);
            block.forward(w, &x[i], &trace.embed.e, rows, memo, &mut next[0]);
        }
        let z = trace.z.fit(rows * self.output.weight.outputs);
        self.output.forward(w, &trace.x[self.blocks.len()], z);
        math::tanh(w.isa, z);
    }

    /// dz (M,S) is used up; trace.dnoise and trace.dcondition() written.
    pub fn backward<R: Real>(
        &self,
        w: &Weights<R>,
        condition: &[R],
        dz: &mut [R],
        trace: &mut GeneratorTrace<R>,
        grads: &mut Gradients<R>,
    ) {
        math::tanh_backward(w.isa, &trace.z, dz);
        let last = &trace.x[self.blocks.len()];
        self.output.gradient(w.isa, dz, last, grads);
        let mut dx = Buffer::zeros(last.len());
        self.output.backward(w, dz, &mut dx);
        let mut de = Buffer::zeros(trace.embed.e.len());
        for (i, block) in self.blocks.iter().enumerate().rev() {
            dx = block.backward(w, &trace.x[i], &trace.embed.e, &trace.blocks[i], dx, &mut de, grads);
        }
        if self.film {
            trace.dnoise = dx;
        } else {
            split(&dx, self.noise, EMBED, &mut trace.dnoise, &mut de);
        }
        self.embed.backward(w, condition, &mut de, &mut trace.embed, grads);
    }
}

impl Block {
    fn forward<R: Real>(
        &self,
        w: &Weights<R>,
        x: &[R],
        e: &[R],
        rows: usize,
        trace: &mut BlockTrace<R>,
        next: &mut Buffer<R>,
    ) {
        let n = rows * self.linear.weight.outputs;
        let y = trace.active.fit(n);
        self.linear.forward(w, x, y);
        self.norm.forward(w, y, &mut trace.norm);
        if let Some((scale, shift)) = &self.film {
            trace.normal.clear();
            trace.normal.extend_from_slice(y);
            scale.forward(w, e, trace.scale.fit(n));
            shift.forward(w, e, y);
            let modulated = y.iter_mut().zip(&trace.normal).zip(&trace.scale);
            modulated.for_each(|((y, &normal), &scale)| *y += scale * normal);
        }
        leaky_relu(w.isa, y);
        let next = next.fit(n);
        match &self.skip {
            Skip::None => next.fill(R::ZERO),
            Skip::Same => next.copy_from_slice(x),
            Skip::Project(project) => project.forward(w, x, next),
        }
        math::axpy(w.isa, R::ONE, y, next);
    }

    /// dnext -> dx. de (M,E) is added to.
    fn backward<R: Real>(
        &self,
        w: &Weights<R>,
        x: &[R],
        e: &[R],
        trace: &BlockTrace<R>,
        dnext: Buffer<R>,
        de: &mut [R],
        grads: &mut Gradients<R>,
    ) -> Buffer<R> {
        let mut dx = Buffer::zeros(x.len());
        match &self.skip {
            Skip::None => {}
            Skip::Same => dx.copy_from_slice(&dnext),
            Skip::Project(project) => {
                project.gradient(w.isa, &dnext, x, grads);
                project.backward(w, &dnext, &mut dx);
            }
        }
        let mut dy = dnext;
        leaky_relu_backward(w.isa, &trace.active, &mut dy);
        if let Some((scale, shift)) = &self.film {
            shift.gradient(w.isa, &dy, e, grads);
            shift.weight.backward(w, &dy, de, R::ONE, To::Add);
            let dscale: Vec<R> = dy.iter().zip(&trace.normal).map(|(&dy, &n)| dy * n).collect();
            scale.gradient(w.isa, &dscale, e, grads);
            scale.weight.backward(w, &dscale, de, R::ONE, To::Add);
            dy.iter_mut().zip(&trace.scale).for_each(|(dy, &scale)| *dy *= scale);
        }
        self.norm.gradient(w.isa, &dy, trace.norm.all(), grads);
        self.norm.backward(w, &mut dy, trace.norm.all());
        self.linear.gradient(w.isa, &dy, x, grads);
        self.linear.weight.backward(w, &dy, &mut dx, R::ONE, To::Add);
        dx
    }
}
