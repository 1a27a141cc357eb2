//! Losses of stage 1 for one shard of rows, and their gradients.

use super::Networks;
use super::expander::ExpanderTrace;
use super::pooler::PoolerTrace;
use super::sequence::SequenceTrace;
use crate::backend::cpu::{Real, math};
use crate::nn::dropout::Site;
use crate::nn::spectral::Normed;
use crate::nn::{Dropout, Steps, Weights, fit};

/// Dropout sites: 256 for every network, one a layer. The decoder runs twice with masks of its own.
const ENCODER: Site = 0;
const POOLER: Site = 256;
const EXPANDER: Site = 512;
const DECODER: Site = 768;
const DECODER_DIRECT: Site = 1024;

/// Weights of the three losses, and what they are means over.
#[derive(Clone, Copy, Debug)]
pub struct LossWeights {
    pub recon: f64,
    pub latent: f64,
    pub direct: f64,
    /// Valid steps of the whole batch.
    pub steps: usize,
}

/// Sums over a shard, already divided by the batch's number of values; shards add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AutoencoderLosses {
    pub recon: f64,
    pub latent: f64,
    pub direct: f64,
}

impl std::ops::AddAssign for AutoencoderLosses {
    fn add_assign(&mut self, other: Self) {
        self.recon += other.recon;
        self.latent += other.latent;
        self.direct += other.direct;
    }
}

/// The spectral norms of one training step. The decoder runs twice, bottleneck path first: that order fixes
/// its power iterations.
#[derive(Clone, Debug, Default)]
pub struct AutoencoderNorms<R> {
    pub encoder: Normed<R>,
    pub decoder: Normed<R>,
    pub decoder_direct: Normed<R>,
}

impl Networks {
    pub fn autoencoder_norms<R: Real>(&self, params: &[R], buffers: &mut [R], training: bool) -> AutoencoderNorms<R> {
        AutoencoderNorms {
            encoder: self.encoder.head.normalise(params, buffers, training),
            decoder: self.decoder.head.normalise(params, buffers, training),
            decoder_direct: self.decoder.head.normalise(params, buffers, training),
        }
    }
}

/// Buffers of one worker.
#[derive(Clone, Debug, Default)]
pub struct AutoencoderTrace<R> {
    encoder: SequenceTrace<R>,
    pooler: PoolerTrace<R>,
    expander: ExpanderTrace<R>,
    decoder: SequenceTrace<R>,
    direct: SequenceTrace<R>,
    dx: Vec<R>,
    dh: Vec<R>,
    dh_direct: Vec<R>,
    dh_recon: Vec<R>,
    dz: Vec<R>,
}

/// One shard: x (N,F) packed; seq_lens (B): the batch's T at every row.
#[derive(Clone, Copy)]
pub struct Shard<'a, R> {
    pub steps: &'a Steps,
    pub seq_lens: &'a [usize],
    pub x: &'a [R],
}

impl Networks {
    /// Losses of a shard; with grads, their gradients are added to it.
    pub fn autoencoder_losses<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &AutoencoderNorms<R>,
        shard: Shard<R>,
        weights: LossWeights,
        dropout: Option<&Dropout>,
        trace: &mut AutoencoderTrace<R>,
        grads: Option<&mut [R]>,
    ) -> AutoencoderLosses {
        let Shard { steps, seq_lens, x } = shard;
        let at = |site| dropout.map(|d| (d, site));
        self.encoder.forward(w, &norms.encoder, steps, x, at(ENCODER), &mut trace.encoder);
        let h = &trace.encoder.y;
        self.pooler.forward(w, steps, h, at(POOLER), &mut trace.pooler);
        self.expander.forward(w, steps, seq_lens, &trace.pooler.z, at(EXPANDER), &mut trace.expander);
        let h_recon = &trace.expander.y;
        self.decoder.forward(w, &norms.decoder, steps, h_recon, at(DECODER), &mut trace.decoder);
        self.decoder.forward(w, &norms.decoder_direct, steps, h, at(DECODER_DIRECT), &mut trace.direct);

        let (features, latents) = (weights.steps * self.features(), weights.steps * self.latents());
        let losses = AutoencoderLosses {
            recon: squared_error(x, &trace.decoder.y) / features as f64,
            latent: squared_error(h, h_recon) / latents as f64,
            direct: squared_error(x, &trace.direct.y) / features as f64,
        };
        let Some(grads) = grads else { return losses };

        let dropped = dropout.is_some();
        let slope = |weight: f64, values: usize| R::from_f64(2.0 * weight / values as f64);
        error_gradient(&trace.direct.y, x, slope(weights.direct, features), &mut trace.dx);
        let (direct, dh_direct) = (&mut trace.direct, &mut trace.dh_direct);
        self.decoder.backward(
            w,
            &norms.decoder_direct,
            steps,
            h,
            dropped,
            &mut trace.dx,
            direct,
            Some(dh_direct),
            grads,
        );

        error_gradient(&trace.decoder.y, x, slope(weights.recon, features), &mut trace.dx);
        let (decoder, dh_recon) = (&mut trace.decoder, &mut trace.dh_recon);
        self.decoder.backward(
            w,
            &norms.decoder,
            steps,
            h_recon,
            dropped,
            &mut trace.dx,
            decoder,
            Some(dh_recon),
            grads,
        );
        // The latent loss pulls the expander towards the encoder, not the encoder towards the expander.
        error_gradient(h_recon, h, slope(weights.latent, latents), &mut trace.dh);
        math::axpy(w.isa, R::ONE, &trace.dh, dh_recon);
        self.expander.backward(w, steps, &trace.pooler.z, dropped, dh_recon, &mut trace.expander, &mut trace.dz, grads);

        self.pooler.backward(w, steps, h, dropped, &mut trace.dz, &mut trace.pooler, &mut trace.dh, grads);
        math::axpy(w.isa, R::ONE, &trace.dh_direct, &mut trace.dh);
        self.encoder.backward(w, &norms.encoder, steps, x, dropped, &mut trace.dh, &mut trace.encoder, None, grads);
        losses
    }

    /// Evaluation mode: x (N,F) -> summaries (B,S) in trace.
    pub fn encode<'t, R: Real>(
        &self,
        w: &Weights<R>,
        norm: &Normed<R>,
        steps: &Steps,
        x: &[R],
        trace: &'t mut AutoencoderTrace<R>,
    ) -> &'t [R] {
        self.encoder.forward(w, norm, steps, x, None, &mut trace.encoder);
        self.pooler.forward(w, steps, &trace.encoder.y, None, &mut trace.pooler);
        &trace.pooler.z
    }

    /// Evaluation mode: z (B,S) -> features (N,F) in trace, each row as if drawn alone at its own length.
    pub fn decode<'t, R: Real>(
        &self,
        w: &Weights<R>,
        norm: &Normed<R>,
        steps: &Steps,
        z: &[R],
        trace: &'t mut AutoencoderTrace<R>,
    ) -> &'t [R] {
        self.expander.forward(w, steps, steps.lengths(), z, None, &mut trace.expander);
        self.decoder.forward(w, norm, steps, &trace.expander.y, None, &mut trace.decoder);
        &trace.decoder.y
    }

    fn features(&self) -> usize {
        self.decoder.head.weight.outputs
    }

    fn latents(&self) -> usize {
        self.encoder.head.weight.outputs
    }
}

fn squared_error<R: Real>(a: &[R], b: &[R]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (a - b).to_f64() * (a - b).to_f64()).sum()
}

/// (y - target) * slope
fn error_gradient<R: Real>(y: &[R], target: &[R], slope: R, d: &mut Vec<R>) {
    let d = fit(d, y.len());
    d.iter_mut().zip(y).zip(target).for_each(|((d, &y), &target)| *d = (y - target) * slope);
}
