//! The critic on the device: the four sweeps of src/model/critic.rs.

use super::context::Context;
use super::launch::{ADD, spectral_fits};
use super::layers::{EmbedSpace, NormSpace, Pass};
use super::session::{Plan, Span};
use crate::error::Result;
use crate::model::critic::{Critic, Scale};
use crate::nn::Matrix;

/// Its activations for a batch, and room for gradients and tangents.
#[derive(Clone, Debug)]
pub(super) struct CriticSpace {
    /// (M): mean over the scales.
    pub score: Span,
    /// (M): gradient of each scale's score.
    dscore: Span,
    zeros: Span,
    scales: Vec<ScaleSpace>,
}

#[derive(Clone, Debug)]
struct ScaleSpace {
    /// (M,S) and its gradient, tangent, and the tangent's gradient.
    z: Span,
    dz: Span,
    tz: Span,
    dtz: Span,
    embed: EmbedSpace,
    /// x[i]: what layer i sees; the last is what the output layer sees.
    x: Vec<Span>,
    dx: Vec<Span>,
    tx: Vec<Span>,
    dtx: Vec<Span>,
    /// Tangents of what LayerNorm i sees.
    ty: Vec<Span>,
    norms: Vec<NormSpace>,
    score: Span,
}

impl CriticSpace {
    pub fn new(plan: &mut Plan, net: &Critic, rows: usize) -> CriticSpace {
        let [score, dscore, zeros] = [(); 3].map(|()| plan.floats(rows));
        CriticSpace {
            score,
            dscore,
            zeros,
            scales: net.scales.iter().map(|scale| ScaleSpace::new(plan, scale, rows)).collect(),
        }
    }

    /// (M,S): what the critic is to judge.
    pub fn z(&self) -> Span {
        self.scales[0].z
    }

    /// (M,S): its gradient after a backward sweep.
    pub fn dz(&self) -> Span {
        self.scales[0].dz
    }

    /// (M,S): the direction of a tangent sweep.
    pub fn tz(&self) -> Span {
        self.scales[0].tz
    }
}

impl ScaleSpace {
    fn new(plan: &mut Plan, scale: &Scale, rows: usize) -> ScaleSpace {
        let [z, dz, tz, dtz] = [(); 4].map(|()| plan.floats(rows * scale.summary));
        let widths: Vec<usize> = scale.layers.iter().map(|(dense, _)| dense.outputs()).collect();
        // The first layer of a projection sees z itself, without the embedding.
        let mut seen = |z: Span| {
            let first = if scale.projection { z } else { plan.floats(rows * first_width(scale)) };
            let rest: Vec<Span> = widths.iter().map(|width| plan.floats(rows * width)).collect();
            [vec![first], rest].concat()
        };
        let [x, dx, tx, dtx] = [z, dz, tz, dtz].map(&mut seen);
        let ty = widths.iter().map(|width| plan.floats(rows * width)).collect();
        let norms = widths.iter().map(|&width| NormSpace::new(plan, rows, width, true)).collect();
        let embed = EmbedSpace::new(plan, &scale.embed, rows);
        ScaleSpace { z, dz, tz, dtz, embed, x, dx, tx, dtx, ty, norms, score: plan.floats(rows) }
    }
}

fn first_width(scale: &Scale) -> usize {
    scale.summary + if scale.projection { 0 } else { scale.embed.outputs() }
}

/// Weights that have a norm.
fn divided(net: &Critic) -> impl Iterator<Item = &Matrix> {
    let dense = net.scales.iter().flat_map(|s| s.layers.iter().map(|(dense, _)| dense).chain([&s.output]));
    dense.filter(|dense| dense.spectral().is_some()).map(|dense| dense.weight())
}

/// Whether a device has the memory for the norms.
pub(super) fn fits(device: &Context, net: &Critic) -> bool {
    divided(net).all(|m| spectral_fits(device, m))
}

/// Room for the norms of one call.
pub(super) fn norms(plan: &mut Plan, net: &Critic) -> Vec<Span> {
    divided(net).map(|m| plan.floats(1 + m.outputs + m.inputs)).collect()
}

impl Pass<'_> {
    /// The norms of one call; in training mode each advances by one power iteration.
    pub fn critic_norms(&self, net: &Critic, normed: &[Span], training: bool) -> Result<()> {
        for scale in &net.scales {
            for dense in scale.layers.iter().map(|(dense, _)| dense).chain([&scale.output]) {
                self.normalise(dense, normed, training)?;
            }
        }
        Ok(())
    }

    /// space.z() (M,S), condition (M,C) -> space.score (M)
    pub fn critic(&self, net: &Critic, normed: &[Span], condition: Span, space: &CriticSpace) -> Result<()> {
        for (i, down) in net.downscalers.iter().enumerate() {
            self.linear(down, space.scales[i].z, space.scales[i + 1].z, super::launch::LEAKY)?;
        }
        self.session.fill(space.score, 0.0, self.rows, 1)?;
        for (scale, memo) in net.scales.iter().zip(&space.scales) {
            self.scale(scale, normed, condition, memo)?;
            self.session.axpy(share(net), memo.score, space.score, self.rows, 1)?;
        }
        Ok(())
    }

    /// slope: gradient of every score. -> space.dz(); gradients of the parameters where wanted.
    pub fn critic_backward(
        &self,
        net: &Critic,
        normed: &[Span],
        condition: Span,
        slope: f32,
        space: &CriticSpace,
        gradients: bool,
    ) -> Result<()> {
        let s = self.session;
        s.fill(space.dscore, slope * share(net), self.rows, 1)?;
        for (i, (scale, here)) in net.scales.iter().zip(&space.scales).enumerate().rev() {
            self.scale_backward(scale, normed, condition, space.dscore, here, gradients)?;
            let (Some(down), Some(below)) = (net.downscalers.get(i), space.scales.get(i + 1)) else { continue };
            s.leaky_relu_backward(below.z, below.dz, self.rows, down.weight.outputs)?;
            if gradients {
                self.gradient(down, below.dz, here.z)?;
            }
            self.backward(&down.weight, below.dz, here.dz, ADD)?;
        }
        Ok(())
    }

    /// space.tz() (M,S): a direction for each z of the last forward sweep.
    pub fn critic_tangent(&self, net: &Critic, normed: &[Span], space: &CriticSpace) -> Result<()> {
        for (i, down) in net.downscalers.iter().enumerate() {
            let (above, below) = (&space.scales[i], &space.scales[i + 1]);
            self.forward(&down.weight, above.tz, below.tz)?;
            self.session.leaky_relu_backward(below.z, below.tz, self.rows, down.weight.outputs)?;
        }
        net.scales.iter().zip(&space.scales).try_for_each(|(scale, memo)| self.scale_tangent(scale, normed, memo))
    }

    /// Adds the gradient of the sum over rows of the scores' change along the direction, which is held constant.
    pub fn critic_tangent_backward(
        &self,
        net: &Critic,
        normed: &[Span],
        condition: Span,
        space: &CriticSpace,
    ) -> Result<()> {
        let s = self.session;
        s.fill(space.dscore, share(net), self.rows, 1)?;
        s.fill(space.zeros, 0.0, self.rows, 1)?;
        for (i, (scale, here)) in net.scales.iter().zip(&space.scales).enumerate().rev() {
            self.scale_tangent_backward(scale, normed, condition, (space.dscore, space.zeros), here)?;
            let (Some(down), Some(below)) = (net.downscalers.get(i), space.scales.get(i + 1)) else { continue };
            s.leaky_relu_backward(below.z, below.dz, self.rows, down.weight.outputs)?;
            s.leaky_relu_backward(below.z, below.dtz, self.rows, down.weight.outputs)?;
            self.gradient(down, below.dz, here.z)?;
            self.weight_gradient(&down.weight, [None; 2], below.dtz, here.tz)?;
            self.backward(&down.weight, below.dz, here.dz, ADD)?;
            self.backward(&down.weight, below.dtz, here.dtz, ADD)?;
        }
        Ok(())
    }

    /// score = output(x) [+ x . e]
    fn scale(&self, scale: &Scale, normed: &[Span], condition: Span, space: &ScaleSpace) -> Result<()> {
        self.embed(&scale.embed, condition, space.embed)?;
        if !scale.projection {
            let (x, width, outputs) = (space.x[0], first_width(scale), scale.embed.outputs());
            self.session.copy_columns((x, width), (space.z, scale.summary), self.rows, scale.summary, 0)?;
            let to = (x.from(scale.summary), width);
            self.session.copy_columns(to, (space.embed.e, outputs), self.rows, outputs, 0)?;
        }
        for (i, (dense, norm)) in scale.layers.iter().enumerate() {
            self.dense(dense, normed, space.x[i], space.x[i + 1])?;
            self.norm(norm, space.x[i + 1], space.norms[i], super::launch::LEAKY)?;
        }
        let x = space.x[scale.layers.len()];
        self.dense(&scale.output, normed, x, space.score)?;
        if scale.projection {
            self.session.add_row_dots(space.score, x, space.embed.e, self.rows, scale.embed.outputs())?;
        }
        Ok(())
    }

    /// dscore (M) -> space.dz
    fn scale_backward(
        &self,
        scale: &Scale,
        normed: &[Span],
        condition: Span,
        dscore: Span,
        space: &ScaleSpace,
        gradients: bool,
    ) -> Result<()> {
        let (s, rows, layers) = (self.session, self.rows, scale.layers.len());
        let (last, embed) = (space.x[layers], space.embed);
        if gradients {
            self.dense_gradient(&scale.output, normed, (dscore, last), None)?;
        }
        self.dense_backward(&scale.output, normed, dscore, space.dx[layers])?;
        if scale.projection {
            s.add_scaled_rows(dscore, embed.e, space.dx[layers], rows, scale.embed.outputs())?;
            s.fill(embed.de, 0.0, rows, scale.embed.outputs())?;
            s.add_scaled_rows(dscore, last, embed.de, rows, scale.embed.outputs())?;
        }
        for (i, (dense, norm)) in scale.layers.iter().enumerate().rev() {
            let dx = space.dx[i + 1];
            s.leaky_relu_backward(space.x[i + 1], dx, rows, dense.outputs())?;
            self.norm_backward(norm, dx, space.norms[i], gradients)?;
            if gradients {
                self.dense_gradient(dense, normed, (dx, space.x[i]), None)?;
            }
            self.dense_backward(dense, normed, dx, space.dx[i])?;
        }
        self.split_input(scale, space.dx[0], space.dz, gradients.then_some(embed.de))?;
        if gradients { self.embed_backward(&scale.embed, condition, embed) } else { Ok(()) }
    }

    /// dx (M,·) of the first layer -> dz, and de where the layer saw the embedding and it is wanted.
    fn split_input(&self, scale: &Scale, dx: Span, dz: Span, de: Option<Span>) -> Result<()> {
        if scale.projection {
            return Ok(()); // dz is dx
        }
        let (width, outputs) = (first_width(scale), scale.embed.outputs());
        self.session.copy_columns((dz, scale.summary), (dx, width), self.rows, scale.summary, 0)?;
        let Some(de) = de else { return Ok(()) };
        self.session.copy_columns((de, outputs), (dx.from(scale.summary), width), self.rows, outputs, 0)
    }

    fn scale_tangent(&self, scale: &Scale, normed: &[Span], space: &ScaleSpace) -> Result<()> {
        let (s, rows) = (self.session, self.rows);
        if !scale.projection {
            // The condition does not move.
            let (tx, width) = (space.tx[0], first_width(scale));
            s.fill(tx, 0.0, rows, width)?;
            s.copy_columns((tx, width), (space.tz, scale.summary), rows, scale.summary, 0)?;
        }
        for (i, (dense, norm)) in scale.layers.iter().enumerate() {
            let (ty, next, width) = (space.ty[i], space.tx[i + 1], dense.outputs());
            self.dense_tangent(dense, normed, space.tx[i], ty)?;
            s.copy_columns((next, width), (ty, width), rows, width, 0)?;
            self.norm_tangent(norm, next, space.norms[i])?;
            s.leaky_relu_backward(space.x[i + 1], next, rows, width)?;
        }
        Ok(())
    }

    /// The reverse of forward and tangent together, for gradients `dts` of the tangent scores and none of the scores.
    fn scale_tangent_backward(
        &self,
        scale: &Scale,
        normed: &[Span],
        condition: Span,
        (dts, no_score): (Span, Span),
        space: &ScaleSpace,
    ) -> Result<()> {
        let (s, rows, layers) = (self.session, self.rows, scale.layers.len());
        let (x, tx, embed, outputs) = (space.x[layers], space.tx[layers], space.embed, scale.embed.outputs());
        self.dense_gradient(&scale.output, normed, (no_score, x), Some((dts, tx)))?;
        s.fill(space.dx[layers], 0.0, rows, scale.output.weight().inputs)?;
        self.dense_backward(&scale.output, normed, dts, space.dtx[layers])?;
        s.fill(embed.de, 0.0, rows, outputs)?;
        if scale.projection {
            s.add_scaled_rows(dts, embed.e, space.dtx[layers], rows, outputs)?;
            s.add_scaled_rows(dts, tx, embed.de, rows, outputs)?;
        }
        for (i, (dense, norm)) in scale.layers.iter().enumerate().rev() {
            let (dx, dtx) = (space.dx[i + 1], space.dtx[i + 1]);
            s.leaky_relu_backward(space.x[i + 1], dx, rows, dense.outputs())?;
            s.leaky_relu_backward(space.x[i + 1], dtx, rows, dense.outputs())?;
            self.norm_tangent_backward(norm, (dx, dtx), space.ty[i], space.norms[i])?;
            self.dense_gradient(dense, normed, (dx, space.x[i]), Some((dtx, space.tx[i])))?;
            self.dense_backward(dense, normed, dx, space.dx[i])?;
            self.dense_backward(dense, normed, dtx, space.dtx[i])?;
        }
        self.split_input(scale, space.dx[0], space.dz, Some(embed.de))?;
        self.split_input(scale, space.dtx[0], space.dtz, None)?;
        self.embed_backward(&scale.embed, condition, embed)
    }
}

fn share(net: &Critic) -> f32 {
    1.0 / net.scales.len() as f32
}
