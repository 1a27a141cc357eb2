//! As launch.rs: the expander over a group of blocks, and when it is one.
//!
//! How many groups run at the same time is what the device says of the kernel. Groups over memory must, all of them: each of
//! their blocks waits for others. The blocks of a cluster always do, and clusters never wait for each other: more of them than
//! run at the same time would be slow, not wrong, because each would read all weights again.

use super::context::Context;
use super::kernels::Kernel;
use super::launch_sequence::ExpanderSizes;
use super::plan::Span;
use super::session::{Arg, Session, Together};
use crate::error::Result;

/// Rows of a group.
const TILE: usize = 4;
/// Narrower layers are read faster from the second-level cache than they are exchanged (estimated, not measured).
const NARROWEST: usize = 64;
/// More would only take more memory: no device has the blocks for them.
const MOST_GROUPS: usize = 64;
/// Blocks of a cluster: as many as every whole device with clusters can have. `at_once` says whether a slice of one can.
const CLUSTER: usize = 8;

/// Blocks that share the weights of an expander: kernels/expander_group.h.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    kernel: Kernel,
    together: Together,
    size: usize,
    groups: usize,
    shared: usize,
}

impl ExpanderSizes {
    /// Blocks of a group; None for narrow layers, and where no group has the memory.
    fn group_size(self, context: &Context) -> Option<usize> {
        /// What the kernels have beside what they are given, and more.
        const OWN: usize = 1024;
        let fits = |size: usize| self.group_bytes(size).into_iter().max() <= context.shared().checked_sub(OWN);
        let size = [CLUSTER, 16, 32].into_iter().find(|&size| fits(size))?;
        (self.hidden >= NARROWEST).then_some(size)
    }

    /// Bytes of shared memory that a block of a group needs, forward and backward.
    fn group_bytes(self, size: usize) -> [usize; 2] {
        let ExpanderSizes { latent: l, hidden: h, layers, .. } = self;
        let (units, latents) = (h.div_ceil(size), l.div_ceil(size));
        let weights = units * (l + h + (layers - 1) * 2 * h) + l.div_ceil(4) * (h + 4);
        let forward = weights + (2 * layers + 1) * h + layers * units;
        let weights = units.div_ceil(4) * ((2 * layers - 1) * 4 * h + l) + latents.div_ceil(4) * 4 * h;
        [forward, weights + 8 * layers * h + 2 * l + layers * units].map(|quads| 16 * quads)
    }

    /// Words of a buffer of a group.
    fn most_words(self) -> usize {
        (16 * self.hidden).max(4 * self.latent) + 32
    }

    /// Numbers of 32 bits that groups of so many rows exchange through.
    pub fn words(self, rows: usize) -> usize {
        if self.hidden < NARROWEST { 0 } else { rows.div_ceil(TILE).min(MOST_GROUPS) * 2 * 2 * self.most_words() }
    }
}

impl Session {
    /// None where single blocks do as well, which need no other: for large batches, and where there are no groups.
    pub(super) fn group(&self, sizes: ExpanderSizes, rows: usize, forward: bool) -> Result<Option<Group>> {
        let Some(size) = sizes.group_size(self.context()) else { return Ok(None) };
        let cluster = size == CLUSTER && self.context().has_clusters();
        if !cluster && !self.context().has_cooperative() {
            return Ok(None);
        }
        let (kernel, together) = match (forward, cluster) {
            (true, true) => (Kernel::expander_forward_cluster, Together::Cluster(size)),
            (true, false) => (Kernel::expander_forward_group, Together::All),
            (false, true) => (Kernel::expander_backward_cluster, Together::Cluster(size)),
            (false, false) => (Kernel::expander_backward_group, Together::All),
        };
        let shared = sizes.group_bytes(size)[usize::from(!forward)];
        let (tiles, at_once) = (rows.div_ceil(TILE), self.at_once(kernel, together, shared)? / size);
        let groups = tiles.min(at_once).min(MOST_GROUPS);
        Ok((tiles <= 2 * at_once).then_some(Group { kernel, together, size, groups, shared }))
    }

    /// The arguments of expander_forward_1 or expander_backward_1, and unsigned long long* words (groups,2,most + 32), int size,
    /// int* late (1)
    pub(super) fn expander_group(&self, group: Group, sizes: ExpanderSizes, words: Span, args: &[Arg]) -> Result<()> {
        let Group { kernel, together, size, groups, shared } = group;
        if matches!(together, Together::All) {
            self.clear(words.part(0, groups * 2 * 2 * sizes.most_words()))?;
        }
        let args = [args, &[words.into(), size.into(), self.late().into()]].concat();
        self.launch_together(kernel, (groups * size, together), shared, &args)
    }
}
