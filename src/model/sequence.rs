//! Encoder and decoder: LSTM stack, spectrally normalised linear layer, tanh.  (N,I) -> (N,O)

use crate::backend::cpu::{Buffer, Real, math};
use crate::nn::dropout::Site;
use crate::nn::lstm::{Lstm, LstmTrace};
use crate::nn::spectral::Normed;
use crate::nn::{Dropout, Gradients, Initial, Layout, SpectralLinear, Steps, Weights};

#[derive(Clone, Debug)]
pub struct SequenceMap {
    pub lstm: Lstm,
    pub head: SpectralLinear,
}

#[derive(Clone, Debug, Default)]
pub struct SequenceTrace<R> {
    lstm: LstmTrace<R>,
    /// (N,O)
    pub y: Buffer<R>,
    dh: Buffer<R>,
    dw: Buffer<R>,
}

impl SequenceMap {
    /// Tensors `name`.lstm.* and `name`.linear.*
    pub fn new(
        layout: &mut Layout,
        name: &str,
        inputs: usize,
        hidden: usize,
        outputs: usize,
        layers: usize,
        dropout: f64,
    ) -> Self {
        let lstm = Lstm::new(layout, &format!("{name}.lstm"), inputs, 0, hidden, layers, dropout);
        let fan = Initial::fan(hidden);
        SequenceMap { lstm, head: SpectralLinear::with(layout, &format!("{name}.linear"), hidden, outputs, fan, fan) }
    }

    /// x (N,I) -> trace.y (N,O) in [-1,1]. Every call in training mode takes a newly normalised head.
    pub fn forward<R: Real>(
        &self,
        w: &Weights<R>,
        normed: &Normed<R>,
        steps: &Steps,
        x: &[R],
        dropout: Option<(&Dropout, Site)>,
        trace: &mut SequenceTrace<R>,
    ) {
        self.lstm.forward(w, steps, x, &[], dropout, &mut trace.lstm);
        let y = trace.y.fit(steps.total() * self.head.weight.outputs);
        self.head.forward(w, normed, trace.lstm.output(), y);
        math::tanh(w.isa, y);
    }

    /// dy (N,O) is used up. x as the forward saw it; dx (N,I) written where wanted.
    pub fn backward<R: Real>(
        &self,
        w: &Weights<R>,
        normed: &Normed<R>,
        steps: &Steps,
        x: &[R],
        dropped: bool,
        dy: &mut [R],
        trace: &mut SequenceTrace<R>,
        dx: Option<&mut Buffer<R>>,
        grads: &mut Gradients<R>,
    ) {
        math::tanh_backward(w.isa, &trace.y, dy);
        self.head.gradient(w, normed, dy, trace.lstm.output(), &mut trace.dw, grads);
        let dh = trace.dh.fit(steps.total() * self.lstm.hidden());
        self.head.backward(w, normed, dy, dh);
        self.lstm.backward(w, steps, x, &[], dropped, dh, &mut trace.lstm, dx, None, grads);
    }
}
