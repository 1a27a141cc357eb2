//! Does the model make movements, or does it hand back those it was trained on?
//!
//! A movement is 32 points at equal shares of its time, from its start, in pixels. Two are as far apart as the root
//! mean square distance of their points over the mean of their path lengths, plus |ln| of the ratio of their durations: a copy
//! with a little noise is near 0, whatever its size. What is near is measured on held-out real ones, which are no copies.

use super::EvalOptions;
use super::parallel;
use super::stats::{quantile, sorted};
use super::{floor::pick, steps};
use crate::data::{Movement, Point};
use crate::order;
use crate::rng::{Rng, Stream};

const SAMPLES: usize = 32;

/// A near-copy is nearer than this share of ..
const NEAR_SHARE: f64 = 0.5;
/// .. this quantile of the held-out ones' distances to training.
const NEAR_QUANTILE: f64 = 0.01;

/// More near-copies than this, with 97.5 % confidence, is memorisation.
const ALLOWED_COPIES: f64 = 0.01;
/// So is a typical distance to training below this share of the held-out ones'.
const ALLOWED_RATIO: f64 = 0.5;

/// Nearest distances and what they say.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Memorisation {
    /// Distances below this make a near-copy; taken from one half of the held-out movements.
    pub threshold: f64,
    /// Share of generated movements that are near-copies of a training movement.
    pub near_copies: f64,
    /// The same share for the other half of the held-out movements.
    pub near_copies_floor: f64,
    /// Median distance of generated movements to training.
    pub median_distance: f64,
    /// Median distance of held-out movements to training.
    pub median_distance_floor: f64,
    /// Share of generated movements with a near-copy among the generated.
    pub duplicates: f64,
    /// The same share for as many real ones.
    pub duplicates_floor: f64,
    /// None: there were too few movements to judge by.
    pub memorised: Option<bool>,
    /// The verdict in words.
    pub verdict: String,
}

struct Shape {
    /// x, y of each sample, px from the start.
    way: [f64; 2 * SAMPLES],
    path: f64,
    log_duration: f64,
}

impl Shape {
    fn new(movement: &Movement) -> Shape {
        let mut way = [0.0; 2 * SAMPLES];
        let (start, duration) = (movement.points.first().copied().unwrap_or_default(), movement.duration_ms());
        for k in 0..SAMPLES {
            let share = (k + 1) as f64 / SAMPLES as f64;
            let p = at(&movement.points, start.t_ms + share * duration);
            way[2 * k] = p.x - start.x;
            way[2 * k + 1] = p.y - start.y;
        }
        Shape { way, path: movement.path_length(), log_duration: duration.max(1e-3).ln() }
    }

    /// Mirrored in x or y, where a sign is -1.
    fn image(&self, signs: [f64; 2]) -> Shape {
        let way = std::array::from_fn(|k| signs[k % 2] * self.way[k]);
        Shape { way, ..*self }
    }

    fn distance(&self, other: &Shape) -> f64 {
        let square: f64 = self.way.iter().zip(&other.way).map(|(a, b)| (a - b) * (a - b)).sum();
        let size = ((self.path + other.path) / 2.0).max(1e-9);
        (square / SAMPLES as f64).sqrt() / size + (self.log_duration - other.log_duration).abs()
    }
}

/// Where the pointer is at a time, straight between points; before the first and after the last it rests.
pub(super) fn at(points: &[Point], t_ms: f64) -> Point {
    let after = points.partition_point(|p| p.t_ms <= t_ms);
    match (after.checked_sub(1).and_then(|i| points.get(i)), points.get(after)) {
        (Some(a), Some(b)) => {
            let share = (t_ms - a.t_ms) / (b.t_ms - a.t_ms);
            Point { x: a.x + share * (b.x - a.x), y: a.y + share * (b.y - a.y), t_ms }
        }
        (Some(p), None) | (None, Some(p)) => Point { t_ms, ..*p },
        (None, None) => Point { t_ms, ..Point::default() },
    }
}

/// For each of `from` the distance to the nearest of `to` but itself, or of their mirror images, too.
fn nearest(from: &[Shape], to: &[Shape], mirrored: bool, threads: usize) -> Vec<f64> {
    const SIGNS: [[f64; 2]; 4] = [[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]];
    let signs = if mirrored { &SIGNS[..] } else { &SIGNS[..1] };
    let to = order::sorted(&to.iter().collect::<Vec<_>>(), |a, b| a.log_duration.total_cmp(&b.log_duration));
    parallel::map(from.len(), threads, |i| {
        let shape = &from[i];
        let images: Vec<Shape> = signs.iter().map(|&signs| shape.image(signs)).collect();
        let (shorter, longer) = to.split_at(to.partition_point(|other| other.log_duration < shape.log_duration));
        let mut best = f64::INFINITY;
        let mut look = |others: &mut dyn Iterator<Item = &&Shape>| {
            for other in others {
                if (other.log_duration - shape.log_duration).abs() >= best {
                    break; // none is nearer than durations are
                }
                if !std::ptr::eq(*other, shape) {
                    best = images.iter().map(|image| image.distance(other)).fold(best, f64::min);
                }
            }
        };
        look(&mut shorter.iter().rev());
        look(&mut longer.iter());
        best
    })
}

/// Judges `generated` against `train`, by the measure of `held_out`: all of the training movements, and of the others 2000 at most,
/// drawn at random (500 where it has to be quick). Without training or held-out movements nothing can be said, and the verdict
/// says so.
pub fn memorisation(
    train: &[&Movement],
    mirrored: bool,
    held_out: &[&Movement],
    generated: &[&Movement],
    options: &EvalOptions,
) -> Memorisation {
    let EvalOptions { seed, threads, .. } = *options;
    if train.is_empty() || held_out.len() < 4 || generated.is_empty() {
        let verdict = "not judged: needs training, held-out and generated movements".to_owned();
        return Memorisation { verdict, ..Memorisation::default() };
    }
    let shapes = |side: &[&Movement]| side.iter().map(|m| Shape::new(m)).collect::<Vec<_>>();
    let mut rng = Rng::new(seed, Stream::Evaluation, steps::PICK);
    let mut some = |side: &[&Movement]| pick(shapes(side), options.limit(), &mut rng);
    let (real, generated, train) = (some(held_out), some(generated), shapes(train));
    let real_distances = nearest(&real, &train, mirrored, threads);
    let (to_set, to_check) = real_distances.split_at(real.len() / 2);
    let threshold = NEAR_SHARE * quantile(&sorted(to_set), NEAR_QUANTILE);
    // Strictly below: where recordings repeat themselves and the threshold is 0, only exact copies count.
    let near = |d: &[f64]| d.iter().filter(|d| **d < threshold || **d == 0.0).count() as f64 / d.len() as f64;
    let distances = nearest(&generated, &train, mirrored, threads);
    let alike = generated.len().min(real.len());
    let mut result = Memorisation {
        threshold,
        near_copies: near(&distances),
        near_copies_floor: near(to_check),
        median_distance: quantile(&sorted(&distances), 0.5),
        median_distance_floor: quantile(&sorted(&real_distances), 0.5),
        duplicates: near(&nearest(&generated[..alike], &generated[..alike], false, threads)),
        duplicates_floor: near(&nearest(&real[..alike], &real[..alike], false, threads)),
        ..Memorisation::default()
    };
    judge(&mut result, generated.len());
    result
}

fn judge(m: &mut Memorisation, count: usize) {
    let surely = wilson_low(m.near_copies, count as f64);
    let copies = surely > ALLOWED_COPIES.max(m.near_copies_floor);
    let close = m.median_distance < ALLOWED_RATIO * m.median_distance_floor;
    m.memorised = Some(copies || close);
    let percent = 100.0 * m.near_copies;
    m.verdict = match (copies, close) {
        (true, _) => {
            format!("memorised: {percent:.1} % of the generated movements are near-copies of training movements")
        }
        (false, true) => "memorised: generated movements lie far nearer to training than real ones do".to_owned(),
        (false, false) => format!("not memorised: {percent:.1} % near-copies of training movements"),
    };
}

/// Lower end of Wilson's 95 % interval of a share.
fn wilson_low(share: f64, n: f64) -> f64 {
    const Z: f64 = 1.96;
    let centre = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - half) / (1.0 + Z * Z / n)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(count: usize, first: u64) -> Vec<Shape> {
        let shape = |i: usize| {
            let mut rng = Rng::new(first + i as u64, Stream::Evaluation, 0);
            let way = std::array::from_fn(|_| rng.range(-100.0, 100.0));
            Shape { way, path: rng.range(50.0, 150.0), log_duration: rng.range(0.0, 3.0) }
        };
        (0..count).map(shape).collect()
    }

    /// The nearest of all, though most are not looked at.
    #[test]
    fn nearest_is_what_looking_at_all_would_find() {
        let (from, to) = (shapes(40, 0), shapes(90, 1000));
        for signs in [&[[1.0, 1.0]][..], &[[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]] {
            let images: Vec<Shape> = to.iter().flat_map(|other| signs.iter().map(|&s| other.image(s))).collect();
            let all = |shape: &Shape| images.iter().map(|image| shape.distance(image)).fold(f64::INFINITY, f64::min);
            assert_eq!(nearest(&from, &to, signs.len() > 1, 2), from.iter().map(all).collect::<Vec<_>>());
        }
        let others = |i: usize| (0..40).filter(move |&j| j != i);
        let all = |i: usize| others(i).map(|j| from[i].distance(&from[j])).fold(f64::INFINITY, f64::min);
        assert_eq!(nearest(&from, &from, false, 1), (0..40).map(all).collect::<Vec<_>>());
    }

    /// Wilson's interval, E. B. Wilson 1927: of 5 in 100 from 0.0215, of none from 0.
    #[test]
    fn a_share_of_few_is_uncertain() {
        assert!((wilson_low(0.05, 100.0) - 0.0215).abs() < 5e-5, "{}", wilson_low(0.05, 100.0));
        assert!((wilson_low(0.5, 10.0) - 0.2366).abs() < 5e-5 && wilson_low(0.0, 50.0) < 1e-12);
    }

    /// More copies than a hundredth, and than real ones have, beyond doubt; or half as far from training as real ones are.
    #[test]
    fn what_is_memorised() {
        let says = |near_copies, near_copies_floor, median_distance| {
            let seen = Memorisation { near_copies, near_copies_floor, median_distance, ..Memorisation::default() };
            let mut m = Memorisation { median_distance_floor: 1.0, ..seen };
            judge(&mut m, 1000);
            m.memorised.unwrap()
        };
        assert!(says(0.03, 0.0, 1.0) && says(0.03, 0.015, 1.0));
        assert!(!says(0.03, 0.025, 1.0), "real ones are as near");
        assert!(!says(0.009, 0.0, 1.0) && !says(0.011, 0.0, 1.0), "few, or few enough to be chance");
        assert!(says(0.0, 0.0, 0.49) && !says(0.0, 0.0, 0.51));
    }

    /// As far as points are apart for the length of the way, and durations by their ratio.
    #[test]
    fn a_distance_has_no_size() {
        let line = |x: f64, y: f64, t_ms: f64| {
            let point = |s: f64| Point { x: 9.0 + s * x, y: s * y, t_ms: 50.0 + s * t_ms };
            Shape::new(&Movement::new([0.0, 0.5, 1.0].map(point).to_vec()).unwrap())
        };
        for size in [1.0, 1000.0] {
            let straight = line(100.0 * size, 0.0, 500.0);
            assert!((straight.distance(&line(100.0 * size, 0.0, 1000.0)) - 2f64.ln()).abs() < 1e-12);
            // Points at shares of 1/32 to 1 are sqrt(2) times as far apart as they are from the start.
            let square = (1..=32).map(|k| 2.0 * (f64::from(k) / 32.0).powi(2)).sum::<f64>() / 32.0;
            assert!((straight.distance(&line(0.0, 100.0 * size, 500.0)) - square.sqrt()).abs() < 1e-12);
        }
    }
}
