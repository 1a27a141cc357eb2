//! One step of stage 1: an autoencoder.

use super::shards::Batch;
use super::update::Update;
use crate::backend::cpu::{Pool, Scratch};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::{Autoencoder, Networks, closed_loop, v6};
use crate::nn::optim::{Moments, Optimizer};
use crate::nn::{Dropout, Gradients, Weights};
use crate::rng::{Rng, Stream};

/// v6: direct, recon, latent, total. closed-loop: nats of steps, ticks and stop, and their sum.
pub type Losses = [f64; 4];

/// Buffers that live as long as the training.
#[derive(Default)]
pub struct Stage1 {
    workers: Scratch<Traces>,
    shard_grads: Vec<Gradients<f32>>,
}

/// Of one worker; a model uses one of them.
#[derive(Default)]
struct Traces {
    v6: v6::Trace<f32>,
    closed_loop: closed_loop::Trace<f32>,
}

/// What a step changes.
pub struct Learner<'a> {
    pub networks: &'a Networks,
    pub weights: &'a mut Weights<f32>,
    pub buffers: &'a mut Vec<f32>,
    pub moments: &'a mut Moments<f32>,
}

#[cfg(feature = "cuda")]
impl<'a> Learner<'a> {
    pub(super) fn on_device(self) -> crate::backend::cuda::stage1::Learner<'a> {
        let Learner { weights, buffers, moments, .. } = self;
        crate::backend::cuda::stage1::Learner { params: &mut weights.params, buffers, moments }
    }
}

/// Where the random numbers of a step come from, and its learning rate.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub seed: u64,
    pub iteration: u64,
    pub rate: f64,
}

impl Stage1 {
    /// One update; returns the losses and the norm of the gradient before the clip. A loss or gradient that is not
    /// finite is an error and changes nothing.
    pub fn step(
        &mut self,
        pool: &mut Pool,
        learner: &mut Learner,
        c: &Config,
        batch: &Batch,
        at: At,
    ) -> Result<(Losses, f64)> {
        let Learner { networks, weights, .. } = learner;
        let mut buffers = learner.buffers.clone();
        let losses = self.losses(pool, (networks, weights, &mut buffers), c, batch, Some(at));
        if !losses[3].is_finite() {
            return Err(Error::Diverged { stage: 1, iteration: at.iteration, what: "the loss" });
        }
        let range = networks.autoencoder_range.clone();
        let (optimizer, rate, clip) = (optimizer(c), at.rate, c.stage1_grad_clip);
        let update = Update { range, optimizer, rate, clip, stage: 1, iteration: at.iteration };
        let shards = self.shard_grads[..batch.shards.len()].iter_mut();
        let norm = update.apply(pool, weights, learner.moments, shards)?;
        *learner.buffers = buffers;
        Ok((losses, norm))
    }

    /// Losses of a batch in evaluation mode; nothing moves.
    pub fn evaluate(&mut self, pool: &mut Pool, learner: &Learner, c: &Config, batch: &Batch) -> Losses {
        let mut buffers = learner.buffers.clone();
        self.losses(pool, (learner.networks, learner.weights, &mut buffers), c, batch, None)
    }

    /// With `at`: in training mode, and the gradients are in self.shard_grads.
    fn losses(
        &mut self,
        pool: &mut Pool,
        (networks, weights, buffers): (&Networks, &Weights<f32>, &mut [f32]),
        c: &Config,
        batch: &Batch,
        at: Option<At>,
    ) -> Losses {
        let training = at.is_some();
        self.workers.fit(pool);
        self.shard_grads.resize_with(self.shard_grads.len().max(batch.shards.len()), Gradients::default);
        let workers = &self.workers;
        let mut work: Vec<_> = batch.shards.iter().zip(&mut self.shard_grads).map(|s| (s, [0.0; 3])).collect();
        let dropout = |first_row: usize| {
            let At { seed, iteration: step, .. } = at?;
            Some(Dropout { seed, step, first_row: first_row as u32, batch_rows: batch.rows() as u32 })
        };
        match &networks.autoencoder {
            Autoencoder::V6(net) => {
                let norms = net.norms(&weights.params, buffers, training);
                let (recon, latent, direct) = (c.lambda_recon, c.lambda_latent, c.lambda_direct);
                let loss_weights = v6::LossWeights { recon, latent, direct, steps: batch.total };
                pool.for_each(&mut work, |worker, _, ((shard, grads), losses)| {
                    let rows = v6::Shard { steps: &shard.steps, seq_lens: &shard.seq_lens, x: &shard.x };
                    let mut traces = workers.of(worker);
                    let (dropout, grads) = (dropout(shard.first_row), training.then(|| started(grads, networks)));
                    let parts =
                        net.losses(weights, &norms, rows, loss_weights, dropout.as_ref(), &mut traces.v6, grads);
                    *losses = [parts.direct, parts.recon, parts.latent];
                });
            }
            Autoencoder::ClosedLoop(net) => {
                let norm = net.encoder.head.normalise(&weights.params, buffers, training);
                pool.for_each(&mut work, |worker, _, ((shard, grads), losses)| {
                    let rows = shard.first_row..shard.first_row + shard.steps.rows();
                    let noise: Vec<f32> = rows.flat_map(|row| summary_noise(c, at, row)).collect();
                    let rows = closed_loop::Shard {
                        steps: &shard.steps,
                        x: &shard.x,
                        classes: &shard.classes,
                        noise: &noise,
                        batch_rows: Some(batch.rows()),
                    };
                    let mut traces = workers.of(worker);
                    let (dropout, grads) = (dropout(shard.first_row), training.then(|| started(grads, networks)));
                    let trace = &mut traces.closed_loop;
                    let parts = net.losses(weights, &norm, rows, batch.total, dropout.as_ref(), trace, grads);
                    *losses = [parts.steps, parts.ticks, parts.stop];
                });
            }
        }
        let mut sums = [0.0; 3];
        work.iter().for_each(|(_, losses)| (0..3).for_each(|k| sums[k] += losses[k]));
        let [a, b, third] = sums;
        let total = match networks.autoencoder {
            Autoencoder::V6(_) => c.lambda_direct * a + c.lambda_recon * b + c.lambda_latent * third,
            Autoencoder::ClosedLoop(_) => a + b + third,
        };
        [a, b, third, total]
    }
}

/// Room for the gradient of a shard, which evaluation does without.
fn started<'a>(grads: &'a mut Gradients<f32>, networks: &Networks) -> &'a mut Gradients<f32> {
    grads.start(&networks.layout, &networks.autoencoder_range);
    grads
}

/// What moves the weights, on any device.
pub(crate) fn optimizer(c: &Config) -> Optimizer {
    Optimizer { kind: c.optimizer, beta1: 0.9, beta2: 0.999, weight_decay: c.stage1_weight_decay }
}

/// (S): noise on the summary of a row of a batch; none without `at`.
fn summary_noise(c: &Config, at: Option<At>, row: usize) -> Vec<f32> {
    let Some(at) = at.filter(|_| c.summary_noise > 0.0) else { return vec![0.0; c.summary_dim] };
    let mut rng = Rng::new(at.seed, Stream::SummaryNoise, at.iteration << 16 | row as u64);
    (0..c.summary_dim).map(|_| (c.summary_noise * rng.normal()) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Isa;

    /// Rows that are the same are taught in different ways: every shard has dropout of its own.
    #[test]
    fn shards_have_masks_of_their_own() {
        let small =
            Config { encoder_hidden_dim: 4, decoder_hidden_dim: 4, expander_hidden_dim: 4, ..Config::default() };
        let alike = |dropout: f64| {
            let base = Config { latent_dim: 4, summary_dim: 4, expander_dropout: dropout, ..small.clone() };
            let c = Config { lstm_dropout: dropout, pooler_dropout: dropout, ..base };
            let networks = Networks::new(&c);
            let (params, mut buffers) = networks.layout.initialise(1);
            let weights = Weights::new(Isa::detect(), &networks.layout, params);
            let row: Vec<f32> = (0..40).map(|i| (i as f32).sin()).collect();
            let (mut stage, batch) = (Stage1::default(), Batch::new(&vec![row; 16], 8));
            let at = Some(At { seed: 1, iteration: 0, rate: 1.0 });
            stage.losses(&mut Pool::new(1), (&networks, &weights, &mut buffers), &c, &batch, at);
            let range = &networks.autoencoder_range;
            let [a, b] = [0, 1].map(|k| stage.shard_grads[k].finish(range).to_vec());
            assert!(a.iter().any(|&x| x != 0.0));
            a == b
        };
        assert_eq!([0.0, 0.3].map(alike), [true, false]);
    }

    /// Another number for every place, row and iteration; none where nothing is learnt.
    #[test]
    fn noise_on_summaries_is_fresh() {
        let c = Config { summary_noise: 0.6, summary_dim: 200, ..Config::default() };
        let at = |iteration| Some(At { seed: 3, iteration, rate: 1.0 });
        let rows = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(iteration, row)| summary_noise(&c, at(iteration), row));
        let mut all = rows.concat();
        let deviation = (all.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 800.0).sqrt();
        assert!((deviation - 0.6).abs() < 0.06, "{deviation}");
        all.sort_by(f32::total_cmp);
        all.dedup();
        assert_eq!(all.len(), 800);
        assert_eq!(summary_noise(&c, None, 1), [0.0; 200]);
    }
}
