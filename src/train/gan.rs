//! The loop of stage 2. The frozen encoder runs once, in evaluation mode, over the whole training set.

#[cfg(feature = "cuda")]
use std::sync::Arc;
#[cfg(feature = "cuda")]
use std::time::Instant;

use super::shards::Batch;
use super::stage2::{CriticBefore, GanBatch, Learner, Stage2};
use super::{Clock, Done, OnProgress, Outcome, Progress, Stage, TrainOptions};
use crate::backend::cpu::Pool;
#[cfg(feature = "cuda")]
use crate::backend::{Backend, cuda};
use crate::config::Config;
use crate::data::steps::condition;
use crate::data::{Prepared, StepCodec, Stratified, Waste};
use crate::error::Result;
use crate::model::Model;
use crate::rng::{Rng, Stream, unit_f32};

/// Seconds that a device may work before the callback is asked whether to go on.
#[cfg(feature = "cuda")]
const PATIENCE: f64 = 0.1;

impl Model {
    pub(super) fn train_gan(
        &mut self,
        data: &Prepared,
        options: &TrainOptions,
        on_progress: &mut OnProgress,
    ) -> Result<Outcome> {
        let mut c = self.config.clone();
        c.batch_size = c.stage2_batch();
        let mut pool = Pool::new(options.threads);
        let latents = match self.data.as_ref().and_then(|d| d.codec.clone()) {
            Some(codec) => self.walk_latents(data, &codec, &mut pool)?,
            None => self.feature_latents(data, &mut pool)?,
        };
        self.stages[1].spread = Some(latents.spread());
        let mut batches = Stratified::new(&latents.first_conditions(), c.batch_size, options.seed);
        let work = Work { c: &c, data, latents: &latents, options };
        if c.generator_average == 0.0 {
            // Of an earlier call: samples come from the weights as they are.
            if !self.average.is_empty() {
                (self.average, self.ratio) = (Vec::new(), None);
            }
        } else if self.average.is_empty() {
            self.average = self.weights.params[self.networks.generator_range.clone()].to_vec();
        }
        let clock = Clock::new(self.stages[1].iteration);
        match self.backend.clone() {
            #[cfg(feature = "cuda")]
            Backend::Cuda(device) if cuda::gan::fits(&device, &self.networks) => {
                self.gan_on_cuda(&work, &mut batches, &device, &clock, on_progress)?;
            }
            _ => self.gan_on_cpu(&work, &mut batches, pool, &clock, on_progress)?,
        }
        self.learn_to_choose(&work, &clock, on_progress)?;
        Ok(Outcome { iterations: self.stages[1].iteration, converged: false, waste: Waste::default() })
    }

    fn gan_on_cpu(
        &mut self,
        work: &Work,
        batches: &mut Stratified,
        mut pool: Pool,
        clock: &Clock,
        on_progress: &mut OnProgress,
    ) -> Result<()> {
        let Work { c, latents, options: TrainOptions { seed, .. }, .. } = *work;
        let (mut stage, mut before) = (Stage2::default(), CriticBefore::default());
        while self.stages[1].iteration < c.stage2_iterations {
            let iteration = self.stages[1].iteration;
            let [_, generator, critic] = &mut self.moments;
            let mut learner = Learner {
                networks: &self.networks,
                weights: &mut self.weights,
                buffers: &mut self.buffers,
                generator,
                critic,
            };
            let batch = |draw: u32| latents.batch(c, &batches.batch(iteration, draw), *seed, (iteration, draw));
            before.keep(&learner);
            let done = stage.iteration(&mut pool, &mut learner, c, batch, iteration);
            let (critic, generator) = done.inspect_err(|_| before.put_back(&mut learner))?;
            if c.generator_average > 0.0 {
                let keep = average_keeps(c, iteration);
                let weights = &self.weights.params[self.networks.generator_range.clone()];
                self.average.iter_mut().zip(weights).for_each(|(a, w)| *a = keep * *a + (1.0 - keep) * w);
            }
            let losses = [critic.total(c.lambda_gp), generator.total, critic.wasserstein(), critic.gp];
            let done = self.gan_done(c, losses);
            self.report(clock, done, on_progress)?;
        }
        Ok(())
    }

    /// The same on a device, some iterations at a time. It keeps all that is learnt, which comes back to the host where the
    /// callback may want it: at log, eval and save intervals, and at the end, however that comes.
    #[cfg(feature = "cuda")]
    fn gan_on_cuda(
        &mut self,
        work: &Work,
        batches: &mut Stratified,
        device: &Arc<cuda::Context>,
        clock: &Clock,
        on_progress: &mut OnProgress,
    ) -> Result<()> {
        let Work { c, latents, options: TrainOptions { seed, .. }, .. } = *work;
        let networks = self.networks.clone();
        let start = (c.batch_size, *seed, self.stages[1].iteration);
        let (summaries, conditions) = (&latents.summaries, &latents.conditions);
        let real = cuda::gan::Real { summaries, conditions, bins: batches.bins() };
        let mut gan = cuda::gan::Gan::new(device, &networks, c, start, real, &self.cuda_learner())?;
        let mut fetched = self.stages[1].clone();
        let mut most = 1;
        while self.stages[1].iteration < c.stage2_iterations {
            let iteration = self.stages[1].iteration;
            // Nobody looks at the model before the next interval ends; but somebody may want to stop.
            let until = super::next_look(c, iteration).min(c.stage2_iterations).min(iteration + most);
            let begin = Instant::now();
            // A device that has failed gives nothing back: the host is where it last had its weights.
            let run = gan.run((until - iteration) as usize);
            let run = run.inspect_err(|_| self.stages[1] = fetched.clone())?;
            let each = begin.elapsed().as_secs_f64() / (until - iteration) as f64;
            most = (PATIENCE / each.max(1e-9)).clamp(1.0, cuda::gan::RING as f64) as u64;
            for (losses, done) in run.into_iter().zip(1..) {
                let (critic, generator) = match losses {
                    Ok(losses) => losses,
                    Err(diverged) => {
                        self.fetch(&gan)?;
                        return Err(diverged);
                    }
                };
                let losses = [critic.total(c.lambda_gp), generator.total, critic.wasserstein(), critic.gp];
                let step = self.gan_done(c, losses);
                let now = self.stages[1].iteration;
                if super::is_looked_at(c, now) || now == c.stage2_iterations {
                    self.fetch(&gan)?;
                    fetched = self.stages[1].clone();
                }
                if let Err(stopped) = self.report(clock, step, on_progress) {
                    gan.rewind(done).inspect_err(|_| self.stages[1] = fetched)?;
                    self.fetch(&gan)?;
                    return Err(stopped);
                }
            }
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn fetch(&mut self, gan: &cuda::gan::Gan) -> Result<()> {
        gan.fetch(&mut self.cuda_learner())?;
        self.weights.pack(self.networks.generator_range.start..self.networks.critic_range.end);
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_learner(&mut self) -> cuda::gan::Learner<'_> {
        let [_, generator, critic] = &mut self.moments;
        let (params, buffers, average) = (&mut self.weights.params, &mut self.buffers, &mut self.average);
        cuda::gan::Learner { params, buffers, generator, critic, average }
    }

    /// At the end of the stage, after its last iteration was told: who stops it loses nothing, for a later call begins here.
    fn learn_to_choose(&mut self, work: &Work, clock: &Clock, on_progress: &mut OnProgress) -> Result<()> {
        let done = self.stages[1].iteration;
        if self.ratio.is_some() || done == 0 || done < work.c.stage2_iterations {
            return Ok(());
        }
        self.sampler = Default::default(); // walks come from the weights as they are now
        let told = Progress { log: false, ..self.progress(clock, &of_gan(work.c)) };
        let quiet = Progress { save: false, ..told.clone() };
        let ask = &mut || self.ask(&quiet, on_progress);
        self.ratio = self.fit_ratio(work.data, work.options.seed, work.options.threads, ask)?;
        // What was saved after the last iteration could not choose yet.
        if self.ratio.is_some() && told.save { self.ask(&told, on_progress) } else { Ok(()) }
    }

    fn gan_done(&mut self, c: &Config, losses: [f64; 4]) -> Done {
        self.ratio = None; // of other weights
        self.stages[1].observe(losses);
        of_gan(c)
    }

    fn feature_latents(&self, data: &Prepared, pool: &mut Pool) -> Result<Latents> {
        let rows: Vec<Vec<f32>> = (0..data.train.len()).map(|i| data.train.features(i).to_vec()).collect();
        let summaries = self.encode_batch(&Batch::new(&rows, self.config.feature_dim), pool)?;
        Ok(Latents { summaries, conditions: data.train.conditions().to_vec(), columns: self.config.condition_dim })
    }

    /// With mirrors to the end, each movement in its four images.
    fn walk_latents(&self, data: &Prepared, codec: &StepCodec, pool: &mut Pool) -> Result<Latents> {
        let mut latents = Latents { columns: self.config.condition_inputs(), ..Latents::default() };
        let mirrors = self.config.augment_mirror && self.config.augment_mirror_share >= 1.0;
        let images = if mirrors { 4 } else { 1 };
        for image in 0..images {
            let mut walks = Vec::new();
            for movement in (0..data.train.len()).filter_map(|i| data.train.movement(i)) {
                let movement = movement.mirrored(image & 1 != 0, image & 2 != 0);
                latents.conditions.extend(condition(movement.target()));
                walks.push(codec.encode(&movement.points));
            }
            latents.summaries.extend(self.encode_batch(&Batch::of_walks(&walks), pool)?);
        }
        Ok(latents)
    }
}

/// What the generator's average keeps of itself in an iteration, from 0: little at first, so that it is of what has been
/// learnt and not of the weights that it began with (as in TensorFlow's ExponentialMovingAverage).
pub(crate) fn average_keeps(c: &Config, iteration: u64) -> f32 {
    let i = iteration as f64;
    c.generator_average.min((1.0 + i) / (10.0 + i)) as f32
}

/// What both places where the GAN trains are given.
struct Work<'a> {
    c: &'a Config,
    data: &'a Prepared,
    latents: &'a Latents,
    options: &'a TrainOptions,
}

/// What the GAN learns from: summaries (n,S) of real movements and their conditions (n,columns).
#[derive(Default)]
struct Latents {
    summaries: Vec<f32>,
    conditions: Vec<f32>,
    columns: usize,
}

impl Latents {
    fn first_conditions(&self) -> Vec<f32> {
        self.conditions.iter().step_by(self.columns).copied().collect()
    }

    /// The mean of the summaries' standard deviations.
    fn spread(&self) -> f64 {
        let rows = self.conditions.len() / self.columns;
        let width = self.summaries.len() / rows;
        let deviation = |k: usize| {
            let values = || self.summaries[k..].iter().step_by(width).map(|&z| f64::from(z));
            let mean = values().sum::<f64>() / rows as f64;
            (values().map(|z| (z - mean).powi(2)).sum::<f64>() / rows as f64).sqrt()
        };
        (0..width).map(deviation).sum::<f64>() / width as f64
    }

    /// The chosen ones, with fresh noise and alpha. draw: n_critic is the generator's.
    fn batch(&self, c: &Config, chosen: &[usize], seed: u64, (iteration, draw): (u64, u32)) -> GanBatch {
        let step = iteration << 16 | u64::from(draw);
        let stream = if draw == c.n_critic { Stream::GeneratorNoise } else { Stream::CriticNoise };
        let mut noise = Rng::new(seed, stream, step);
        let mut alpha = Rng::new(seed, Stream::CriticAlpha, step);
        GanBatch {
            z_real: gather(&self.summaries, c.summary_dim, chosen),
            condition: gather(&self.conditions, self.columns, chosen),
            noise: (0..chosen.len() * c.noise_dim).map(|_| noise.normal() as f32).collect(),
            alpha: (0..chosen.len()).map(|_| unit_f32(alpha.word())).collect(),
        }
    }
}

/// An iteration of stage 2.
fn of_gan(c: &Config) -> Done {
    let (iterations, rate) = (c.stage2_iterations, c.lr_generator);
    Done { stage: Stage::Gan, iterations, converged: false, rate, validation: None }
}

fn gather(rows: &[f32], width: usize, chosen: &[usize]) -> Vec<f32> {
    chosen.iter().flat_map(|&i| &rows[i * width..(i + 1) * width]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DecoderKind;
    use crate::data::{Dataset, Movement, Point};
    use crate::model::DataModel;

    #[test]
    fn an_average_forgets_where_it_began() {
        let c = Config { generator_average: 0.999, ..Config::default() };
        let left = |iterations: u64| (0..iterations).map(|i| f64::from(average_keeps(&c, i))).product::<f64>();
        assert!(left(10) < 1e-4 && left(1000) < 1e-15);
        assert_eq!((average_keeps(&c, 0), average_keeps(&c, 20_000)), (0.1, 0.999));
        let short = Config { generator_average: 0.05, ..c };
        assert_eq!(average_keeps(&short, 0), 0.05);
    }

    /// Each draw of an iteration, and each iteration, has rows, noise and places between real and fake of its own.
    #[test]
    fn every_step_has_random_numbers_of_its_own() {
        let c = Config { n_critic: 2, noise_dim: 3, summary_dim: 2, ..Config::default() };
        let latents =
            Latents { summaries: (0..8).map(|i| i as f32).collect(), conditions: vec![5.0, 6.0, 7.0, 8.0], columns: 1 };
        let batches: Vec<GanBatch> = (0..6).map(|k| latents.batch(&c, &[3, 1], 1, (k / 3, (k % 3) as u32))).collect();
        for batch in &batches {
            assert_eq!((&batch.z_real[..], &batch.condition[..]), (&[6.0, 7.0, 2.0, 3.0][..], &[8.0, 6.0][..]));
            assert!(batch.alpha.iter().all(|a| (0.0..1.0).contains(a)));
        }
        let different = |of: fn(&GanBatch) -> &[f32]| {
            let mut all: Vec<f32> = batches.iter().flat_map(of).copied().collect();
            let count = all.len();
            all.sort_by(f32::total_cmp);
            all.dedup();
            (all.len(), count)
        };
        assert_eq!((different(|b| &b.noise), different(|b| &b.alpha)), ((36, 36), (12, 12)));
        let many = latents.batch(&c, &[0; 2000], 1, (0, 0));
        let square = many.noise.iter().map(|x| x * x).sum::<f32>() / 6000.0;
        let mean = many.alpha.iter().sum::<f32>() / 2000.0;
        assert!((square - 1.0).abs() < 0.1 && (mean - 0.5).abs() < 0.05, "{square} {mean}");
    }

    /// The critic sees every movement in its four images, each with its own summary and target.
    #[test]
    fn images_come_with_their_own_targets() {
        let base = Config {
            encoder_hidden_dim: 4,
            expander_hidden_dim: 4,
            latent_dim: 4,
            summary_dim: 4,
            ..Config::default()
        };
        let c = Config { decoder: DecoderKind::ClosedLoop, quality_z: 0.0, ..base };
        let mut data = Dataset::new(1);
        for n in 10..20 {
            let point = |i: i32| Point { x: f64::from(i * n), y: f64::from(i * i), t_ms: f64::from(8 * i) };
            data.push(Movement::new((0..n).map(point).collect()).unwrap(), None).unwrap();
        }
        let latents = |share| {
            let c = Config { augment_mirror_share: share, ..c.clone() };
            let data = data.prepare(&c, None).unwrap();
            let mut model = Model::new(c.clone(), crate::Device::Cpu).unwrap();
            let known = DataModel::new(&data, &c).unwrap();
            let codec = known.codec.clone().unwrap();
            model.data = Some(known);
            let latents = model.walk_latents(&data, &codec, &mut Pool::new(1)).unwrap();
            (model, data.train, latents)
        };
        let (model, train, all) = latents(1.0);
        let n = train.len();
        assert_eq!((all.conditions.len(), all.summaries.len()), (4 * 3 * n, 4 * 4 * n));
        for (i, (x, y)) in [(false, false), (true, false), (false, true), (true, true)].into_iter().enumerate() {
            let image = train.movement(1).unwrap().mirrored(x, y);
            let [tx, ty] = image.target();
            let (distance, row) = (tx.hypot(ty), i * n + 1);
            let [_, cosine, sine] = all.conditions[3 * row..][..3] else { panic!() };
            assert!((f64::from(cosine) - tx / distance).abs() < 1e-6 && (f64::from(sine) - ty / distance).abs() < 1e-6);
            let z: Vec<f32> = model.encode(&[image], 1).unwrap().into_iter().collect();
            assert_eq!(all.summaries[4 * row..][..4], z, "image {i}");
        }
        // Mirrors that were not shown to the end are nothing to learn from.
        assert_eq!(latents(0.9).2.conditions.len(), 3 * n);
    }
}
