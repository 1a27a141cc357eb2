//! Summaries of movements on the device: the encoder and the pooler in evaluation mode, a part of a batch at a time.

use std::sync::Arc;

use super::batch::{self, Merged};
use super::context::Context;
use super::launch_sequence::{Packed, Room};
use super::layers::Arenas;
use super::plan::{Plan, Rows, Span};
use super::pooler::PoolerSpace;
use super::sequence::{self, SequenceSpace, Sweep, transposed};
use super::session::Session;
use crate::error::Result;
use crate::model::Networks;
use crate::model::pooler::Pooler;
use crate::model::sequence::SequenceMap;
use crate::train::shards::{Batch, SequenceShard};

/// Steps of one launch: more would only take more memory.
const MOST_STEPS: usize = 65_536;

/// Whether a device has the memory for the encoder.
pub fn fits(device: &Context, networks: &Networks) -> bool {
    sequence::fits(device, networks.encoder().0)
}

/// Summaries (n,S) of a batch, in the order of its shards. params, buffers: the model's.
///
/// # Errors
/// `Memory` where the device has too little; `Device` where it fails.
pub fn encode(
    device: &Arc<Context>,
    networks: &Networks,
    (params, buffers): (&[f32], &[f32]),
    batch: &Batch,
) -> Result<Vec<f32>> {
    let groups = groups(&batch.shards);
    let encoder = Encoder::new(device, networks, (params, buffers), batch::room(groups.iter().copied()))?;
    let mut summaries = Vec::with_capacity(batch.rows() * encoder.pooler.summary);
    for group in groups {
        encoder.encode(group, &mut summaries)?;
    }
    Ok(summaries)
}

/// Neighbouring shards of together so many steps, or one that has more.
fn groups(shards: &[SequenceShard]) -> Vec<&[SequenceShard]> {
    let (mut groups, mut start, mut steps) = (Vec::new(), 0, 0);
    for (i, shard) in shards.iter().enumerate() {
        steps += shard.steps.total();
        if steps > MOST_STEPS && i > start {
            groups.push(&shards[start..i]);
            (start, steps) = (i, shard.steps.total());
        }
    }
    groups.push(&shards[start..]);
    groups
}

struct Encoder<'a> {
    session: Session,
    sequence: &'a SequenceMap,
    pooler: &'a Pooler,
    arenas: Arenas,
    packed: Packed,
    room: Room,
    one: Rows,
    x: Span,
    transposed: Vec<Span>,
    encoded: SequenceSpace,
    pooled: PoolerSpace,
}

impl<'a> Encoder<'a> {
    fn new(
        device: &Arc<Context>,
        networks: &'a Networks,
        (params, buffers): (&[f32], &[f32]),
        room: Room,
    ) -> Result<Encoder<'a>> {
        let (sequence, pooler) = networks.encoder();
        let params = &params[networks.autoencoder_range.clone()];
        let mut plan = Plan::default();
        // Nothing is learnt here, so there is no room for gradients.
        let nothing = plan.floats(0);
        let arenas = Arenas {
            params: plan.floats(params.len()),
            buffers: plan.floats(buffers.len()),
            grads: nothing,
            partials: nothing,
            divided: nothing,
        };
        let encoder = Encoder {
            sequence,
            pooler,
            arenas,
            packed: Packed::new(&mut plan, room),
            room,
            one: Rows { count: plan.floats(1), most: 1 },
            x: plan.floats(room.steps * sequence.lstm.layers[0].input.inputs),
            transposed: transposed(&mut plan, &sequence.lstm),
            encoded: SequenceSpace::new(&mut plan, sequence, room, false),
            pooled: PoolerSpace::new(&mut plan, pooler, room, false),
            session: Session::new(device, plan, "encoding on the device")?,
        };
        let s = &encoder.session;
        s.upload(arenas.params, params)?;
        s.upload(arenas.buffers, buffers)?;
        s.upload(encoder.one.count, &[1])?;
        let sweep = encoder.sweep();
        sweep.transpose(&sequence.lstm, &encoder.transposed)?;
        sweep.rows.spectral(&sequence.head, encoder.encoded.normed, false)?;
        Ok(encoder)
    }

    fn sweep(&self) -> Sweep<'_> {
        Sweep::new(&self.session, self.arenas, &self.packed, self.room, self.one)
    }

    /// Appends the summaries of neighbouring shards.
    fn encode(&self, shards: &[SequenceShard], summaries: &mut Vec<f32>) -> Result<()> {
        let merged = Merged::new(shards, self.sequence.lstm.layers[0].input.inputs, self.room);
        self.session.upload_all(&merged.copies(&self.packed, self.x, Span::default())[..3])?;
        let sweep = self.sweep();
        sweep.sequence(self.sequence, &self.transposed, self.x, 0, &self.encoded)?;
        sweep.pool(self.pooler, self.encoded.y, 0, &self.pooled)?;
        let start = summaries.len();
        summaries.resize(start + merged.rows * self.pooler.summary, 0.0);
        self.session.download(self.pooled.z, &mut summaries[start..])
    }
}
