//! Batches of sequences on their way to the device: what the CPU takes in shards is one packed batch here.

use super::launch_sequence::{Packed, Room};
use super::plan::Span;
use super::session::Numbers;
use crate::data::steps::{Classes, X_ANCHORS, Y_ANCHORS};
use crate::nn::Steps;
use crate::train::shards::SequenceShard;

/// Numbers of an event's classes: see kernels/classes.h.
pub(super) const CLASSES: usize = 3 + X_ANCHORS + Y_ANCHORS;

/// Where in them the anchors of each head begin; that of ticks has none.
pub(super) const ANCHORS: [usize; 3] = [3, 3 + X_ANCHORS, CLASSES];

/// Rows of some shards packed together, longest first.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// B, T, N, 0; then, each with room for the largest batch: lengths, seq_lens, offsets.
    tables: Vec<u32>,
    times: Vec<u32>,
    /// (N,F)
    x: Vec<f32>,
    /// (N,CLASSES), or none
    classes: Vec<u32>,
    pub steps: usize,
    pub rows: usize,
}

impl Merged {
    /// shards: neighbours in a batch, of at most so many rows and steps. width: F.
    pub fn new(shards: &[SequenceShard], width: usize, room: Room) -> Merged {
        let lengths: Vec<usize> = shards.iter().flat_map(|shard| shard.steps.lengths()).copied().collect();
        let seq_lens: Vec<usize> = shards.iter().flat_map(|shard| &shard.seq_lens).copied().collect();
        let mut merged = Merged::tables(&Steps::new(&lengths), &seq_lens, room);
        for t in 0..shards.iter().map(|shard| shard.steps.len()).max().unwrap_or(0) {
            for shard in shards.iter().filter(|shard| t < shard.steps.len()) {
                merged.x.extend_from_slice(&shard.x[shard.steps.step(t, width)]);
                let classes = shard.classes.get(shard.steps.step(t, 1)).unwrap_or_default(); // none for features
                merged.classes.extend(classes.iter().flat_map(words));
            }
        }
        merged
    }

    /// A batch of which only the lengths are known.
    pub fn tables(steps: &Steps, seq_lens: &[usize], room: Room) -> Merged {
        let head = [steps.rows(), steps.len(), steps.total(), 0];
        let mut tables: Vec<u32> = head.map(|n| n as u32).to_vec();
        tables.extend(steps.lengths().iter().map(|&n| n as u32));
        tables.resize(4 + room.rows, 0);
        tables.extend(seq_lens.iter().map(|&n| n as u32));
        tables.resize(4 + 2 * room.rows, 0);
        tables.extend((0..steps.len()).map(|t| steps.step(t, 1).start as u32).chain([steps.total() as u32]));
        let times = (0..steps.len()).flat_map(|t| std::iter::repeat_n(t as u32, steps.running(t))).collect();
        Merged { tables, times, steps: steps.total(), rows: steps.rows(), ..Merged::default() }
    }

    /// What to send where.
    pub fn copies(&self, packed: &Packed, x: Span, classes: Span) -> [(Span, Numbers<'_>); 4] {
        [
            (packed.tables, Numbers::Words(&self.tables)),
            (packed.times, Numbers::Words(&self.times)),
            (x, Numbers::Floats(&self.x)),
            (classes, Numbers::Words(&self.classes)),
        ]
    }
}

fn words(c: &Classes) -> impl Iterator<Item = u32> {
    let none = -1i32 as u32;
    let anchors = c.x_anchors.into_iter().chain(c.y_anchors);
    [c.x, c.y, c.ticks].into_iter().map(u32::from).chain(anchors.map(move |a| a.map_or(none, u32::from)))
}

/// The room that any of some groups of shards needs.
pub(super) fn room<'s>(groups: impl Iterator<Item = &'s [SequenceShard]>) -> Room {
    groups.fold(Room::default(), |room, group| Room {
        rows: room.rows.max(group.iter().map(|shard| shard.steps.rows()).sum()),
        longest: room.longest.max(group.iter().map(|shard| shard.steps.len()).max().unwrap_or(0)),
        steps: room.steps.max(group.iter().map(|shard| shard.steps.total()).sum()),
    })
}
