//! Steps of stage 2: the critic and the generator.

use super::shards::row_ranges;
use super::update::Update;
use crate::backend::cpu::Pool;
use crate::config::{Config, OptimizerKind};
use crate::error::{Error, Result};
use crate::model::Networks;
use crate::model::gan::{CriticLosses, CriticShard, FeatureMatching, GanTrace};
use crate::nn::optim::{Moments, Optimizer};
use crate::nn::{Gradients, Weights};

/// Rows of a shard. More than a sequence's shards have: a gradient is then read and written half as often.
pub const ROWS: usize = 32;

/// Buffers that live as long as the training.
#[derive(Default)]
pub struct Stage2 {
    shards: Vec<Work>,
}

/// One shard's buffers. Generator steps need them between forward and backward.
#[derive(Default)]
struct Work {
    trace: GanTrace<f32>,
    grads: Gradients<f32>,
    losses: CriticLosses,
    score: f64,
}

/// What the steps change.
pub struct Learner<'a> {
    pub networks: &'a Networks,
    pub weights: &'a mut Weights<f32>,
    pub buffers: &'a mut Vec<f32>,
    pub generator: &'a mut Moments<f32>,
    pub critic: &'a mut Moments<f32>,
}

/// z_real (B,S), condition (B,C), noise (B,N), alpha (B) in [0,1): only the critic's steps use alpha.
#[derive(Clone, Debug, Default)]
pub struct GanBatch {
    pub z_real: Vec<f32>,
    pub condition: Vec<f32>,
    pub noise: Vec<f32>,
    pub alpha: Vec<f32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GeneratorLosses {
    pub adversarial: f64,
    pub feature_matching: f64,
    pub total: f64,
}

/// What an iteration's critic steps change. The generator's step comes last and changes nothing if it fails, so with
/// the critic put back a failed iteration has not been.
#[derive(Default)]
pub struct CriticBefore {
    params: Vec<f32>,
    buffers: Vec<f32>,
    moments: Moments<f32>,
}

impl CriticBefore {
    pub fn keep(&mut self, learner: &Learner) {
        self.params.clear();
        self.params.extend_from_slice(&learner.weights.params[learner.networks.critic_range.clone()]);
        self.buffers.clone_from(learner.buffers);
        self.moments.clone_from(learner.critic);
    }

    pub fn put_back(&mut self, learner: &mut Learner) {
        let range = learner.networks.critic_range.clone();
        learner.weights.params[range.clone()].copy_from_slice(&self.params);
        learner.weights.pack(range);
        learner.buffers.clone_from(&self.buffers);
        learner.critic.clone_from(&self.moments);
    }
}

impl Stage2 {
    /// n_critic updates of the critic and one of the generator. batch: of a draw; the generator's is n_critic. An error
    /// may leave updates of the critic: see [`CriticBefore`].
    pub fn iteration(
        &mut self,
        pool: &mut Pool,
        learner: &mut Learner,
        c: &Config,
        batch: impl FnMut(u32) -> GanBatch,
        iteration: u64,
    ) -> Result<(CriticLosses, GeneratorLosses)> {
        let (mut batch, mut critic) = (batch, CriticLosses::default());
        for draw in 0..c.n_critic {
            critic = self.critic_step(pool, learner, c, &batch(draw), iteration)?;
        }
        Ok((critic, self.generator_step(pool, learner, c, &batch(c.n_critic), iteration)?))
    }

    /// One update of the critic. A loss or gradient that is not finite is an error and changes nothing.
    pub fn critic_step(
        &mut self,
        pool: &mut Pool,
        learner: &mut Learner,
        c: &Config,
        batch: &GanBatch,
        iteration: u64,
    ) -> Result<CriticLosses> {
        let rows = batch.alpha.len();
        let Learner { networks, weights, .. } = learner;
        let mut buffers = learner.buffers.clone();
        // Each call of the critic advances its spectral norms: real, fake, interpolate.
        let norms = networks.critic.normalise(&weights.params, &mut buffers, true, 3);
        let range = networks.critic_range.clone();
        let ranges = row_ranges(rows, ROWS);
        self.fit(ranges.len());
        pool.for_each(&mut self.shards[..ranges.len()], |_, i, work| {
            let rows_here = ranges[i].clone();
            let shard = CriticShard {
                z_real: columns(&batch.z_real, rows, &rows_here),
                condition: columns(&batch.condition, rows, &rows_here),
                noise: columns(&batch.noise, rows, &rows_here),
                alpha: &batch.alpha[rows_here],
            };
            work.grads.start(&networks.layout, &range);
            work.losses =
                networks.critic_losses(weights, &norms, shard, rows, c.lambda_gp, &mut work.trace, &mut work.grads);
        });
        let mut losses = CriticLosses::default();
        self.shards[..ranges.len()].iter().for_each(|work| losses += work.losses);
        if !losses.total(c.lambda_gp).is_finite() {
            return Err(Error::Diverged { stage: 2, iteration, what: "the critic's loss" });
        }
        self.update(pool, weights, c, (range, ranges.len()), learner.critic, c.lr_discriminator, iteration)?;
        *learner.buffers = buffers;
        Ok(losses)
    }

    /// One update of the generator.
    pub fn generator_step(
        &mut self,
        pool: &mut Pool,
        learner: &mut Learner,
        c: &Config,
        batch: &GanBatch,
        iteration: u64,
    ) -> Result<GeneratorLosses> {
        let rows = batch.noise.len() / c.noise_dim;
        let Learner { networks, weights, .. } = learner;
        let mut buffers = learner.buffers.clone();
        let norms = networks.critic.normalise(&weights.params, &mut buffers, true, 1);
        let range = networks.generator_range.clone();
        let ranges = row_ranges(rows, ROWS);
        self.fit(ranges.len());
        let shards = &mut self.shards[..ranges.len()];
        pool.for_each(shards, |_, i, work| {
            let noise = columns(&batch.noise, rows, &ranges[i]);
            let condition = columns(&batch.condition, rows, &ranges[i]);
            work.score = networks.generator_forward(weights, &norms, noise, condition, &mut work.trace);
        });
        let adversarial = -shards.iter().map(|work| work.score).sum::<f64>() / rows as f64;
        // The one place where shards meet: the loss is over the statistics of the whole batch.
        let matching = c.use_feature_matching.then(|| {
            let fake: Vec<f32> = shards.iter().flat_map(|work| &work.trace.generator.z).copied().collect();
            FeatureMatching::new(&fake, &batch.z_real, c.summary_dim, c.lambda_fm)
        });
        let feature_matching = matching.as_ref().map_or(0.0, |m| m.loss);
        let total = adversarial + c.lambda_fm * feature_matching;
        let losses = GeneratorLosses { adversarial, feature_matching, total };
        if !losses.total.is_finite() {
            return Err(Error::Diverged { stage: 2, iteration, what: "the generator's loss" });
        }
        pool.for_each(shards, |_, i, work| {
            work.grads.start(&networks.layout, &range);
            let condition = columns(&batch.condition, rows, &ranges[i]);
            let (trace, grads) = (&mut work.trace, &mut work.grads);
            networks.generator_backward(weights, &norms, condition, rows, matching.as_ref(), trace, grads);
        });
        self.update(pool, weights, c, (range, ranges.len()), learner.generator, c.lr_generator, iteration)?;
        *learner.buffers = buffers;
        Ok(losses)
    }

    fn fit(&mut self, shards: usize) {
        self.shards.resize_with(shards.max(self.shards.len()), Work::default);
    }

    fn update(
        &mut self,
        pool: &mut Pool,
        weights: &mut Weights<f32>,
        c: &Config,
        (range, shards): (std::ops::Range<usize>, usize),
        moments: &mut Moments<f32>,
        rate: f64,
        iteration: u64,
    ) -> Result<()> {
        let shards = self.shards[..shards].iter_mut().map(|work| &mut work.grads);
        let (beta1, beta2, weight_decay) = (c.adam_beta1, c.adam_beta2, c.stage2_weight_decay);
        let optimizer = Optimizer { kind: OptimizerKind::Adam, beta1, beta2, weight_decay };
        let update = Update { range, optimizer, rate, clip: c.stage2_grad_clip, stage: 2, iteration };
        update.apply(pool, weights, moments, shards).map(drop)
    }
}

/// Rows of a matrix that has `rows` of them.
fn columns<'a>(matrix: &'a [f32], rows: usize, range: &std::ops::Range<usize>) -> &'a [f32] {
    let width = matrix.len() / rows;
    &matrix[range.start * width..range.end * width]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Isa;

    /// The critic's steps and the generator's have batches of their own.
    #[test]
    fn every_step_asks_for_its_batch() {
        let c = Config { n_critic: 3, summary_dim: 4, noise_dim: 2, ..Config::default() };
        let networks = Networks::new(&c);
        let (params, mut buffers) = networks.layout.initialise(1);
        let mut weights = Weights::new(Isa::detect(), &networks.layout, params);
        let (mut generator, mut critic) = (Moments::default(), Moments::default());
        let mut learner = Learner {
            networks: &networks,
            weights: &mut weights,
            buffers: &mut buffers,
            generator: &mut generator,
            critic: &mut critic,
        };
        let mut draws = Vec::new();
        let batch = |draw: u32| {
            draws.push(draw);
            let some = |count: usize| (0..count).map(|i| ((i as f32) * 0.7 + draw as f32).sin()).collect::<Vec<f32>>();
            GanBatch { z_real: some(20), condition: some(5), noise: some(10), alpha: vec![0.5; 5] }
        };
        Stage2::default().iteration(&mut Pool::new(1), &mut learner, &c, batch, 0).unwrap();
        assert_eq!(draws, [0, 1, 2, 3]);
        assert_eq!((generator.steps, critic.steps), (1, 3));
    }
}
