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
    use crate::data::steps::INPUTS;
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

    /// One movement down to the right, many times.
    fn one_movement(c: &Config) -> Prepared {
        let mut data = Dataset::new(1);
        for n in 10..40 {
            let point = |i: i32| Point { x: f64::from(i * i), y: f64::from(3 * i), t_ms: f64::from((8 + n % 2) * i) };
            data.push(Movement::new((0..12).map(point).collect()).unwrap(), None).unwrap();
        }
        data.prepare(c, None).unwrap()
    }

    /// The four images come equally often, for a share of the training; then it is the recordings alone.
    #[test]
    fn mirrors_are_even_and_end_in_time() {
        let base =
            Config { augment_mirror_share: 0.5, stage1_iterations: 100, augment_noise: 0.0, ..Config::default() };
        let c = Config { quality_z: 0.0, ..base };
        let data = one_movement(&c);
        let source = Source { data: &data, c: &c, codec: None };
        let images = |iterations: std::ops::Range<u64>| {
            let mut images = [0; 4];
            for iteration in iterations {
                let batch = source.batch(&[0; 64], 1, iteration);
                for end in batch.shards.iter().flat_map(|s| s.x[s.x.len() - 8 * s.steps.rows()..].chunks(8)) {
                    images[usize::from(end[0] < 0.0) + 2 * usize::from(end[1] < 0.0)] += 1;
                }
            }
            images
        };
        let shown = images(0..50);
        assert!(shown.iter().all(|n| (700..900).contains(n)), "{shown:?}");
        assert_eq!(images(50..60), [640, 0, 0, 0]);
    }

    #[test]
    fn movements_are_turned_by_any_angle_and_scaled_about_one() {
        let c = Config { augment_turn: 0.5, quality_z: 0.0, ..Config::default() };
        let data = one_movement(&c);
        let source = Source { data: &data, c: &c, codec: None };
        let turns: Vec<Turn> = (0..8000).filter_map(|step| source.turn(3, step)).collect();
        assert!((3800..4200).contains(&turns.len()), "{}", turns.len());
        let mean = |of: &dyn Fn(&Turn) -> f64| turns.iter().map(of).sum::<f64>() / turns.len() as f64;
        let means = [mean(&|t| t.angle.cos()), mean(&|t| t.angle.sin()), mean(&|t| t.scale.ln())];
        assert!(means.iter().all(|m| m.abs() < 0.05), "{means:?}");
        assert!((mean(&|t| t.scale.ln().powi(2)).sqrt() - 0.2).abs() < 0.02);
    }

    /// Each movement of a batch, and of each batch, is turned in its own way.
    #[test]
    fn turns_of_a_batch_are_different() {
        let c = Config { augment_turn: 1.0, quality_z: 0.0, decoder: DecoderKind::ClosedLoop, ..Config::default() };
        let data = one_movement(&c);
        let codec = StepCodec::fit(&[data.train.movement(0).unwrap()], 28, 12).unwrap();
        let source = Source { data: &data, c: &c, codec: Some(codec) };
        let mut said: Vec<f32> = Vec::new();
        for iteration in 0..2 {
            for shard in &source.batch(&[0; 16], 1, iteration).shards {
                said.extend(shard.x.chunks(INPUTS).take(shard.steps.rows()).map(|x| x[INPUTS - 2]));
            }
        }
        said.sort_by(f32::total_cmp);
        said.dedup();
        assert!(said.len() > 30, "{} of 32", said.len());
    }

    /// Headings stay on their circle, all else stays in [-1,1].
    #[test]
    fn noise_is_on_all_features_but_the_heading() {
        let c = Config { augment_noise: 0.1, augment_mirror: false, quality_z: 0.0, ..Config::default() };
        let data = one_movement(&c);
        let source = Source { data: &data, c: &c, codec: None };
        let clean = data.train.features(0);
        let mut squares = [0.0; 8];
        for step in 0..400 {
            let noisy = source.features(0, (false, false), 1, step);
            assert!(noisy.iter().all(|x| x.abs() <= 1.0));
            // Of those that no limit is near.
            for (k, (a, b)) in clean.iter().zip(&noisy).enumerate().filter(|(_, (a, _))| a.abs() < 0.5) {
                squares[k % 8] += f64::from(a - b).powi(2);
            }
        }
        let inner = |column: usize| clean.iter().skip(column).step_by(8).filter(|x| x.abs() < 0.5).count() as f64;
        for column in (0..8).filter(|&column| inner(column) > 0.0) {
            let deviation = (squares[column] / (400.0 * inner(column))).sqrt();
            let expected = if (4..6).contains(&column) { 0.0 } else { 0.1 };
            assert!((deviation - expected).abs() < 0.01, "column {column}: {deviation}");
        }
        assert!(inner(0) > 0.0 && inner(4) > 0.0 && inner(6) > 0.0, "nothing was looked at");
        assert_ne!(source.features(0, (false, false), 1, 0), source.features(0, (false, false), 1, 1));
    }

    #[test]
    fn a_schedule_has_the_settings_of_its_kind() {
        let base = Config {
            lr_autoencoder: 1.0,
            lr_cosine_period: 10,
            lr_step_size: 4,
            lr_step_gamma: 0.5,
            ..Config::default()
        };
        let c = Config { stage1_iterations: 100, lr_plateau_factor: 0.25, lr_plateau_patience: 0, ..base };
        let of = |kind| schedule(&Config { lr_schedule: kind, ..c.clone() }, None);
        assert_eq!([0, 5, 10].map(|i| (1e9 * of(ScheduleKind::Cosine).rate(i)).round()), [1e9, 5e8, 1e9]);
        assert_eq!([3, 4, 8].map(|i| of(ScheduleKind::Step).rate(i)), [1.0, 0.5, 0.25]);
        assert_eq!(of(ScheduleKind::OneCycle).rate(30), 1.0);
        let mut plateau = of(ScheduleKind::Plateau);
        [1.0, 1.0].into_iter().for_each(|loss| plateau.observe(loss));
        assert_eq!((plateau.rate(7), schedule(&c, Some(plateau.clone())).plateau), (0.25, plateau.plateau));
    }
}
