//! Fitts' law over a set of movements: duration = a + b * index of difficulty.

use super::stats::{correlation, mean, one_number};
use crate::data::Movement;

/// Target width in pixels. Recordings do not say how large the target was, so one width serves all: a and b compare
/// two sets with each other, not with the literature.
pub const TARGET_WIDTH_PX: f64 = 20.0;

/// Least squares over a set of movements.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Fitts {
    /// Intercept in ms.
    pub a_ms: f64,
    /// Slope in ms per bit.
    pub b_ms_per_bit: f64,
    /// Share of the variance of duration that the law explains.
    pub r2: f64,
}

/// Duration against log2(straight / [`TARGET_WIDTH_PX`] + 1) (Shannon form, MacKenzie 1992). Zeros where distances do not vary.
pub fn fitts(movements: &[&Movement]) -> Fitts {
    let bits: Vec<f64> = movements.iter().map(|m| (m.straight_distance() / TARGET_WIDTH_PX + 1.0).log2()).collect();
    let times: Vec<f64> = movements.iter().map(|m| m.duration_ms()).collect();
    let (mb, mt) = (mean(&bits), mean(&times));
    let spread: f64 = bits.iter().map(|b| (b - mb).powi(2)).sum();
    if one_number(mb, spread, bits.len()) {
        return Fitts::default();
    }
    let slope = bits.iter().zip(&times).map(|(b, t)| (b - mb) * (t - mt)).sum::<f64>() / spread;
    Fitts { a_ms: mt - slope * mb, b_ms_per_bit: slope, r2: correlation(&bits, &times).powi(2) }
}
