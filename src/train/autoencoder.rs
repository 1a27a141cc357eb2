//! The loop of stage 1.

use super::shards::Batch;
use super::stage1::{Learner, Stage1, Stage1Losses};
use super::{Clock, Done, OnProgress, Outcome, Stage, TrainOptions, validation_rows};
use crate::backend::cpu::Pool;
use crate::config::{Config, ScheduleKind};
use crate::data::{FEATURES, LengthAware, Prepared, Waste};
use crate::error::Result;
use crate::model::{Model, WINDOW};
use crate::nn::optim::{Plateau, Schedule};
use crate::rng::{Rng, Stream};

impl Model {
    pub(super) fn train_autoencoder(
        &mut self,
        data: &Prepared,
        options: &TrainOptions,
        on_progress: &mut OnProgress,
    ) -> Result<Outcome> {
        let c = self.config.clone();
        let mut pool = Pool::new(options.threads);
        let mut stage = Stage1::default();
        let mut batches = LengthAware::new(&data.train.lengths(), c.batch_size, options.seed);
        let validation = Batch::new(&validation_rows(data), c.feature_dim);
        let mut waste = Waste::default();
        let mut schedule = schedule(&c, self.stages[0].schedule.take());
        let clock = Clock::new(self.stages[0].iteration);
        let mut converged = self.stages[0].early_stop.converged(c.stage1_patience);
        while self.stages[0].iteration < c.stage1_iterations && !converged {
            let iteration = self.stages[0].iteration;
            let chosen = batches.batch(iteration);
            let rows = augmented(data, &c, &chosen, options.seed, iteration);
            let batch = Batch::new(&rows, c.feature_dim);
            waste.add(&chosen.iter().map(|&i| data.train.length(i)).collect::<Vec<_>>());
            let rate = schedule.rate(iteration);
            let mut learner = self.stage1_learner();
            let step = stage.step(&mut pool, &mut learner, &c, &batch, (options.seed, iteration, rate));
            if let Err(error) = step {
                self.stages[0].schedule = Some(schedule);
                return Err(error);
            }
            let state = &mut self.stages[0];
            state.observe(four(&step?));
            let averages = state.averages();
            if state.recent.len() == WINDOW {
                state.early_stop.observe(averages[0], c.stage1_threshold);
            }
            converged = state.early_stop.converged(c.stage1_patience);
            if state.iteration.is_multiple_of(c.log_interval) {
                schedule.observe(averages[0]);
            }
            state.schedule = Some(schedule.clone());
            let due = state.iteration.is_multiple_of(c.eval_interval) && batch_has_rows(&validation);
            let learner = self.stage1_learner();
            let validation = due.then(|| four(&stage.evaluate(&mut pool, &learner, &c, &validation)));
            let done = Done { stage: Stage::Autoencoder, iterations: c.stage1_iterations, converged, rate, validation };
            self.report(&clock, done, on_progress)?;
        }
        Ok(Outcome { iterations: self.stages[0].iteration, converged, waste })
    }

    fn stage1_learner(&mut self) -> Learner<'_> {
        let [moments, ..] = &mut self.moments;
        Learner { networks: &self.networks, weights: &mut self.weights, buffers: &mut self.buffers, moments }
    }
}

fn batch_has_rows(batch: &Batch) -> bool {
    batch.rows() > 0
}

fn four(losses: &Stage1Losses) -> [f64; 4] {
    [losses.parts.direct, losses.parts.recon, losses.parts.latent, losses.total]
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

/// Features of the chosen movements, mirrored at random and with noise on all but the heading.
fn augmented(data: &Prepared, c: &Config, chosen: &[usize], seed: u64, iteration: u64) -> Vec<Vec<f32>> {
    let f = c.feature_dim;
    let heading = |column: usize| f == FEATURES.len() && (4..6).contains(&column);
    let mut coins = Rng::new(seed, Stream::Mirror, iteration);
    let row = |(place, &i): (usize, &usize)| {
        let bits = if c.augment_mirror { coins.word() } else { 0 };
        let mut x = vec![0.0; data.train.length(i) * f];
        data.train.augmented(i, (bits & 1 != 0, bits & 2 != 0), data.scaler.as_ref(), &mut x);
        if c.augment_noise > 0.0 {
            let mut rng = Rng::new(seed, Stream::FeatureNoise, iteration << 16 | place as u64);
            let noisy = x.iter_mut().enumerate().filter(|(k, _)| !heading(k % f));
            noisy.for_each(|(_, x)| *x = (*x + (c.augment_noise * rng.normal()) as f32).clamp(-1.0, 1.0));
        }
        x
    };
    chosen.iter().enumerate().map(row).collect()
}
