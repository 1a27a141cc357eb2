//! Stage 2 on the device: what src/train/stage2.rs and src/model/gan.rs do, without the host in between.
//!
//! Everything that an iteration needs lies on the device: parameters, moments, the summaries and conditions to choose from,
//! and a clock for the random numbers. The host sends the coefficients of some iterations' Adam steps, asks for them, and then
//! reads their losses. The second iteration is recorded as a graph, and every later one is one launch.

use std::sync::Arc;

use super::context::Context;
use super::critic;
pub use super::gan_space::RING;
use super::gan_space::{D_FAKE, D_REAL, FAILED, LOSSES, MATCHING, PENALTY, Report, SCORE, Space};
use super::launch::gradient_room;
use super::launch_steps::{Adam, KEEP, Numbers, SETTINGS, settings};
use super::layers::{Arenas, Pass};
use super::plan::{Plan, Rows, Span};
use super::session::Session;
use crate::config::{Config, OptimizerKind};
use crate::error::{Error, Result};
use crate::model::Networks;
use crate::model::gan::CriticLosses;
use crate::nn::optim::{Moments, Optimizer};
use crate::rng::Stream;
use crate::train::gan::average_keeps;
use crate::train::stage2::{GanBatch, GeneratorLosses};

/// What the GAN learns from: summaries (n,S) of real movements, their conditions (n,C), and the bins that batches come from.
#[derive(Clone, Copy)]
pub struct Real<'a> {
    pub summaries: &'a [f32],
    pub conditions: &'a [f32],
    pub bins: &'a [Vec<usize>],
}

/// Whether a device has the memory for the critic's norms.
pub fn fits(device: &Context, networks: &Networks) -> bool {
    critic::fits(device, &networks.critic)
}

/// Losses of the last two steps of an iteration.
pub type Losses = (CriticLosses, GeneratorLosses);

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
    /// What is learnt, as it was when the last run began.
    kept: [Span; 5],
    began: Count,
    now: Count,
    seed: u64,
    real: [Span; 2],
    /// Rows by bins, and where each bin ends.
    bins: [Span; 2],
    chosen: Span,
    /// For choose_rows: a zero for each row.
    taken: Span,
    space: Space,
    /// Coefficients of an iteration's Adam steps (n_critic + 1, 12), and those of some iterations (RING, n_critic + 1, 12).
    settings: Span,
    orders: Span,
    clock: Span,
    report: Report,
}

/// Where training is: iterations, and steps taken by generator and critic.
#[derive(Clone, Copy, Debug)]
struct Count {
    iteration: u64,
    steps: [u64; 2],
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
        let learnt = networks.generator_range.len() + networks.critic_range.len();
        let average = plan.floats(learner.average.len());
        let rows: Vec<u32> = real.bins.iter().flatten().map(|&row| row as u32).collect();
        let now = Count { iteration, steps: [learner.generator.steps, learner.critic.steps] };
        let gan = Gan {
            networks,
            c: c.clone(),
            batch,
            rows: Rows { count, most: batch },
            one: Rows { count: one, most: 1 },
            arenas,
            moments: [all[2], all[3]],
            average,
            kept: [learnt, learnt, learnt, average.len(), buffers].map(|len| plan.floats(len)),
            began: now,
            now,
            seed,
            real: [plan.floats(real.summaries.len()), plan.floats(real.conditions.len())],
            bins: [plan.floats(rows.len()), plan.floats(real.bins.len())],
            chosen: plan.floats(batch),
            taken: plan.floats(real.summaries.len() / c.summary_dim),
            space,
            settings: plan.floats(draws * SETTINGS),
            orders: plan.floats(RING * draws * SETTINGS),
            clock: plan.floats(4),
            report: Report::new(&mut plan),
            session: Session::new(context, plan, "training the GAN on the device")?,
        };
        let s = &gan.session;
        s.upload(count, &[batch as i32])?;
        s.upload(one, &[1])?;
        let share = 1.0 / networks.critic.scales.len() as f32;
        let mean = 1.0 / batch as f32;
        for (to, slope) in gan.space.slopes.into_iter().zip([-mean, mean, 1.0]) {
            s.upload(to, &vec![slope * share; batch])?;
        }
        s.upload(arenas.params, learner.params)?;
        s.upload(arenas.buffers, learner.buffers)?;
        s.upload(gan.average, learner.average)?;
        for (moments, range) in gan.ranges([&*learner.generator, &*learner.critic]) {
            for (arena, host) in gan.moments.into_iter().zip([&moments.m, &moments.v]) {
                s.upload(arena.part(range.start, range.len()), host)?; // none before the first step: zeros
            }
        }
        s.upload(gan.real[0], real.summaries)?;
        s.upload(gan.real[1], real.conditions)?;
        let ends = real.bins.iter().scan(0, |end, bin| {
            *end += bin.len() as u32;
            Some(*end)
        });
        s.upload(gan.bins[0], &rows)?;
        s.upload(gan.bins[1], &ends.collect::<Vec<u32>>())?;
        gan.set_clock()?;
        Ok(gan)
    }

    fn set_clock(&self) -> Result<()> {
        let (seed, iteration) = (self.seed, self.now.iteration);
        self.session.upload(self.clock, &[seed, iteration].map(|n| [n as u32, (n >> 32) as u32]).concat())
    }

    fn ranges<T>(&self, moments: [T; 2]) -> impl Iterator<Item = (T, std::ops::Range<usize>)> {
        moments.into_iter().zip([self.networks.generator_range.clone(), self.networks.critic_range.clone()])
    }

    /// So many iterations, at most RING: n_critic steps of the critic and one of the generator each. Waits for the last.
    /// Returns the losses of each, up to the first that fails with `Diverged` where a loss, gradient or weight is not finite:
    /// that and all after it have changed nothing.
    ///
    /// # Errors
    /// `Device` where the device fails.
    pub fn run(&mut self, count: usize) -> Result<Vec<Result<Losses>>> {
        assert!(count <= RING, "{count} iterations");
        self.began = self.now;
        self.copy(self.learnt(), self.kept)?;
        self.order(count)?;
        for _ in 0..count {
            self.session.ask(|| self.work())?;
        }
        let mut losses = Vec::with_capacity(count);
        for (iteration, slot) in (self.began.iteration..).zip(self.slots(count)?) {
            losses.push(self.losses(&slot, iteration));
            if losses.last().is_some_and(Result::is_err) {
                self.rewind(losses.len() - 1)?;
                break;
            }
        }
        Ok(losses)
    }

    /// Leaves only the first iterations of the last run.
    pub fn rewind(&mut self, count: usize) -> Result<()> {
        if self.now.iteration == self.began.iteration + count as u64 {
            return Ok(());
        }
        self.now = self.began;
        self.copy(self.kept, self.learnt())?;
        self.session.upload(self.report.failed, &[0])?;
        self.set_clock()?;
        self.order(count)?;
        for _ in 0..count {
            self.session.ask(|| self.work())?;
        }
        Ok(())
    }

    /// What iterations change: parameters and moments of both networks, the average, spectral norm's u and v.
    fn learnt(&self) -> [Span; 5] {
        let (start, len) = (self.networks.generator_range.start, self.kept[0].len());
        let [m, v] = self.moments.map(|moments| moments.part(start, len));
        [self.arenas.params.part(start, len), m, v, self.average, self.arenas.buffers]
    }

    fn copy(&self, from: [Span; 5], to: [Span; 5]) -> Result<()> {
        let mut pairs = from.into_iter().zip(to).filter(|(from, _)| !from.is_empty());
        pairs.try_for_each(|(from, to)| self.session.copy(to, from))
    }

    /// What the ring holds of the last iterations.
    fn slots(&self, count: usize) -> Result<Vec<[f64; LOSSES]>> {
        let mut ring = [[0.0; LOSSES]; RING];
        self.session.download(self.report.ring, ring.as_flattened_mut())?;
        Ok((self.began.iteration..).take(count).map(|i| ring[(i % RING as u64) as usize]).collect())
    }

    /// A critic step on a given batch: what tests compare with the CPU.
    pub fn critic_step(&mut self, batch: &GanBatch, iteration: u64) -> Result<CriticLosses> {
        self.given(batch, 0)?;
        self.critic(0)?;
        self.step_losses(iteration).map(|(critic, _)| critic)
    }

    /// The same for the generator.
    pub fn generator_step(&mut self, batch: &GanBatch, iteration: u64) -> Result<GeneratorLosses> {
        self.given(batch, self.c.n_critic as usize)?;
        self.generator()?;
        self.step_losses(iteration).map(|(_, generator)| generator)
    }

    /// What a single step leaves in the slot of the clock, which has not moved.
    fn step_losses(&self, iteration: u64) -> Result<Losses> {
        self.session.end_iteration(self.report.ring, self.clock, self.report.failed, RING)?;
        self.set_clock()?;
        let slots = self.slots(1)?;
        self.losses(&slots[0], iteration)
    }

    /// Brings what has been learnt back to the host.
    pub fn fetch(&self, learner: &mut Learner) -> Result<()> {
        let (s, params) = (&self.session, self.arenas.params);
        s.download(self.arenas.buffers, learner.buffers)?;
        s.download(self.average, learner.average)?;
        let steps = self.now.steps;
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

    /// Sends the coefficients of so many iterations, which are counted.
    fn order(&mut self, count: usize) -> Result<()> {
        let draws = self.c.n_critic as usize + 1;
        let mut orders = vec![0.0; self.orders.len()];
        for _ in 0..count {
            let slot = (self.now.iteration % RING as u64) as usize;
            for draw in 0..draws {
                orders[(slot * draws + draw) * SETTINGS..][..SETTINGS].copy_from_slice(&self.coefficients(draw));
            }
            self.now.iteration += 1;
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
        let steps = &mut self.now.steps[usize::from(critic)];
        *steps += 1;
        let (beta1, beta2, weight_decay) = (c.adam_beta1, c.adam_beta2, c.stage2_weight_decay);
        let optimizer = Optimizer { kind: OptimizerKind::Adam, beta1, beta2, weight_decay };
        let step = optimizer.coefficients(*steps, if critic { c.lr_discriminator } else { c.lr_generator }, 1.0);
        let mut settings = settings(&step, c.stage2_grad_clip);
        settings[KEEP] = average_keeps(c, self.now.iteration);
        settings
    }

    fn settings(&self, draw: usize) -> Span {
        self.settings.part(draw * SETTINGS, SETTINGS)
    }

    fn pass(&self) -> Pass<'_> {
        Pass { session: &self.session, arenas: self.arenas, rows: self.rows, one: self.one }
    }

    /// One iteration, asked for.
    fn work(&self) -> Result<()> {
        let draws = self.c.n_critic as usize;
        self.session.take_slot(self.settings, self.orders, self.clock, RING)?;
        for draw in 0..draws {
            self.choose(draw)?;
            self.critic(draw)?;
        }
        self.choose(draws)?;
        self.generator()?;
        if self.c.generator_average > 0.0 {
            let range = self.networks.generator_range.clone();
            let weights = self.arenas.params.part(range.start, range.len());
            let keep = self.settings(draws).part(KEEP, 1);
            self.session.move_average(self.average, weights, keep, self.report.failed, range.len())?;
        }
        self.session.end_iteration(self.report.ring, self.clock, self.report.failed, RING)
    }

    /// The rows of a batch, with fresh noise and alpha: those of Latents::batch in src/train/gan.rs.
    fn choose(&self, draw: usize) -> Result<()> {
        let (s, space, c) = (&self.session, &self.space, &self.c);
        let chosen = self.chosen;
        s.choose_rows((chosen, self.taken), self.bins, self.clock, self.rows, draw)?;
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
        let [of_real, of_fake, whole] = space.slopes;
        for normed in &space.norms {
            p.critic_norms(net, normed, true)?;
        }
        self.clear(self.networks.critic_range.clone())?;
        p.generator(&self.networks.generator, space.noise, space.condition, &space.generator)?;
        p.critic_condition(net, space.condition, critic)?;
        let calls = [(space.z_real, of_real, D_REAL), (space.generator.z, of_fake, D_FAKE)];
        for ((z, slope, loss), normed) in calls.into_iter().zip(&space.norms) {
            s.copy_rows(critic.z(), z, self.rows, width)?;
            p.critic(net, normed, critic)?;
            p.critic_score(critic, space.loss(loss))?;
            p.critic_backward(net, normed, slope, critic, true)?;
        }
        let normed = &space.norms[2];
        s.interpolate(critic.z(), (space.z_real, space.generator.z), space.alpha, self.rows, width)?;
        p.critic(net, normed, critic)?;
        p.critic_backward(net, normed, whole, critic, false)?;
        s.penalty_direction(critic.tz(), space.penalty, critic.dz(), c.lambda_gp, self.rows, width)?;
        s.sum_doubles(space.loss(PENALTY), space.penalty, 1.0, self.rows, 1)?;
        p.critic_tangent(net, normed, critic)?;
        p.critic_tangent_backward(net, normed, whole, critic)?;
        p.critic_condition_backward(net, space.condition, critic)?;
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
        s.copy_rows(critic.z(), fake.z, self.rows, width)?;
        p.critic_condition(net, space.condition, critic)?;
        p.critic(net, normed, critic)?;
        p.critic_score(critic, space.loss(SCORE))?;
        p.critic_backward(net, normed, space.slopes[0], critic, false)?;
        s.copy_rows(fake.dz, critic.dz(), self.rows, width)?;
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
        s.store_losses(report.ring, RING, report.failed, space.losses, self.clock)?;
        let (w, g) = (part(self.arenas.params), part(self.arenas.grads));
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
        s.update(adam, size)
    }

    /// What a slot says of its iteration.
    fn losses(&self, slot: &[f64; LOSSES], iteration: u64) -> Result<Losses> {
        let critic = CriticLosses { d_real: slot[D_REAL], d_fake: slot[D_FAKE], gp: slot[PENALTY] };
        let (adversarial, feature_matching) = (-slot[SCORE], slot[MATCHING]);
        let total = adversarial + self.c.lambda_fm * feature_matching;
        if slot[FAILED] != 0.0 {
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
