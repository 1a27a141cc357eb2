//! How many points a movement has, given its condition: what the training data says.

use serde::{Deserialize, Serialize};

use super::quantiles::{percentile, quantile_bins};
use crate::error::{Error, Result};
use crate::order;

const BINS: usize = 16;
const QUANTILES: usize = 33;

/// The empirical distribution of lengths in up to 16 quantile bins of the first condition number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthModel {
    /// Bin k holds conditions from edge k-1 up to, without, edge k: one edge fewer than bins.
    pub edges: Vec<f32>,
    /// Per bin 33 evenly spaced quantiles of the length, from the shortest to the longest.
    pub quantiles: Vec<Vec<f32>>,
}

impl LengthModel {
    /// conditions (N): the first, scaled, condition number of each movement; lengths (N) in points.
    pub fn fit(conditions: &[f32], lengths: &[usize]) -> Result<LengthModel> {
        if conditions.is_empty() || conditions.len() != lengths.len() {
            let got = format!("{} conditions, {} lengths", conditions.len(), lengths.len());
            return Err(Error::argument("length model", got, "as many of each, 1 or more"));
        }
        let values: Vec<f64> = conditions.iter().map(|&c| f64::from(c)).collect();
        let (all_edges, bins) = quantile_bins(&values, BINS);
        let mut grouped = vec![Vec::new(); all_edges.len() + 1];
        for (&bin, &length) in bins.iter().zip(lengths) {
            grouped[bin].push(length as f64);
        }
        let (mut edges, mut quantiles) = (Vec::new(), Vec::new());
        for (bin, lengths) in grouped.iter_mut().enumerate().filter(|(_, lengths)| !lengths.is_empty()) {
            order::rise(lengths);
            let quantile = |k| percentile(lengths, 1, 100.0 * k as f64 / (QUANTILES - 1) as f64) as f32;
            if !quantiles.is_empty() {
                edges.push(all_edges[bin - 1] as f32);
            }
            quantiles.push((0..QUANTILES).map(quantile).collect());
        }
        Ok(LengthModel { edges, quantiles })
    }

    /// Names what is wrong with a model that comes from a file. Lengths are 1 to `most`.
    pub fn check(&self, most: usize) -> Result<()> {
        if self.quantiles.is_empty() || self.quantiles.len() > BINS || self.edges.len() + 1 != self.quantiles.len() {
            let got = format!("{} bins, {} edges", self.quantiles.len(), self.edges.len());
            return Err(Error::argument("length model", got, format!("1 to {BINS} bins, one edge fewer")));
        }
        if self.edges.iter().any(|e| !e.is_finite()) || !self.edges.is_sorted() {
            return Err(Error::argument("length model edges", format!("{:?}", self.edges), "finite and rising"));
        }
        for (bin, q) in self.quantiles.iter().enumerate() {
            let inside = q.iter().all(|&v| v >= 1.0 && v <= most as f32);
            if q.len() != QUANTILES || !inside || !q.is_sorted() {
                let expected = format!("{QUANTILES} rising numbers from 1 to {most}");
                return Err(Error::argument(format!("length model bin {bin}"), format!("{q:?}"), expected));
            }
        }
        Ok(())
    }

    /// A length in points, within what the training data had for such conditions: the inverse distribution
    /// at `unit`, which is in [0,1]. condition is scaled.
    pub fn draw(&self, condition: f32, unit: f64) -> usize {
        let bin = self.edges.partition_point(|&e| e <= condition);
        let Some(q) = self.quantiles.get(bin).filter(|q| !q.is_empty()) else { return 1 };
        let position = unit.clamp(0.0, 1.0) * (q.len() - 1) as f64;
        let below = position as usize;
        let (a, b) = (f64::from(q[below]), f64::from(q[(below + 1).min(q.len() - 1)]));
        (a + (b - a) * (position - below as f64)).round().max(1.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_conditions_draw_longer_movements_within_the_range() {
        let lengths: Vec<usize> = (0..3200).map(|i| 10 + i / 100 + i % 5).collect();
        let conditions: Vec<f32> = (0..3200).map(|i| i as f32 / 1600.0 - 1.0).collect();
        let model = LengthModel::fit(&conditions, &lengths).unwrap();
        model.check(200).unwrap();
        assert_eq!((model.edges.len(), model.quantiles.len()), (15, 16));
        assert_eq!((model.draw(-1.0, 0.0), model.draw(-9.0, 1.0)), (10, 15));
        assert_eq!((model.draw(0.999, 0.0), model.draw(9.0, 1.0)), (40, 45));
        let mean = |c| (0..1000).map(|i| model.draw(c, i as f64 / 1000.0)).sum::<usize>() as f64 / 1000.0;
        // Of lengths 26 or 27, plus 0 to 4 evenly.
        assert!((mean(0.01) - 28.5).abs() < 0.3, "{}", mean(0.01));
    }

    #[test]
    fn equal_conditions_are_one_bin() {
        let model = LengthModel::fit(&[0.5; 4], &[3, 4, 5, 6]).unwrap();
        assert_eq!(model.quantiles.len(), 1);
        assert_eq!((model.draw(-1.0, 0.0), model.draw(1.0, 1.0)), (3, 6));
        let two = LengthModel::fit(&[0.0, 0.0, 0.0, 0.0, 1.0], &[3, 3, 3, 3, 9]).unwrap();
        assert_eq!((two.draw(0.0, 0.9), two.draw(1.0, 0.1)), (3, 9));
        assert_eq!(two.draw(two.edges[0], 0.5), 9, "an edge is in the bin above it");
    }

    #[test]
    fn a_damaged_model_is_refused() {
        let good = LengthModel::fit(&[0.0, 1.0], &[3, 9]).unwrap();
        assert!(LengthModel { edges: vec![], ..good.clone() }.check(10).is_err());
        assert!(good.check(8).is_err());
        let mut bad = good.clone();
        bad.quantiles[0][4] = f32::NAN;
        assert!(bad.check(10).is_err());
        assert!(LengthModel::fit(&[0.0], &[]).is_err());
    }

    /// The longest can be drawn, however rare; between two lengths it is the nearer one.
    #[test]
    fn draws_reach_both_ends_and_are_rounded() {
        let lengths: Vec<usize> = (0..100).map(|i| if i == 7 { 9 } else { 3 }).collect();
        let model = LengthModel::fit(&[0.5; 100], &lengths).unwrap();
        assert_eq!([0.0, 0.9, 1.0].map(|unit| model.draw(0.5, unit)), [3, 3, 9]);
        let even = LengthModel::fit(&[0.5; 2], &[3, 4]).unwrap();
        assert_eq!([0.49, 0.51].map(|unit| even.draw(0.5, unit)), [3, 4]);
    }
}
