//! As launch.rs: the kernels of the closed-loop decoder's training.

use super::kernels::Kernel;
use super::launch::{ADD, CHUNK};
use super::launch_sequence::Packed;
use super::plan::{Rows, Span};
use super::session::{Arg, Session, Shape};
use crate::error::Result;

/// Profiles of a head, and where their anchors are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profiles {
    /// (gates,2*count-1), and room for its gradients.
    pub table: Span,
    pub dtable: Span,
    /// Of every anchor.
    pub each: usize,
    /// (N,9), of which the anchors are those from this column on.
    pub classes: Span,
    pub first: usize,
    /// Classes of the head, and with its gates.
    pub count: usize,
    pub width: usize,
}

impl Session {
    /// float* to (N,K), const float* from (N,K), const float* table (classes,K), const int* classes (N,9), int which,
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

    /// float* dtable (classes,K), const float* d (N,K), const int* classes (N,9), int which, const int* rows, int width
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

    /// float* logits (N,W), double* loss (N), const int* classes (N,9), int which, const int* head, const int* offsets,
    /// const int* lengths, const int* times, int count, int width
    pub(super) fn categorical_loss(
        &self,
        logits: Span,
        loss: Span,
        (classes, which): (Span, usize),
        (packed, steps): (&Packed, usize),
        (count, width): (usize, usize),
    ) -> Result<()> {
        let first = [logits.into(), loss.into(), classes.into(), which.into()];
        let tables = [packed.head, packed.offsets, packed.lengths, packed.times].map(Arg::Span);
        let args = [&first[..], &tables, &[count.into(), width.into()]].concat();
        self.launch(Kernel::categorical_loss, Shape::Warps(steps), 0, &args)
    }

    /// float* logits (N,W), const float* table (gates,2*count-1), const int* classes (N,9), int first, int each,
    /// const int* rows, int count, int width
    pub(super) fn add_profiles(&self, logits: Span, profiles: Profiles, rows: Rows) -> Result<()> {
        let Profiles { table, each, classes, first, count, width, .. } = profiles;
        let args = [logits.into(), table.into(), classes.into(), first.into(), each.into(), rows.into()];
        let args = [&args[..], &[count.into(), width.into()]].concat();
        self.launch(Kernel::add_profiles, Shape::Each(rows.most * count), 0, &args)
    }

    /// float* partials (ceil(N/256),gates,2*count-1), float* dtable (gates,2*count-1), float* logits (N,W),
    /// const float* table (gates,2*count-1), const int* classes (N,9), int first, int each, const int* rows, int count,
    /// int width; then, for more than 256 rows, matrix_gradient_add
    pub(super) fn profiles_backward(&self, logits: Span, profiles: Profiles, room: Span, rows: Rows) -> Result<()> {
        let Profiles { table, dtable, each, classes, first, count, width } = profiles;
        let (chunks, gates, columns) = (rows.most.div_ceil(CHUNK), width - count, 2 * count - 1);
        let partials = (chunks > 1).then_some(room);
        let to = [partials.into(), dtable.into(), logits.into()];
        let from = [table.into(), classes.into(), first.into(), each.into(), rows.into(), count.into(), width.into()];
        self.launch(Kernel::profiles_backward, Shape::Grid(gates, chunks, 1), 0, &[&to[..], &from].concat())?;
        let Some(partials) = partials else { return Ok(()) };
        let to = [dtable.into(), Arg::Null, Arg::Null];
        self.matrix_gradient_add(to, partials, rows, [columns, gates, columns, ADD], gates * columns)
    }
}
