//! Stage 2 on the device: what src/train/stage2.rs and src/model/gan.rs do, without the host in between.
//!
//! Everything that an iteration needs lies on the device: parameters, moments, the summaries and conditions to choose from,
//! and a clock for the random numbers. The host sends which rows each step takes and the coefficients of its Adam step,
//! and reads the losses. The second iteration is recorded as a graph, and every later one is one launch.

use std::sync::Arc;

use super::context::Context;
use super::gan_space::{D_FAKE, D_REAL, LOSSES, MATCHING, PENALTY, Report, SCORE, Space};
use super::launch::gradient_room;
use super::launch_steps::{Adam, Numbers};
use super::layers::{Arenas, Pass};
use super::session::{Graph, Plan, Rows, Session, Span};
use crate::config::{Config, OptimizerKind};
use crate::error::{Error, Result};
use crate::model::Networks;
use crate::model::gan::CriticLosses;
use crate::nn::optim::{Moments, Optimizer};
use crate::rng::Stream;
use crate::train::stage2::{GanBatch, GeneratorLosses};

/// Numbers of a step that the optimiser's kernel is given.
const SETTINGS: usize = 12;
/// What the GAN learns from: summaries (n,S) of real movements and their conditions (n,C).
#[derive(Clone, Copy)]
pub struct Real<'a> {
    pub summaries: &'a [f32],
    pub conditions: &'a [f32],
}

/// What the host keeps of the training.
pub struct Learner<'a> {
    pub params: &'a mut [f32],
    pub buffers: &'a mut [f32],
    pub generator: &'a mut Moments<f32>,
    pub critic: &'a mut Moments<f32>,
    /// Running average of the generator's weights, or empty.
    pub average: &'a mut [f32],
}

/// Stage 2 of one model, for batches of one size.
pub struct Gan<'a> {
    session: Session,
    networks: &'a Networks,
    c: Config,
    batch: usize,
    rows: Rows,
    one: Rows,
    arenas: Arenas,
    /// Moments, with the offsets of the parameters.
    moments: [Span; 2],
    average: Span,
    /// Spectral norm's u and v after the last step that did not fail.
    kept: Span,
    /// Steps taken by generator and critic.
    steps: [u64; 2],
    real: [Span; 2],
    space: Space,
    /// Sent before an iteration: rows chosen (n_critic + 1, M), coefficients (n_critic + 1, 12).
    orders: Span,
    clock: Span,
    report: Report,
    iterations: u64,
    graph: Option<Graph>,
}

impl<'a> Gan<'a> {
    /// Takes what the host has learnt so far to the device. batch: rows of every batch. The clock starts at the iteration.
    ///
    /// # Errors
    /// `Memory` where the device has too little; `Device` where it fails.
    pub fn new(
        context: &Arc<Context>,
        networks: &'a Networks,
        c: &Config,
        (batch, seed, iteration): (usize, u64, u64),
        real: Real,
        learner: &Learner,
    ) -> Result<Gan<'a>> {
        let (params, buffers) = (networks.layout.len(), networks.layout.buffer_len());
        let mut plan = Plan::default();
        let all = [(); 4].map(|()| plan.floats(params));
        let arenas = Arenas {
            params: all[0],
            grads: all[1],
            buffers: plan.floats(buffers),
            partials: plan.floats(networks.layout.largest(|m| gradient_room(m, batch))),
            divided: plan.floats(networks.layout.largest(|m| m.outputs * m.inputs)),
        };
        let [count, one] = [(); 2].map(|()| plan.floats(1));
        let space = Space::new(&mut plan, networks, c, batch);
        let draws = c.n_critic as usize + 1;
        let gan = Gan {
            networks,
            c: c.clone(),
            batch,
            rows: Rows { count, most: batch },
            one: Rows { count: one, most: 1 },
            arenas,
            moments: [all[2], all[3]],
            average: plan.floats(learner.average.len()),
            kept: plan.floats(buffers),
            steps: [learner.generator.steps, learner.critic.steps],
            real: [plan.floats(real.summaries.len()), plan.floats(real.conditions.len())],
            space,
            orders: plan.floats(draws * (batch + SETTINGS)),
            clock: plan.floats(4),
            report: Report::new(&mut plan),
            iterations: 0,
            graph: None,
            session: Session::new(context, plan, "training the GAN on the device")?,
        };
        let s = &gan.session;
        s.upload(count, &[batch as i32])?;
        s.upload(one, &[1])?;
        s.upload(arenas.params, learner.params)?;
        s.upload(arenas.buffers, learner.buffers)?;
        s.upload(gan.kept, learner.buffers)?;
        s.upload(gan.average, learner.average)?;
        for (moments, range) in gan.ranges([&*learner.generator, &*learner.critic]) {
            for (arena, host) in gan.moments.into_iter().zip([&moments.m, &moments.v]) {
                s.upload(arena.part(range.start, range.len()), host)?; // none before the first step: zeros
            }
        }
        s.upload(gan.real[0], real.summaries)?;
        s.upload(gan.real[1], real.conditions)?;
        s.upload(gan.clock, &[seed as u32, (seed >> 32) as u32, iteration as u32, (iteration >> 32) as u32])?;
        Ok(gan)
    }

    fn ranges<T>(&self, moments: [T; 2]) -> impl Iterator<Item = (T, std::ops::Range<usize>)> {
        moments.into_iter().zip([self.networks.generator_range.clone(), self.networks.critic_range.clone()])
    }

    /// One iteration: n_critic steps of the critic and one of the generator. chosen: the rows of each, in that order.
    /// Returns the losses of the last two steps.
    ///
    /// # Errors
    /// `Diverged` where a loss, gradient or weight is not finite: from that step on nothing has changed.
    pub fn iterate(&mut self, chosen: &[Vec<usize>], iteration: u64) -> Result<(CriticLosses, GeneratorLosses)> {
        let before = self.steps;
        self.order(chosen)?;
        match &self.graph {
            Some(graph) => self.session.replay(graph)?,
            // The first finds and compiles the kernels, which must not happen while a graph is recorded.
            None if self.iterations == 0 => self.work()?,
            None => {
                let graph = self.session.record(|| self.work())?;
                self.session.replay(&graph)?;
                self.graph = Some(graph);
            }
        }
        self.iterations += 1;
        // Of an iteration that diverged, no step counts.
        self.losses(iteration).inspect_err(|_| self.steps = before)
    }

    /// A critic step on a given batch: what tests compare with the CPU.
    pub fn critic_step(&mut self, batch: &GanBatch, iteration: u64) -> Result<CriticLosses> {
        self.given(batch, 0)?;
        self.critic(0)?;
        self.losses(iteration).map(|(critic, _)| critic)
    }

    /// The same for the generator.
    pub fn generator_step(&mut self, batch: &GanBatch, iteration: u64) -> Result<GeneratorLosses> {
        self.given(batch, self.c.n_critic as usize)?;
        self.generator()?;
        self.losses(iteration).map(|(_, generator)| generator)
    }

    /// Brings what has been learnt back to the host.
    pub fn fetch(&self, learner: &mut Learner) -> Result<()> {
        let (s, params) = (&self.session, self.arenas.params);
        s.download(self.kept, learner.buffers)?;
        s.download(self.average, learner.average)?;
        let steps = self.steps;
        for ((moments, range), steps) in self.ranges([&mut *learner.generator, &mut *learner.critic]).zip(steps) {
            s.download(params.part(range.start, range.len()), &mut learner.params[range.clone()])?;
            moments.steps = steps;
            if steps == 0 {
                continue;
            }
            for (arena, host) in self.moments.into_iter().zip([&mut moments.m, &mut moments.v]) {
                host.resize(range.len(), 0.0);
                s.download(arena.part(range.start, range.len()), host)?;
            }
        }
        Ok(())
    }

    /// Of the last step, in the order of the parameters: what tests compare.
    pub fn gradients(&self) -> Result<Vec<f32>> {
        let mut grads = vec![0.0; self.networks.layout.len()];
        self.session.download(self.arenas.grads, &mut grads)?;
        Ok(grads)
    }

    fn order(&mut self, chosen: &[Vec<usize>]) -> Result<()> {
        let rows = chosen.iter().flatten().map(|&i| i as u32);
        let mut orders: Vec<u32> = rows.collect();
        for draw in 0..chosen.len() {
            orders.extend(self.coefficients(draw).map(f32::to_bits));
        }
        self.session.upload(self.orders, &orders)
    }

    fn given(&mut self, batch: &GanBatch, draw: usize) -> Result<()> {
        let coefficients = self.coefficients(draw);
        let (s, space) = (&self.session, &self.space);
        s.upload(self.settings(draw), &coefficients)?;
        s.upload(space.z_real, &batch.z_real)?;
        s.upload(space.condition, &batch.condition)?;
        s.upload(space.noise, &batch.noise)?;
        s.upload(space.alpha, &batch.alpha)
    }

    /// Of the next step, which is counted. Draw n_critic is the generator's.
    fn coefficients(&mut self, draw: usize) -> [f32; SETTINGS] {
        let c = &self.c;
        let critic = draw < c.n_critic as usize;
        let steps = &mut self.steps[usize::from(critic)];
        *steps += 1;
        let (beta1, beta2, weight_decay) = (c.adam_beta1, c.adam_beta2, c.stage2_weight_decay);
        let optimizer = Optimizer { kind: OptimizerKind::Adam, beta1, beta2, weight_decay };
        let step = optimizer.coefficients(*steps, if critic { c.lr_discriminator } else { c.lr_generator }, 1.0);
        let adaptive = f64::from(u8::from(step.adaptive));
        let first = [step.decay, step.shrink, beta1, 1.0 - beta1, beta2, 1.0 - beta2];
        let second = [step.rate, step.v_scale, step.epsilon, adaptive, c.stage2_grad_clip, 0.0];
        std::array::from_fn(|k| if k < 6 { first[k] } else { second[k - 6] } as f32)
    }

    fn settings(&self, draw: usize) -> Span {
        let draws = self.c.n_critic as usize + 1;
        self.orders.part(draws * self.batch + draw * SETTINGS, SETTINGS)
    }

    fn pass(&self) -> Pass<'_> {
        Pass { session: &self.session, arenas: self.arenas, rows: self.rows, one: self.one }
    }

    /// One iteration, asked for.
    fn work(&self) -> Result<()> {
        let draws = self.c.n_critic as usize;
        for draw in 0..draws {
            self.choose(draw)?;
            self.critic(draw)?;
        }
        self.choose(draws)?;
        self.generator()?;
        if self.c.generator_average > 0.0 {
            let range = self.networks.generator_range.clone();
            let (keep, weights) = (self.c.generator_average as f32, self.arenas.params.part(range.start, range.len()));
            self.session.move_average(self.average, weights, keep, self.report.failed, range.len())?;
        }
        self.session.advance_clock(self.clock)
    }

    /// The rows that the host chose, with fresh noise and alpha: those of Latents::batch in src/train/gan.rs.
    fn choose(&self, draw: usize) -> Result<()> {
        let (s, space, c) = (&self.session, &self.space, &self.c);
        let chosen = self.orders.part(draw * self.batch, self.batch);
        s.gather_rows(space.z_real, self.real[0], chosen, self.rows, c.summary_dim)?;
        s.gather_rows(space.condition, self.real[1], chosen, self.rows, c.condition_inputs())?;
        let stream = if draw == c.n_critic as usize { Stream::GeneratorNoise } else { Stream::CriticNoise };
        let numbers =
            |stream: Stream| Numbers { clock: self.clock, stream: stream as u32, shift: 16, add: draw as u64 };
        // One sequence for the whole batch, so one long row.
        s.normals(space.noise, numbers(stream), (1.0, f64::INFINITY), self.one, self.batch * c.noise_dim, 0)?;
        s.uniforms(space.alpha, numbers(Stream::CriticAlpha), self.one, self.batch)
    }

    /// Networks::critic_losses and the update.
    fn critic(&self, draw: usize) -> Result<()> {
        let (s, p, space, c) = (&self.session, self.pass(), &self.space, &self.c);
        let (net, critic, width) = (&self.networks.critic, &space.critic, c.summary_dim);
        let slope = 1.0 / self.batch as f32;
        for normed in &space.norms {
            p.critic_norms(net, normed, true)?;
        }
        self.clear(self.networks.critic_range.clone())?;
        p.generator(&self.networks.generator, space.noise, space.condition, &space.generator)?;
        let calls = [(space.z_real, -slope, D_REAL), (space.generator.z, slope, D_FAKE)];
        for ((z, slope, loss), normed) in calls.into_iter().zip(&space.norms) {
            s.copy_columns((critic.z(), width), (z, width), self.rows, width, 0)?;
            p.critic(net, normed, space.condition, critic)?;
            s.mean_floats(space.loss(loss), critic.score, 1.0, self.rows)?;
            p.critic_backward(net, normed, space.condition, slope, critic, true)?;
        }
        let normed = &space.norms[2];
        s.interpolate(critic.z(), (space.z_real, space.generator.z), space.alpha, self.rows, width)?;
        p.critic(net, normed, space.condition, critic)?;
        p.critic_backward(net, normed, space.condition, 1.0, critic, false)?;
        s.penalty_direction(critic.tz(), space.penalty, critic.dz(), c.lambda_gp, self.rows, width)?;
        s.sum_doubles(space.loss(PENALTY), space.penalty, 1.0, self.rows, 1)?;
        p.critic_tangent(net, normed, critic)?;
        p.critic_tangent_backward(net, normed, space.condition, critic)?;
        self.update(self.networks.critic_range.clone(), draw)
    }

    /// Networks::generator_forward, ::generator_backward and the update.
    fn generator(&self) -> Result<()> {
        let (s, p, space, c) = (&self.session, self.pass(), &self.space, &self.c);
        let (net, critic, width) = (&self.networks.critic, &space.critic, c.summary_dim);
        let (normed, fake) = (&space.norms[0], &space.generator);
        p.critic_norms(net, normed, true)?;
        self.clear(self.networks.generator_range.clone())?;
        p.generator(&self.networks.generator, space.noise, space.condition, fake)?;
        s.copy_columns((critic.z(), width), (fake.z, width), self.rows, width, 0)?;
        p.critic(net, normed, space.condition, critic)?;
        s.mean_floats(space.loss(SCORE), critic.score, 1.0, self.rows)?;
        p.critic_backward(net, normed, space.condition, -1.0 / self.batch as f32, critic, false)?;
        s.copy_columns((fake.dz, width), (critic.dz(), width), self.rows, width, 0)?;
        if c.use_feature_matching {
            let (dz, pair) = ((fake.dz, space.matching), (fake.z, space.z_real));
            s.feature_matching(dz, pair, c.lambda_fm, self.rows, width)?;
            s.sum_doubles(space.loss(MATCHING), space.matching, 1.0, self.one, width)?;
        }
        p.generator_backward(&self.networks.generator, space.condition, fake)?;
        self.update(self.networks.generator_range.clone(), c.n_critic as usize)
    }

    fn clear(&self, range: std::ops::Range<usize>) -> Result<()> {
        self.session.fill(self.arenas.grads.part(range.start, range.len()), 0.0, self.one, range.len())
    }

    /// Update::apply of src/train/update.rs.
    fn update(&self, range: std::ops::Range<usize>, draw: usize) -> Result<()> {
        let (s, space, report, size) = (&self.session, &self.space, &self.report, range.len());
        let part = |arena: Span| arena.part(range.start, size);
        s.store_losses(report.ring, 1, report.failed, space.losses, self.clock)?;
        let (w, g) = (part(self.arenas.params), part(self.arenas.grads));
        s.sum_squares(space.g_squares, g, size)?;
        s.sum_squares(space.w_squares, w, size)?;
        let adam = Adam {
            w,
            g,
            m: part(self.moments[0]),
            v: part(self.moments[1]),
            g_squares: space.g_squares,
            w_squares: space.w_squares,
            settings: self.settings(draw),
            norm: report.norm,
            failed: report.failed,
        };
        s.adam_step(adam, size)?;
        match self.kept.len() {
            0 => Ok(()),
            len => s.move_average(self.kept, self.arenas.buffers, 0.0, report.failed, len),
        }
    }

    /// Waits, and reads what the last steps reported.
    fn losses(&self, iteration: u64) -> Result<(CriticLosses, GeneratorLosses)> {
        let mut report = [0.0f64; LOSSES + 2];
        self.session.download(self.report.whole, &mut report)?;
        let critic = CriticLosses { d_real: report[D_REAL], d_fake: report[D_FAKE], gp: report[PENALTY] };
        let (adversarial, feature_matching) = (-report[SCORE], report[MATCHING]);
        let total = adversarial + self.c.lambda_fm * feature_matching;
        if report[LOSSES + 1].to_bits() as u32 != 0 {
            let what = match () {
                () if !critic.total(self.c.lambda_gp).is_finite() => "the critic's loss",
                () if !total.is_finite() => "the generator's loss",
                () => "a gradient or a weight",
            };
            return Err(Error::Diverged { stage: 2, iteration, what });
        }
        Ok((critic, GeneratorLosses { adversarial, feature_matching, total }))
    }
}
