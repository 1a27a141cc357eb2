//! Dropout whose masks are a function of (seed, step, site, row, time, unit), so that they do not depend on
//! how rows are spread over threads.

use super::Steps;
use crate::backend::cpu::{Isa, Real, math};
use crate::rng::Stream;

/// Dropout of one training step, for the rows that begin at `first_row` of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    pub seed: u64,
    pub step: u64,
    pub first_row: u32,
    pub batch_rows: u32,
}

/// Which layer of which network: each has masks of its own. At most 4096 sites.
pub type Site = u64;

impl Dropout {
    /// y = x (rows,width), the values at time t, with each number kept or zeroed, and what is kept scaled by 1/(1-p).
    /// mask gets 1/(1-p) or 0 for every number.
    pub fn apply<R: Real>(
        &self,
        isa: Isa,
        (site, p): (Site, f64),
        t: usize,
        width: usize,
        x: &[R],
        y: &mut [R],
        mask: &mut [R],
    ) {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let step = self.step << 12 | site;
        let threshold = (p * 4_294_967_296.0) as u32;
        let keep = R::from_f64(1.0 / (1.0 - p));
        let blocks = width.div_ceil(4) as u32;
        let rest = [step as u32, (step >> 32) as u32, Stream::Stage1Dropout as u32];
        let numbers = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(mask.chunks_exact_mut(width));
        for (row, ((x, y), mask)) in numbers.enumerate() {
            let place = t as u32 * self.batch_rows + self.first_row + row as u32;
            math::dropout(isa, key, place.wrapping_mul(blocks), rest, threshold, keep, x, y, mask);
        }
    }

    /// The same of all steps: x, y, mask (N,width).
    pub fn apply_steps<R: Real>(
        &self,
        isa: Isa,
        at: (Site, f64),
        steps: &Steps,
        width: usize,
        x: &[R],
        y: &mut [R],
        mask: &mut [R],
    ) {
        for t in 0..steps.len() {
            let here = steps.step(t, width);
            self.apply(isa, at, t, width, &x[here.clone()], &mut y[here.clone()], &mut mask[here]);
        }
    }
}

/// dx = dy * mask, in place.
pub fn dropout_backward<R: Real>(isa: Isa, mask: &[R], dy: &mut [R]) {
    math::scale_columns(isa, mask, dy);
}
