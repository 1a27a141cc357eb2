//! Features and conditions to [-1,1] and back.

use serde::{Deserialize, Serialize};

use super::features::{ACCEL, ANG_VEL, COS_H, DT, DX, DY, SIN_H, SPEED, features};
use super::{FEATURES, Movement, Point};
use crate::error::{Error, Result};

/// Columns that are clipped to their 1st and 99th percentile before they are scaled.
pub const CLIPPED: [usize; 3] = [SPEED, ACCEL, ANG_VEL];
const PERCENTILES: [f64; 2] = [1.0, 99.0];
/// Seconds. The inverse never gives a shorter step, so that time rises strictly.
const LEAST_STEP: f64 = 1e-4;

/// Clips and min-max limits, in the units of the features. sin_h and cos_h are -1 and 1: left as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaler {
    pub min: [f64; 8],
    pub max: [f64; 8],
    /// Of speed, accel, ang_vel: the columns `CLIPPED`.
    pub clip_low: [f64; 3],
    pub clip_high: [f64; 3],
    /// C limits, in the units of the condition.
    pub condition_min: Vec<f64>,
    pub condition_max: Vec<f64>,
}

impl Scaler {
    /// Limits over all points of the movements. conditions (N,C) raw, N movements. With `mirror`, the limits
    /// are those of the movements together with their mirror images in x, y and both.
    pub fn fit(movements: &[&Movement], conditions: &[f64], condition_dim: usize, mirror: bool) -> Result<Scaler> {
        let mut pooled: [Vec<f64>; 3] = Default::default();
        let (mut min, mut max) = ([f64::INFINITY; 8], [f64::NEG_INFINITY; 8]);
        for movement in movements {
            for row in features(&movement.points) {
                for column in [DX, DY, DT] {
                    min[column] = min[column].min(row[column]);
                    max[column] = max[column].max(row[column]);
                }
                for (values, column) in pooled.iter_mut().zip(CLIPPED) {
                    values.push(row[column]);
                }
            }
        }
        if pooled[0].is_empty() || conditions.len() != movements.len() * condition_dim {
            let expected = format!("one or more movements and {condition_dim} conditions each");
            return Err(Error::argument("scaler", format!("{} conditions", conditions.len()), expected));
        }
        if mirror {
            for column in [DX, DY] {
                max[column] = max[column].max(-min[column]);
                min[column] = -max[column];
            }
            // Of the four images, two turn the other way.
            let turned: Vec<f64> = pooled[2].iter().map(|w| -w).collect();
            pooled[2].extend(turned);
        }
        // How often each pooled value stands among the four images.
        let copies = if mirror { [4, 4, 2] } else { [1; 3] };
        let (mut clip_low, mut clip_high) = ([0.0; 3], [0.0; 3]);
        for (i, values) in pooled.iter_mut().enumerate() {
            values.sort_unstable_by(f64::total_cmp);
            clip_low[i] = percentile(values, copies[i], PERCENTILES[0]);
            clip_high[i] = percentile(values, copies[i], PERCENTILES[1]);
            // Rounding must not make the two sides of a mirrored feature differ.
            if mirror && CLIPPED[i] == ANG_VEL {
                clip_low[i] = -clip_high[i];
            }
            let (first, last) = (values[0], values[values.len() - 1]);
            min[CLIPPED[i]] = first.clamp(clip_low[i], clip_high[i]);
            max[CLIPPED[i]] = last.clamp(clip_low[i], clip_high[i]);
        }
        for column in [SIN_H, COS_H] {
            (min[column], max[column]) = (-1.0, 1.0);
        }
        let (mut condition_min, mut condition_max) =
            (vec![f64::INFINITY; condition_dim], vec![f64::NEG_INFINITY; condition_dim]);
        for (i, &c) in conditions.iter().enumerate() {
            let c_min = &mut condition_min[i % condition_dim];
            *c_min = c_min.min(c);
            let c_max = &mut condition_max[i % condition_dim];
            *c_max = c_max.max(c);
        }
        let scaler = Scaler { min, max, clip_low, clip_high, condition_min, condition_max };
        scaler.check()?;
        Ok(scaler)
    }

    /// Names the first limit that is not finite or above its counterpart. For scalers that come from a file.
    pub fn check(&self) -> Result<()> {
        let ordered = |name: String, low: f64, high: f64| {
            if !low.is_finite() || !high.is_finite() || low > high {
                return Err(Error::argument(name, format!("{low} to {high}"), "finite numbers, the lower first"));
            }
            Ok(())
        };
        for (i, name) in FEATURES.iter().enumerate() {
            ordered(format!("scaler {name}"), self.min[i], self.max[i])?;
        }
        for (i, column) in CLIPPED.into_iter().enumerate() {
            ordered(format!("scaler clip {}", FEATURES[column]), self.clip_low[i], self.clip_high[i])?;
        }
        if self.condition_min.len() != self.condition_max.len() || self.condition_min.is_empty() {
            let got = format!("{} and {} numbers", self.condition_min.len(), self.condition_max.len());
            return Err(Error::argument("scaler condition_min, condition_max", got, "as many of each, 1 or more"));
        }
        for (i, (&low, &high)) in self.condition_min.iter().zip(&self.condition_max).enumerate() {
            ordered(format!("scaler condition {i}"), low, high)?;
        }
        Ok(())
    }

    pub fn condition_dim(&self) -> usize {
        self.condition_min.len()
    }

    /// Unscaled rows (n,8) to (n,8) in [-1,1], row-major.
    pub fn scale(&self, rows: &[[f64; 8]]) -> Vec<f32> {
        let mut out = vec![0.0; rows.len() * 8];
        self.scale_into(rows, &mut out);
        out
    }

    /// As `scale`; out has room for n * 8.
    pub(crate) fn scale_into(&self, rows: &[[f64; 8]], out: &mut [f32]) {
        for (row, out) in rows.iter().zip(out.chunks_exact_mut(8)) {
            for (column, value) in out.iter_mut().enumerate() {
                *value = self.scale_value(column, row[column]);
            }
        }
    }

    fn scale_value(&self, column: usize, mut value: f64) -> f32 {
        if let Some(i) = CLIPPED.iter().position(|&c| c == column) {
            value = value.max(self.clip_low[i]).min(self.clip_high[i]);
        }
        match column {
            SIN_H | COS_H => value as f32,
            _ => to_unit(value, self.min[column], self.max[column]).clamp(-1.0, 1.0) as f32,
        }
    }

    /// The inverse of `scale`: scaled (n,8) to rows. A feature that was constant gives its constant.
    pub fn unscale(&self, scaled: &[f32]) -> Vec<[f64; 8]> {
        let row = |s: &[f32]| std::array::from_fn(|i| from_unit(f64::from(s[i]), self.min[i], self.max[i]));
        scaled.chunks_exact(8).map(row).collect()
    }

    /// Scaled features (n,8) as points: x and y are dx and dy, t_ms the running sum of dt. The first point is
    /// (0,0,0) whatever its row says; a step takes at least 0.1 ms, so that time rises strictly.
    pub fn points(&self, scaled: &[f32]) -> Vec<Point> {
        let mut points: Vec<Point> = Vec::with_capacity(scaled.len() / 8);
        for row in self.unscale(scaled) {
            let next = match points.last() {
                None => Point::default(),
                Some(last) => Point { x: row[DX], y: row[DY], t_ms: last.t_ms + row[DT].max(LEAST_STEP) * 1000.0 },
            };
            points.push(next);
        }
        points
    }

    /// Mirrors scaled features (n,8) in place, by way of their units: in x the signs of dx, cos_h and ang_vel
    /// change, in y those of dy, sin_h and ang_vel. For data without raw movements: what a scaler that was
    /// fitted without mirror images cannot hold is clamped.
    pub fn mirror(&self, scaled: &mut [f32], x: bool, y: bool) {
        let flips = [(DX, x), (COS_H, x), (DY, y), (SIN_H, y), (ANG_VEL, x != y)];
        for row in scaled.chunks_exact_mut(8) {
            for (column, _) in flips.into_iter().filter(|&(_, flip)| flip) {
                let raw = from_unit(f64::from(row[column]), self.min[column], self.max[column]);
                row[column] = self.scale_value(column, -raw);
            }
        }
    }

    /// Raw conditions (n,C) to [-1,1]. Not clamped: a caller may ask for more than the training data had,
    /// and the network then extrapolates.
    pub fn scale_condition(&self, raw: &[f64]) -> Vec<f32> {
        let limits = self.condition_min.iter().zip(&self.condition_max).cycle();
        raw.iter().zip(limits).map(|(&c, (&low, &high))| to_unit(c, low, high) as f32).collect()
    }

    /// The inverse of `scale_condition`. (n,C) to (n,C).
    pub fn unscale_condition(&self, scaled: &[f32]) -> Vec<f64> {
        let limits = self.condition_min.iter().zip(&self.condition_max).cycle();
        scaled.iter().zip(limits).map(|(&c, (&low, &high))| from_unit(f64::from(c), low, high)).collect()
    }
}

/// low..high to -1..1; 0 where there is no range.
fn to_unit(value: f64, low: f64, high: f64) -> f64 {
    if high <= low { 0.0 } else { 2.0 * (value - low) / (high - low) - 1.0 }
}

fn from_unit(value: f64, low: f64, high: f64) -> f64 {
    low + (value + 1.0) * 0.5 * (high - low)
}

/// NumPy's percentile (linear interpolation) of sorted values, each of which stands `copies` times. Not empty.
pub(crate) fn percentile(sorted: &[f64], copies: usize, percent: f64) -> f64 {
    let last = sorted.len() * copies - 1;
    let position = percent / 100.0 * last as f64;
    let below = (position.floor() as usize).min(last);
    let (a, b) = (sorted[below / copies], sorted[(below + 1).min(last) / copies]);
    let part = position - below as f64;
    if part < 0.5 { a + (b - a) * part } else { b - (b - a) * (1.0 - part) }
}

/// Inner edges of n quantile bins and the bin of each value, as numpy.digitize has them: values equal to an
/// edge are in the bin above it. Bins may be empty where values repeat.
pub(crate) fn quantile_bins(values: &[f64], n: usize) -> (Vec<f64>, Vec<usize>) {
    if values.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    if sorted[0] == sorted[sorted.len() - 1] {
        return (Vec::new(), vec![0; values.len()]);
    }
    let edges: Vec<f64> = (1..n).map(|k| percentile(&sorted, 1, 100.0 * k as f64 / n as f64)).collect();
    let bins = values.iter().map(|v| edges.partition_point(|e| e <= v)).collect();
    (edges, bins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numpys() {
        // numpy.percentile([1, 2, 4, 8, 16], [1, 30, 50, 99])
        let v = [1.0, 2.0, 4.0, 8.0, 16.0];
        let got: Vec<f64> = [1.0, 30.0, 50.0, 99.0].iter().map(|&p| percentile(&v, 1, p)).collect();
        for (a, b) in got.iter().zip([1.04, 2.4, 4.0, 15.68]) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
        // numpy.percentile([1, 1, 2, 2, 4, 4], 30)
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 2, 30.0), 1.5);
    }

    #[test]
    fn bins_are_numpys() {
        let (edges, bins) = quantile_bins(&[5.0, 1.0, 1.0, 2.0, 9.0], 2);
        assert_eq!((edges, bins), (vec![2.0], vec![1, 0, 0, 1, 1]));
        assert_eq!(quantile_bins(&[3.0; 4], 5).1, [0; 4]);
    }

    #[test]
    fn a_bad_limit_is_named() {
        let good = Scaler {
            min: [-1.0; 8],
            max: [1.0; 8],
            clip_low: [-1.0; 3],
            clip_high: [1.0; 3],
            condition_min: vec![0.0],
            condition_max: vec![1.0],
        };
        good.check().unwrap();
        let mut bad = good.clone();
        bad.max[DT] = f64::NAN;
        assert!(bad.check().unwrap_err().to_string().starts_with("scaler dt is -1 to NaN"));
        let mut bad = good.clone();
        bad.clip_low[1] = 2.0;
        assert!(bad.check().unwrap_err().to_string().starts_with("scaler clip accel is 2 to 1"));
        let bad = Scaler { condition_max: vec![], ..good };
        assert!(bad.check().is_err());
    }
}
