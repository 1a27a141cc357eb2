//! Packed sequences on the device: LSTM stacks, and the encoder and decoder made of them (src/nn/lstm.rs,
//! src/model/sequence.rs), sweep by sweep.

use super::context::Context;
use super::launch::{TANH, spectral_fits};
use super::launch_sequence::{Cells, Packed, Room, lstm_fits};
use super::layers::{Arenas, Pass, row, tensor};
use super::plan::{Plan, Rows, Span};
use super::session::Session;
use crate::error::Result;
use crate::model::sequence::SequenceMap;
use crate::nn::dropout::Site;
use crate::nn::lstm::Layer;
use crate::nn::{Lstm, Matrix};

/// A sweep over a packed batch.
#[derive(Clone, Copy)]
pub(super) struct Sweep<'a> {
    pub packed: &'a Packed,
    /// Over the steps (N), and over the rows (B).
    pub steps: Pass<'a>,
    pub rows: Pass<'a>,
    /// The clock that masks are drawn by; none where nothing is dropped.
    pub dropout: Option<Span>,
}

impl<'a> Sweep<'a> {
    pub fn new(session: &'a Session, arenas: Arenas, packed: &'a Packed, room: Room, one: Rows) -> Sweep<'a> {
        let pass = |rows| Pass { session, arenas, rows, one };
        Sweep { packed, steps: pass(packed.steps(room)), rows: pass(packed.rows(room)), dropout: None }
    }

    pub fn session(&self) -> &'a Session {
        self.rows.session
    }

    pub fn params(&self) -> Span {
        self.rows.arenas.params
    }

    /// The batch and its most rows, or steps, as launches want them.
    pub fn by_row(&self) -> (&'a Packed, usize) {
        (self.packed, self.rows.rows.most)
    }

    pub fn by_step(&self) -> (&'a Packed, usize) {
        (self.packed, self.steps.rows.most)
    }

    /// Whether a layer with this probability drops anything.
    pub fn drops(&self, p: f64) -> Option<Span> {
        self.dropout.filter(|_| p > 0.0)
    }

    /// x (N,W) -> x after dropout, where the layer drops anything
    pub fn drop(&self, (site, p): (Site, f64), x: Span, space: DropSpace, width: usize) -> Result<Span> {
        let Some(clock) = self.drops(p) else { return Ok(x) };
        self.session().dropout_mask(space.mask, clock, (site, p), self.by_step(), width)?;
        self.session().product(space.dropped, x, space.mask, self.steps.rows, width, 0)?;
        Ok(space.dropped)
    }

    /// What [`Sweep::drop`] gave.
    pub fn seen(&self, p: f64, x: Span, space: DropSpace) -> Span {
        if self.drops(p).is_some() { space.dropped } else { x }
    }

    /// dy (N,W) becomes the gradient before dropout.
    pub fn drop_backward(&self, p: f64, dy: Span, space: DropSpace, width: usize) -> Result<()> {
        match self.drops(p) {
            Some(_) => self.session().product(dy, dy, space.mask, self.steps.rows, width, 0),
            None => Ok(()),
        }
    }
}

/// Dropout's mask, and what it leaves: (N,W) each.
#[derive(Clone, Copy, Debug)]
pub(super) struct DropSpace {
    mask: Span,
    dropped: Span,
}

impl DropSpace {
    /// len: numbers, 0 where nothing is dropped.
    pub fn new(plan: &mut Plan, len: usize) -> DropSpace {
        DropSpace { mask: plan.floats(len), dropped: plan.floats(len) }
    }
}

/// Activations of an LSTM stack, and what its backward needs.
#[derive(Clone, Debug)]
pub(super) struct LstmSpace {
    layers: Vec<(Cells, DropSpace)>,
    /// (B,4H): what every step adds to the gates of layer 0, where it has a constant input.
    constant: Span,
    /// (N,H): gradient of the outputs of the layer below, and h one step earlier.
    dy: Span,
    before: Span,
    /// (B,4H): sums of gates over steps.
    sums: Span,
}

impl LstmSpace {
    /// training: with room for a backward. Without, the layers share what only the next needs.
    pub fn new(plan: &mut Plan, lstm: &Lstm, room: Room, training: bool) -> LstmSpace {
        let (width, layers) = (room.steps * lstm.hidden(), lstm.layers.len());
        let mut cells = |_| Cells { gates: plan.floats(4 * width), c: plan.floats(width), h: plan.floats(width) };
        let cells: Vec<Cells> = if training {
            (0..layers).map(cells).collect()
        } else {
            let (one, other) = (cells(0), plan.floats(width));
            (0..layers).map(|k| if k % 2 == 0 { one } else { Cells { h: other, ..one } }).collect()
        };
        let drop = |k: usize| if training && lstm.dropout > 0.0 && k + 1 < layers { width } else { 0 };
        let layers = cells.into_iter().enumerate().map(|(k, cells)| (cells, DropSpace::new(plan, drop(k))));
        let layers = layers.collect();
        let constant = if lstm.layers[0].constant.is_some() { room.rows * 4 * lstm.hidden() } else { 0 };
        let [dy, before] = [(); 2].map(|()| plan.floats(if training { width } else { 0 }));
        let sums = plan.floats(if training { constant } else { 0 });
        LstmSpace { layers, constant: plan.floats(constant), dy, before, sums }
    }

    /// (N,H): outputs of the last layer.
    pub fn output(&self) -> Span {
        self.layers[self.layers.len() - 1].0.h
    }
}

/// Room for the recurrent weights of a stack, (H,4H) each.
pub(super) fn transposed(plan: &mut Plan, lstm: &Lstm) -> Vec<Span> {
    lstm.layers.iter().map(|layer| plan.floats(layer.recurrent.outputs * layer.recurrent.inputs)).collect()
}

impl Sweep<'_> {
    /// Writes what the forwards of a stack want of its weights, after these have changed.
    pub fn transpose(&self, lstm: &Lstm, transposed: &[Span]) -> Result<()> {
        for (layer, to) in lstm.layers.iter().zip(transposed) {
            self.rows.transpose(&layer.recurrent, *to)?;
        }
        Ok(())
    }

    /// x (N,I), constant (B,S) where the stack has one -> space.output() (N,H). site: of the first layer's dropout.
    pub fn lstm(
        &self,
        lstm: &Lstm,
        transposed: &[Span],
        (x, constant): (Span, Option<Span>),
        site: Site,
        space: &LstmSpace,
    ) -> Result<()> {
        let (s, hidden) = (self.session(), lstm.hidden());
        let mut x = x;
        for (k, layer) in lstm.layers.iter().enumerate() {
            let (cells, drop) = space.layers[k];
            let (w, biases) = (tensor(self.params(), &layer.input), self.biases(layer));
            let shared = layer.constant.zip(constant);
            if let Some((matrix, z)) = shared {
                let w = tensor(self.params(), &matrix);
                s.matrix_forward(&matrix, (space.constant, z, w), biases, None, self.rows.rows, 0)?;
            }
            let biases = if shared.is_some() { [None; 2] } else { biases };
            s.matrix_forward(&layer.input, (cells.gates, x, w), biases, None, self.steps.rows, 0)?;
            s.lstm_forward(cells, shared.map(|_| space.constant), transposed[k], self.by_row(), hidden)?;
            if k + 1 < lstm.layers.len() {
                x = self.drop((site + k as Site, lstm.dropout), cells.h, drop, hidden)?;
            }
        }
        Ok(())
    }

    /// dy (N,H): gradient of the outputs. x and constant as the forward saw them. dx (N,I) and dconstant (B,S) are
    /// written where wanted.
    pub fn lstm_backward(
        &self,
        lstm: &Lstm,
        (x, constant): (Span, Option<Span>),
        dy: Span,
        space: &LstmSpace,
        (dx, dconstant): (Option<Span>, Option<Span>),
    ) -> Result<()> {
        let (s, hidden) = (self.session(), lstm.hidden());
        for (k, layer) in lstm.layers.iter().enumerate().rev() {
            let (cells, w) = (space.layers[k].0, tensor(self.params(), &layer.recurrent));
            let dy = if k + 1 == lstm.layers.len() { dy } else { space.dy };
            s.lstm_backward(cells, dy, w, self.by_row(), hidden)?;
            s.shift_steps(space.before, cells.h, None, self.by_step(), hidden)?;
            self.layer_gradient(layer, cells.gates, space.before)?;
            if k == 0 {
                self.steps.weight_gradient(&layer.input, [None; 2], cells.gates, x)?;
                continue;
            }
            let (below, drop) = space.layers[k - 1];
            let seen = self.seen(lstm.dropout, below.h, drop);
            self.steps.weight_gradient(&layer.input, [None; 2], cells.gates, seen)?;
            self.steps.backward(&layer.input, cells.gates, space.dy, 0)?;
            self.drop_backward(lstm.dropout, space.dy, drop, hidden)?;
        }
        let (first, gates) = (&lstm.layers[0], space.layers[0].0.gates);
        if let Some(dx) = dx {
            self.steps.backward(&first.input, gates, dx, 0)?;
        }
        if let Some((matrix, z)) = first.constant.zip(constant) {
            self.constant_backward(&matrix, gates, (z, dconstant), space.sums)?;
        }
        Ok(())
    }

    /// gates (N,4H) of a first layer, as gradients -> gradients of its constant input's weight, and of that input z (B,S)
    pub fn constant_backward(
        &self,
        matrix: &Matrix,
        gates: Span,
        (z, dz): (Span, Option<Span>),
        sums: Span,
    ) -> Result<()> {
        self.session().sum_steps(sums, gates, self.by_row(), matrix.outputs)?;
        self.rows.weight_gradient(matrix, [None; 2], sums, z)?;
        match dz {
            Some(dz) => self.rows.backward(matrix, sums, dz, 0),
            None => Ok(()),
        }
    }

    /// gates (N,4H) as gradients, before (N,H): h one step earlier -> gradients of recurrent weight and biases
    pub fn layer_gradient(&self, layer: &Layer, gates: Span, before: Span) -> Result<()> {
        self.steps.weight_gradient(&layer.recurrent, [&layer.bias_ih, &layer.bias_hh].map(Some), gates, before)
    }

    pub fn biases(&self, layer: &Layer) -> [Option<Span>; 2] {
        [&layer.bias_ih, &layer.bias_hh].map(|bias| Some(row(self.params(), bias)))
    }
}

/// Whether a device has the memory for an encoder or decoder.
pub(super) fn fits(context: &Context, map: &SequenceMap) -> bool {
    lstm_fits(context, map.lstm.hidden()) && spectral_fits(context, &map.head.weight)
}

/// Activations of an encoder or decoder.
#[derive(Clone, Debug)]
pub(super) struct SequenceSpace {
    lstm: LstmSpace,
    /// (N,O)
    pub y: Span,
    /// (1 + O + H): the head's norm of this call.
    pub normed: Span,
    /// (N,H)
    dh: Span,
}

impl SequenceSpace {
    pub fn new(plan: &mut Plan, map: &SequenceMap, room: Room, training: bool) -> SequenceSpace {
        let (inputs, outputs) = (map.head.weight.inputs, map.head.weight.outputs);
        SequenceSpace {
            lstm: LstmSpace::new(plan, &map.lstm, room, training),
            y: plan.floats(room.steps * outputs),
            normed: plan.floats(1 + outputs + inputs),
            dh: plan.floats(if training { room.steps * inputs } else { 0 }),
        }
    }
}

impl Sweep<'_> {
    /// x (N,I) -> space.y (N,O). The head has been normalised for this call: space.normed.
    pub fn sequence(
        &self,
        map: &SequenceMap,
        transposed: &[Span],
        x: Span,
        site: Site,
        space: &SequenceSpace,
    ) -> Result<()> {
        self.lstm(&map.lstm, transposed, (x, None), site, &space.lstm)?;
        let (m, bias) = (&map.head.weight, row(self.params(), &map.head.bias));
        let operands = (space.y, space.lstm.output(), tensor(self.params(), m));
        let inverse = Some(space.normed.part(0, 1));
        self.session().matrix_forward(m, operands, [Some(bias), None], inverse, self.steps.rows, TANH)
    }

    /// dy (N,O) is used up. x as the forward saw it; dx (N,I) written where wanted.
    pub fn sequence_backward(
        &self,
        map: &SequenceMap,
        x: Span,
        dy: Span,
        space: &SequenceSpace,
        dx: Option<Span>,
    ) -> Result<()> {
        let (s, m, h) = (self.session(), &map.head.weight, space.lstm.output());
        s.tanh_backward(dy, space.y, self.steps.rows, m.outputs)?;
        self.steps.spectral_gradient((m, &map.head.bias), space.normed, (dy, h), None)?;
        let operands = (space.dh, dy, tensor(self.params(), m));
        s.matrix_backward(m, operands, Some(space.normed.part(0, 1)), None, self.steps.rows, 0)?;
        self.lstm_backward(&map.lstm, (x, None), space.dh, &space.lstm, (dx, None))
    }
}
