//! The seed's autoencoder on the device: losses and gradients of src/model/v6.rs, sweep by sweep.

use super::context::Context;
use super::expander::{ExpanderSpace, sizes};
use super::launch::ADD;
use super::launch_sequence::{Room, error_parts};
use super::plan::{Plan, Span};
use super::pooler::PoolerSpace;
use super::sequence::{self, SequenceSpace, Sweep, transposed};
use crate::error::Result;
use crate::model::expander::Kind;
use crate::model::v6::{LossWeights, V6};
use crate::model::{DECODER, DECODER_DIRECT, ENCODER, EXPANDER, POOLER};

/// All that is made of a batch, and room for its gradients.
#[derive(Clone, Debug)]
pub(super) struct V6Space {
    encoder: SequenceSpace,
    pooler: PoolerSpace,
    expander: ExpanderSpace,
    decoder: SequenceSpace,
    direct: SequenceSpace,
    /// Recurrent weights of encoder and decoder.
    transposed: [Vec<Span>; 2],
    /// (N,F)
    dx: Span,
    /// (N,L) each.
    dh: Span,
    dh_direct: Span,
    dh_recon: Span,
    /// (B,S)
    dz: Span,
    /// Doubles: partial sums of a loss.
    partials: Span,
}

impl V6Space {
    pub fn new(plan: &mut Plan, net: &V6, room: Room) -> V6Space {
        let (features, latents) = (net.features(), net.latents());
        let mut sequence = |map| SequenceSpace::new(plan, map, room, true);
        let [encoder, decoder, direct] = [&net.encoder, &net.decoder, &net.decoder].map(&mut sequence);
        V6Space {
            encoder,
            pooler: PoolerSpace::new(plan, &net.pooler, room, true),
            expander: ExpanderSpace::new(plan, &net.expander, room, true),
            decoder,
            direct,
            transposed: [&net.encoder, &net.decoder].map(|map| transposed(plan, &map.lstm)),
            dx: plan.floats(room.steps * features),
            dh: plan.floats(room.steps * latents),
            dh_direct: plan.floats(room.steps * latents),
            dh_recon: plan.floats(room.steps * latents),
            dz: plan.floats(room.rows * net.pooler.summary),
            partials: plan.doubles(error_parts(room.steps, features.max(latents))),
        }
    }
}

/// Whether a device has the memory for the recurrences and the heads' norms.
pub fn fits(device: &Context, net: &V6) -> bool {
    let expander = match &net.expander.kind {
        Kind::Lstm { lstm, .. } => sizes(&net.expander, lstm, Room::default()).fit(device),
        Kind::Mlp { .. } | Kind::Repeat { .. } => true,
    };
    expander && [&net.encoder, &net.decoder].iter().all(|map| sequence::fits(device, map))
}

impl Sweep<'_> {
    /// V6::norms, and the recurrent weights: before the losses of a batch.
    pub fn v6_norms(&self, net: &V6, space: &V6Space, training: bool) -> Result<()> {
        self.rows.spectral(&net.encoder.head, space.encoder.normed, training)?;
        self.rows.spectral(&net.decoder.head, space.decoder.normed, training)?;
        self.rows.spectral(&net.decoder.head, space.direct.normed, training)?;
        self.transpose(&net.encoder.lstm, &space.transposed[0])?;
        self.transpose(&net.decoder.lstm, &space.transposed[1])
    }

    /// x (N,F) -> losses: doubles direct, recon, latent, and their weighted sum. With `gradients`, those of the
    /// parameters are added to.
    pub fn v6(
        &self,
        net: &V6,
        x: Span,
        space: &V6Space,
        weights: LossWeights,
        losses: Span,
        gradients: bool,
    ) -> Result<()> {
        let (h, h_recon, [first, second]) = (space.encoder.y, space.expander.y, &space.transposed);
        self.sequence(&net.encoder, first, x, ENCODER, &space.encoder)?;
        self.pool(&net.pooler, h, POOLER, &space.pooler)?;
        self.expand(&net.expander, space.pooler.z, EXPANDER, &space.expander)?;
        self.sequence(&net.decoder, second, h_recon, DECODER, &space.decoder)?;
        self.sequence(&net.decoder, second, h, DECODER_DIRECT, &space.direct)?;

        let (dx, back) = (gradients.then_some(space.dx), net.features());
        self.error((losses, 0), (space.direct.y, x), (dx, weights.direct), space.partials, back)?;
        if gradients {
            self.sequence_backward(&net.decoder, h, space.dx, &space.direct, Some(space.dh_direct))?;
        }
        self.error((losses, 1), (space.decoder.y, x), (dx, weights.recon), space.partials, back)?;
        if gradients {
            self.sequence_backward(&net.decoder, h_recon, space.dx, &space.decoder, Some(space.dh_recon))?;
        }
        let dh = gradients.then_some(space.dh);
        self.error((losses, 2), (h_recon, h), (dh, weights.latent), space.partials, net.latents())?;
        if !gradients {
            return Ok(());
        }
        // The latent loss pulls the expander towards the encoder, not the encoder towards the expander.
        let (s, rows, width) = (self.session(), self.steps.rows, net.latents());
        s.plus(space.dh_recon, space.dh_recon, space.dh, rows, width)?;
        self.expand_backward(&net.expander, space.pooler.z, space.dh_recon, &space.expander, space.dz)?;
        self.pool_backward(&net.pooler, h, (space.dz, 0.0), &space.pooler, space.dh)?;
        s.plus(space.dh, space.dh, space.dh_direct, rows, width)?;
        self.sequence_backward(&net.encoder, x, space.dh, &space.encoder, None)
    }

    /// Loss number k: the mean squared error of y (N,W). It is weighed into the sum, and d (N,W) is its gradient.
    fn error(
        &self,
        (losses, k): (Span, usize),
        (y, target): (Span, Span),
        (d, weight): (Option<Span>, f64),
        partials: Span,
        width: usize,
    ) -> Result<()> {
        let [loss, total] = [k, 3].map(|place| losses.part(2 * place, 2));
        let gradient = d.map(|d| (d, 2.0 * weight));
        self.session().squared_error((loss, partials), (y, target), gradient, self.steps.rows, width)?;
        self.session().sum_parts(total, loss, weight, self.rows.one, (1, 1), if k > 0 { ADD } else { 0 })
    }
}
