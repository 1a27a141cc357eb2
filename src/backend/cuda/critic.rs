//! The critic on the device: the four sweeps of src/model/critic.rs.

use super::context::Context;
use super::launch::{ADD, spectral_fits};
use super::layers::{EmbedSpace, NormSpace, Pass};
use super::plan::{Plan, Span};
use crate::error::Result;
use crate::model::critic::{Critic, Scale};
use crate::nn::Matrix;

/// Its activations for a batch, and room for gradients and tangents.
#[derive(Clone, Debug)]
pub(super) struct CriticSpace {
    /// (M), as the session's memory begins.
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
        CriticSpace {
            zeros: plan.floats(rows),
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

    /// What layer i sees, where a LeakyReLU has left it.
    fn leaky(&self, i: usize) -> Option<Span> {
        (i > 0).then_some(self.x[i])
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

    /// condition (M,C) -> what the sweeps of a step see of it, with nothing in its gradient.
    pub fn critic_condition(&self, net: &Critic, condition: Span, space: &CriticSpace) -> Result<()> {
        net.scales.iter().zip(&space.scales).try_for_each(|(scale, here)| {
            self.session.fill(here.embed.de, 0.0, self.rows, scale.embed.outputs())?;
            self.embed(&scale.embed, condition, here.embed)
        })
    }

    /// What all sweeps since have added to its gradient -> gradients of the embeddings' parameters.
    pub fn critic_condition_backward(&self, net: &Critic, condition: Span, space: &CriticSpace) -> Result<()> {
        let mut scales = net.scales.iter().zip(&space.scales);
        scales.try_for_each(|(scale, here)| self.embed_backward(&scale.embed, condition, here.embed))
    }

    /// space.z() (M,S) -> scores
    pub fn critic(&self, net: &Critic, normed: &[Span], space: &CriticSpace) -> Result<()> {
        for (i, down) in net.downscalers.iter().enumerate() {
            self.linear(down, space.scales[i].z, space.scales[i + 1].z, super::launch::LEAKY)?;
        }
        let mut scales = net.scales.iter().zip(&space.scales);
        scales.try_for_each(|(scale, memo)| self.scale(scale, normed, memo))
    }

    /// The scores of the last forward sweep -> loss, a double: their mean over rows and scales
    pub fn critic_score(&self, space: &CriticSpace, loss: Span) -> Result<()> {
        let share = 1.0 / space.scales.len() as f64;
        let mut scales = space.scales.iter().enumerate();
        scales.try_for_each(|(i, scale)| {
            self.session.mean_floats(loss, scale.score, share, self.rows, if i > 0 { ADD } else { 0 })
        })
    }

    /// dscore (M): gradients of each scale's scores. -> space.dz(); gradients of the parameters where wanted.
    pub fn critic_backward(
        &self,
        net: &Critic,
        normed: &[Span],
        dscore: Span,
        space: &CriticSpace,
        gradients: bool,
    ) -> Result<()> {
        let s = self.session;
        for (i, (scale, here)) in net.scales.iter().zip(&space.scales).enumerate().rev() {
            self.scale_backward(scale, normed, dscore, here, gradients)?;
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

    /// Adds the gradient of the sum over rows of the scores' change along the direction, which is held constant. dscore (M):
    /// each scale's share of a score.
    pub fn critic_tangent_backward(
        &self,
        net: &Critic,
        normed: &[Span],
        dscore: Span,
        space: &CriticSpace,
    ) -> Result<()> {
        let s = self.session;
        for (i, (scale, here)) in net.scales.iter().zip(&space.scales).enumerate().rev() {
            self.scale_tangent_backward(scale, normed, (dscore, space.zeros), here)?;
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
    fn scale(&self, scale: &Scale, normed: &[Span], space: &ScaleSpace) -> Result<()> {
        if !scale.projection {
            let widths = [scale.summary, scale.embed.outputs()];
            self.session.join_columns(space.x[0], (space.z, Some(space.embed.e)), self.rows, widths)?;
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
        dscore: Span,
        space: &ScaleSpace,
        gradients: bool,
    ) -> Result<()> {
        let (s, rows, layers) = (self.session, self.rows, scale.layers.len());
        let (last, embed) = (space.x[layers], space.embed);
        if gradients {
            self.dense_gradient(&scale.output, normed, (dscore, last), None)?;
        }
        // The gradient of the embedding in a projection joins that of the last layer before LeakyReLU.
        let leaky = (!scale.projection).then_some(last);
        self.dense_backward(&scale.output, normed, (dscore, space.dx[layers]), leaky)?;
        if scale.projection {
            let outputs = scale.embed.outputs();
            s.add_scaled_rows(dscore, embed.e, space.dx[layers], rows, outputs)?;
            s.leaky_relu_backward(last, space.dx[layers], rows, outputs)?;
            if gradients {
                s.add_scaled_rows(dscore, last, embed.de, rows, outputs)?;
            }
        }
        for (i, (dense, norm)) in scale.layers.iter().enumerate().rev() {
            let dx = space.dx[i + 1];
            self.norm_backward(norm, dx, space.norms[i], gradients)?;
            if gradients {
                self.dense_gradient(dense, normed, (dx, space.x[i]), None)?;
            }
            self.dense_backward(dense, normed, (dx, space.dx[i]), space.leaky(i))?;
        }
        self.split_input(scale, space.dx[0], space.dz, gradients.then_some(embed.de))
    }

    /// dx (M,·) of the first layer -> dz; de is added to where the layer saw the embedding and it is wanted.
    fn split_input(&self, scale: &Scale, dx: Span, dz: Span, de: Option<Span>) -> Result<()> {
        if scale.projection {
            return Ok(()); // dz is dx
        }
        self.session.split_columns((Some(dz), de), dx, self.rows, [scale.summary, scale.embed.outputs()])
    }

    fn scale_tangent(&self, scale: &Scale, normed: &[Span], space: &ScaleSpace) -> Result<()> {
        if !scale.projection {
            // The condition does not move.
            let widths = [scale.summary, scale.embed.outputs()];
            self.session.join_columns(space.tx[0], (space.tz, None), self.rows, widths)?;
        }
        for (i, (dense, norm)) in scale.layers.iter().enumerate() {
            let ty = space.ty[i];
            self.dense_tangent(dense, normed, space.tx[i], ty)?;
            self.norm_tangent(norm, (ty, space.tx[i + 1]), space.norms[i], space.x[i + 1])?;
        }
        Ok(())
    }

    /// The reverse of forward and tangent together, for gradients `dts` of the tangent scores and none of the scores.
    fn scale_tangent_backward(
        &self,
        scale: &Scale,
        normed: &[Span],
        (dts, no_score): (Span, Span),
        space: &ScaleSpace,
    ) -> Result<()> {
        let (s, rows, layers) = (self.session, self.rows, scale.layers.len());
        let (x, tx, embed, outputs) = (space.x[layers], space.tx[layers], space.embed, scale.embed.outputs());
        self.dense_gradient(&scale.output, normed, (no_score, x), Some((dts, tx)))?;
        s.fill(space.dx[layers], 0.0, rows, scale.output.weight().inputs)?;
        let leaky = (!scale.projection).then_some(x);
        self.dense_backward(&scale.output, normed, (dts, space.dtx[layers]), leaky)?;
        if scale.projection {
            s.add_scaled_rows(dts, embed.e, space.dtx[layers], rows, outputs)?;
            s.leaky_relu_backward(x, space.dtx[layers], rows, outputs)?;
            s.add_scaled_rows(dts, tx, embed.de, rows, outputs)?;
        }
        for (i, (dense, norm)) in scale.layers.iter().enumerate().rev() {
            let (dx, dtx) = (space.dx[i + 1], space.dtx[i + 1]);
            self.norm_tangent_backward(norm, (dx, dtx), space.ty[i], space.norms[i])?;
            self.dense_gradient(dense, normed, (dx, space.x[i]), Some((dtx, space.tx[i])))?;
            self.dense_backward(dense, normed, (dx, space.dx[i]), space.leaky(i))?;
            self.dense_backward(dense, normed, (dtx, space.dtx[i]), space.leaky(i))?;
        }
        self.split_input(scale, space.dx[0], space.dz, Some(embed.de))?;
        self.split_input(scale, space.dtx[0], space.dtz, None)
    }
}
