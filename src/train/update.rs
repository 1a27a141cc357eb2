//! What every step ends with: gradients of the shards added up, clipped, and an optimiser's step.

use std::ops::Range;

use super::shards::reduce;
use crate::backend::cpu::Pool;
use crate::error::{Error, Result};
use crate::nn::optim::{Moments, Optimizer, clip_factor};
use crate::nn::{Gradients, Weights};

/// Gradients and weights larger than this are as good as infinite: their squares, and what one more step makes of
/// them, must be finite in f32. So a model never holds a number that its file could not.
pub(crate) const LARGEST: f64 = 1e18;

/// How to move one range of the parameters.
pub struct Update {
    pub range: Range<usize>,
    pub optimizer: Optimizer,
    pub rate: f64,
    /// Largest norm of the gradient.
    pub clip: f64,
    /// For the error message.
    pub stage: u32,
    pub iteration: u64,
}

impl Update {
    /// shards: of a step, one at least; they are finished here, and the sum of all comes to stand in the first. Returns its
    /// norm before the clip. A gradient that is not finite is an error and changes nothing.
    pub fn apply<'a>(
        &self,
        pool: &mut Pool,
        weights: &mut Weights<f32>,
        moments: &mut Moments<f32>,
        shards: impl Iterator<Item = &'a mut Gradients<f32>>,
    ) -> Result<f64> {
        let mut shards: Vec<&mut [f32]> = shards.map(|grads| grads.finish(&self.range)).collect();
        let (sum, others) = shards.split_first_mut().expect("a shard");
        let [norm, size] = reduce(pool, weights.isa, (sum, others), &weights.params, self.range.clone());
        let scale = clip_factor(norm, self.clip);
        for (what, size) in [("the gradient", norm * scale), ("a weight", size)] {
            if size.is_nan() || size > LARGEST {
                return Err(Error::Diverged { stage: self.stage, iteration: self.iteration, what });
            }
        }
        let (params, grads) = (&mut weights.params[self.range.clone()], &sum[self.range.clone()]);
        self.optimizer.step_with(pool, weights.isa, params, grads, moments, self.rate, scale);
        weights.pack_with(pool, self.range.clone());
        Ok(norm)
    }
}
