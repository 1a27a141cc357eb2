//! How much more often recordings are like a movement than a model's walks are: a classifier that tells the two apart knows,
//! for its odds are that ratio (A. Grover et al., "Bias correction of learned generative models using likelihood-free importance
//! weighting", NeurIPS 2019; S. Azadi et al., "Discriminator rejection sampling", ICLR 2019).

use serde::{Deserialize, Serialize};

use super::boost::Boosted;
use super::forest::Table;
use super::kernel::Rows;
use super::kinematics::{self, kinematics};
use super::memorisation::at;
use super::parallel;
use super::stats::{mean, quantile, sorted};
use crate::data::{Movement, Point};
use crate::error::Result;

/// Rounds of boosting. On Balabit's movements 50 do nearly as well, 200 no better.
const ROUNDS: usize = 100;

/// Numbers of a [`profile`].
const PROFILE: usize = 45;

/// Numbers that the classifier sees of a movement.
pub const WIDTH: usize = kinematics::COUNT + PROFILE;

/// Fitted to recordings and walks of one model, and stored in its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DensityRatio {
    trees: Boosted,
}

impl DensityRatio {
    /// Learns to tell `recorded` from `walked`, which have the same targets. The result does not depend on `threads`. `ask` is
    /// called before every round; its error ends the learning.
    pub fn fit<E>(
        recorded: &[Movement],
        walked: &[Movement],
        threads: usize,
        ask: impl FnMut() -> std::result::Result<(), E>,
    ) -> std::result::Result<DensityRatio, E> {
        let all: Vec<&Movement> = recorded.iter().chain(walked).collect();
        let values = parallel::map(all.len(), threads, |i| features(&all[i].points)).concat();
        let positive: Vec<bool> = (0..all.len()).map(|i| i < recorded.len()).collect();
        let rows: Vec<usize> = (0..all.len()).collect();
        let table = Table::new(Rows { values: &values, width: WIDTH });
        Boosted::fit(&table, &positive, &rows, ROUNDS, ask).map(|trees| DensityRatio { trees })
    }

    /// Logarithm of the ratio, up to a constant.
    pub fn log(&self, points: &[Point]) -> f64 {
        self.trees.predict(&features(points))
    }

    /// Refuses what `fit` cannot have made: for one from a file.
    pub fn check(&self) -> Result<()> {
        self.trees.check(ROUNDS, WIDTH)
    }
}

fn features(points: &[Point]) -> [f64; WIDTH] {
    let (kinematics, profile) = (kinematics(points, None), profile(points));
    std::array::from_fn(|k| if k < kinematics.len() { kinematics[k] } else { profile[k - kinematics.len()] })
}

/// What [`kinematics`] do not say, px and rad and ms: where the movement is at each tenth of its time, along the way as a
/// share of its distance and beside it; its first and last steps; how long steps are, how far they point beside the target
/// and turn. All 0 of fewer than two points.
fn profile(points: &[Point]) -> [f64; PROFILE] {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return [0.0; PROFILE] };
    let (dx, dy) = (last.x - first.x, last.y - first.y);
    let distance = dx.hypot(dy).max(1.0);
    let steps: Vec<[f64; 2]> = points.windows(2).map(|p| [p[1].x - p[0].x, p[1].y - p[0].y]).collect();
    if steps.is_empty() {
        return [0.0; PROFILE];
    }
    let mut profile = Vec::with_capacity(PROFILE);
    for tenth in 1..10 {
        let p = at(points, first.t_ms + (last.t_ms - first.t_ms) * f64::from(tenth) / 10.0);
        let (x, y) = ((p.x - first.x) / distance, (p.y - first.y) / distance);
        profile.extend([(x * dx + y * dy) / distance, ((y * dx - x * dy) / distance).abs()]);
    }
    let lengths: Vec<f64> = steps.iter().map(|[x, y]| x.hypot(*y)).collect();
    let length = |i: usize| lengths.get(i).copied().unwrap_or(0.0);
    profile.extend((0..3).chain((1..=3).map(|k| lengths.len().wrapping_sub(k))).map(length));
    let moving = || points.windows(2).zip(&steps).filter(|(_, step)| **step != [0.0; 2]);
    let aims: Vec<f64> = moving().map(|(p, &step)| angle([last.x - p[0].x, last.y - p[0].y], step)).collect();
    let moves: Vec<[f64; 2]> = moving().map(|(_, &step)| step).collect();
    let turns: Vec<f64> = moves.windows(2).map(|pair| angle(pair[0], pair[1])).collect();
    let shares = [0.1, 0.25, 0.5, 0.75, 0.9];
    for (x, shares) in [(&lengths, &shares[..]), (&aims, &shares[1..]), (&turns, &shares[1..])] {
        let sorted = sorted(x);
        profile.extend(shares.iter().map(|&q| quantile(&sorted, q)));
    }
    let n = aims.len();
    profile.extend([&aims[..n.min(3)], &aims[n / 3..n - n / 3], &aims[n.saturating_sub(4)..]].map(mean));
    profile.push(mean(&turns[..turns.len().min(3)]));
    let still = |axis: usize| steps.iter().filter(|s| s[axis] == 0.0).count() as f64 / steps.len() as f64;
    profile.extend([still(0), still(1)]);
    profile.extend([&points[..2], &points[points.len() - 2..]].map(|p| p[1].t_ms - p[0].t_ms));
    std::array::from_fn(|k| profile[k])
}

/// Between two directions, 0 to pi; 0 where one is none.
fn angle([ax, ay]: [f64; 2], [bx, by]: [f64; 2]) -> f64 {
    (ax * by - ay * bx).atan2(ax * bx + ay * by).abs()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::rng::{Rng, Stream};

    fn movement(steps: &[(f64, f64, f64)]) -> Vec<Point> {
        let mut points = vec![Point { x: 7.0, y: -3.0, t_ms: 40.0 }];
        for &(x, y, dt) in steps {
            let p = points[points.len() - 1];
            points.push(Point { x: p.x + x, y: p.y + y, t_ms: p.t_ms + dt });
        }
        points
    }

    #[test]
    fn a_profile_says_where_and_how() {
        // Ten steps of a pixel beside the way and back, at an even pace along it.
        let zigzag: Vec<_> = (0..10).map(|i| (10.0, if i % 2 == 0 { 1.0 } else { -1.0 }, 10.0)).collect();
        let profile = profile(&movement(&zigzag));
        for tenth in 1..10 {
            let [along, beside] = [0, 1].map(|k| profile[2 * (tenth - 1) + k]);
            assert!((along - tenth as f64 / 10.0).abs() < 1e-12, "{tenth}: {along}");
            assert!((beside - if tenth % 2 == 1 { 0.01 } else { 0.0 }).abs() < 1e-12, "{tenth}: {beside}");
        }
        let length = 101f64.sqrt();
        assert!(profile[18..24].iter().all(|x| (x - length).abs() < 1e-12));
        let turn = 2.0 * 0.1f64.atan();
        assert!(profile[33..37].iter().all(|x| (x - turn).abs() < 1e-12), "{:?}", &profile[33..37]);
        assert_eq!(profile[41..], [0.0, 0.0, 10.0, 10.0]);
    }

    #[test]
    fn every_movement_has_finite_features() {
        let cases: [&[(f64, f64, f64)]; 5] = [
            &[],
            &[(0.0, 0.0, 1.0)],
            &[(0.0, 0.0, 1.0), (0.0, 0.0, 1.0)],
            &[(3.0, 0.0, 1.0), (-3.0, 0.0, 5.0)],
            &[(1e6, 1e6, 0.001), (0.0, 0.0, 1e6), (1.0, 0.0, 1.0)],
        ];
        for steps in cases {
            assert!(features(&movement(steps)).iter().all(|x| x.is_finite()), "{steps:?}");
        }
        assert_eq!(features(&[]), [0.0; WIDTH]);
    }

    #[test]
    fn the_ratio_is_that_of_the_densities() {
        // Recordings have slow first steps three times as often as walks.
        let slow = |share: f64, seed: u64| -> Vec<Movement> {
            let rng = &mut Rng::new(seed, Stream::Demo, 0);
            let one = |rng: &mut Rng| {
                let first = if rng.unit() < share { 1.0 } else { 5.0 };
                let rest: Vec<_> = (0..9).map(|_| (3.0 + rng.below(4) as f64, 1.0, 10.0)).collect();
                Movement { points: movement(&[&[(first, 1.0, 10.0)][..], &rest].concat()), ..Movement::default() }
            };
            (0..1500).map(|_| one(rng)).collect()
        };
        let Ok(ratio) = DensityRatio::fit(&slow(0.75, 1), &slow(0.25, 2), 2, || Ok::<(), Infallible>(()));
        let mean_log = |share: f64| mean(&slow(share, 3).iter().map(|m| ratio.log(&m.points)).collect::<Vec<_>>());
        let (slow, fast) = (mean_log(1.0), mean_log(0.0));
        assert!((slow - 3f64.ln()).abs() < 0.3 && (fast + 3f64.ln()).abs() < 0.3, "{slow} {fast}");
        let mut json = serde_json::to_value(&ratio).unwrap();
        let read = |json: &serde_json::Value| serde_json::from_value::<DensityRatio>(json.clone()).unwrap();
        read(&json).check().unwrap();
        assert_eq!(serde_json::to_value(read(&json)).unwrap(), json);
        let mut many = json.clone();
        many["trees"]["trees"] = vec![json["trees"]["trees"][0].clone(); ROUNDS + 1].into();
        assert_eq!(read(&many).check().unwrap_err().to_string(), "trees is 101, expected up to 100");
        json["trees"]["trees"][0]["splits"][0][0] = WIDTH.into();
        assert_eq!(read(&json).check().unwrap_err().to_string(), "feature of a tree is 75, expected below 75");
    }
}
