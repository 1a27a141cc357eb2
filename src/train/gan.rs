//! The loop of stage 2. The frozen encoder runs once, in evaluation mode, over the whole training set.

use super::stage2::{GanBatch, Learner, Stage2};
use super::{Clock, Done, OnProgress, Outcome, Stage, TrainOptions};
use crate::backend::cpu::Pool;
use crate::config::Config;
use crate::data::{Prepared, Split, Stratified, Waste};
use crate::error::Result;
use crate::model::Model;
use crate::rng::{Rng, Stream};

impl Model {
    pub(super) fn train_gan(
        &mut self,
        data: &Prepared,
        options: &TrainOptions,
        on_progress: &mut OnProgress,
    ) -> Result<Outcome> {
        let c = self.config.clone();
        let mut pool = Pool::new(options.threads);
        let rows: Vec<&[f32]> = (0..data.train.len()).map(|i| data.train.features(i)).collect();
        let summaries = self.encode_rows(&rows, &mut pool);
        let mut batches = Stratified::new(&data.train.first_conditions(), c.batch_size, options.seed);
        let mut stage = Stage2::default();
        let clock = Clock::new(self.stages[1].iteration);
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
            let mut batch = |draw: u32| {
                let chosen = batches.batch(iteration, draw);
                gan_batch(&summaries, &data.train, &c, &chosen, options.seed, (iteration, draw))
            };
            let mut critic = Default::default();
            for draw in 0..c.n_critic {
                critic = stage.critic_step(&mut pool, &mut learner, &c, &batch(draw), iteration)?;
            }
            let generator = stage.generator_step(&mut pool, &mut learner, &c, &batch(c.n_critic), iteration)?;
            let losses = [critic.total(c.lambda_gp), generator.total, critic.wasserstein(), critic.gp];
            self.stages[1].observe(losses);
            let done = Done {
                stage: Stage::Gan,
                iterations: c.stage2_iterations,
                converged: false,
                rate: c.lr_generator,
                validation: None,
            };
            self.report(&clock, done, on_progress)?;
        }
        Ok(Outcome { iterations: self.stages[1].iteration, converged: false, waste: Waste::default() })
    }
}

/// Summaries and conditions of the chosen movements, with fresh noise and alpha. draw: n_critic is the generator's.
fn gan_batch(
    summaries: &[f32],
    train: &Split,
    c: &Config,
    chosen: &[usize],
    seed: u64,
    (iteration, draw): (u64, u32),
) -> GanBatch {
    let s = c.summary_dim;
    let step = iteration << 16 | u64::from(draw);
    let stream = if draw == c.n_critic { Stream::GeneratorNoise } else { Stream::CriticNoise };
    let mut noise = Rng::new(seed, stream, step);
    let mut alpha = Rng::new(seed, Stream::CriticAlpha, step);
    GanBatch {
        z_real: chosen.iter().flat_map(|&i| &summaries[i * s..(i + 1) * s]).copied().collect(),
        condition: chosen.iter().flat_map(|&i| train.condition(i)).copied().collect(),
        noise: (0..chosen.len() * c.noise_dim).map(|_| noise.normal() as f32).collect(),
        alpha: (0..chosen.len()).map(|_| crate::rng::unit_f32(alpha.word())).collect(),
    }
}
