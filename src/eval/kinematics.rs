//! What a movement looks like in numbers: thirty features in pixels and milliseconds.
//!
//! Letters: points p_0..p_(n-1); step k goes from p_(k-1) to p_k, has length d_k, time dt_k, speed v_k = d_k / dt_k and
//! stands at the middle m_k of its time. The axis is the straight line from the first point to the last
//! or, where these are the same, to the one farthest away.

use super::stats::{correlation, interquartile_range, mean, median, std};
use crate::data::Point;

/// Number of features.
pub const COUNT: usize = 30;

/// The last feature: zero unless a target is given, so the joint tests and distances leave it out.
pub const END_ERROR: usize = COUNT - 1;

/// Where the straight distance stands.
pub const STRAIGHT: usize = 2;

/// Where the duration stands.
pub const DURATION: usize = 0;

/// Where the side that the way bends to stands.
pub const DEVIATION_SIDE: usize = 5;

/// Names in the order of [`kinematics`], with the unit as the ending.
pub const NAMES: [&str; COUNT] = [
    "duration_ms",
    "path_px",
    "straight_px",
    "efficiency",
    "deviation_px",
    "deviation_side",
    "mean_speed",
    "peak_speed",
    "time_to_peak",
    "speed_skew",
    "mean_accel",
    "peak_accel",
    "mean_jerk",
    "peak_jerk",
    "log_dimensionless_jerk",
    "curvature",
    "submovements",
    "pause_share",
    "overshoot_px",
    "reversals",
    "side_reversals",
    "dt_median_ms",
    "dt_spread_ms",
    "time_quantum_ms",
    "pixel_quantum_px",
    "speed_lag1",
    "end_turn_mean",
    "end_turn_spread",
    "points",
    "end_error_px",
];

/// What each feature is, for the reports.
pub const FORMULAS: [&str; COUNT] = [
    "last time - first time",
    "sum of step lengths d_k",
    "first point to last point",
    "straight / path (0 without a path)",
    "largest distance of a point from the axis",
    "side of that point: +1 right of the way (y grows down), -1 left, 0 on the axis",
    "path / duration, px/ms",
    "largest v_k, px/ms",
    "m_k of the largest v_k, as a share of the duration",
    "skewness of time weighted with the distance covered: 0 symmetric, > 0 early peak and long tail",
    "mean |change of v_k / time between the middles|, px/ms^2",
    "largest |change of v_k / time between the middles|, px/ms^2",
    "mean |change of acceleration / time|, px/ms^3",
    "largest |change of acceleration / time|, px/ms^3",
    "-ln(duration^3 / peak^2 * integral |second derivative of velocity|^2) (Balasubramanian 2015)",
    "sum of |turns| / path, rad/px",
    "peaks of v_k of at least 15 % of the largest, in height and in prominence",
    "share of the duration in steps slower than 0.02 px/ms",
    "how far the way goes beyond the last point, along the axis",
    "changes of sign of the steps along the axis",
    "changes of sign of the steps across the axis",
    "median dt_k",
    "interquartile range of dt_k",
    "greatest common divisor of dt_k, to 0.001 ms",
    "greatest common divisor of the steps in x and y, to 1/1024 px",
    "correlation of v_k with v_(k+1)",
    "mean |turn| in the last quarter of the duration, rad",
    "standard deviation of the signed turns there, rad",
    "number of points",
    "last point to the target, where one is known",
];

/// Slower than this, in px/ms, is a pause: one pixel in 50 ms.
const PAUSE_SPEED: f64 = 0.02;

/// Share of the largest peak that another must have, in height and prominence, to count as a submovement.
const SUBMOVEMENT_SHARE: f64 = 0.15;

/// One step of the way, seen along and across the axis.
struct Step {
    along: f64,
    across: f64,
    length: f64,
    dt: f64,
    /// Middle of its time, ms from the start.
    middle: f64,
    vx: f64,
    vy: f64,
}

/// points (n): at least 3, time strictly rising (as [`crate::Movement::new`] checks) -> the features [`NAMES`], all finite.
/// `target` is where the movement should have ended, if that is known. Fewer than 2 points give zeros.
pub fn kinematics(points: &[Point], target: Option<Point>) -> [f64; COUNT] {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return [0.0; COUNT] };
    let straight = (last.x - first.x).hypot(last.y - first.y);
    let axis = axis(points);
    let steps = steps(points, axis);
    let duration = last.t_ms - first.t_ms;
    if steps.is_empty() || duration <= 0.0 {
        return [0.0; COUNT];
    }
    let path: f64 = steps.iter().map(|s| s.length).sum();
    let speed: Vec<f64> = steps.iter().map(|s| s.length / s.dt).collect();
    let peak = speed.iter().copied().fold(0.0, f64::max);
    let at_peak = speed.iter().position(|v| *v == peak).unwrap_or(0);
    let (deviation, side) = largest_deviation(points, axis);
    let (accel, accel_at) = slopes(&speed, &steps.iter().map(|s| s.middle).collect::<Vec<_>>());
    let (jerk, _) = slopes(&accel, &accel_at);
    let turns = turns(&steps);
    let end: Vec<f64> = turns.iter().filter(|t| t.0 >= 0.75 * duration).map(|t| t.1).collect();
    // To a millionth: rounding of sums of steps tells recordings from what is generated, and is no feature of either.
    let dts: Vec<f64> = steps.iter().map(|s| (s.dt * 1e6).round() / 1e6).collect();
    let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    let paused: f64 = steps.iter().filter(|s| s.length < PAUSE_SPEED * s.dt).map(|s| s.dt).sum();
    let features = [
        duration,
        path,
        straight,
        ratio(straight, path),
        deviation,
        side,
        path / duration,
        peak,
        steps[at_peak].middle / duration,
        skew(&steps),
        mean_abs(&accel),
        peak_abs(&accel),
        mean_abs(&jerk),
        peak_abs(&jerk),
        log_dimensionless_jerk(&steps, duration, peak),
        ratio(turns.iter().map(|t| t.1.abs()).sum(), path),
        submovements(&speed) as f64,
        paused / duration,
        overshoot(points, axis, straight),
        sign_changes(steps.iter().map(|s| s.along), path),
        sign_changes(steps.iter().map(|s| s.across), path),
        median(&dts),
        interquartile_range(&dts),
        quantum(dts.iter().copied(), 1000.0),
        quantum(points.windows(2).flat_map(|p| [p[1].x - p[0].x, p[1].y - p[0].y]), 1024.0),
        correlation(&speed[..speed.len() - 1], &speed[1..]),
        mean_abs(&end),
        std(&end),
        points.len() as f64,
        target.map_or(0.0, |t| (t.x - last.x).hypot(t.y - last.y)),
    ];
    // What is smaller has come from rounding, in whatever unit.
    features.map(|v| if v.is_finite() && v.abs() > 1e-9 { v } else { 0.0 })
}

/// Its direction, of length 1.
fn axis(points: &[Point]) -> (f64, f64) {
    let way = |p: &Point| (p.x - points[0].x, p.y - points[0].y);
    let distance = |(x, y): (f64, f64)| x.hypot(y);
    let end = way(&points[points.len() - 1]);
    let farther = |a: (f64, f64), b: (f64, f64)| if distance(b) > distance(a) { b } else { a };
    let (x, y) = if distance(end) > 0.0 { end } else { points.iter().map(way).fold(end, farther) };
    if x.hypot(y) > 0.0 { (x / x.hypot(y), y / x.hypot(y)) } else { (1.0, 0.0) }
}

/// Steps that take no time are left out, so that every speed is finite.
fn steps(points: &[Point], (ux, uy): (f64, f64)) -> Vec<Step> {
    let start = points[0].t_ms;
    let pairs = points.windows(2).filter(|p| p[1].t_ms > p[0].t_ms);
    pairs
        .map(|p| {
            let (dx, dy, dt) = (p[1].x - p[0].x, p[1].y - p[0].y, p[1].t_ms - p[0].t_ms);
            let middle = (p[0].t_ms + p[1].t_ms) / 2.0 - start;
            let (along, across) = (dx * ux + dy * uy, dy * ux - dx * uy);
            Step { along, across, length: dx.hypot(dy), dt, middle, vx: dx / dt, vy: dy / dt }
        })
        .collect()
}

/// (distance, side) of the point farthest from the axis. With y downwards a positive offset lies to the right.
fn largest_deviation(points: &[Point], (ux, uy): (f64, f64)) -> (f64, f64) {
    let offset = |p: &Point| (p.y - points[0].y) * ux - (p.x - points[0].x) * uy;
    let farthest = points.iter().map(offset).fold(0.0f64, |best, o| if o.abs() > best.abs() { o } else { best });
    // Rounding puts the points of an oblique straight line up to some 1e-13 px beside it: that is no side.
    let side = if farthest.abs() > 1e-6 { farthest.signum() } else { 0.0 };
    (farthest.abs(), side)
}

/// Differences of y over differences of x, and where they stand.
fn slopes(y: &[f64], x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let slope = y.windows(2).zip(x.windows(2)).map(|(y, x)| (y[1] - y[0]) / (x[1] - x[0])).collect();
    (slope, x.windows(2).map(|x| (x[0] + x[1]) / 2.0).collect())
}

fn mean_abs(x: &[f64]) -> f64 {
    mean(&x.iter().map(|v| v.abs()).collect::<Vec<_>>())
}

fn peak_abs(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |best, v| v.abs().max(best))
}

fn skew(steps: &[Step]) -> f64 {
    let total: f64 = steps.iter().map(|s| s.length).sum();
    let moment =
        |about: f64, power: i32| steps.iter().map(|s| s.length * (s.middle - about).powi(power)).sum::<f64>() / total;
    let centre = moment(0.0, 1);
    let spread = moment(centre, 2).sqrt();
    // Of one step that moves, rounding leaves a spread of some 1e-16 of its time.
    if spread > 1e-9 * centre.abs() { moment(centre, 3) / spread.powi(3) } else { 0.0 }
}

/// S. Balasubramanian et al., "On the analysis of movement smoothness", JNER 2015: 0 is unreachable, more negative is
/// less smooth. Velocity counts as a vector, so that turning costs too. 0 where it is not defined.
fn log_dimensionless_jerk(steps: &[Step], duration: f64, peak: f64) -> f64 {
    let middles: Vec<f64> = steps.iter().map(|s| s.middle).collect();
    let second = |component: Vec<f64>| {
        let (first, at) = slopes(&component, &middles);
        slopes(&first, &at)
    };
    let (jx, at) = second(steps.iter().map(|s| s.vx).collect());
    let (jy, _) = second(steps.iter().map(|s| s.vy).collect());
    let square: Vec<f64> = jx.iter().zip(&jy).map(|(x, y)| x * x + y * y).collect();
    // The mean over the known middle stands for the whole duration.
    let known = at.last().zip(at.first()).map_or(0.0, |(b, a)| b - a);
    let trapezoids = square.windows(2).zip(at.windows(2)).map(|(s, t)| (s[0] + s[1]) / 2.0 * (t[1] - t[0]));
    let integral = if known > 0.0 { trapezoids.sum::<f64>() / known * duration } else { mean(&square) * duration };
    let dimensionless = duration.powi(3) / (peak * peak) * integral;
    if dimensionless > 0.0 && dimensionless.is_finite() { -dimensionless.ln() } else { 0.0 }
}

/// (time from the start, signed angle in [-pi, pi]) at each corner between steps that move.
fn turns(steps: &[Step]) -> Vec<(f64, f64)> {
    let moving: Vec<&Step> = steps.iter().filter(|s| s.length > 0.0).collect();
    let corner = |p: &[&Step]| {
        let (a, b) = (p[0], p[1]);
        let angle = (a.along * b.across - a.across * b.along).atan2(a.along * b.along + a.across * b.across);
        (b.middle - b.dt / 2.0, angle)
    };
    moving.windows(2).map(corner).collect()
}

/// Peaks of the profile, which is taken as zero before and after. Prominence is the height above the higher of the
/// two lowest points on the way to something higher (scipy's find_peaks). A flat top counts once, and of two equal
/// tops the earlier is the higher one, so that a ripple on a flat top adds nothing.
fn submovements(speed: &[f64]) -> usize {
    let need = SUBMOVEMENT_SHARE * speed.iter().copied().fold(0.0, f64::max);
    let mut count = 0;
    let mut i = 0;
    while i < speed.len() {
        let height = speed[i];
        let mut end = i;
        while end + 1 < speed.len() && speed[end + 1] == height {
            end += 1;
        }
        let before = if i == 0 { 0.0 } else { speed[i - 1] };
        let after = speed.get(end + 1).copied().unwrap_or(0.0);
        if height > before && height > after && height >= need {
            let left = valley(speed[..i].iter().rev(), height, |v| v >= height);
            let right = valley(speed[end + 1..].iter(), height, |v| v > height);
            count += usize::from(height - left.max(right) >= need);
        }
        i = end + 1;
    }
    count
}

/// The lowest value on the way to something higher, or 0 if there is none.
fn valley<'a>(way: impl Iterator<Item = &'a f64>, height: f64, higher: impl Fn(f64) -> bool) -> f64 {
    let mut lowest = height;
    for v in way {
        if higher(*v) {
            return lowest;
        }
        lowest = lowest.min(*v);
    }
    0.0
}

fn overshoot(points: &[Point], (ux, uy): (f64, f64), straight: f64) -> f64 {
    let along = points.iter().map(|p| (p.x - points[0].x) * ux + (p.y - points[0].y) * uy);
    let beyond = along.fold(0.0, f64::max) - straight;
    if beyond > 1e-9 * straight { beyond } else { 0.0 }
}

/// Steps below a billionth of the path are rounding, not movement.
fn sign_changes(steps: impl Iterator<Item = f64>, path: f64) -> f64 {
    let mut last = 0.0;
    let mut changes = 0;
    for step in steps.filter(|s| s.abs() > 1e-9 * path) {
        changes += usize::from(step * last < 0.0);
        last = step;
    }
    changes as f64
}

/// Greatest common divisor of the numbers, rounded to whole parts of 1/per_unit. 0 if all are 0.
fn quantum(values: impl Iterator<Item = f64>, per_unit: f64) -> f64 {
    let mut divisor = 0u64;
    for value in values {
        let (mut a, mut b) = (divisor, (value.abs() * per_unit).round() as u64);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
    }
    divisor as f64 / per_unit
}
