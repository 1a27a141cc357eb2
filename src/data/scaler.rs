//! Features and conditions to [-1,1] and back.

use serde::{Deserialize, Serialize};

use super::features::{ACCEL, ANG_VEL, COS_H, DT, DX, DY, SIN_H, SPEED, features};
use super::quantiles::percentile;
use super::{FEATURES, Movement, Point};
use crate::error::{Error, Result};
use crate::order;

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
            let got = format!("{} movements, {} conditions", movements.len(), conditions.len());
            let expected = format!("1 or more movements of {condition_dim} conditions each");
            return Err(Error::argument("scaler", got, expected));
        }
        if mirror {
            for column in [DX, DY] {
                max[column] = max[column].max(-min[column]);
                min[column] = -max[column];
            }
        }
        let (mut clip_low, mut clip_high) = ([0.0; 3], [0.0; 3]);
        for (i, values) in pooled.into_iter().enumerate() {
            let [least, low, high, most] = clip_limits(values, CLIPPED[i] == ANG_VEL, mirror);
            (clip_low[i], clip_high[i]) = (low, high);
            (min[CLIPPED[i]], max[CLIPPED[i]]) = (least.clamp(low, high), most.clamp(low, high));
        }
        for column in [SIN_H, COS_H] {
            (min[column], max[column]) = (-1.0, 1.0);
        }
        let column = |k: usize| conditions.iter().skip(k).step_by(condition_dim).copied();
        let condition_min = (0..condition_dim).map(|k| column(k).fold(f64::INFINITY, f64::min)).collect();
        let condition_max = (0..condition_dim).map(|k| column(k).fold(f64::NEG_INFINITY, f64::max)).collect();
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

/// Smallest value, 1st and 99th percentile, and largest; with `mirror`, of the values as they are in the four
/// mirror images. `signed` values are negated in two of these.
fn clip_limits(mut values: Vec<f64>, signed: bool, mirror: bool) -> [f64; 4] {
    if mirror && signed {
        values.extend_from_within(..);
        let half = values.len() / 2;
        values[half..].iter_mut().for_each(|v| *v = -*v);
    }
    let copies = match (mirror, signed) {
        (false, _) => 1,
        (true, true) => 2,
        (true, false) => 4,
    };
    order::rise(&mut values);
    let [low, high] = PERCENTILES.map(|percent| percentile(&values, copies, percent));
    // Rounding must not make the two sides of a mirrored feature differ.
    let low = if mirror && signed { -high } else { low };
    [values[0], low, high, values[values.len() - 1]]
}

/// low..high to -1..1; 0 where there is no range but that of rounding.
fn to_unit(value: f64, low: f64, high: f64) -> f64 {
    if high - low <= 1e-9 * low.abs().max(high.abs()) { 0.0 } else { 2.0 * (value - low) / (high - low) - 1.0 }
}

fn from_unit(value: f64, low: f64, high: f64) -> f64 {
    low + (value + 1.0) * 0.5 * (high - low)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Whatever a network says of it, a step takes a tenth of a millisecond.
    #[test]
    fn time_rises_where_limits_reach_below_nothing() {
        let (min, max, clip_low, clip_high) = ([-1.0; 8], [1.0; 8], [-1.0; 3], [1.0; 3]);
        let scaler = Scaler { min, max, clip_low, clip_high, condition_min: vec![0.0], condition_max: vec![1.0] };
        let times: Vec<f64> = scaler.points(&[-1.0; 24]).iter().map(|p| p.t_ms).collect();
        assert!(times.iter().zip([0.0, 0.1, 0.2]).all(|(a, b)| (a - b).abs() < 1e-12), "{times:?}");
    }
}
