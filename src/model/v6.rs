//! The seed's autoencoder: losses of stage 1 for one shard of rows, and their gradients.

use super::expander::{Expander, ExpanderTrace};
use super::pooler::{Pooler, PoolerTrace};
use super::sequence::{SequenceMap, SequenceTrace};
use super::{DECODER, DECODER_DIRECT, ENCODER, EXPANDER, POOLER};
use crate::backend::cpu::{Buffer, Real, math};
use crate::config::Config;
use crate::nn::spectral::Normed;
use crate::nn::{Dropout, Gradients, Layout, Steps, Weights};

/// Encoder and decoder LSTMs, pooler and expander.
#[derive(Clone, Debug)]
pub struct V6 {
    pub encoder: SequenceMap,
    pub decoder: SequenceMap,
    pub pooler: Pooler,
    pub expander: Expander,
}

impl V6 {
    pub fn new(layout: &mut Layout, c: &Config) -> V6 {
        let (hidden, layers, p) = (c.encoder_hidden_dim, c.encoder_num_layers, c.lstm_dropout);
        let encoder = SequenceMap::new(layout, "encoder", c.feature_dim, hidden, c.latent_dim, layers, p);
        let (hidden, layers) = (c.decoder_hidden_dim, c.decoder_num_layers);
        let decoder = SequenceMap::new(layout, "decoder", c.latent_dim, hidden, c.feature_dim, layers, p);
        V6 { encoder, decoder, pooler: Pooler::new(layout, c), expander: Expander::new(layout, c) }
    }
}

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
pub struct Losses {
    pub recon: f64,
    pub latent: f64,
    pub direct: f64,
}

impl std::ops::AddAssign for Losses {
    fn add_assign(&mut self, other: Self) {
        self.recon += other.recon;
        self.latent += other.latent;
        self.direct += other.direct;
    }
}

/// The spectral norms of one training step. The decoder runs twice, bottleneck path first: that order fixes
/// its power iterations.
#[derive(Clone, Debug, Default)]
pub struct Norms<R> {
    pub encoder: Normed<R>,
    pub decoder: Normed<R>,
    pub decoder_direct: Normed<R>,
}

impl V6 {
    pub fn norms<R: Real>(&self, params: &[R], buffers: &mut [R], training: bool) -> Norms<R> {
        Norms {
            encoder: self.encoder.head.normalise(params, buffers, training),
            decoder: self.decoder.head.normalise(params, buffers, training),
            decoder_direct: self.decoder.head.normalise(params, buffers, training),
        }
    }
}

/// Buffers of one worker.
#[derive(Clone, Debug, Default)]
pub struct Trace<R> {
    encoder: SequenceTrace<R>,
    pooler: PoolerTrace<R>,
    expander: ExpanderTrace<R>,
    decoder: SequenceTrace<R>,
    direct: SequenceTrace<R>,
    dx: Buffer<R>,
    dh: Buffer<R>,
    dh_direct: Buffer<R>,
    dh_recon: Buffer<R>,
    dz: Buffer<R>,
}

/// One shard: x (N,F) packed; seq_lens (B): see `SequenceShard`.
#[derive(Clone, Copy)]
pub struct Shard<'a, R> {
    pub steps: &'a Steps,
    pub seq_lens: &'a [usize],
    pub x: &'a [R],
}

impl V6 {
    /// Losses of a shard; with grads, their gradients are added to it.
    pub fn losses<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &Norms<R>,
        shard: Shard<R>,
        weights: LossWeights,
        dropout: Option<&Dropout>,
        trace: &mut Trace<R>,
        grads: Option<&mut Gradients<R>>,
    ) -> Losses {
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
        let losses = Losses {
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

        self.pooler.backward(w, steps, h, dropped, &mut trace.dz, R::ZERO, &mut trace.pooler, &mut trace.dh, grads);
        math::axpy(w.isa, R::ONE, &trace.dh_direct, &mut trace.dh);
        self.encoder.backward(w, &norms.encoder, steps, x, dropped, &mut trace.dh, &mut trace.encoder, None, grads);
        losses
    }

    pub(crate) fn features(&self) -> usize {
        self.decoder.head.weight.outputs
    }

    pub(crate) fn latents(&self) -> usize {
        self.encoder.head.weight.outputs
    }
}

fn squared_error<R: Real>(a: &[R], b: &[R]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (a - b).to_f64() * (a - b).to_f64()).sum()
}

/// (y - target) * slope
fn error_gradient<R: Real>(y: &[R], target: &[R], slope: R, d: &mut Buffer<R>) {
    let d = d.fit(y.len());
    d.iter_mut().zip(y).zip(target).for_each(|((d, &y), &target)| *d = (y - target) * slope);
}
