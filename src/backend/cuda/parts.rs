//! One network of stage 1 alone, forward and backward: what tests hold to reference numbers and to the CPU.

use std::sync::Arc;

use super::batch::{self, Merged};
use super::context::Context;
use super::expander::ExpanderSpace;
use super::launch::gradient_room;
use super::launch_sequence::{Packed, Room};
use super::layers::Arenas;
use super::plan::{Plan, Rows, Span};
use super::pooler::PoolerSpace;
use super::sequence::{SequenceSpace, Sweep, transposed};
use super::session::Session;
use crate::error::Result;
use crate::model::Networks;
use crate::model::expander::Expander;
use crate::model::pooler::Pooler;
use crate::model::sequence::SequenceMap;
use crate::nn::dropout::Site;
use crate::train::shards::SequenceShard;

/// Which, with the site of its dropout.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    /// (N,I) -> (N,O). Its head's norm advances in training mode.
    Sequence(&'a SequenceMap, Site),
    /// (N,L) -> (B,S)
    Pooler(&'a Pooler, Site),
    /// (B,S) -> (N,L)
    Expander(&'a Expander, Site),
}

/// A batch whose x is the input, or, for an expander, z (B,S). dropout: seed and step of its masks.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    pub shard: &'a SequenceShard,
    pub z: &'a [f32],
    pub dy: &'a [f32],
    pub training: bool,
    pub dropout: Option<(u64, u64)>,
}

/// Output, gradient of the input, gradients of the autoencoder's parameters, and the buffers after it.
pub struct Outcome {
    pub y: Vec<f32>,
    pub dx: Vec<f32>,
    pub grads: Vec<f32>,
    pub buffers: Vec<f32>,
}

/// Runs one part forward and backward.
///
/// # Errors
/// As [`Session::new`].
pub fn run(
    device: &Arc<Context>,
    networks: &Networks,
    (params, buffers): (&[f32], &[f32]),
    part: Part,
    given: Given,
) -> Result<Outcome> {
    let (shards, range) = (std::slice::from_ref(given.shard), networks.autoencoder_range.clone());
    let room = batch::room([shards].into_iter());
    let mut plan = Plan::default();
    let [arena, grads] = [(); 2].map(|()| plan.floats(range.len()));
    let arenas = Arenas {
        params: arena,
        grads,
        buffers: plan.floats(buffers.len()),
        partials: plan.floats(networks.layout.largest(|m| gradient_room(m, room.steps))),
        divided: plan.floats(networks.layout.largest(|m| m.outputs * m.inputs)),
    };
    let (width, outputs, from_z) = match part {
        Part::Sequence(map, _) => (map.lstm.layers[0].input.inputs, room.steps * map.head.weight.outputs, false),
        Part::Pooler(net, _) => (net.latent, room.rows * net.summary, false),
        Part::Expander(net, _) => (net.summary, room.steps * net.latent, true),
    };
    let inputs = if from_z { room.rows * width } else { room.steps * width };
    let packed = Packed::new(&mut plan, room);
    let one = Rows { count: plan.floats(1), most: 1 };
    let (clock, x, dx) = (plan.floats(4), plan.floats(inputs), plan.floats(inputs));
    let dy = plan.floats(outputs);
    let run = Run::new(&mut plan, part, room);
    let session = Session::new(device, plan, "a network on the device")?;
    session.upload(arenas.params, &params[range])?;
    session.upload(arenas.buffers, buffers)?;
    session.upload(one.count, &[1])?;
    let merged = Merged::new(shards, if from_z { 0 } else { width }, room);
    let copies = merged.copies(&packed, x, Span::default());
    session.upload_all(&copies[..if from_z { 2 } else { 3 }])?;
    session.upload(x, given.z)?;
    session.upload(dy, given.dy)?;
    let (seed, step) = given.dropout.unwrap_or_default();
    session.upload(clock, &[seed, step].map(|x| [x as u32, (x >> 32) as u32]).concat())?;
    let mut sweep = Sweep::new(&session, arenas, &packed, room, one);
    sweep.dropout = given.dropout.map(|_| clock);
    let y = run.go(&sweep, given.training, (x, dx), dy)?;
    let mut outcome = Outcome {
        y: vec![0.0; outputs],
        dx: vec![0.0; inputs],
        grads: vec![0.0; grads.len()],
        buffers: buffers.to_vec(),
    };
    session.download(y, &mut outcome.y)?;
    session.download(dx, &mut outcome.dx)?;
    session.download(grads, &mut outcome.grads)?;
    session.download(arenas.buffers, &mut outcome.buffers)?;
    Ok(outcome)
}

/// A part with its memory.
enum Run<'a> {
    Sequence(&'a SequenceMap, Site, SequenceSpace, Vec<Span>),
    Pooler(&'a Pooler, Site, PoolerSpace),
    Expander(&'a Expander, Site, ExpanderSpace),
}

impl<'a> Run<'a> {
    fn new(plan: &mut Plan, part: Part<'a>, room: Room) -> Run<'a> {
        match part {
            Part::Sequence(map, site) => {
                let space = SequenceSpace::new(plan, map, room, true);
                Run::Sequence(map, site, space, transposed(plan, &map.lstm))
            }
            Part::Pooler(net, site) => Run::Pooler(net, site, PoolerSpace::new(plan, net, room, true)),
            Part::Expander(net, site) => Run::Expander(net, site, ExpanderSpace::new(plan, net, room, true)),
        }
    }

    /// Returns where the output is.
    fn go(&self, sweep: &Sweep, training: bool, (x, dx): (Span, Span), dy: Span) -> Result<Span> {
        match self {
            Run::Sequence(map, site, space, transposed) => {
                sweep.rows.spectral(&map.head, space.normed, training)?;
                sweep.transpose(&map.lstm, transposed)?;
                sweep.sequence(map, transposed, x, *site, space)?;
                sweep.sequence_backward(map, x, dy, space, Some(dx))?;
                Ok(space.y)
            }
            Run::Pooler(net, site, space) => {
                sweep.pool(net, x, *site, space)?;
                sweep.pool_backward(net, x, (dy, 0.0), space, dx)?;
                Ok(space.z)
            }
            Run::Expander(net, site, space) => {
                sweep.expand(net, x, *site, space)?;
                sweep.expand_backward(net, x, dy, space, dx)?;
                Ok(space.y)
            }
        }
    }
}
