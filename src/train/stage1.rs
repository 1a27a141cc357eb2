//! One step of stage 1: the autoencoder.

use std::sync::Mutex;

use super::shards::{Batch, reduce};
use crate::backend::cpu::Pool;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::Networks;
use crate::model::autoencoder::{AutoencoderLosses, AutoencoderTrace, LossWeights, Shard};
use crate::nn::optim::{Moments, Optimizer, clip_factor, norm};
use crate::nn::{Dropout, Weights};

/// Buffers that live as long as the training.
#[derive(Default)]
pub struct Stage1 {
    traces: Vec<Mutex<AutoencoderTrace<f32>>>,
    shard_grads: Vec<Vec<f32>>,
    grads: Vec<f32>,
}

/// What a step changes.
pub struct Learner<'a> {
    pub networks: &'a Networks,
    pub weights: &'a mut Weights<f32>,
    pub buffers: &'a mut Vec<f32>,
    pub moments: &'a mut Moments<f32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stage1Losses {
    pub parts: AutoencoderLosses,
    pub total: f64,
    /// Of the gradient before the clip.
    pub grad_norm: f64,
}

impl Stage1 {
    /// One update. A loss or gradient that is not finite is an error and changes nothing.
    pub fn step(
        &mut self,
        pool: &mut Pool,
        learner: &mut Learner,
        c: &Config,
        batch: &Batch,
        (seed, iteration, rate): (u64, u64, f64),
    ) -> Result<Stage1Losses> {
        let Learner { networks, weights, .. } = learner;
        let mut buffers = learner.buffers.clone();
        let norms = networks.autoencoder_norms(&weights.params, &mut buffers, true);
        let range = networks.autoencoder_range.clone();
        self.traces.resize_with(pool.threads(), Mutex::default);
        self.shard_grads.resize_with(batch.shards.len(), || vec![0.0; range.len()]);
        let loss_weights = loss_weights(c, batch.total);

        let mut work: Vec<_> =
            batch.shards.iter().zip(&mut self.shard_grads).map(|s| (s, AutoencoderLosses::default())).collect();
        pool.for_each(&mut work, |worker, _, ((shard, grads), losses)| {
            let first_row = shard.first_row as u32;
            let dropout = Dropout { seed, step: iteration, first_row, batch_rows: batch.rows() as u32 };
            let mut trace = self.traces[worker].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            grads.fill(0.0);
            let rows = Shard { steps: &shard.steps, seq_lens: &shard.seq_lens, x: &shard.x };
            *losses = networks.autoencoder_losses(
                weights,
                &norms,
                rows,
                loss_weights,
                Some(&dropout),
                &mut trace,
                Some(grads),
            );
        });
        let mut losses = Stage1Losses::default();
        work.into_iter().for_each(|(_, part)| losses.parts += part);
        losses.total = total(c, &losses.parts);
        if !losses.total.is_finite() {
            return Err(Error::Diverged { stage: 1, iteration, what: "the loss" });
        }

        self.grads.resize(range.len(), 0.0);
        let shards: Vec<&[f32]> = self.shard_grads[..batch.shards.len()].iter().map(Vec::as_slice).collect();
        reduce(pool, weights.isa, &shards, range.clone(), &mut self.grads);
        losses.grad_norm = norm(&self.grads);
        if !losses.grad_norm.is_finite() {
            return Err(Error::Diverged { stage: 1, iteration, what: "the gradient" });
        }
        let optimizer = Optimizer { kind: c.optimizer, beta1: 0.9, beta2: 0.999, weight_decay: c.stage1_weight_decay };
        let scale = clip_factor(losses.grad_norm, c.stage1_grad_clip);
        optimizer.step(weights.isa, &mut weights.params[range.clone()], &self.grads, learner.moments, rate, scale);
        weights.pack(range);
        *learner.buffers = buffers;
        Ok(losses)
    }

    /// Losses of a batch in evaluation mode; nothing moves.
    pub fn evaluate(&mut self, pool: &mut Pool, learner: &Learner, c: &Config, batch: &Batch) -> Stage1Losses {
        let Learner { networks, weights, buffers, .. } = learner;
        let norms = networks.autoencoder_norms(&weights.params, &mut buffers.to_vec(), false);
        self.traces.resize_with(pool.threads(), Mutex::default);
        let mut work: Vec<_> = batch.shards.iter().map(|shard| (shard, AutoencoderLosses::default())).collect();
        pool.for_each(&mut work, |worker, _, (shard, losses)| {
            let mut trace = self.traces[worker].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let rows = Shard { steps: &shard.steps, seq_lens: &shard.seq_lens, x: &shard.x };
            *losses = networks.autoencoder_losses(
                weights,
                &norms,
                rows,
                loss_weights(c, batch.total),
                None,
                &mut trace,
                None,
            );
        });
        let mut losses = Stage1Losses::default();
        work.into_iter().for_each(|(_, part)| losses.parts += part);
        losses.total = total(c, &losses.parts);
        losses
    }
}

fn loss_weights(c: &Config, steps: usize) -> LossWeights {
    LossWeights { recon: c.lambda_recon, latent: c.lambda_latent, direct: c.lambda_direct, steps }
}

fn total(c: &Config, parts: &AutoencoderLosses) -> f64 {
    c.lambda_recon * parts.recon + c.lambda_latent * parts.latent + c.lambda_direct * parts.direct
}
