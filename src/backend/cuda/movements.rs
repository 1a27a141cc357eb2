//! Batches of the v6 decoder's movements on the device, from noise or summaries to features: what src/sample/mod.rs does, with
//! the same noise.

use std::sync::Arc;

use super::batch::Merged;
use super::context::Context;
use super::expander::ExpanderSpace;
use super::generator::GeneratorSpace;
use super::launch_sequence::{Packed, Room};
use super::launch_steps::Numbers;
use super::layers::{Arenas, Pass};
use super::plan::{Plan, Rows, Span};
use super::sequence::{SequenceSpace, Sweep, transposed};
use super::session::Session;
pub use super::v6::fits;
use crate::error::{Error, Result};
use crate::model::Networks;
use crate::model::v6::V6;
use crate::nn::Steps;
use crate::nn::steps::longest_first;
use crate::rng::Stream;
use crate::sample::SampleOptions;

/// Movements of one launch: more would only take more memory.
const MOST_ROWS: usize = 16_384;
/// Bytes that a session takes at most, where one movement needs no more.
const MOST_BYTES: usize = 2 << 30;

/// Generator and decoder on the device.
pub struct Movements<'a> {
    session: Session,
    networks: &'a Networks,
    net: &'a V6,
    space: Space,
    /// What the features of a launch come back in.
    features: Vec<f32>,
}

struct Space {
    arenas: Arenas,
    room: Room,
    packed: Packed,
    one: Rows,
    count: Span,
    clock: Span,
    noise: Span,
    condition: Span,
    /// Which row of the generator's each row of the decoder's is.
    chosen: Span,
    generator: GeneratorSpace,
    /// Summaries in the order of the decoder's rows (B,S).
    z: Span,
    expander: ExpanderSpace,
    decoder: SequenceSpace,
    transposed: Vec<Span>,
}

impl Space {
    fn new(plan: &mut Plan, networks: &Networks, net: &V6, rows: usize, longest: usize) -> Space {
        let (generator, room) = (&networks.generator, Room { rows, longest, steps: rows * longest });
        // Nothing is learnt here, so there is no room for gradients.
        let nothing = plan.floats(0);
        let (params, buffers) = (plan.floats(networks.layout.len()), plan.floats(networks.layout.buffer_len()));
        let noise = plan.floats(rows * generator.noise);
        Space {
            arenas: Arenas { params, buffers, grads: nothing, partials: nothing, divided: nothing },
            room,
            packed: Packed::new(plan, room),
            one: Rows { count: plan.floats(1), most: 1 },
            count: plan.floats(1),
            clock: plan.floats(4),
            noise,
            condition: plan.floats(rows * generator.embed.first.weight.inputs),
            chosen: plan.floats(rows),
            generator: GeneratorSpace::new(plan, generator, noise, rows),
            z: plan.floats(rows * net.expander.summary),
            expander: ExpanderSpace::new(plan, &net.expander, room, false),
            decoder: SequenceSpace::new(plan, &net.decoder, room, false),
            transposed: transposed(plan, &net.decoder.lstm),
        }
    }

    /// For count rows, or as many of them as so many bytes hold.
    fn within(bytes: usize, networks: &Networks, net: &V6, count: usize, longest: usize) -> (Plan, Space) {
        let mut rows = count.min(MOST_ROWS);
        loop {
            let mut plan = Plan::default();
            let space = Space::new(&mut plan, networks, net, rows, longest);
            if plan.bytes() <= bytes || rows == 1 {
                return (plan, space);
            }
            rows = rows.div_ceil(2);
        }
    }
}

impl<'a> Movements<'a> {
    /// params: the model's, with the generator's average in place. count: movements in all, 1 or more; longest: points of
    /// the longest; tf32: whether products may be TF32, where the device has it.
    ///
    /// # Errors
    /// `Memory` where the device has too little; `Device` where it fails; `State` for a model with the closed-loop decoder.
    pub fn new(
        context: &Arc<Context>,
        networks: &'a Networks,
        (params, buffers): (&[f32], &[f32]),
        (count, longest): (usize, usize),
        tf32: bool,
    ) -> Result<Movements<'a>> {
        let Some(net) = networks.v6() else {
            let problem = "the model has the closed-loop decoder".to_string();
            return Err(Error::State { call: "generate", problem });
        };
        let bytes = MOST_BYTES.min(context.free_memory()? / 2);
        let (plan, space) = Space::within(bytes, networks, net, count, longest);
        let mut session = Session::new(context, plan, "movements on the device")?;
        session.tf32 = tf32 && context.has_tf32();
        session.upload(space.arenas.params, params)?;
        session.upload(space.arenas.buffers, buffers)?;
        session.upload(space.one.count, &[1])?;
        let movements = Movements { session, networks, net, space, features: Vec::new() };
        let sweep = movements.sweep(movements.space.room);
        sweep.rows.spectral(&net.decoder.head, movements.space.decoder.normed, false)?;
        sweep.transpose(&net.decoder.lstm, &movements.space.transposed)?;
        Ok(movements)
    }

    fn sweep(&self, room: Room) -> Sweep<'_> {
        Sweep::new(&self.session, self.space.arenas, &self.space.packed, room, self.space.one)
    }

    /// Movements of one [`Movements::draw`] or [`Movements::decode`] at most.
    pub fn rows(&self) -> usize {
        self.space.room.rows
    }

    /// Draws movements of conditions (n,C) with so many points each, the first of which is sample `first`: features
    /// (length,F) each.
    pub fn draw(
        &mut self,
        conditions: &[f32],
        lengths: &[usize],
        first: u64,
        options: &SampleOptions,
    ) -> Result<Vec<Vec<f32>>> {
        let (s, space, seed) = (&self.session, &self.space, options.seed);
        let (rows, generator) = (Rows { count: space.count, most: lengths.len() }, &self.networks.generator);
        s.upload(space.count, &[lengths.len() as i32])?;
        s.upload(space.clock, &[seed as u32, (seed >> 32) as u32, first as u32, (first >> 32) as u32])?;
        s.upload(space.condition, conditions)?;
        let numbers = Numbers { clock: space.clock, stream: Stream::SampleNoise as u32, shift: 0, add: 0 };
        let bound = if options.truncation_psi < 1.0 { 2.0 * options.truncation_psi } else { f64::INFINITY };
        s.normals(space.noise, numbers, (1.0, bound), rows, generator.noise, 0)?;
        let pass = Pass { session: s, arenas: space.arenas, rows, one: space.one };
        pass.generator(generator, space.noise, space.condition, &space.generator)?;
        self.features(lengths)
    }

    /// Decodes summaries z (n,S) with so many points each: features (length,F) each.
    pub fn decode(&mut self, z: &[f32], lengths: &[usize]) -> Result<Vec<Vec<f32>>> {
        self.session.upload(self.space.generator.z, z)?;
        self.features(lengths)
    }

    /// What the decoder makes of the generator's summaries.
    fn features(&mut self, lengths: &[usize]) -> Result<Vec<Vec<f32>>> {
        let (s, space, net) = (&self.session, &self.space, self.net);
        let order = longest_first(lengths);
        let sorted: Vec<usize> = order.iter().map(|&i| lengths[i]).collect();
        let steps = Steps::new(&sorted);
        let tables = Merged::tables(&steps, &sorted, space.room);
        s.upload_all(&tables.copies(&space.packed, Span::default(), Span::default())[..2])?;
        s.upload(space.chosen, &order.iter().map(|&i| i as u32).collect::<Vec<u32>>())?;
        let sweep = self.sweep(Room { rows: steps.rows(), longest: steps.len(), steps: steps.total() });
        s.gather_rows(space.z, space.generator.z, space.chosen, sweep.rows.rows, net.expander.summary)?;
        sweep.expand(&net.expander, space.z, 0, &space.expander)?;
        sweep.sequence(&net.decoder, &space.transposed, space.expander.y, 0, &space.decoder)?;

        let f = net.decoder.head.weight.outputs;
        self.features.resize(steps.total() * f, 0.0);
        s.download(space.decoder.y, &mut self.features)?;
        let mut out = vec![Vec::new(); lengths.len()];
        for (b, &i) in order.iter().enumerate() {
            let points = (0..sorted[b]).flat_map(|t| &self.features[steps.at(b, t) * f..][..f]);
            out[i] = points.map(|x| x.clamp(-1.0, 1.0)).collect();
        }
        Ok(out)
    }
}
