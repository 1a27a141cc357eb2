//! LSTM stacks that go step by step and keep their last states alone: for sampling. Sums are taken in the order of
//! [`Lstm::forward`], so that results are the same to the bit.

use super::lstm::Lstm;
use super::params::{To, Weights};
use crate::backend::cpu::{Buffer, Real, math};

/// States of rows that run together.
#[derive(Clone, Debug, Default)]
pub struct Running<R> {
    layers: Vec<State<R>>,
    gates: Buffer<R>,
    next: Buffer<R>,
}

/// Of a layer.
#[derive(Clone, Debug, Default)]
pub struct State<R> {
    /// What every step adds to the gates; to the first layer's a row for each row that runs (B,4H), where it has a constant input.
    constant: Buffer<R>,
    /// (B,H)
    pub h: Buffer<R>,
    pub c: Buffer<R>,
}

impl<R: Real> Running<R> {
    /// So many rows in state 0. constant (B,S) or empty: see `Layer::constant`.
    pub fn begin(&mut self, lstm: &Lstm, w: &Weights<R>, constant: &[R], rows: usize) {
        self.layers.resize_with(lstm.layers.len(), State::default);
        for (layer, State { constant: gates, h, c }) in lstm.layers.iter().zip(&mut self.layers) {
            layer.constant_gates(w, constant, gates);
            h.fit(rows * layer.hidden).fill(R::ZERO);
            c.fit(rows * layer.hidden).fill(R::ZERO);
        }
    }

    pub fn layers_mut(&mut self) -> &mut [State<R>] {
        &mut self.layers
    }

    /// One step of as many rows as x (B,I) has, the first ones: those after them have ended. Returns the last layer's h (B,H).
    pub fn step(&mut self, lstm: &Lstm, w: &Weights<R>, x: &[R]) -> &[R] {
        let hidden = lstm.hidden();
        let rows = x.len() / lstm.layers[0].input.inputs;
        let (gates, next) = (self.gates.fit(rows * 4 * hidden), &mut self.next);
        for (k, layer) in lstm.layers.iter().enumerate() {
            let (below, here) = self.layers.split_at_mut(k);
            let State { constant, h, c } = &mut here[0];
            h.fit(rows * hidden);
            layer.input.forward(w, below.last().map_or(x, |below| &below.h), gates, R::ONE, To::Write);
            layer.recurrent.forward(w, h, gates, R::ONE, To::Add);
            math::lstm_cell(w.isa, gates, constant, c, next.fit(rows * hidden), h, hidden);
            std::mem::swap(c, next);
        }
        self.layers.last().map_or(&[], |top| &top.h)
    }

    /// Drops a row of so many; the last one takes its place.
    pub fn swap_remove(&mut self, row: usize, rows: usize) {
        let swap = |state: &mut Buffer<R>| {
            let width = state.len() / rows;
            state.copy_within((rows - 1) * width.., row * width);
            state.fit((rows - 1) * width);
        };
        let gates = 4 * self.layers[0].h.len();
        self.layers.iter_mut().flat_map(|state| [&mut state.h, &mut state.c]).for_each(swap);
        if self.layers[0].constant.len() == gates {
            swap(&mut self.layers[0].constant); // a row for each
        }
    }
}
