//! As launch.rs: the kernels of the poolers. Rows of `pooled` are `stride` apart.

use super::kernels::Kernel;
use super::launch_sequence::Packed;
use super::plan::Span;
use super::session::{Arg, Session, Shape};
use crate::error::Result;

impl Session {
    /// float* pooled (B,L), float* share (N), const float* h (N,L), const int* head, const int* offsets,
    /// const int* lengths, int width
    pub(super) fn attend(
        &self,
        (pooled, share): (Span, Span),
        h: Span,
        (packed, rows): (&Packed, usize),
        width: usize,
    ) -> Result<()> {
        let pointers = [pooled, share, h, packed.head, packed.offsets, packed.lengths].map(Arg::Span);
        self.launch(Kernel::attend, Shape::Blocks(rows), 0, &[&pointers[..], &[width.into()]].concat())
    }

    /// float* dscore (N), float* dh (N,L), const float* dpooled (B,L), const float* share (N), const float* h (N,L),
    /// const int* head, const int* offsets, const int* lengths, int width
    pub(super) fn attend_backward(
        &self,
        (dscore, dh): (Span, Span),
        dpooled: Span,
        (share, h): (Span, Span),
        (packed, rows): (&Packed, usize),
        width: usize,
    ) -> Result<()> {
        let tables = [packed.head, packed.offsets, packed.lengths];
        let pointers = [&[dscore, dh, dpooled, share, h][..], &tables].concat();
        let args: Vec<Arg> = pointers.into_iter().map(Arg::Span).chain([width.into()]).collect();
        self.launch(Kernel::attend_backward, Shape::Blocks(rows), 0, &args)
    }

    /// kernel: pool_last or pool_mean.
    /// float* pooled (B,L), const float* h (N,L), const int* head, const int* offsets, const int* lengths, int width,
    /// int stride
    pub(super) fn pool(
        &self,
        kernel: Kernel,
        (pooled, stride): (Span, usize),
        h: Span,
        (packed, rows): (&Packed, usize),
        width: usize,
    ) -> Result<()> {
        let pointers = [pooled, h, packed.head, packed.offsets, packed.lengths].map(Arg::Span);
        let args = [&pointers[..], &[width.into(), stride.into()]].concat();
        self.launch(kernel, Shape::Each(rows * width), 0, &args)
    }

    /// float* pooled (B,L), int* largest (B,L), const float* h (N,L), const int* head, const int* offsets,
    /// const int* lengths, int width, int stride
    pub(super) fn pool_max(
        &self,
        (pooled, stride): (Span, usize),
        largest: Span,
        h: Span,
        (packed, rows): (&Packed, usize),
        width: usize,
    ) -> Result<()> {
        let pointers = [pooled, largest, h, packed.head, packed.offsets, packed.lengths].map(Arg::Span);
        let args = [&pointers[..], &[width.into(), stride.into()]].concat();
        self.launch(Kernel::pool_max, Shape::Each(rows * width), 0, &args)
    }

    /// float* dh (N,L), const float* dlast, const float* dmean, const float* dmax (B,L), const int* largest (B,L),
    /// const int* head, const int* offsets, const int* lengths, const int* times, int width, int stride
    pub(super) fn pool_backward(
        &self,
        dh: Span,
        ([last, mean, max], stride): ([Option<Span>; 3], usize),
        largest: Option<Span>,
        (packed, steps): (&Packed, usize),
        width: usize,
    ) -> Result<()> {
        let gradients = [dh.into(), last.into(), mean.into(), max.into(), largest.into()];
        let tables = [packed.head, packed.offsets, packed.lengths, packed.times].map(Arg::Span);
        let args = [&gradients[..], &tables, &[width.into(), stride.into()]].concat();
        self.launch(Kernel::pool_backward, Shape::Each(steps * width), 0, &args)
    }
}
