//! The result of an evaluation: numbers for programs (JSON), a text for terminals, a page for eyes.

use serde::Serialize;

use super::fitts::Fitts;
use super::judges::Judges;
use super::memorisation::Memorisation;
use super::obedience::Obedience;
use super::pictures::Pictures;
use super::resample::Grid;
use super::stats::Interval;
use crate::error::{Error, Result};

/// How a score compares with the floor: its distance from the ideal over the farthest floor's. 1, 3 and 5 times are the proportions of the seed's discriminative row (0.05, 0.15, 0.25 from 0.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rating {
    Excellent,
    Good,
    NeedsWork,
    Poor,
}

impl Rating {
    pub fn name(self) -> &'static str {
        match self {
            Rating::Excellent => "EXCELLENT",
            Rating::Good => "GOOD",
            Rating::NeedsWork => "NEEDS WORK",
            Rating::Poor => "POOR",
        }
    }

    /// `resolution` is the smallest distance from the ideal that the score can resolve.
    pub fn of(value: f64, scale: Scale, floors: &[f64], resolution: f64) -> Rating {
        let farthest = floors.iter().map(|f| scale.distance(*f)).fold(scale.least(resolution), f64::max);
        let times = scale.distance(value) / farthest.max(f64::MIN_POSITIVE);
        match times {
            t if t <= 1.0 => Rating::Excellent,
            t if t <= 3.0 => Rating::Good,
            t if t <= 5.0 => Rating::NeedsWork,
            _ => Rating::Poor,
        }
    }
}

/// How far a score is from its ideal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// The difference from this ideal.
    Plain(f64),
    /// A chance of being right, ideally this (a half, or 0 where a half was taken off): the log odds, so that certainty is
    /// infinitely far, however bad the floor. Worse than by chance is no better than chance.
    Odds(f64),
    /// A share, ideally none or all (0 or 1): the log odds of the distance, so that its end is infinitely far.
    Share(f64),
    /// A positive number: the logarithm of its ratio to this ideal.
    Ratio(f64),
}

impl Scale {
    pub fn ideal(self) -> f64 {
        match self {
            Scale::Plain(ideal) | Scale::Odds(ideal) | Scale::Share(ideal) | Scale::Ratio(ideal) => ideal,
        }
    }

    fn distance(self, value: f64) -> f64 {
        match self {
            Scale::Plain(ideal) => (value - ideal).abs(),
            Scale::Odds(ideal) => {
                let right = (0.5 + value - ideal).clamp(0.5, 1.0);
                (right / (1.0 - right)).ln()
            }
            Scale::Share(ideal) => {
                let off = (value - ideal).abs().min(1.0);
                ((1.0 + off) / (1.0 - off)).ln()
            }
            Scale::Ratio(ideal) => (value / ideal).ln().abs(),
        }
    }

    fn least(self, resolution: f64) -> f64 {
        self.distance(self.ideal() + resolution)
    }
}

/// One number of the report, beside its floor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    pub name: &'static str,
    pub meaning: &'static str,
    pub value: f64,
    /// 95 % interval, where the score has one.
    pub interval: Option<Interval>,
    /// Permutation p, where the score has one (small: different), and the median of the floor's.
    pub p: Option<f64>,
    pub p_floor: Option<f64>,
    /// What a perfect score would be.
    pub ideal: f64,
    /// Real against real, one number a round.
    pub floors: Vec<f64>,
    pub rating: Rating,
}

impl Score {
    /// Mean of the floors, if there are any.
    pub fn floor(&self) -> Option<f64> {
        (!self.floors.is_empty()).then(|| super::stats::mean(&self.floors))
    }
}

/// One kinematic feature, generated against real.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureRow {
    pub name: &'static str,
    pub formula: &'static str,
    /// Wasserstein-1 over the real interquartile range.
    pub wasserstein: f64,
    pub wasserstein_floor: f64,
    pub ks: f64,
    pub ks_p: f64,
    pub ks_floor: f64,
    /// Median p of the floor's rounds.
    pub ks_p_floor: f64,
    /// 5, 25, 50, 75 and 95 %.
    pub real: [f64; 5],
    pub generated: [f64; 5],
    /// Share of the forest's Gini importance, as recorded.
    pub importance: f64,
}

/// Numbers of movements, and how the floor was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sizes {
    pub train: usize,
    pub held_out: usize,
    pub generated: usize,
    /// Movements on either side of every comparison.
    pub compared: usize,
    pub floor_rounds: usize,
    /// Distinct sessions among the real movements; 0 where the floor splits movements: sessions are unknown, or a user has one
    /// that outweighs the others.
    pub sessions: usize,
}

/// Everything; what is of movements in pixels is None, or empty, where only features were judged. Serializes to JSON
/// without the pictures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub seed: u64,
    pub quick: bool,
    pub sizes: Sizes,
    pub scores: Vec<Score>,
    /// Worst first: by the Kolmogorov-Smirnov statistic beyond the floor, which has one scale for all.
    pub features: Vec<FeatureRow>,
    /// What told most in the forest on one grid, largest first.
    pub resampled_importance: Vec<(&'static str, f64)>,
    pub grid: Option<Grid>,
    pub fitts_real: Option<Fitts>,
    pub fitts_generated: Option<Fitts>,
    pub memorisation: Option<Memorisation>,
    pub obedience: Vec<Obedience>,
    pub median_end_error_px: Option<f64>,
    /// Closed-loop models only: of the generated, those that took all points that a movement may have (`max_seq_len`). Where that is
    /// not its end, the last step jumps to the target.
    pub took_all_points: Option<usize>,
    /// Every run of the LSTM judges, where features were given.
    pub judges: Option<Judges>,
    #[serde(skip)]
    pub pictures: Option<Pictures>,
}

impl Report {
    /// The score of that name.
    pub fn score(&self, name: &str) -> Option<&Score> {
        self.scores.iter().find(|s| s.name == name)
    }

    /// What is said of movements that took all points.
    pub(super) fn out_of_points(&self) -> Option<String> {
        let (forced, made) = (self.took_all_points.filter(|forced| *forced > 0)?, self.sizes.generated);
        let jumps = "where that is not their end, the last step jumps to the target";
        Some(format!("{forced} of {made} took all points that max_seq_len allows: {jumps}"))
    }

    /// The three features farthest beyond their floor.
    pub fn worst(&self) -> impl Iterator<Item = &FeatureRow> {
        self.features.iter().take(3)
    }

    /// One JSON object, indented. A number that is not finite, which [`super::evaluate`] makes none of, is null.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|e| Error::argument("report", e, "numbers that JSON can hold"))
    }
}
