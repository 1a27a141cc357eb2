//! Does the model do as it is asked: distance, duration and target, asked against got.

use super::stats::{correlation, mean, median, quantile, sorted, std};
use crate::data::{Movement, Point};
use crate::order;

/// What a generated movement was asked to be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Asked {
    /// Straight line from start to end, px.
    pub distance_px: f64,
    pub duration_ms: Option<f64>,
    /// Where it should have ended.
    pub target: Option<Point>,
}

/// Errors of one asked quantity. Relative errors are got / asked - 1.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Obedience {
    pub quantity: &'static str,
    pub count: usize,
    /// Mean of got - asked, in the quantity's unit.
    pub bias: f64,
    pub relative_bias: f64,
    /// Standard deviation of the relative error.
    pub relative_spread: f64,
    pub median_relative_error: f64,
    pub correlation: f64,
    /// Five bins of equal count, by what was asked.
    pub bins: Vec<Bin>,
}

/// Requests from `asked_low` to `asked_high`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Bin {
    pub asked_low: f64,
    pub asked_high: f64,
    pub count: usize,
    pub bias: f64,
    pub relative_bias: f64,
    pub relative_spread: f64,
}

const BINS: usize = 5;

/// Distance, and duration and end error of those that were asked for them. asked (n) beside generated (n).
pub fn obedience(asked: &[Asked], generated: &[&Movement]) -> Vec<Obedience> {
    let pairs = || asked.iter().zip(generated);
    let distance: Vec<_> = pairs().map(|(a, m)| (a.distance_px, m.straight_distance())).collect();
    let duration: Vec<_> = pairs().filter_map(|(a, m)| Some((a.duration_ms?, m.duration_ms()))).collect();
    [errors("distance_px", distance), errors("duration_ms", duration)].into_iter().flatten().collect()
}

/// Median distance from the last point to the target, px, where targets were given.
pub fn median_end_error(asked: &[Asked], generated: &[&Movement]) -> Option<f64> {
    let pairs = asked.iter().zip(generated);
    let errors: Vec<f64> = pairs
        .filter_map(|(a, m)| {
            let (target, last) = (a.target?, m.points.last()?);
            Some((target.x - last.x).hypot(target.y - last.y))
        })
        .collect();
    (!errors.is_empty()).then(|| median(&errors))
}

/// Requests of 0 or less have no relative error and are left out.
fn errors(quantity: &'static str, mut pairs: Vec<(f64, f64)>) -> Option<Obedience> {
    pairs.retain(|(asked, got)| *asked > 0.0 && got.is_finite());
    let pairs = order::sorted(&pairs, |a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let (asked, got): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let all = bin(&pairs)?;
    let relative: Vec<f64> = pairs.iter().map(|(a, g)| (g / a - 1.0).abs()).collect();
    let edge = |k: usize| k * pairs.len() / BINS;
    Some(Obedience {
        quantity,
        count: pairs.len(),
        bias: all.bias,
        relative_bias: all.relative_bias,
        relative_spread: all.relative_spread,
        median_relative_error: quantile(&sorted(&relative), 0.5),
        correlation: correlation(&asked, &got),
        bins: (0..BINS).filter_map(|k| bin(&pairs[edge(k)..edge(k + 1)])).collect(),
    })
}

fn bin(pairs: &[(f64, f64)]) -> Option<Bin> {
    let relative: Vec<f64> = pairs.iter().map(|(a, g)| g / a - 1.0).collect();
    Some(Bin {
        asked_low: pairs.first()?.0,
        asked_high: pairs.last()?.0,
        count: pairs.len(),
        bias: mean(&pairs.iter().map(|(a, g)| g - a).collect::<Vec<_>>()),
        relative_bias: mean(&relative),
        relative_spread: std(&relative),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bias_spread_and_bins() {
        let movement = |length: f64, t: f64| {
            let points = (0..3).map(|i| Point { x: length * i as f64 / 2.0, y: 0.0, t_ms: t * i as f64 / 2.0 });
            Movement::new(points.collect()).unwrap()
        };
        // Always 10 % too short, in 300 ms where 200 were asked.
        let asked: Vec<Asked> = (1..=10)
            .map(|i| Asked { distance_px: 100.0 * i as f64, duration_ms: Some(200.0), target: Some(Point::default()) })
            .collect();
        let made: Vec<Movement> = asked.iter().map(|a| movement(0.9 * a.distance_px, 300.0)).collect();
        let made: Vec<&Movement> = made.iter().collect();
        let got = obedience(&asked, &made);
        assert_eq!(got.len(), 2);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        close(got[0].bias, -55.0);
        close(got[0].relative_bias, -0.1);
        close(got[0].relative_spread, 0.0);
        close(got[0].correlation, 1.0);
        close(got[0].bins[4].bias, -95.0);
        assert_eq!((got[0].bins.len(), got[0].bins[1].count, got[0].bins[1].asked_low), (5, 2, 300.0));
        close(got[1].relative_bias, 0.5);
        close(median_end_error(&asked, &made).unwrap(), 495.0);
    }

    /// Errors to either side do not make up for each other; what was not asked for is no error.
    #[test]
    fn the_median_error_has_no_sign() {
        let pairs: Vec<(f64, f64)> = [80.0, 90.0, 100.0, 110.0, 130.0].map(|got| (100.0, got)).to_vec();
        let got = errors("distance_px", [&pairs[..], &[(0.0, 50.0), (-1.0, 50.0)]].concat()).unwrap();
        assert_eq!(got.count, 5);
        assert!((got.median_relative_error - 0.1).abs() < 1e-9 && (got.relative_bias - 0.02).abs() < 1e-9, "{got:?}");
        assert_eq!(got.correlation, 0.0);
        let seven: Vec<(f64, f64)> = (1..=7).map(|i| (f64::from(i), 1.0)).collect();
        let counts: Vec<usize> = errors("distance_px", seven).unwrap().bins.iter().map(|bin| bin.count).collect();
        assert_eq!(counts, [1, 1, 2, 1, 2], "all are in a bin");
    }
}
