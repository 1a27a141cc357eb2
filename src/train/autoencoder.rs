//! The loop of stage 1.

use super::shards::Batch;
use super::stage1::{At, Learner, Stage1};
use super::{Clock, Done, OnProgress, Outcome, Stage, TrainOptions};
use crate::backend::cpu::Pool;
use crate::config::{Config, DecoderKind, ScheduleKind};
use crate::data::steps::Walk;
use crate::data::{FEATURES, LengthAware, Prepared, StepCodec, Waste};
use crate::error::Result;
use crate::model::{Model, WINDOW};
use crate::nn::optim::{Plateau, Schedule};
use crate::rng::{Rng, Stream};

/// Rows of the validation split that are looked at: more would cost more than they tell.
const VALIDATION_ROWS: usize = 256;

impl Model {
    pub(super) fn train_autoencoder(
        &mut self,
        data: &Prepared,
        options: &TrainOptions,
        on_progress: &mut OnProgress,
    ) -> Result<Outcome> {
        let c = self.config.clone();
        let source = Source { data, c: &c, codec: self.data.as_ref().and_then(|d| d.codec.clone()) };
        let mut pool = Pool::new(options.threads);
        let mut stage = Stage1::default();
        let mut batches = LengthAware::new(&data.train.lengths(), c.batch_size, options.seed);
        let validation = source.validation();
        let mut waste = Waste::default();
        let mut schedule = schedule(&c, self.stages[0].schedule.clone());
        let clock = Clock::new(self.stages[0].iteration);
        let mut converged = self.stages[0].early_stop.converged(c.stage1_patience);
        while self.stages[0].iteration < c.stage1_iterations && !converged {
            let iteration = self.stages[0].iteration;
            let chosen = batches.batch(iteration);
            let batch = source.batch(&chosen, options.seed, iteration);
            waste.add(&chosen.iter().map(|&i| data.train.length(i)).collect::<Vec<_>>());
            let at = At { seed: options.seed, iteration, rate: schedule.rate(iteration) };
            self.stages[0].schedule = Some(schedule.clone());
            let (losses, _) = stage.step(&mut pool, &mut self.stage1_learner(), &c, &batch, at)?;
            let state = &mut self.stages[0];
            state.observe(losses);
            let averages = state.averages();
            // A likelihood has no threshold: there, only getting better counts.
            let (watched, threshold) = match c.decoder {
                DecoderKind::V6 => (averages[0], c.stage1_threshold),
                DecoderKind::ClosedLoop => (averages[3], f64::INFINITY),
            };
            if state.recent.len() == WINDOW {
                state.early_stop.observe(watched, threshold);
            }
            converged = state.early_stop.converged(c.stage1_patience);
            if state.iteration.is_multiple_of(c.log_interval) {
                schedule.observe(watched);
            }
            state.schedule = Some(schedule.clone());
            let due = state.iteration.is_multiple_of(c.eval_interval) && validation.rows() > 0;
            let learner = self.stage1_learner();
            let validation = due.then(|| stage.evaluate(&mut pool, &learner, &c, &validation));
            // Evaluation can fail where training did not, and a file holds finite numbers only.
            let validation = validation.filter(|losses| losses.iter().all(|x| x.is_finite()));
            let (iterations, rate) = (c.stage1_iterations, at.rate);
            let done = Done { stage: Stage::Autoencoder, iterations, converged, rate, validation };
            self.report(&clock, done, on_progress)?;
        }
        Ok(Outcome { iterations: self.stages[0].iteration, converged, waste })
    }

    fn stage1_learner(&mut self) -> Learner<'_> {
        let [moments, ..] = &mut self.moments;
        Learner { networks: &self.networks, weights: &mut self.weights, buffers: &mut self.buffers, moments }
    }
}

/// The configured schedule, with what a plateau has seen so far.
fn schedule(c: &Config, before: Option<Schedule>) -> Schedule {
    let (period, factor) = match c.lr_schedule {
        ScheduleKind::Cosine => (c.lr_cosine_period, 1.0),
        ScheduleKind::Step => (c.lr_step_size, c.lr_step_gamma),
        ScheduleKind::OneCycle => (c.stage1_iterations, 1.0),
        ScheduleKind::None | ScheduleKind::Plateau => (1, c.lr_plateau_factor),
    };
    let plateau = before.map_or_else(Plateau::default, |s| s.plateau);
    Schedule { kind: c.lr_schedule, base: c.lr_autoencoder, period, factor, patience: c.lr_plateau_patience, plateau }
}

/// Makes batches of movements, as features or as walks.
struct Source<'a> {
    data: &'a Prepared,
    c: &'a Config,
    /// closed-loop only.
    codec: Option<StepCodec>,
}

impl Source<'_> {
    /// The chosen movements, mirrored at random; features get noise on all but the heading.
    fn batch(&self, chosen: &[usize], seed: u64, iteration: u64) -> Batch {
        let mut coins = Rng::new(seed, Stream::Mirror, iteration);
        let mirrors = self.c.stage1_iterations as f64 * self.c.augment_mirror_share;
        let shown = self.c.augment_mirror && (iteration as f64) < mirrors;
        let bits: Vec<u32> = chosen.iter().map(|_| if shown { coins.word() } else { 0 }).collect();
        let mirrors = bits.iter().map(|bits| (bits & 1 != 0, bits & 2 != 0));
        match &self.codec {
            Some(codec) => {
                let movements = chosen.iter().zip(mirrors);
                let walk = |(&i, (x, y)): (&usize, (bool, bool))| {
                    let movement = self.data.train.movement(i)?;
                    Some(codec.encode(&movement.mirrored(x, y).points))
                };
                Batch::of_walks(&movements.filter_map(walk).collect::<Vec<Walk>>())
            }
            None => {
                let rows = chosen.iter().zip(mirrors).zip(0u64..);
                let row = |((&i, mirror), place)| self.features(i, mirror, seed, iteration << 16 | place);
                Batch::new(&rows.map(row).collect::<Vec<_>>(), self.c.feature_dim)
            }
        }
    }

    fn features(&self, i: usize, mirror: (bool, bool), seed: u64, step: u64) -> Vec<f32> {
        let (f, train) = (self.c.feature_dim, &self.data.train);
        let mut x = vec![0.0; train.length(i) * f];
        train.augmented(i, mirror, self.data.scaler.as_ref(), &mut x);
        if self.c.augment_noise > 0.0 {
            let heading = |column: usize| f == FEATURES.len() && (4..6).contains(&column);
            let mut rng = Rng::new(seed, Stream::FeatureNoise, step);
            let noisy = x.iter_mut().enumerate().filter(|(k, _)| !heading(k % f));
            noisy.for_each(|(_, x)| *x = (*x + (self.c.augment_noise * rng.normal()) as f32).clamp(-1.0, 1.0));
        }
        x
    }

    /// An even choice of validation movements, as they are.
    fn validation(&self) -> Batch {
        let split = &self.data.validation;
        let (n, kept) = (split.len(), split.len().min(VALIDATION_ROWS));
        let chosen = (0..kept).map(|i| i * n / kept);
        match &self.codec {
            Some(codec) => {
                let movements = chosen.filter_map(|i| split.movement(i));
                Batch::of_walks(&movements.map(|m| codec.encode(&m.points)).collect::<Vec<_>>())
            }
            None => Batch::new(&chosen.map(|i| split.features(i).to_vec()).collect::<Vec<_>>(), self.c.feature_dim),
        }
    }
}
