//! As launch.rs: the kernels of the closed-loop decoder's training.

use super::kernels::Kernel;
use super::launch_sequence::Packed;
use super::session::{Arg, Rows, Session, Shape, Span};
use crate::error::Result;

impl Session {
    /// float* to (N,K), const float* from (N,K), const float* table (classes,K), const int* classes (N,3), int which,
    /// const int* rows, int width
    pub(super) fn embed(
        &self,
        to: Span,
        from: Span,
        table: Span,
        (classes, which): (Span, usize),
        rows: Rows,
        width: usize,
    ) -> Result<()> {
        let args = [to.into(), from.into(), table.into(), classes.into(), which.into(), rows.into(), width.into()];
        self.launch(Kernel::embed, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* dtable (classes,K), const float* d (N,K), const int* classes (N,3), int which, const int* rows, int width
    pub(super) fn scatter(
        &self,
        (dtable, count): (Span, usize),
        d: Span,
        (classes, which): (Span, usize),
        rows: Rows,
        width: usize,
    ) -> Result<()> {
        let args = [dtable.into(), d.into(), classes.into(), which.into(), rows.into(), width.into()];
        self.launch(Kernel::scatter, Shape::Columns(width, count), 0, &args)
    }

    /// float* active, float* gate, const float* x (M,W), const int* rows, int width
    pub(super) fn swish(&self, (active, gate): (Span, Span), x: Span, rows: Rows, width: usize) -> Result<()> {
        let args = [active.into(), gate.into(), x.into(), rows.into(), width.into()];
        self.launch(Kernel::swish, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* dx, const float* dactive, const float* x, const float* gate (M,W), const int* rows, int width
    pub(super) fn swish_backward(
        &self,
        dx: Span,
        dactive: Span,
        (x, gate): (Span, Span),
        rows: Rows,
        width: usize,
    ) -> Result<()> {
        let args = [dx.into(), dactive.into(), x.into(), gate.into(), rows.into(), width.into()];
        self.launch(Kernel::swish_backward, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* logits (N), double* loss (N), const int* head, const int* offsets, const int* lengths, const int* times
    pub(super) fn binary_loss(&self, logits: Span, loss: Span, (packed, steps): (&Packed, usize)) -> Result<()> {
        let tables = [packed.head, packed.offsets, packed.lengths, packed.times].map(Arg::Span);
        self.launch(Kernel::binary_loss, Shape::Each(steps), 0, &[&[logits.into(), loss.into()][..], &tables].concat())
    }

    /// float* logits (N,K), double* loss (N), const int* classes (N,3), int which, const int* head, const int* offsets,
    /// const int* lengths, const int* times, int width
    pub(super) fn categorical_loss(
        &self,
        logits: Span,
        loss: Span,
        (classes, which): (Span, usize),
        (packed, steps): (&Packed, usize),
        width: usize,
    ) -> Result<()> {
        let first = [logits.into(), loss.into(), classes.into(), which.into()];
        let tables = [packed.head, packed.offsets, packed.lengths, packed.times].map(Arg::Span);
        let args = [&first[..], &tables, &[width.into()]].concat();
        self.launch(Kernel::categorical_loss, Shape::Warps(steps), 0, &args)
    }
}
