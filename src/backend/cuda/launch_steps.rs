//! As launch.rs: the kernels of losses, optimiser, random numbers and walks.

use super::kernels::Kernel;
use super::plan::{Rows, Span};
use super::session::{Arg, Session, Shape};
use crate::backend::cpu::math::AdamStep;
use crate::data::steps::{INPUTS, Y_ANCHORS};
use crate::error::Result;
use crate::rng::Stream;

/// Numbers that one partial sum of squares spans.
const PART: usize = 4096;

/// Partial sums that so many numbers need.
pub(super) fn parts(size: usize) -> usize {
    size.div_ceil(PART)
}

/// Numbers of a step that adam_step is given.
pub(super) const SETTINGS: usize = 12;

/// Where move_average finds what it keeps.
pub(super) const KEEP: usize = 11;

/// They, of a step whose gradient has at most the norm `clip`. `AdamStep::scale` is left to the device, and an average keeps
/// nothing.
pub(super) fn settings(step: &AdamStep, clip: f64) -> [f32; SETTINGS] {
    let adaptive = f64::from(u8::from(step.adaptive));
    let AdamStep { decay, shrink, beta1, beta2, rate, v_scale, epsilon, .. } = *step;
    [decay, shrink, beta1, 1.0 - beta1, beta2, 1.0 - beta2, rate, v_scale, epsilon, adaptive, clip, 0.0]
        .map(|x| x as f32)
}

/// Where adam_step finds gradients, weights, moments and what sum_squares made of the first two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adam {
    pub w: Span,
    pub g: Span,
    pub m: Span,
    pub v: Span,
    pub g_squares: Span,
    pub w_squares: Span,
    pub settings: Span,
    pub norm: Span,
    pub failed: Span,
}

/// What walk is given beside sizes: see kernels/walk.cu.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    pub events: Span,
    pub counts: Span,
    pub targets: Span,
    pub constant: Span,
    pub stack_t: Span,
    pub biases: Span,
    pub heads: Span,
    pub embeddings: [Span; 2],
    /// None without profiles.
    pub profiles: [Option<Span>; 2],
    pub step_edges: Span,
    pub tick_edges: Span,
    pub clock: Span,
}

/// Sizes of a closed-loop decoder and its codec.
#[derive(Clone, Copy, Debug)]
pub(super) struct WalkSizes {
    pub hidden: usize,
    pub layers: usize,
    pub step_classes: usize,
    pub tick_classes: usize,
    pub repeats: bool,
    pub most_points: usize,
    /// Of every anchor.
    pub profiles: usize,
    /// The codec's.
    pub landing: [f64; 2],
}

impl WalkSizes {
    /// Bytes of shared memory that eight walks together need.
    pub fn shared(&self) -> usize {
        let classes = self.step_classes.max(self.tick_classes);
        let width = (self.step_classes + Y_ANCHORS * self.profiles).max(self.tick_classes);
        8 * (8 * classes) + 4 * 8 * (INPUTS + (2 * self.layers + 6) * self.hidden + width)
    }
}

/// Which numbers of a Philox stream: (seed, stream, step) with step = (the clock's step << shift) + add + row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub clock: Span,
    pub stream: u32,
    pub shift: usize,
    pub add: u64,
}

impl Session {
    /// float* z_hat (M,S), const float* z_real, const float* z_fake (M,S), const float* alpha (M), const int* rows,
    /// int width
    pub(super) fn interpolate(
        &self,
        z_hat: Span,
        (z_real, z_fake): (Span, Span),
        alpha: Span,
        rows: Rows,
        width: usize,
    ) -> Result<()> {
        let args = [z_hat.into(), z_real.into(), z_fake.into(), alpha.into(), rows.into(), width.into()];
        self.launch(Kernel::interpolate, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* v (M,S), double* penalty (M), const float* g (M,S), double lambda, const int* rows, int width
    pub(super) fn penalty_direction(
        &self,
        v: Span,
        penalty: Span,
        g: Span,
        lambda: f64,
        rows: Rows,
        width: usize,
    ) -> Result<()> {
        let args = [v.into(), penalty.into(), g.into(), Arg::Double(lambda), rows.into(), width.into()];
        self.launch(Kernel::penalty_direction, Shape::Warps(rows.most), 0, &args)
    }

    /// float* dz (M,S), double* loss (S), const float* fake, const float* real (M,S), double weight, const int* rows,
    /// int width
    pub(super) fn feature_matching(
        &self,
        (dz, loss): (Span, Span),
        (fake, real): (Span, Span),
        weight: f64,
        rows: Rows,
        width: usize,
    ) -> Result<()> {
        let pointers = [dz.into(), loss.into(), fake.into(), real.into()];
        let args = [&pointers[..], &[Arg::Double(weight), rows.into(), width.into()]].concat();
        self.launch(Kernel::feature_matching, Shape::Each(width), 0, &args)
    }

    /// out (1) = scale times the sum of x (M,W)
    pub(super) fn sum_doubles(&self, out: Span, x: Span, scale: f64, rows: Rows, width: usize) -> Result<()> {
        self.sum_parts(out, x, scale, rows, (width, 1), 0)
    }

    /// double* out (1), const double* x, double scale, const int* rows, int width, int chunk, int flags
    pub(super) fn sum_parts(
        &self,
        out: Span,
        x: Span,
        scale: f64,
        rows: Rows,
        (width, chunk): (usize, usize),
        flags: usize,
    ) -> Result<()> {
        let sizes = [rows.into(), width.into(), chunk.into(), flags.into()];
        let args = [&[out.into(), x.into(), Arg::Double(scale)][..], &sizes].concat();
        self.launch(Kernel::sum_doubles, Shape::Blocks(1), 0, &args)
    }

    /// double* out (1), const float* x (M), double scale, const int* rows, int flags
    pub(super) fn mean_floats(&self, out: Span, x: Span, scale: f64, rows: Rows, flags: usize) -> Result<()> {
        let args = [out.into(), x.into(), Arg::Double(scale), rows.into(), flags.into()];
        self.launch(Kernel::mean_floats, Shape::Blocks(1), 0, &args)
    }

    /// double* ring (length,8), int* failed, const double* losses (8), const unsigned* clock (4), int length
    pub(super) fn store_losses(
        &self,
        ring: Span,
        length: usize,
        failed: Span,
        losses: Span,
        clock: Span,
    ) -> Result<()> {
        let args = [ring.into(), failed.into(), losses.into(), clock.into(), length.into()];
        self.launch(Kernel::store_losses, Shape::One, 0, &args)
    }

    /// int* chosen (M), const int* items, const int* ends, const unsigned* clock (4), int* taken, const int* rows, int bins,
    /// unsigned stream, unsigned draw
    pub(super) fn choose_rows(
        &self,
        (chosen, taken): (Span, Span),
        [items, ends]: [Span; 2],
        clock: Span,
        rows: Rows,
        draw: usize,
    ) -> Result<()> {
        let place = [Arg::Int(Stream::Stage2Batch as i32), draw.into()];
        let args =
            [chosen.into(), items.into(), ends.into(), clock.into(), taken.into(), rows.into(), ends.len().into()];
        self.launch(Kernel::choose_rows, Shape::Each(ends.len()), 0, &[&args[..], &place].concat())
    }

    /// float* to (W), const float* ring (length,W), const unsigned* clock (4), int length, int width
    pub(super) fn take_slot(&self, to: Span, ring: Span, clock: Span, length: usize) -> Result<()> {
        let args = [to.into(), ring.into(), clock.into(), length.into(), to.len().into()];
        self.launch(Kernel::take_slot, Shape::Each(to.len()), 0, &args)
    }

    /// double* ring (length,8), unsigned* clock (4), const int* failed, int length
    pub(super) fn end_iteration(&self, ring: Span, clock: Span, failed: Span, length: usize) -> Result<()> {
        let args = [ring.into(), clock.into(), failed.into(), length.into()];
        self.launch(Kernel::end_iteration, Shape::One, 0, &args)
    }

    /// double* g_squares, double* w_squares (ceil(P/4096)), const float* g, const float* w (P), int size
    fn sum_squares(&self, adam: Adam, size: usize) -> Result<()> {
        let pointers = [adam.g_squares, adam.w_squares, adam.g, adam.w].map(Arg::Span);
        let args = [&pointers[..], &[size.into()]].concat();
        self.launch(Kernel::sum_squares, Shape::Blocks(parts(size)), 0, &args)
    }

    /// An optimiser's step: sum_squares, then adam_step.
    pub(super) fn update(&self, adam: Adam, size: usize) -> Result<()> {
        self.sum_squares(adam, size)?;
        self.adam_step(adam, size)
    }

    /// float* w, float* m, float* v (P), double* norm (1), int* failed (1), const float* g (P),
    /// const double* g_squares (ceil(P/4096)), const double* w_squares (ceil(P/4096)), const float* settings (12),
    /// int size
    fn adam_step(&self, adam: Adam, size: usize) -> Result<()> {
        let Adam { w, g, m, v, g_squares, w_squares, settings, norm, failed } = adam;
        let pointers = [w, m, v, norm, failed, g, g_squares, w_squares, settings].map(Arg::Span);
        self.launch(Kernel::adam_step, Shape::Each(size), 0, &[&pointers[..], &[size.into()]].concat())
    }

    /// float* average, const float* w (P), const float* keep (1), const int* failed, int size
    pub(super) fn move_average(&self, average: Span, w: Span, keep: Span, failed: Span, size: usize) -> Result<()> {
        let args = [average.into(), w.into(), keep.into(), failed.into(), size.into()];
        self.launch(Kernel::move_average, Shape::Each(size), 0, &args)
    }

    /// float* out (M,W), const unsigned* clock (4), const int* rows, int width, unsigned stream, int shift,
    /// unsigned long long add, double scale, double bound, int flags
    pub(super) fn normals(
        &self,
        out: Span,
        from: Numbers,
        (scale, bound): (f64, f64),
        rows: Rows,
        width: usize,
        flags: usize,
    ) -> Result<()> {
        let place = [Arg::Int(from.stream as i32), from.shift.into(), Arg::Long(from.add)];
        let how = [Arg::Double(scale), Arg::Double(bound), flags.into()];
        let args = [&[out.into(), from.clock.into(), rows.into(), width.into()][..], &place, &how].concat();
        self.launch(Kernel::normals, Shape::Each(rows.most * width.div_ceil(4)), 0, &args)
    }

    /// float* out (M,W), const unsigned* clock (4), const int* rows, int width, unsigned stream, int shift,
    /// unsigned long long add
    pub(super) fn uniforms(&self, out: Span, from: Numbers, rows: Rows, width: usize) -> Result<()> {
        let place = [Arg::Int(from.stream as i32), from.shift.into(), Arg::Long(from.add)];
        let args = [&[out.into(), from.clock.into(), rows.into(), width.into()][..], &place].concat();
        self.launch(Kernel::uniforms, Shape::Each(rows.most * width.div_ceil(4)), 0, &args)
    }

    /// int* events (B,most_points-1,3), int* counts (B), const int* targets (B,2), const float* constant (B,4H),
    /// const float* stack_t, const float* biases (layers,4H), const float* heads, const float* embed_x,
    /// const float* embed_y (X,H), const float* profiles_x (2P,2X-1), const float* profiles_y (4P,2X-1),
    /// const int* step_edges, const int* tick_edges, const unsigned* clock (4), double step_temperature,
    /// double time_temperature, double landing, double landing_turned, int rows, int hidden, int layers, int step_classes,
    /// int tick_classes, int repeats, int most_points, int profiles
    pub(super) fn walk(&self, walk: Walk, temperatures: [f64; 2], rows: usize, sizes: WalkSizes) -> Result<()> {
        let Walk { events, counts, targets, constant, stack_t, biases, heads, .. } = walk;
        let ([x, y], Walk { step_edges, tick_edges, clock, .. }) = (walk.embeddings, walk);
        let spans = [events, counts, targets, constant, stack_t, biases, heads, x, y].map(Arg::Span);
        let tables = walk.profiles.map(Arg::from);
        let codec = [step_edges, tick_edges, clock].map(Arg::Span);
        let WalkSizes { hidden, layers, step_classes, tick_classes, repeats, most_points, profiles, landing } = sizes;
        let numbers = [rows, hidden, layers, step_classes, tick_classes, usize::from(repeats), most_points, profiles];
        let numbers = numbers.map(Arg::from);
        let doubles = [temperatures, landing].map(|pair| pair.map(Arg::Double)).concat();
        let args = [&spans[..], &tables, &codec, &doubles, &numbers].concat();
        self.launch(Kernel::walk, Shape::Blocks(rows.div_ceil(8)), sizes.shared(), &args)
    }
}
