//! The memory of a step of stage 2.

use super::critic::{CriticSpace, norms};
use super::generator::GeneratorSpace;
use super::launch_steps::parts;
use super::plan::{Plan, Span};
use crate::config::Config;
use crate::model::Networks;

/// Iterations of stage 2 whose losses the device keeps for the host.
pub const RING: usize = 64;
/// Losses that one slot of the ring holds.
pub(super) const LOSSES: usize = 8;
pub(super) const D_REAL: usize = 0;
pub(super) const D_FAKE: usize = 1;
pub(super) const PENALTY: usize = 2;
pub(super) const SCORE: usize = 3;
pub(super) const MATCHING: usize = 4;
/// Not a loss: 1 where a step of the iteration has failed.
pub(super) const FAILED: usize = 7;

/// A batch and all that is made of it.
pub(super) struct Space {
    pub z_real: Span,
    pub condition: Span,
    pub noise: Span,
    pub alpha: Span,
    pub generator: GeneratorSpace,
    pub critic: CriticSpace,
    /// (M): gradients of each scale's scores, the same all the time: of real movements, of fakes, and of what is to be 1.
    pub slopes: [Span; 3],
    /// Of the critic's three calls: real, fake, interpolate.
    pub norms: [Vec<Span>; 3],
    pub penalty: Span,
    pub matching: Span,
    pub losses: Span,
    pub g_squares: Span,
    pub w_squares: Span,
}

/// What steps say of themselves: losses of the last iterations (RING, 8) and the last gradient's norm, doubles; whether a
/// step has failed.
pub(super) struct Report {
    pub ring: Span,
    pub norm: Span,
    pub failed: Span,
}

impl Report {
    pub fn new(plan: &mut Plan) -> Report {
        Report { ring: plan.doubles(RING * LOSSES), norm: plan.doubles(1), failed: plan.floats(1) }
    }
}

impl Space {
    pub fn new(plan: &mut Plan, networks: &Networks, c: &Config, rows: usize) -> Space {
        let noise = plan.floats(rows * c.noise_dim);
        let largest = networks.generator_range.len().max(networks.critic_range.len());
        Space {
            z_real: plan.floats(rows * c.summary_dim),
            condition: plan.floats(rows * c.condition_inputs()),
            noise,
            alpha: plan.floats(rows),
            generator: GeneratorSpace::new(plan, &networks.generator, noise, rows),
            critic: CriticSpace::new(plan, &networks.critic, rows),
            slopes: [(); 3].map(|()| plan.floats(rows)),
            norms: [(); 3].map(|()| norms(plan, &networks.critic)),
            penalty: plan.doubles(rows),
            matching: plan.doubles(c.summary_dim),
            losses: plan.doubles(LOSSES),
            g_squares: plan.doubles(parts(largest)),
            w_squares: plan.doubles(parts(largest)),
        }
    }

    pub fn loss(&self, which: usize) -> Span {
        self.losses.part(2 * which, 2)
    }
}
