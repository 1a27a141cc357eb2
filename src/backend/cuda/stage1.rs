//! Stage 1 on the device: what src/train/stage1.rs does, a whole batch at once.
//!
//! The host sends a batch, with its tables, the clock of its random numbers and the coefficients of its Adam step, and reads
//! the losses. All else lies on the device, at addresses and in grids that suit the largest batch: so the second iteration is
//! recorded as a graph, and every later one, whatever its lengths, is one launch.

use std::sync::Arc;

use super::batch::{CLASSES, Merged};
use super::context::Context;
use super::launch::{ADD, gradient_room};
use super::launch_sequence::{Packed, Room};
use super::launch_steps::{Adam, KEEP, Numbers as Draws, SETTINGS, parts, settings};
use super::layers::Arenas;
use super::plan::{Plan, Rows, Span};
use super::sequence::Sweep;
use super::session::{Numbers, Session};
use super::v6::{self, V6Space};
use super::walker::{self, ClosedLoopSpace};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::v6::LossWeights;
use crate::model::{Autoencoder, Networks};
use crate::nn::Matrix;
use crate::nn::optim::{Moments, clip_factor};
use crate::rng::Stream;
use crate::train::shards::{Batch, ROWS};
use crate::train::stage1::{At, Losses, optimizer};
use crate::train::update::LARGEST;

/// Losses in a slot of the ring, which has one here: the host reads the losses of every iteration.
const LOSSES: usize = 8;

/// What the host keeps of the training.
pub struct Learner<'a> {
    pub params: &'a mut [f32],
    pub buffers: &'a mut [f32],
    pub moments: &'a mut Moments<f32>,
}

/// Stage 1 of one model, for batches of some lengths.
pub struct Stage1 {
    session: Session,
    networks: Networks,
    c: Config,
    room: Room,
    packed: Packed,
    one: Rows,
    arenas: Arenas,
    moments: [Span; 2],
    /// Spectral norm's u and v after the last step that did not fail.
    kept: Span,
    /// Steps taken.
    steps: u64,
    x: Span,
    classes: Span,
    /// Clock (4) and coefficients (12), sent with a batch.
    orders: Span,
    space: Space,
    losses: Span,
    squares: [Span; 2],
    /// What the host reads after an iteration, in one piece, in doubles: the ring, the norm of the gradient, whether a step
    /// failed.
    report: Span,
}

enum Space {
    V6(Box<V6Space>),
    ClosedLoop(Box<ClosedLoopSpace>),
}

/// Whether a device has the memory for the networks' recurrences.
pub fn fits(device: &Context, networks: &Networks) -> bool {
    match &networks.autoencoder {
        Autoencoder::V6(net) => v6::fits(device, net),
        Autoencoder::ClosedLoop(net) => walker::fits(device, net),
    }
}

/// Room for any batch of so many rows, and for any shard, of sequences of these lengths.
pub fn room(mut lengths: Vec<usize>, batch: usize) -> Room {
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    let rows = batch.max(ROWS);
    Room {
        rows,
        longest: lengths.first().copied().unwrap_or(1),
        steps: lengths.iter().take(rows).sum::<usize>().max(1),
    }
}

impl Stage1 {
    /// Takes what the host has learnt so far to the device.
    ///
    /// # Errors
    /// `Memory` where the device has too little; `Device` where it fails.
    pub fn new(
        context: &Arc<Context>,
        networks: Networks,
        c: &Config,
        room: Room,
        learner: &Learner,
    ) -> Result<Stage1> {
        let range = networks.autoencoder_range.clone();
        let mut plan = Plan::default();
        let all = [(); 4].map(|()| plan.floats(range.len()));
        let buffers = learner.buffers.len();
        let own = |m: &Matrix| range.contains(&m.offset);
        let largest = |need: &dyn Fn(&Matrix) -> usize| networks.layout.largest(|m| if own(m) { need(m) } else { 0 });
        let arenas = Arenas {
            params: all[0],
            grads: all[1],
            buffers: plan.floats(buffers),
            partials: plan.floats(largest(&|m| gradient_room(m, room.steps))),
            divided: plan.floats(largest(&|m| m.outputs * m.inputs)),
        };
        let space = match &networks.autoencoder {
            Autoencoder::V6(net) => Space::V6(Box::new(V6Space::new(&mut plan, net, room))),
            Autoencoder::ClosedLoop(net) => Space::ClosedLoop(Box::new(ClosedLoopSpace::new(&mut plan, net, room))),
        };
        let (width, closed_loop) = (inputs(&networks), networks.closed_loop().is_some());
        let stage = Stage1 {
            networks,
            c: c.clone(),
            room,
            packed: Packed::new(&mut plan, room),
            one: Rows { count: plan.floats(1), most: 1 },
            arenas,
            moments: [all[2], all[3]],
            kept: plan.floats(buffers),
            steps: learner.moments.steps,
            x: plan.floats(room.steps * width),
            classes: plan.floats(if closed_loop { CLASSES * room.steps } else { 0 }),
            orders: plan.floats(4 + SETTINGS),
            space,
            losses: plan.doubles(LOSSES),
            squares: [(); 2].map(|()| plan.doubles(parts(range.len()))),
            report: plan.doubles(LOSSES + 2),
            session: Session::new(context, plan, "training the autoencoder on the device")?,
        };
        stage.send(learner)?;
        Ok(stage)
    }

    fn send(&self, learner: &Learner) -> Result<()> {
        let s = &self.session;
        s.upload(self.one.count, &[1])?;
        s.upload(self.arenas.params, &learner.params[self.networks.autoencoder_range.clone()])?;
        s.upload(self.arenas.buffers, learner.buffers)?;
        s.upload(self.kept, learner.buffers)?;
        // None before the first step: zeros.
        self.moments.into_iter().zip([&learner.moments.m, &learner.moments.v]).try_for_each(|(to, m)| s.upload(to, m))
    }

    /// One update; returns the losses and the norm of the gradient before the clip. meanwhile: what the host does while the
    /// device works.
    ///
    /// # Errors
    /// `Diverged` where a loss, gradient or weight is not finite: nothing has changed then.
    pub fn step(&mut self, batch: &Batch, at: At, meanwhile: impl FnOnce()) -> Result<(Losses, f64)> {
        self.steps += 1;
        let orders = self.orders(at);
        let merged = self.merged(batch, 0..batch.shards.len());
        let mut copies = merged.copies(&self.packed, self.x, self.classes).to_vec();
        copies.push((self.orders, Numbers::Words(&orders)));
        let _sent = self.session.send_all(&copies)?;
        self.session.ask(|| self.work())?;
        meanwhile();
        // One that diverged does not count.
        self.reported(at.iteration).inspect_err(|_| self.steps -= 1)
    }

    /// Losses of a batch in evaluation mode, which may have any number of rows; nothing moves.
    pub fn evaluate(&mut self, batch: &Batch) -> Result<Losses> {
        let (mut sums, together) = ([0.0; 4], self.room.rows / ROWS);
        for start in (0..batch.shards.len()).step_by(together) {
            let merged = self.merged(batch, start..batch.shards.len().min(start + together));
            self.session.upload_all(&merged.copies(&self.packed, self.x, self.classes))?;
            self.forward(false)?;
            let mut losses = [0.0; 4];
            self.session.download(self.losses, &mut losses)?;
            let share = merged.steps as f64 / batch.total as f64;
            sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += share * loss);
        }
        Ok(sums)
    }

    /// Brings what has been learnt back to the host.
    pub fn fetch(&self, learner: &mut Learner) -> Result<()> {
        let (s, range) = (&self.session, self.networks.autoencoder_range.clone());
        s.download(self.arenas.params, &mut learner.params[range.clone()])?;
        s.download(self.kept, learner.buffers)?;
        learner.moments.steps = self.steps;
        if self.steps == 0 {
            return Ok(());
        }
        for (arena, host) in self.moments.into_iter().zip([&mut learner.moments.m, &mut learner.moments.v]) {
            host.resize(range.len(), 0.0);
            s.download(arena, host)?;
        }
        Ok(())
    }

    /// Of the last step, in the order of the parameters: what tests compare.
    pub fn gradients(&self) -> Result<Vec<f32>> {
        let mut grads = vec![0.0; self.networks.autoencoder_range.len()];
        self.session.download(self.arenas.grads, &mut grads)?;
        Ok(grads)
    }

    fn merged(&self, batch: &Batch, shards: std::ops::Range<usize>) -> Merged {
        Merged::new(&batch.shards[shards], inputs(&self.networks), self.room)
    }

    /// The clock, and the coefficients of the step that is counted.
    fn orders(&self, at: At) -> Vec<u32> {
        let step = optimizer(&self.c).coefficients(self.steps, at.rate, 1.0);
        let settings = settings(&step, self.c.stage1_grad_clip).map(f32::to_bits);
        let halves = |x: u64| [x as u32, (x >> 32) as u32];
        [at.seed, at.iteration].into_iter().flat_map(halves).chain(settings).collect()
    }

    fn clock(&self) -> Span {
        self.orders.part(0, 4)
    }

    /// One iteration, asked for.
    fn work(&self) -> Result<()> {
        self.session.fill(self.arenas.grads, 0.0, self.one, self.arenas.grads.len())?;
        self.forward(true)?;
        self.update()
    }

    /// Losses of the batch that has been sent; in training mode with their gradients.
    fn forward(&self, training: bool) -> Result<()> {
        let mut sweep = Sweep::new(&self.session, self.arenas, &self.packed, self.room, self.one);
        sweep.dropout = training.then(|| self.clock());
        let c = &self.c;
        match (&self.networks.autoencoder, &self.space) {
            (Autoencoder::V6(net), Space::V6(space)) => {
                let (recon, latent, direct) = (c.lambda_recon, c.lambda_latent, c.lambda_direct);
                // The kernels count the steps.
                let weights = LossWeights { recon, latent, direct, steps: 0 };
                sweep.v6_norms(net, space, training)?;
                sweep.v6(net, self.x, space, weights, self.losses, training)
            }
            (Autoencoder::ClosedLoop(net), Space::ClosedLoop(space)) => {
                let noise = |z: Span| if training { self.summary_noise(z) } else { Ok(()) };
                sweep.closed_loop_norms(net, space, training)?;
                sweep.closed_loop(net, (self.x, self.classes), space, noise, self.losses, training)
            }
            _ => Ok(()), // a space is made for its networks
        }
    }

    /// z (B,S) += noise, as summary_noise of src/train/stage1.rs draws it.
    fn summary_noise(&self, z: Span) -> Result<()> {
        if self.c.summary_noise <= 0.0 {
            return Ok(());
        }
        let draws = Draws { clock: self.clock(), stream: Stream::SummaryNoise as u32, shift: 16, add: 0 };
        let (scale, rows) = ((self.c.summary_noise, f64::INFINITY), self.packed.rows(self.room));
        self.session.normals(z, draws, scale, rows, self.c.summary_dim, ADD)
    }

    /// Update::apply of src/train/update.rs.
    fn update(&self) -> Result<()> {
        let (s, [g_squares, w_squares]) = (&self.session, self.squares);
        let (w, g, size) = (self.arenas.params, self.arenas.grads, self.arenas.params.len());
        let [ring, norm, failed] =
            [(0, LOSSES), (LOSSES, 1), (LOSSES + 1, 1)].map(|(k, n)| self.report.part(2 * k, 2 * n));
        s.store_losses(ring, 1, failed, self.losses, self.clock())?;
        let ([m, v], settings) = (self.moments, self.orders.from(4));
        s.update(Adam { w, g, m, v, g_squares, w_squares, settings, norm, failed }, size)?;
        // Keeps nothing: a copy, unless the step has failed.
        s.move_average(self.kept, self.arenas.buffers, settings.part(KEEP, 1), failed, self.kept.len())
    }

    /// Waits, and reads what the step reported.
    fn reported(&self, iteration: u64) -> Result<(Losses, f64)> {
        let mut report = [0.0f64; LOSSES + 2];
        self.session.download(self.report, &mut report)?;
        let (losses, norm): (Losses, f64) = (std::array::from_fn(|k| report[k]), report[LOSSES]);
        if report[LOSSES + 1].to_bits() as u32 == 0 {
            return Ok((losses, norm));
        }
        let clipped = norm * clip_factor(norm, self.c.stage1_grad_clip);
        let what = match () {
            () if !losses.iter().all(|loss| loss.is_finite()) => "the loss",
            () if clipped.is_nan() || clipped > LARGEST => "the gradient",
            () => "a weight",
        };
        Err(Error::Diverged { stage: 1, iteration, what })
    }
}

/// Numbers of a step that the encoder sees.
fn inputs(networks: &Networks) -> usize {
    networks.encoder().0.lstm.layers[0].input.inputs
}
