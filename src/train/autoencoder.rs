//! The loop of stage 1.

use super::shards::{Batch, workers};
use super::stage1::{At, Learner, Stage1};
use super::{Clock, Done, Losses, OnProgress, Outcome, Stage, TrainOptions};
#[cfg(feature = "cuda")]
use crate::backend::Backend;
use crate::backend::cpu::Pool;
#[cfg(feature = "cuda")]
use crate::backend::cuda;
use crate::config::{Config, DecoderKind, ScheduleKind};
use crate::data::steps::Walk;
use crate::data::{FEATURES, LengthAware, Prepared, StepCodec, Turn, Waste, evenly};
use crate::error::{Error, Result};
#[cfg(feature = "cuda")]
use crate::model::StageState;
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
        let mut place = self.stage1_place(data, options.threads)?;
        let outcome = self.autoencoder_steps(&source, &mut place, options.seed, on_progress);
        match outcome {
            // Iterations that are done are kept.
            Ok(_) | Err(Error::Cancelled { .. } | Error::Diverged { .. }) => self.fetch_autoencoder(&mut place)?,
            Err(_) => self.forget_autoencoder(place),
        }
        outcome
    }

    fn autoencoder_steps(
        &mut self,
        source: &Source,
        place: &mut Place,
        seed: u64,
        on_progress: &mut OnProgress,
    ) -> Result<Outcome> {
        let Source { data, c, .. } = source;
        let mut batches = LengthAware::new(&data.train.lengths(), c.batch_size, seed);
        let mut prepare = |iteration| {
            let chosen = batches.batch(iteration);
            let lengths: Vec<usize> = chosen.iter().map(|&i| data.train.length(i)).collect();
            (source.batch(&chosen, seed, iteration), lengths)
        };
        let mut next = None;
        let (validation, mut waste) = (source.validation(), Waste::default());
        let mut schedule = schedule(c, self.stages[0].schedule.clone());
        let clock = Clock::new(self.stages[0].iteration);
        let iterations = c.stage1_iterations;
        let mut converged = self.stages[0].early_stop.converged(c.stage1_patience);
        while self.stages[0].iteration < iterations && !converged {
            let iteration = self.stages[0].iteration;
            let (batch, lengths) = next.take().unwrap_or_else(|| prepare(iteration));
            waste.add(&lengths);
            let rate = schedule.rate(iteration);
            self.stages[0].schedule = Some(schedule.clone());
            let meanwhile = || next = (iteration + 1 < iterations).then(|| prepare(iteration + 1));
            let losses = place.step(&mut self.stage1_learner(), c, &batch, At { seed, iteration, rate }, meanwhile)?;
            converged = self.watch(losses, &mut schedule);
            let now = self.stages[0].iteration;
            let due = now.is_multiple_of(c.eval_interval) && validation.rows() > 0;
            let losses = if due { Some(place.evaluate(&self.stage1_learner(), c, &validation)?) } else { None };
            // Evaluation can fail where training did not, and a file holds finite numbers only.
            let validation = losses.filter(|losses| losses.iter().all(|x| x.is_finite()));
            if super::is_looked_at(c, now) || converged || now == iterations {
                self.fetch_autoencoder(place)?;
            }
            let done = Done { stage: Stage::Autoencoder, iterations, converged, rate, validation };
            self.report(&clock, done, on_progress)?;
        }
        Ok(Outcome { iterations: self.stages[0].iteration, converged, waste })
    }

    /// Books the losses of an iteration. Returns whether it is the last.
    fn watch(&mut self, losses: Losses, schedule: &mut Schedule) -> bool {
        self.ratio = None; // of other weights
        let (state, c) = (&mut self.stages[0], &self.config);
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
        if state.iteration.is_multiple_of(c.log_interval) {
            schedule.observe(watched);
        }
        state.schedule = Some(schedule.clone());
        state.early_stop.converged(c.stage1_patience)
    }

    fn stage1_learner(&mut self) -> Learner<'_> {
        let [moments, ..] = &mut self.moments;
        Learner { networks: &self.networks, weights: &mut self.weights, buffers: &mut self.buffers, moments }
    }

    /// Where the model computes, or the CPU where a device has not the memory for its recurrences.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    fn stage1_place(&mut self, data: &Prepared, threads: usize) -> Result<Place> {
        #[cfg(feature = "cuda")]
        if let Backend::Cuda(device) = self.backend.clone()
            && cuda::stage1::fits(&device, &self.networks)
        {
            let lengths = [data.train.lengths(), data.validation.lengths()].concat();
            let room = cuda::stage1::room(lengths, self.config.batch_size);
            let (c, networks, fetched) = (self.config.clone(), self.networks.clone(), Box::new(self.stages[0].clone()));
            let learner = self.stage1_learner().on_device();
            let stage = Box::new(cuda::stage1::Stage1::new(&device, networks, &c, room, &learner)?);
            return Ok(Place::Cuda { stage, fetched });
        }
        // More threads than a batch has shards would only take memory: each keeps what a shard needs.
        Ok(Place::Cpu(Stage1::default(), Pool::new(workers(threads, self.config.batch_size))))
    }

    /// What a device has learnt comes back to the host.
    fn fetch_autoencoder(&mut self, place: &mut Place) -> Result<()> {
        match place {
            Place::Cpu(..) => {}
            #[cfg(feature = "cuda")]
            Place::Cuda { stage, fetched } => {
                let done = stage.fetch(&mut self.stage1_learner().on_device());
                self.weights.pack(self.networks.autoencoder_range.clone());
                done.inspect_err(|_| self.stages[0] = (**fetched).clone())?;
                **fetched = self.stages[0].clone();
            }
        }
        Ok(())
    }

    /// A device that has failed gives nothing back: the host is where it last had its weights.
    fn forget_autoencoder(&mut self, place: Place) {
        match place {
            Place::Cpu(..) => {}
            #[cfg(feature = "cuda")]
            Place::Cuda { fetched, .. } => self.stages[0] = *fetched,
        }
    }
}

/// Where the steps are done.
enum Place {
    Cpu(Stage1, Pool),
    /// With the state of the stage when its weights last came back.
    #[cfg(feature = "cuda")]
    Cuda {
        stage: Box<cuda::stage1::Stage1>,
        fetched: Box<StageState>,
    },
}

impl Place {
    /// meanwhile: what this thread does while a device works.
    fn step(
        &mut self,
        learner: &mut Learner,
        c: &Config,
        batch: &Batch,
        at: At,
        meanwhile: impl FnOnce(),
    ) -> Result<Losses> {
        match self {
            Place::Cpu(stage, pool) => {
                let (losses, _) = stage.step(pool, learner, c, batch, at)?;
                meanwhile();
                Ok(losses)
            }
            #[cfg(feature = "cuda")]
            Place::Cuda { stage, .. } => stage.step(batch, at, meanwhile).map(|(losses, _)| losses),
        }
    }

    /// In evaluation mode.
    fn evaluate(&mut self, learner: &Learner, c: &Config, batch: &Batch) -> Result<Losses> {
        match self {
            Place::Cpu(stage, pool) => Ok(stage.evaluate(pool, learner, c, batch)),
            #[cfg(feature = "cuda")]
            Place::Cuda { stage, .. } => stage.evaluate(batch),
        }
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
    /// The chosen movements, mirrored at random; walks are turned, features get noise on all but the heading.
    fn batch(&self, chosen: &[usize], seed: u64, iteration: u64) -> Batch {
        let mut coins = Rng::new(seed, Stream::Mirror, iteration);
        let mirrors = self.c.stage1_iterations as f64 * self.c.augment_mirror_share;
        let shown = self.c.augment_mirror && (iteration as f64) < mirrors;
        let bits: Vec<u32> = chosen.iter().map(|_| if shown { coins.word() } else { 0 }).collect();
        let mirrors = bits.iter().map(|bits| (bits & 1 != 0, bits & 2 != 0));
        match &self.codec {
            Some(codec) => {
                let movements = chosen.iter().zip(mirrors).zip(0u64..);
                let walk = |((&i, (x, y)), place)| {
                    let movement = self.data.train.movement(i)?.mirrored(x, y);
                    let turned =
                        self.turn(seed, iteration << 16 | place).and_then(|t| codec.encode_turned(&movement, t));
                    Some(turned.unwrap_or_else(|| codec.encode(&movement.points)))
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

    /// How a movement is turned, if it is.
    fn turn(&self, seed: u64, step: u64) -> Option<Turn> {
        let mut rng = Rng::new(seed, Stream::Turn, step);
        let shown = rng.unit() < self.c.augment_turn;
        shown.then(|| Turn { angle: rng.range(0.0, std::f64::consts::TAU), scale: (0.2 * rng.normal()).exp() })
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
        let chosen = evenly(split.len(), VALIDATION_ROWS);
        match &self.codec {
            Some(codec) => {
                let movements = chosen.filter_map(|i| split.movement(i));
                Batch::of_walks(&movements.map(|m| codec.encode(&m.points)).collect::<Vec<_>>())
            }
            None => {
                let features: Vec<_> = chosen.map(|i| split.features(i).to_vec()).collect();
                let mut batch = Batch::new(&features, self.c.feature_dim);
                // Not of like length as a training batch's: each row is as long as it is, as when it is decoded.
                batch.shards.iter_mut().for_each(|shard| shard.seq_lens = shard.steps.lengths().to_vec());
                batch
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Movement, Point};

    /// A position is a share of the row's own length, as when it is decoded, whatever rows are validated with it.
    #[test]
    fn validation_rows_are_as_long_as_they_are() {
        let mut data = Dataset::new(1);
        for n in 10..40 {
            let point = |i: i32| Point { x: f64::from(i * i), y: f64::from(n), t_ms: f64::from(8 * i) };
            data.push(Movement::new((0..n).map(point).collect()).unwrap(), None).unwrap();
        }
        let c = Config { quality_z: 0.0, ..Config::default() };
        let prepared = data.prepare(&c, None).unwrap();
        let batch = Source { data: &prepared, c: &c, codec: None }.validation();
        assert_eq!(batch.rows(), 6);
        batch.shards.iter().for_each(|shard| assert_eq!(shard.seq_lens, shard.steps.lengths()));
    }
}
