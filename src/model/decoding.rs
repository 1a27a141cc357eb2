//! v6 at work: from summaries to features step by step, without what training keeps of every step.

use super::expander::{Expander, ExpanderTrace, Kind, of_layer};
use super::v6::V6;
use crate::backend::cpu::{Buffer, Real, math};
use crate::nn::running::Running;
use crate::nn::spectral::Normed;
use crate::nn::{Steps, Weights};

/// Buffers of one worker.
#[derive(Clone, Debug, Default)]
pub struct Decoding<R> {
    latents: Latents<R>,
    decoder: Running<R>,
    y: Buffer<R>,
}

/// What the expander makes, one step after the other; of the kinds that do not go by steps, all at once.
#[derive(Clone, Debug, Default)]
struct Latents<R> {
    init: Buffer<R>,
    running: Running<R>,
    /// Of the step before (B,L).
    last: Buffer<R>,
    whole: ExpanderTrace<R>,
}

impl<R: Real> Latents<R> {
    fn begin(&mut self, expander: &Expander, w: &Weights<R>, steps: &Steps, z: &[R]) {
        let Kind::Lstm { init_hidden, init_cell, lstm, .. } = &expander.kind else {
            return expander.forward(w, steps, steps.lengths(), z, None, &mut self.whole);
        };
        let (rows, hidden, layers) = (steps.rows(), expander.hidden, lstm.layers.len());
        self.running.begin(lstm, w, z, rows);
        for (linear, cell) in [(init_hidden, false), (init_cell, true)] {
            linear.forward(w, z, self.init.fit(rows * hidden * layers));
            for (k, state) in self.running.layers_mut().iter_mut().enumerate() {
                of_layer(&self.init, k, hidden, layers, if cell { &mut state.c } else { &mut state.h });
            }
        }
        self.last.fit(rows * expander.latent).fill(R::ZERO);
    }

    /// Those of step t, (rows that run, L).
    fn step(&mut self, expander: &Expander, w: &Weights<R>, steps: &Steps, t: usize) -> &[R] {
        let Kind::Lstm { lstm, output, .. } = &expander.kind else {
            return &self.whole.y[steps.step(t, expander.latent)];
        };
        let last = self.last.fit(steps.running(t) * expander.latent);
        let h = self.running.step(lstm, w, last);
        output.forward(w, h, last);
        math::tanh(w.isa, last);
        last
    }
}

impl V6 {
    /// Evaluation mode: z (B,S) -> features (N,F), each row as if drawn alone at its own length.
    pub fn decode<'d, R: Real>(
        &self,
        w: &Weights<R>,
        norm: &Normed<R>,
        steps: &Steps,
        z: &[R],
        decoding: &'d mut Decoding<R>,
    ) -> &'d [R] {
        let Decoding { latents, decoder, y } = decoding;
        latents.begin(&self.expander, w, steps, z);
        decoder.begin(&self.decoder.lstm, w, &[], steps.rows());
        y.fit(steps.total() * self.features());
        for t in 0..steps.len() {
            let h = decoder.step(&self.decoder.lstm, w, latents.step(&self.expander, w, steps, t));
            let y = &mut y[steps.step(t, self.features())];
            self.decoder.head.forward(w, norm, h, y);
            math::tanh(w.isa, y);
        }
        y
    }
}
