//! A batch in shards of rows: the unit of parallel work.
//!
//! A shard goes through forward and backward alone; gradients are added up in shard order. Its size is
//! fixed, so the result does not depend on the number of threads.

use std::ops::Range;

use crate::backend::cpu::{Isa, Pool, math, thread_count};
use crate::data::steps::{Classes, INPUTS, Walk};
use crate::nn::Steps;
use crate::nn::steps::longest_first;

/// Rows of a shard. What a layer keeps of a hundred steps then fits a second-level cache of 2 MB, and a batch of 64 keeps eight
/// threads busy. With 16, training took up to a tenth longer.
pub const ROWS: usize = 8;

/// Sequences of a batch, longest first: features of the v6 autoencoder, or events of the closed-loop one.
pub struct Batch {
    pub shards: Vec<SequenceShard>,
    /// Which of the given rows stands where.
    pub order: Vec<usize>,
    /// Valid steps.
    pub total: usize,
}

pub struct SequenceShard {
    pub first_row: usize,
    pub steps: Steps,
    /// (N,F) or (N,INPUTS) packed
    pub x: Vec<f32>,
    /// (N) packed; none for features.
    pub classes: Vec<Classes>,
    /// (B): T of each row's positions: the whole batch's in training, its own length in validation.
    pub seq_lens: Vec<usize>,
}

impl Batch {
    /// rows: features (length * F) each, of any lengths above 0.
    pub fn new(rows: &[Vec<f32>], width: usize) -> Batch {
        let rows: Vec<(&[f32], &[Classes])> = rows.iter().map(|row| (row.as_slice(), [].as_slice())).collect();
        Batch::sorted(&rows, width)
    }

    pub fn of_walks(walks: &[Walk]) -> Batch {
        let rows: Vec<_> = walks.iter().map(|walk| (walk.inputs.as_slice(), walk.events.as_slice())).collect();
        Batch::sorted(&rows, INPUTS)
    }

    /// Where a walk's classes end before its inputs do, the last step gets classes that nobody looks at.
    fn sorted(rows: &[(&[f32], &[Classes])], width: usize) -> Batch {
        let lengths: Vec<usize> = rows.iter().map(|(inputs, _)| inputs.len() / width).collect();
        let order = longest_first(&lengths);
        let longest = order.first().map_or(0, |&i| lengths[i]);
        let shards = order.chunks(ROWS).enumerate().map(|(s, rows_here)| {
            let lengths: Vec<usize> = rows_here.iter().map(|&i| lengths[i]).collect();
            let steps = Steps::new(&lengths);
            let mut x = Vec::with_capacity(steps.total() * width);
            let mut classes = Vec::new();
            for t in 0..steps.len() {
                for (inputs, events) in rows_here[..steps.running(t)].iter().map(|&row| rows[row]) {
                    x.extend_from_slice(&inputs[t * width..(t + 1) * width]);
                    if !events.is_empty() {
                        classes.push(events.get(t).copied().unwrap_or_default());
                    }
                }
            }
            SequenceShard { first_row: s * ROWS, steps, x, classes, seq_lens: vec![longest; lengths.len()] }
        });
        let shards: Vec<_> = shards.collect();
        let total = shards.iter().map(|s| s.steps.total()).sum();
        Batch { shards, order, total }
    }

    pub fn rows(&self) -> usize {
        self.order.len()
    }

    /// sorted (B,W), in the order of the shards -> as the rows were given
    pub fn in_given_order(&self, sorted: &[f32]) -> Vec<f32> {
        let width = sorted.len() / self.rows().max(1);
        let mut given = vec![0.0; sorted.len()];
        for (from, &row) in sorted.chunks_exact(width.max(1)).zip(&self.order) {
            given[row * width..(row + 1) * width].copy_from_slice(from);
        }
        given
    }
}

/// Ranges of rows of a matrix with `rows` rows, `size` to a shard.
pub fn row_ranges(rows: usize, size: usize) -> Vec<Range<usize>> {
    (0..rows).step_by(size).map(|start| start..rows.min(start + size)).collect()
}

/// Threads that a batch of so many rows keeps busy, of those that a setting asks for: 1 or more.
pub fn workers(threads: usize, rows: usize) -> usize {
    thread_count(threads).min(rows.div_ceil(ROWS)).max(1)
}

/// Rows that a thread takes on at a time, where a row's result does not depend on those beside it: `most`, if there are enough for all
/// threads, else a shard's.
pub fn together(rows: usize, most: usize, threads: usize) -> usize {
    if rows < 2 * most * threads { ROWS } else { most }
}

/// sum[range], which is the first shard's gradient, += those of the other shards, in their order. Returns its Euclidean norm, and
/// that of params[range].
pub fn reduce(
    pool: &mut Pool,
    isa: Isa,
    (sum, others): (&mut [f32], &[&mut [f32]]),
    params: &[f32],
    range: Range<usize>,
) -> [f64; 2] {
    /// What a thread takes at a time.
    const CHUNK: usize = 16_384;
    /// What stays in the first-level cache until it is done with.
    const BLOCK: usize = 2048;
    let start = range.start;
    let mut chunks: Vec<_> = sum[range].chunks_mut(CHUNK).map(|chunk| (chunk, [0.0; 2])).collect();
    pool.for_each(&mut chunks, |_, i, (chunk, squares)| {
        for (sum, at) in chunk.chunks_mut(BLOCK).zip((start + i * CHUNK..).step_by(BLOCK)) {
            let here = at..at + sum.len();
            others.iter().for_each(|other| math::axpy(isa, 1.0, &other[here.clone()], sum));
            squares[0] += math::sum_of_squares(isa, sum);
            squares[1] += math::sum_of_squares(isa, &params[here]);
        }
    });
    [0, 1].map(|which| chunks.iter().map(|(_, squares)| squares[which]).sum::<f64>().sqrt())
}
