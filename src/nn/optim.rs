//! Adam and its relatives, the clip of the global norm, and learning-rate schedules, as PyTorch has them, but for onecycle:
//! here the rate is highest one iteration later, and Adam's first beta stays where PyTorch's `OneCycleLR` moves it.

use serde::{Deserialize, Serialize};

use crate::backend::cpu::math::{AdamStep, adam};
use crate::backend::cpu::{Isa, Pool, Real};
use crate::config::{OptimizerKind, ScheduleKind};
use crate::error::{Error, Result};

const EPSILON: f64 = 1e-8;

/// First and second moments of a range of parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments<R> {
    pub m: Vec<R>,
    pub v: Vec<R>,
    /// Steps taken.
    pub steps: u64,
}

/// What stays the same from step to step.
#[derive(Clone, Copy, Debug)]
pub struct Optimizer {
    pub kind: OptimizerKind,
    pub beta1: f64,
    pub beta2: f64,
    pub weight_decay: f64,
}

impl Optimizer {
    /// w -= step along g, all (P). scale: factor on g first, for the clip.
    ///
    /// Adam: D. P. Kingma, J. Ba, ICLR 2015. AdamW: I. Loshchilov, F. Hutter, ICLR 2019. RAdam: L. Liu et al.,
    /// ICLR 2020.
    pub fn step<R: Real>(&self, isa: Isa, w: &mut [R], g: &[R], moments: &mut Moments<R>, rate: f64, scale: f64) {
        let step = self.next(moments, w.len(), rate, scale);
        adam(isa, w, g, &mut moments.m, &mut moments.v, step);
    }

    /// The same on several threads.
    pub fn step_with(
        &self,
        pool: &mut Pool,
        isa: Isa,
        w: &mut [f32],
        g: &[f32],
        moments: &mut Moments<f32>,
        rate: f64,
        scale: f64,
    ) {
        const CHUNK: usize = 16_384;
        let step = self.next(moments, w.len(), rate, scale);
        let learnt = w.chunks_mut(CHUNK).zip(moments.m.chunks_mut(CHUNK)).zip(moments.v.chunks_mut(CHUNK));
        let mut chunks: Vec<_> = learnt.zip(g.chunks(CHUNK)).collect();
        pool.for_each(&mut chunks, |_, _, (((w, m), v), g)| adam(isa, w, g, m, v, step));
    }

    /// Counts a step of so many weights and returns its coefficients.
    fn next<R: Real>(&self, moments: &mut Moments<R>, weights: usize, rate: f64, scale: f64) -> AdamStep {
        moments.m.resize(weights, R::ZERO);
        moments.v.resize(weights, R::ZERO);
        moments.steps += 1;
        self.coefficients(moments.steps, rate, scale)
    }

    /// Of step `steps`, which counts from 1.
    pub(crate) fn coefficients(&self, steps: u64, rate: f64, scale: f64) -> AdamStep {
        let t = steps as f64;
        let (correction1, correction2) = (1.0 - self.beta1.powf(t), 1.0 - self.beta2.powf(t));
        let decoupled = self.kind == OptimizerKind::AdamW;
        let mut step = AdamStep {
            scale,
            decay: if decoupled { 0.0 } else { self.weight_decay },
            shrink: if decoupled { 1.0 - rate * self.weight_decay } else { 1.0 },
            beta1: self.beta1,
            beta2: self.beta2,
            rate: rate / correction1,
            v_scale: 1.0 / correction2.sqrt(),
            epsilon: EPSILON,
            adaptive: true,
        };
        if self.kind == OptimizerKind::RAdam {
            match self.rectification(t, correction2) {
                // PyTorch adds epsilon before the bias correction of v here, after it in Adam.
                Some(factor) => {
                    step.rate *= factor * correction2.sqrt();
                    step.v_scale = 1.0;
                }
                None => step.adaptive = false,
            }
        }
        step
    }

    /// None while the variance of the adaptive rate is not tractable.
    fn rectification(&self, t: f64, correction2: f64) -> Option<f64> {
        let longest = 2.0 / (1.0 - self.beta2) - 1.0;
        let length = longest - 2.0 * t * self.beta2.powf(t) / correction2;
        let square = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length);
        (length > 5.0).then(|| square.sqrt())
    }
}

/// Factor that brings a gradient of this norm to at most `most`.
pub fn clip_factor(norm: f64, most: f64) -> f64 {
    (most / (norm + 1e-6)).min(1.0)
}

/// How the learning rate goes. plateau depends on what it has seen; the others on the iteration alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    pub kind: ScheduleKind,
    pub base: f64,
    /// cosine: iterations of a cycle; step: iterations between decays; onecycle: of the whole training.
    pub period: u64,
    /// step and plateau: the factor.
    pub factor: f64,
    /// plateau: observations without improvement before a decay.
    pub patience: u64,
    /// plateau's state.
    pub plateau: Plateau,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    factor: f64,
    best: Option<f64>,
    bad: u64,
}

impl Default for Plateau {
    fn default() -> Self {
        Plateau { factor: 1.0, best: None, bad: 0 }
    }
}

impl Schedule {
    /// Learning rate of an iteration, from 0. onecycle (L. N. Smith, 2018): from base / 25 up to base over the first 30 % of the
    /// period, then down to base / 250,000, both ways along a half cosine.
    pub fn rate(&self, iteration: u64) -> f64 {
        let cosine = |x: f64| (1.0 + (std::f64::consts::PI * x).cos()) / 2.0;
        match self.kind {
            ScheduleKind::None => self.base,
            // CosineAnnealingWarmRestarts, T_mult = 1
            ScheduleKind::Cosine => self.base * cosine((iteration % self.period) as f64 / self.period as f64),
            ScheduleKind::Step => self.base * self.factor.powf((iteration / self.period) as f64),
            ScheduleKind::Plateau => self.base * self.plateau.factor,
            ScheduleKind::OneCycle => {
                let (x, up) = ((iteration as f64 / self.period.max(1) as f64).min(1.0), 0.3);
                let low = self.base / 25.0;
                if x < up {
                    self.base + (low - self.base) * cosine(x / up)
                } else {
                    (self.base * cosine((x - up) / (1.0 - up))).max(low * 1e-4)
                }
            }
        }
    }

    /// Refuses what `observe` cannot have made: for schedules from a file.
    pub fn check(&self) -> Result<()> {
        let factor = self.plateau.factor;
        if !(0.0..=1.0).contains(&factor) {
            return Err(Error::argument("plateau.factor", factor, "0 to 1"));
        }
        Ok(())
    }

    /// ReduceLROnPlateau, mode min, relative threshold 1e-4: shows the schedule a loss.
    pub fn observe(&mut self, loss: f64) {
        let p = &mut self.plateau;
        if p.best.is_none_or(|best| loss < best * (1.0 - 1e-4)) {
            (p.best, p.bad) = (Some(loss), 0);
        } else {
            p.bad = p.bad.saturating_add(1); // a file may say any number
        }
        if p.bad > self.patience {
            (p.factor, p.bad) = (p.factor * self.factor, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: ScheduleKind, period: u64, factor: f64) -> Schedule {
        Schedule { kind, base: 1.0, period, factor, patience: 2, plateau: Plateau::default() }
    }

    /// PyTorch's OneCycleLR with its defaults: from 1/25 to the whole rate over 30 % of the training, then to 1e-4 of where it
    /// began; both halves of a cosine.
    #[test]
    fn one_cycle_goes_up_and_down() {
        let s = schedule(ScheduleKind::OneCycle, 1000, 1.0);
        let middle = (1.0 + 1.0 / 25.0) / 2.0;
        for (iteration, rate) in [(0, 0.04), (150, middle), (300, 1.0), (650, 0.5), (1000, 4e-6), (5000, 4e-6)] {
            assert!((s.rate(iteration) - rate).abs() < 1e-12, "{iteration}: {}", s.rate(iteration));
        }
        assert!((0..300).all(|i| s.rate(i) < s.rate(i + 1)) && (300..999).all(|i| s.rate(i) > s.rate(i + 1)));
    }

    /// Only a loss that is better by a ten-thousandth counts, and patience begins anew with it and with each decay.
    #[test]
    fn a_plateau_waits_and_then_decays() {
        let mut s = schedule(ScheduleKind::Plateau, 1, 0.5);
        let losses = [1.0, 0.99995, 0.99994, 0.99993, 0.5, 0.5, 0.5, 0.498, 0.498, 0.498, 0.498];
        let rates = losses.map(|loss| {
            s.observe(loss);
            s.rate(0)
        });
        assert_eq!(rates, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]);
    }

    #[test]
    fn a_clip_shortens_and_never_lengthens() {
        assert!((clip_factor(8.0, 2.0) - 0.25).abs() < 1e-6);
        assert_eq!((clip_factor(1.0, 2.0), clip_factor(0.0, 2.0)), (1.0, 1.0));
    }
}
