//! The closed-loop autoencoder: the seed's encoder and pooler over events, and the walker as its decoder.

use super::pooler::{Pooler, PoolerTrace};
use super::sequence::{SequenceMap, SequenceTrace};
use super::walker::{WalkLosses, Walker, WalkerTrace};
use super::{ENCODER, POOLER, WALKER};
use crate::backend::cpu::{Buffer, Real};
use crate::config::Config;
use crate::data::steps::{Classes, INPUTS};
use crate::nn::spectral::Normed;
use crate::nn::{Dropout, Gradients, Layout, Steps, Weights};

#[derive(Clone, Debug)]
pub struct ClosedLoop {
    pub encoder: SequenceMap,
    pub pooler: Pooler,
    pub walker: Walker,
}

/// Buffers of one worker.
#[derive(Clone, Debug, Default)]
pub struct Trace<R> {
    encoder: SequenceTrace<R>,
    pooler: PoolerTrace<R>,
    walker: WalkerTrace<R>,
    /// Summaries with noise.
    noisy: Buffer<R>,
    dz: Buffer<R>,
    dh: Buffer<R>,
}

/// One shard: x (N,INPUTS) and classes (N) packed; noise (B,S) is added to the summaries.
#[derive(Clone, Copy)]
pub struct Shard<'a, R> {
    pub steps: &'a Steps,
    pub x: &'a [R],
    pub classes: &'a [Classes],
    pub noise: &'a [R],
    /// Rows of the batch, where the encoder is taught what tells movements apart alone (see [`centre`]) and summaries are held
    /// (see [`HELD`]); None: by the losses' own gradients.
    pub batch_rows: Option<usize>,
}

impl ClosedLoop {
    pub fn new(layout: &mut Layout, c: &Config) -> ClosedLoop {
        let (hidden, layers, p) = (c.encoder_hidden_dim, c.encoder_num_layers, c.lstm_dropout);
        let encoder = SequenceMap::new(layout, "encoder", INPUTS, hidden, c.latent_dim, layers, p);
        ClosedLoop { encoder, pooler: Pooler::new(layout, c), walker: Walker::new(layout, c) }
    }

    /// Losses of a shard, divided by `total`, the batch's number of steps; with grads, their gradients are added to it.
    pub fn losses<R: Real>(
        &self,
        w: &Weights<R>,
        norm: &Normed<R>,
        shard: Shard<R>,
        total: usize,
        dropout: Option<&Dropout>,
        trace: &mut Trace<R>,
        grads: Option<&mut Gradients<R>>,
    ) -> WalkLosses {
        let Shard { steps, x, classes, noise, batch_rows } = shard;
        let at = |site| dropout.map(|d| (d, site));
        self.encoder.forward(w, norm, steps, x, at(ENCODER), &mut trace.encoder);
        self.pooler.forward(w, steps, &trace.encoder.y, at(POOLER), &mut trace.pooler);
        let noisy = trace.noisy.fit(trace.pooler.z.len());
        noisy.iter_mut().zip(&trace.pooler.z).zip(noise).for_each(|((x, &z), &n)| *x = z + n);
        let (given, walker) = ((x, classes), &mut trace.walker);
        let Some(grads) = grads else {
            return self.walker.losses(w, steps, given, &trace.noisy, total, at(WALKER), walker, None);
        };
        let both = Some((&mut *grads, &mut trace.dz));
        let losses = self.walker.losses(w, steps, given, &trace.noisy, total, at(WALKER), walker, both);
        if batch_rows.is_some_and(|rows| rows > 1) {
            centre(&mut trace.dz, steps.rows());
        }
        let held = batch_rows.map_or(R::ZERO, |rows| R::from_f64(HELD / rows as f64));
        let dropped = dropout.is_some();
        let (pooler, dh) = (&mut trace.pooler, &mut trace.dh);
        self.pooler.backward(w, steps, &trace.encoder.y, dropped, &mut trace.dz, held, pooler, dh, grads);
        self.encoder.backward(w, norm, steps, x, dropped, dh, &mut trace.encoder, None, grads);
        losses
    }
}

/// What summaries are held with where tanh is flat (`pooler::FLAT`): the noise on them is best met by the largest ones, and what
/// has become large learns next to nothing any more. Then the optimiser makes large steps of small gradients, and all movements
/// may end with one summary.
pub(crate) const HELD: f64 = 0.3;

/// Takes the mean over a shard's rows off the gradient of summaries, in a batch of several. What is the same for all movements
/// is for the walker's biases to learn: taught that way too, before it says anything of a movement, the summary becomes a
/// constant, and some trainings never get over it (`benches/FIDELITY.md`). A row alone in its shard teaches nothing so.
fn centre<R: Real>(dz: &mut [R], rows: usize) {
    let width = dz.len() / rows;
    for k in 0..width {
        let sum: f64 = dz[k..].iter().step_by(width).map(|d| d.to_f64()).sum();
        let mean = R::from_f64(sum / rows as f64);
        dz[k..].iter_mut().step_by(width).for_each(|d| *d -= mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_centred_gradient_has_no_mean() {
        let mut dz = [1.0f32, 5.0, 3.0, 7.0, 8.0, -3.0];
        centre(&mut dz, 3);
        assert_eq!(dz, [-3.0, 2.0, -1.0, 4.0, 4.0, -6.0]);
        centre(&mut dz[..2], 1);
        assert_eq!(dz[..2], [0.0, 0.0]);
    }
}
