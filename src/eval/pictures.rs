//! What the page draws, taken from the movements: curves, histograms, sample paths.

use super::compare::{COMPARED, features};
use super::memorisation::at;
use super::stats::{mean, quantile, sorted};
use crate::data::Movement;

/// Points of a speed profile over normalised time.
pub const PROFILE: usize = 60;

/// Bars of a histogram.
pub const BARS: usize = 36;

/// Paths on a sample sheet.
pub const SHEET: usize = 24;

/// Speed over the mean speed, at equal shares of the duration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    pub low: Vec<f64>,
    pub median: Vec<f64>,
    pub high: Vec<f64>,
}

/// Shares of each side in bars over one range. The ends hold what lies beyond them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    pub low: f64,
    pub high: f64,
    pub real: Vec<f64>,
    pub generated: Vec<f64>,
}

/// Pairs of numbers to draw a line through: px from the start, or ms and px/ms.
pub type Path = Vec<[f64; 2]>;

/// Everything that is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pictures {
    pub real_profile: Profile,
    pub generated_profile: Profile,
    /// In the order of the kinematic features.
    pub histograms: Vec<Histogram>,
    pub real_paths: Vec<Path>,
    pub generated_paths: Vec<Path>,
    /// Speeds of the same movements, px/ms at the middles of their steps.
    pub real_speeds: Vec<Path>,
    pub generated_speeds: Vec<Path>,
}

impl Pictures {
    pub fn new(real: &[&Movement], generated: &[&Movement], threads: usize) -> Pictures {
        let (x, y) = (features(real, threads), features(generated, threads));
        let histogram = |k: usize| {
            let column = |rows: &[[f64; super::kinematics::COUNT]]| rows.iter().map(|r| r[k]).collect::<Vec<f64>>();
            Histogram::new(&column(&x), &column(&y))
        };
        Pictures {
            real_profile: Profile::new(real),
            generated_profile: Profile::new(generated),
            histograms: (0..COMPARED).map(histogram).collect(),
            real_paths: real.iter().take(SHEET).map(|m| path(m)).collect(),
            generated_paths: generated.iter().take(SHEET).map(|m| path(m)).collect(),
            real_speeds: real.iter().take(SHEET).map(|m| speeds(m)).collect(),
            generated_speeds: generated.iter().take(SHEET).map(|m| speeds(m)).collect(),
        }
    }
}

impl Profile {
    fn new(movements: &[&Movement]) -> Profile {
        let curves: Vec<Vec<f64>> = movements.iter().map(|m| curve(m)).collect();
        let band = |q: f64| {
            let at = |k: usize| quantile(&sorted(&curves.iter().map(|c| c[k]).collect::<Vec<_>>()), q);
            (0..PROFILE).map(at).collect()
        };
        Profile { low: band(0.25), median: band(0.5), high: band(0.75) }
    }
}

fn curve(m: &Movement) -> Vec<f64> {
    let (start, duration) = (m.points.first().map_or(0.0, |p| p.t_ms), m.duration_ms());
    let places: Vec<_> = (0..=PROFILE).map(|k| at(&m.points, start + duration * k as f64 / PROFILE as f64)).collect();
    let lengths: Vec<f64> = places.windows(2).map(|p| (p[1].x - p[0].x).hypot(p[1].y - p[0].y)).collect();
    let typical = mean(&lengths);
    lengths.iter().map(|l| if typical > 0.0 { l / typical } else { 0.0 }).collect()
}

impl Histogram {
    /// The range holds 98 % of either side.
    fn new(real: &[f64], generated: &[f64]) -> Histogram {
        let (r, g) = (sorted(real), sorted(generated));
        let low = quantile(&r, 0.01).min(quantile(&g, 0.01));
        let high = quantile(&r, 0.99).max(quantile(&g, 0.99));
        let width = if high > low { high - low } else { 1.0 };
        let shares = |side: &[f64]| {
            let mut bars = vec![0.0; BARS];
            for v in side {
                let bar = ((v - low) / width * BARS as f64).clamp(0.0, (BARS - 1) as f64) as usize;
                bars[bar] += 1.0 / side.len() as f64;
            }
            bars
        };
        Histogram { low, high: low + width, real: shares(real), generated: shares(generated) }
    }
}

fn path(m: &Movement) -> Path {
    let start = m.points.first().copied().unwrap_or_default();
    m.points.iter().map(|p| [p.x - start.x, p.y - start.y]).collect()
}

fn speeds(m: &Movement) -> Path {
    let start = m.points.first().map_or(0.0, |p| p.t_ms);
    let step = |p: &[crate::data::Point]| {
        let dt = p[1].t_ms - p[0].t_ms;
        [(p[0].t_ms + p[1].t_ms) / 2.0 - start, (p[1].x - p[0].x).hypot(p[1].y - p[0].y) / dt]
    };
    m.points.windows(2).map(step).collect()
}
