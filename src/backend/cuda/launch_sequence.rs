//! As launch.rs: the kernels of packed sequences, LSTM layers and the expander.

use super::context::Context;
use super::kernels::Kernel;
use super::plan::{Plan, Rows, Span};
use super::session::{Arg, Session, Shape};
use crate::error::Result;
use crate::nn::dropout::Site;

/// A packed batch: its head and tables (kernels/tg_cuda.h).
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    /// All but `times`, in one piece: that is how they are sent.
    pub tables: Span,
    /// (4): B, T, N, 0
    pub head: Span,
    /// (T+1)
    pub offsets: Span,
    /// (B)
    pub lengths: Span,
    /// (B): the T of each row's positional encoding.
    pub seq_lens: Span,
    /// (N)
    pub times: Span,
}

impl Packed {
    pub fn new(plan: &mut Plan, room: Room) -> Packed {
        let Room { rows, longest, steps } = room;
        let tables = plan.floats(4 + 2 * rows + longest + 1);
        Packed {
            tables,
            head: tables.part(0, 4),
            lengths: tables.part(4, rows),
            seq_lens: tables.part(4 + rows, rows),
            offsets: tables.from(4 + 2 * rows),
            times: plan.floats(steps),
        }
    }

    /// B, of a batch that fits the room.
    pub fn rows(&self, room: Room) -> Rows {
        Rows { count: self.head.part(0, 1), most: room.rows }
    }

    /// N
    pub fn steps(&self, room: Room) -> Rows {
        Rows { count: self.head.part(2, 1), most: room.steps }
    }
}

/// Most rows and steps that a batch may have, and its longest row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    pub rows: usize,
    pub longest: usize,
    pub steps: usize,
}

/// Rows of a block in lstm.cu and expander.cu, whose threads are those of the widest step.
#[derive(Clone, Copy, Debug)]
struct Tile(usize);

impl Tile {
    /// The largest of `tiles` that leaves no multiprocessor idle, where a block has the memory (bytes for each row); else 1.
    fn of(context: &Context, rows: usize, bytes: usize, tiles: &[usize]) -> Tile {
        let suits = |tile: usize| rows > tile / 4 * context.multiprocessors() && tile * bytes + OWN <= context.shared();
        Tile(tiles.iter().copied().find(|&tile| suits(tile)).unwrap_or(1))
    }

    fn shape(self, rows: usize, hidden: usize) -> Shape {
        Shape::Tiles(rows.div_ceil(self.0), (4 * hidden).next_multiple_of(32).min(512))
    }
}

/// Bytes of shared memory for each row of a tile.
fn lstm_forward_bytes(hidden: usize) -> usize {
    20 * hidden
}

fn lstm_backward_bytes(hidden: usize) -> usize {
    36 * hidden
}

/// Whether a device has the memory for an LSTM layer, forward and backward.
pub(super) fn lstm_fits(context: &Context, hidden: usize) -> bool {
    lstm_backward_bytes(hidden) + OWN <= context.shared()
}

/// What kernels have beside the shared memory that they are given, at most.
const OWN: usize = 8192;

/// What lstm_resident.cu has of the weights of 128 units in shared memory.
const RESIDENT_128: usize = 98_304;

/// The kernels of lstm_resident.cu for so many units, with their shared memory. Whatever the batch: a row then has the same
/// bits in any.
fn resident(context: &Context, hidden: usize) -> Option<([Kernel; 2], usize)> {
    match hidden {
        64 => Some(([Kernel::lstm_forward_h64, Kernel::lstm_backward_h64], 0)),
        96 => Some(([Kernel::lstm_forward_h96, Kernel::lstm_backward_h96], 0)),
        128 if RESIDENT_128 + OWN <= context.shared() => {
            Some(([Kernel::lstm_forward_h128, Kernel::lstm_backward_h128], RESIDENT_128))
        }
        _ => None,
    }
}

/// Gates, cells and outputs of an LSTM layer: (N,4H), (N,H), (N,H).
#[derive(Clone, Copy, Debug)]
pub(super) struct Cells {
    pub gates: Span,
    pub c: Span,
    pub h: Span,
}

/// Sizes of an expander. capacity: rows between its layers' buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExpanderSizes {
    pub latent: usize,
    pub hidden: usize,
    pub layers: usize,
    pub capacity: usize,
}

impl ExpanderSizes {
    fn forward_bytes(self) -> usize {
        4 * (self.latent + (self.layers + 5) * self.hidden)
    }

    fn backward_bytes(self) -> usize {
        4 * (2 * self.latent + 4 * self.latent.max(self.hidden) + (2 * self.layers + 8) * self.hidden)
    }

    /// Whether a device has the memory for it, forward and backward.
    pub fn fit(self, context: &Context) -> bool {
        self.backward_bytes() + OWN <= context.shared()
    }

    fn args(self) -> [Arg; 4] {
        [self.latent, self.hidden, self.layers, self.capacity].map(Arg::from)
    }
}

/// What an expander remembers: see kernels/expander.cu. mask: NULL without dropout. Without gates it remembers nothing, and c has
/// a row for each of the batch. words: for blocks that exchange numbers through memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expansion {
    pub y: Span,
    pub cells: Cells,
    pub init: [Span; 2],
    pub mask: Option<Span>,
    pub words: Span,
}

/// Its weights as expander_forward wants them: constant (B,4H), stack_t, biases (layers,4H), out_t (H,L), out_bias (L).
#[derive(Clone, Copy, Debug)]
pub(super) struct ExpanderWeights {
    pub constant: Span,
    pub stack_t: Span,
    pub biases: Span,
    pub out_t: Span,
    pub out_bias: Span,
}

impl Session {
    /// float* gates (N,4H), float* c, float* h (N,H), const float* constant (B,4H), const float* w_t (H,4H),
    /// const float* h0, const float* c0 (B,H), int initial_stride, const int* head, const int* offsets,
    /// const int* lengths, int hidden. States before step 0 are zeros here.
    pub(super) fn lstm_forward(
        &self,
        cells: Cells,
        constant: Option<Span>,
        w_t: Span,
        (packed, rows): (&Packed, usize),
        hidden: usize,
    ) -> Result<()> {
        let (kernel, shape, shared) = match resident(self.context(), hidden) {
            Some(([forward, _], shared)) => (forward, Shape::Tiles(rows, 4 * hidden), shared),
            None => {
                let tile = Tile::of(self.context(), rows, lstm_forward_bytes(hidden), &[16, 4]);
                let kernel = match tile.0 {
                    16 => Kernel::lstm_forward_16,
                    4 => Kernel::lstm_forward_4,
                    _ => Kernel::lstm_forward_1,
                };
                (kernel, tile.shape(rows, hidden), tile.0 * lstm_forward_bytes(hidden))
            }
        };
        let Cells { gates, c, h } = cells;
        let first = [gates.into(), c.into(), h.into(), constant.into(), w_t.into(), Arg::Null, Arg::Null, Arg::Int(0)];
        let tables = [packed.head.into(), packed.offsets.into(), packed.lengths.into(), hidden.into()];
        self.launch(kernel, shape, shared, &[&first[..], &tables].concat())
    }

    /// float* gates (N,4H), float* dh0, float* dc0 (B,H), const float* dy (N,H), const float* c (N,H),
    /// const float* c0 (B,H), const float* w (4H,H), int initial_stride, const int* head, const int* offsets,
    /// const int* lengths, int hidden. States before step 0 are zeros here.
    pub(super) fn lstm_backward(
        &self,
        cells: Cells,
        dy: Span,
        w: Span,
        (packed, rows): (&Packed, usize),
        hidden: usize,
    ) -> Result<()> {
        let (kernel, shape, shared) = match resident(self.context(), hidden) {
            Some(([_, backward], shared)) => (backward, Shape::Tiles(rows, 4 * hidden), shared),
            None => {
                let tile = Tile::of(self.context(), rows, lstm_backward_bytes(hidden), &[4]);
                let kernel = if tile.0 == 1 { Kernel::lstm_backward_1 } else { Kernel::lstm_backward_4 };
                (kernel, tile.shape(rows, hidden), tile.0 * lstm_backward_bytes(hidden))
            }
        };
        let Cells { gates, c, .. } = cells;
        let first = [gates.into(), Arg::Null, Arg::Null, dy.into(), c.into(), Arg::Null, w.into(), Arg::Int(0)];
        let tables = [packed.head.into(), packed.offsets.into(), packed.lengths.into(), hidden.into()];
        self.launch(kernel, shape, shared, &[&first[..], &tables].concat())
    }

    /// float* to (I,O), const float* w (O,I), int inputs, int outputs, int stride
    pub(super) fn matrix_transpose(&self, to: Span, w: Span, [inputs, outputs, stride]: [usize; 3]) -> Result<()> {
        let args = [to.into(), w.into(), inputs.into(), outputs.into(), stride.into()];
        self.launch(Kernel::matrix_transpose, Shape::Each(inputs * outputs), 0, &args)
    }

    /// float* y (N,L), float* gates (layers,capacity,4H), float* c, float* h (layers,capacity,H),
    /// const float* constant (B,4H), const float* init_h, const float* init_c (B,layers,H), const float* stack_t,
    /// const float* biases (layers,4H), const float* out_t (H,L), const float* out_bias (L),
    /// const float* mask (layers-1,capacity,H), const int* head, const int* offsets, const int* lengths, int latent,
    /// int hidden, int layers, int capacity
    pub(super) fn expander_forward(
        &self,
        expansion: Expansion,
        weights: ExpanderWeights,
        (packed, rows): (&Packed, usize),
        sizes: ExpanderSizes,
    ) -> Result<()> {
        let Expansion { y, cells: Cells { gates, c, h }, init, mask, words } = expansion;
        let ExpanderWeights { constant, stack_t, biases, out_t, out_bias } = weights;
        let kept = |span: Span| if gates.is_empty() { Arg::Null } else { Arg::Span(span) };
        let traces = [y.into(), kept(gates), c.into(), kept(h)];
        let pointers = [constant, init[0], init[1], stack_t, biases, out_t, out_bias].map(Arg::Span);
        let tables = [mask.into(), packed.head.into(), packed.offsets.into(), packed.lengths.into()];
        let args = [&traces[..], &pointers, &tables, &sizes.args()].concat();
        if !words.is_empty()
            && let Some(group) = self.group(sizes, rows, true)?
        {
            return self.expander_group(group, sizes, words, &args);
        }
        let tile = Tile::of(self.context(), rows, sizes.forward_bytes(), &[16, 4]);
        let kernel = match tile.0 {
            16 => Kernel::expander_forward_16,
            4 => Kernel::expander_forward_4,
            _ => Kernel::expander_forward_1,
        };
        self.launch(kernel, tile.shape(rows, sizes.hidden), tile.0 * sizes.forward_bytes(), &args)
    }

    /// float* dy (N,L), float* gates (layers,capacity,4H), float* dinit_h, float* dinit_c (B,layers,H),
    /// const float* y (N,L), const float* c (layers,capacity,H), const float* init_c (B,layers,H), const float* stack,
    /// const float* out (L,H), const float* mask (layers-1,capacity,H), const int* head, const int* offsets,
    /// const int* lengths, int latent, int hidden, int layers, int capacity
    pub(super) fn expander_backward(
        &self,
        expansion: Expansion,
        (dy, dinit): (Span, [Span; 2]),
        (stack, out): (Span, Span),
        (packed, rows): (&Packed, usize),
        sizes: ExpanderSizes,
    ) -> Result<()> {
        let Expansion { y, cells: Cells { gates, c, .. }, init, mask, words } = expansion;
        let pointers = [dy, gates, dinit[0], dinit[1], y, c, init[1], stack, out].map(Arg::Span);
        let tables = [mask.into(), packed.head.into(), packed.offsets.into(), packed.lengths.into()];
        let args = [&pointers[..], &tables, &sizes.args()].concat();
        if !words.is_empty()
            && let Some(group) = self.group(sizes, rows, false)?
        {
            return self.expander_group(group, sizes, words, &args);
        }
        let tile = Tile::of(self.context(), rows, sizes.backward_bytes(), &[4]);
        let kernel = if tile.0 == 1 { Kernel::expander_backward_1 } else { Kernel::expander_backward_4 };
        self.launch(kernel, tile.shape(rows, sizes.hidden), tile.0 * sizes.backward_bytes(), &args)
    }

    /// float* before (N,W), const float* x (N,W), const float* initial (B,W), int initial_stride, const int* head,
    /// const int* offsets, const int* times, int width. initial: with its stride, or zeros.
    pub(super) fn shift_steps(
        &self,
        before: Span,
        x: Span,
        initial: Option<(Span, usize)>,
        (packed, steps): (&Packed, usize),
        width: usize,
    ) -> Result<()> {
        let (initial, stride) = initial.map_or((Arg::Null, 0), |(span, stride)| (span.into(), stride));
        let tables = [packed.head, packed.offsets, packed.times].map(Arg::Span);
        let args = [&[before.into(), x.into(), initial, stride.into()][..], &tables, &[width.into()]].concat();
        self.launch(Kernel::shift_steps, Shape::Each(steps * width), 0, &args)
    }

    /// float* sums (B,W), const float* x (N,W), const int* head, const int* offsets, const int* lengths, int width
    pub(super) fn sum_steps(&self, sums: Span, x: Span, (packed, rows): (&Packed, usize), width: usize) -> Result<()> {
        let pointers = [sums, x, packed.head, packed.offsets, packed.lengths].map(Arg::Span);
        self.launch(Kernel::sum_steps, Shape::Each(rows * width), 0, &[&pointers[..], &[width.into()]].concat())
    }

    /// float* x (N,W), const float* shared (B,W), const int* head, const int* offsets, const int* times, int width,
    /// int flags
    pub(super) fn spread_steps(
        &self,
        x: Span,
        shared: Span,
        (packed, steps): (&Packed, usize),
        width: usize,
        flags: usize,
    ) -> Result<()> {
        let pointers = [x, shared, packed.head, packed.offsets, packed.times].map(Arg::Span);
        let args = [&pointers[..], &[width.into(), flags.into()]].concat();
        self.launch(Kernel::spread_steps, Shape::Each(steps * width), 0, &args)
    }

    /// float* positions (N,32), const int* seq_lens (B), const int* head, const int* offsets, const int* times
    pub(super) fn encode_positions(&self, positions: Span, (packed, steps): (&Packed, usize)) -> Result<()> {
        let pointers = [positions, packed.seq_lens, packed.head, packed.offsets, packed.times].map(Arg::Span);
        self.launch(Kernel::encode_positions, Shape::Each(steps * 32), 0, &pointers)
    }

    /// float* mask (N,W), const unsigned* clock (4), const int* head, const int* offsets, const int* times, int width,
    /// unsigned site, unsigned threshold, float keep. p: the probability to drop, below 1.
    pub(super) fn dropout_mask(
        &self,
        mask: Span,
        clock: Span,
        (site, p): (Site, f64),
        (packed, steps): (&Packed, usize),
        width: usize,
    ) -> Result<()> {
        let pointers = [mask, clock, packed.head, packed.offsets, packed.times].map(Arg::Span);
        let threshold = (p * 4_294_967_296.0) as u32; // as Dropout::apply
        let keep = Arg::Float((1.0 / (1.0 - p)) as f32);
        let how = [width.into(), Arg::Int(site as i32), Arg::Int(threshold as i32), keep];
        self.launch(Kernel::dropout_mask, Shape::Each(steps * width.div_ceil(4)), 0, &[&pointers[..], &how].concat())
    }

    /// float* x (M,W), const int* rows, int width
    pub(super) fn tanh_forward(&self, x: Span, rows: Rows, width: usize) -> Result<()> {
        let args = [x.into(), rows.into(), width.into()];
        self.launch(Kernel::tanh_forward, Shape::Each(rows.most * width), 0, &args)
    }

    /// float* d (M,W), double* partials (ceil(M*W/1024)), const float* y (M,W), const float* target (M,W), float weight,
    /// const int* rows, int width; then the sum of the partials is the loss (1).
    pub(super) fn squared_error(
        &self,
        (loss, partials): (Span, Span),
        (y, target): (Span, Span),
        gradient: Option<(Span, f64)>,
        rows: Rows,
        width: usize,
    ) -> Result<()> {
        let (d, weight) = gradient.map_or((Arg::Null, 0.0), |(d, weight)| (d.into(), weight));
        let pointers = [d, partials.into(), y.into(), target.into(), Arg::Float(weight as f32)];
        let args = [&pointers[..], &[rows.into(), width.into()]].concat();
        self.launch(Kernel::squared_error, Shape::Blocks(error_parts(rows.most, width)), 0, &args)?;
        self.sum_parts(loss, partials, 1.0, rows, (width, ERROR_PART), 0)
    }
}

/// Squared errors that are summed apart.
const ERROR_PART: usize = 1024;

/// Partial sums that squared_error makes.
pub(super) fn error_parts(rows: usize, width: usize) -> usize {
    (rows * width).div_ceil(ERROR_PART)
}
