//! Each kinematic feature against hand-made movements whose answers are known.

use std::f64::consts::PI;

use crate::support::{made, minimum_jerk};
use trajgan::Point;
use trajgan::eval::fitts::fitts;
use trajgan::eval::kinematics::{COUNT, NAMES, kinematics};

/// The feature of that name.
fn get(features: &[f64; COUNT], name: &str) -> f64 {
    features[NAMES.iter().position(|n| *n == name).unwrap_or_else(|| panic!("no feature {name}"))]
}

#[track_caller]
fn near(features: &[f64; COUNT], name: &str, expected: f64, tolerance: f64) {
    let got = get(features, name);
    assert!((got - expected).abs() <= tolerance, "{name} is {got}, expected {expected} +- {tolerance}");
}

/// Straight, 300 px right and 400 px down in 800 ms: distance D = 500, peak 1.875 D/T in the middle.
#[test]
fn straight_minimum_jerk() {
    let points = made(200, 800.0, |s| (300.0 * minimum_jerk(s), 400.0 * minimum_jerk(s)));
    let f = kinematics(&points, None);
    let (d, t) = (500.0f64, 800.0f64);
    near(&f, "duration_ms", t, 1e-9);
    near(&f, "path_px", d, 1e-9);
    near(&f, "straight_px", d, 1e-9);
    near(&f, "efficiency", 1.0, 1e-12);
    near(&f, "deviation_px", 0.0, 1e-9);
    near(&f, "deviation_side", 0.0, 0.0);
    near(&f, "mean_speed", d / t, 1e-9);
    near(&f, "peak_speed", 1.875 * d / t, 1e-3);
    near(&f, "time_to_peak", 0.5, 0.005);
    near(&f, "speed_skew", 0.0, 1e-9);
    // x'' = D/T^2 (60 s - 180 s^2 + 120 s^3): largest 10/sqrt(3), mean of the absolute value 2 * 1.875.
    near(&f, "peak_accel", 10.0 / 3f64.sqrt() * d / (t * t), 1e-5);
    near(&f, "mean_accel", 3.75 * d / (t * t), 2e-5);
    // x''' = D/T^3 (60 - 360 s + 360 s^2): largest 60 at the ends; mean |.| = 2 * the swing of x'' 10/sqrt(3) * 2 .
    near(&f, "peak_jerk", 60.0 * d / t.powi(3), 3.0 * d / t.powi(3));
    near(&f, "mean_jerk", 40.0 / 3f64.sqrt() * d / t.powi(3), 0.5 * d / t.powi(3));
    // T^5/D^2 * integral jerk^2 = 720, and (1.875)^2 of it for the peak. Fine steps: the jerk is largest at the two
    // ends, where differences do not reach.
    let fine = kinematics(&made(2000, 800.0, |s| (300.0 * minimum_jerk(s), 400.0 * minimum_jerk(s))), None);
    near(&fine, "log_dimensionless_jerk", -(720.0f64 / 1.875f64.powi(2)).ln(), 0.01);
    near(&f, "curvature", 0.0, 1e-9);
    near(&f, "submovements", 1.0, 0.0);
    near(&f, "overshoot_px", 0.0, 0.0);
    near(&f, "reversals", 0.0, 0.0);
    near(&f, "side_reversals", 0.0, 0.0);
    near(&f, "dt_median_ms", 4.0, 1e-9);
    near(&f, "dt_spread_ms", 0.0, 1e-9);
    near(&f, "time_quantum_ms", 4.0, 1e-9);
    near(&f, "end_turn_mean", 0.0, 1e-6);
    near(&f, "points", 201.0, 0.0);
    assert!(get(&f, "speed_lag1") > 0.99);
}

/// Half a circle of radius 100 at constant speed: clockwise on the screen, so the belly is on the left of the way.
#[test]
fn half_circle() {
    let points = made(100, 1000.0, |s| (100.0 - 100.0 * (PI * s).cos(), -100.0 * (PI * s).sin()));
    let f = kinematics(&points, None);
    near(&f, "straight_px", 200.0, 1e-9);
    near(&f, "path_px", 100.0 * PI, 0.05);
    near(&f, "efficiency", 2.0 / PI, 1e-3);
    near(&f, "deviation_px", 100.0, 1e-9);
    near(&f, "deviation_side", -1.0, 0.0);
    near(&f, "curvature", 0.01, 2e-4);
    near(&f, "mean_accel", 0.0, 1e-9);
    near(&f, "end_turn_mean", PI / 100.0, 1e-9);
    near(&f, "end_turn_spread", 0.0, 1e-9);
    near(&f, "side_reversals", 1.0, 0.0);
    let mirrored: Vec<Point> = points.iter().map(|p| Point { y: -p.y, ..*p }).collect();
    near(&kinematics(&mirrored, None), "deviation_side", 1.0, 0.0);
}

/// Two reaches of 300 px and 100 px with a rest of 200 ms between them; time in steps of 10 ms.
#[test]
fn two_submovements_and_a_pause() {
    let two = |s: f64| 300.0 * minimum_jerk((s / 0.5).min(1.0)) + 100.0 * minimum_jerk(((s - 0.7) / 0.3).max(0.0));
    let f = kinematics(&made(100, 1000.0, |s| (two(s), 0.0)), None);
    near(&f, "submovements", 2.0, 0.0);
    near(&f, "time_to_peak", 0.25, 0.01);
    // The rest, and the slow starts and ends beside it: 300 (s/0.5)^3 * 10 stays under 0.02 px/ms for some 15 ms a side.
    near(&f, "pause_share", 0.26, 0.04);
    assert!(get(&f, "speed_skew") > 0.5, "{f:?}");
    // A second one of a tenth of the peak does not count.
    let small = |s: f64| 300.0 * minimum_jerk((s / 0.5).min(1.0)) + 15.0 * minimum_jerk(((s - 0.7) / 0.3).max(0.0));
    near(&kinematics(&made(100, 1000.0, |s| (small(s), 0.0)), None), "submovements", 1.0, 0.0);
}

/// A recorder that reports only changes shows a rest as one long step.
#[test]
fn a_pause_as_one_long_step() {
    let t = [0.0, 10.0, 20.0, 120.0, 130.0, 140.0];
    let points: Vec<Point> = t.iter().enumerate().map(|(i, &t_ms)| Point { x: i as f64, y: 0.0, t_ms }).collect();
    let f = kinematics(&points, None);
    near(&f, "pause_share", 100.0 / 140.0, 1e-12);
    near(&f, "dt_median_ms", 10.0, 0.0);
    near(&f, "time_quantum_ms", 10.0, 1e-12);
    near(&f, "pixel_quantum_px", 1.0, 1e-12);
}

/// Out to 120, back to 100.
#[test]
fn overshoot_and_end_error() {
    let way = |s: f64| if s <= 0.8 { 150.0 * s } else { 120.0 - 100.0 * (s - 0.8) };
    let points = made(10, 500.0, |s| (0.0, way(s)));
    let f = kinematics(&points, Some(Point { x: 3.0, y: 96.0, t_ms: 0.0 }));
    near(&f, "straight_px", 100.0, 1e-9);
    near(&f, "overshoot_px", 20.0, 1e-9);
    near(&f, "reversals", 1.0, 0.0);
    near(&f, "end_error_px", 5.0, 1e-9);
    near(&kinematics(&points, None), "end_error_px", 0.0, 0.0);
}

/// 100 px out and all the way back: the axis points out, wherever that is.
#[test]
fn there_and_back() {
    for (x, y) in [(1.0, 0.0), (0.0, 1.0), (-0.6, 0.8)] {
        let out = |s: f64| 100.0 - 200.0 * (s - 0.5).abs();
        let f = kinematics(&made(10, 500.0, |s| (x * out(s), y * out(s))), None);
        near(&f, "straight_px", 0.0, 0.0);
        near(&f, "deviation_px", 0.0, 1e-9);
        near(&f, "deviation_side", 0.0, 0.0);
        near(&f, "overshoot_px", 100.0, 1e-9);
        near(&f, "reversals", 1.0, 0.0);
        near(&f, "side_reversals", 0.0, 0.0);
    }
}

/// 10 px forwards each step, 5 px to alternating sides: 10 steps, 9 changes of side, none of direction.
#[test]
fn zigzag() {
    let x: Vec<f64> = (0..=10).map(|i| 10.0 * f64::from(i)).collect();
    let y: Vec<f64> = (0..=10).map(|i| 5.0 * f64::from(i % 2)).collect();
    let points: Vec<Point> = (0..=10).map(|i| Point { x: x[i], y: y[i], t_ms: 8.0 * i as f64 }).collect();
    let f = kinematics(&points, None);
    near(&f, "side_reversals", 9.0, 0.0);
    near(&f, "reversals", 0.0, 0.0);
    near(&f, "deviation_px", 5.0, 1e-9);
    near(&f, "deviation_side", 1.0, 0.0);
    near(&f, "curvature", 9.0 * 2.0 * 0.5f64.atan() / (10.0 * 125f64.sqrt()), 1e-9);
    near(&f, "pixel_quantum_px", 5.0, 1e-12);
    near(&f, "end_turn_mean", 2.0 * 0.5f64.atan(), 1e-9);
    let back: Vec<Point> = [0.0, 20.0, 10.0, 30.0, 25.0, 40.0]
        .iter()
        .enumerate()
        .map(|(i, &x)| Point { x, y: 0.0, t_ms: i as f64 })
        .collect();
    near(&kinematics(&back, None), "reversals", 4.0, 0.0);
}

/// Speed that alternates 1, 3, 1, 3: perfectly against itself one step later.
#[test]
fn lag_and_spread_of_time_steps() {
    let (mut x, mut t, mut points) = (0.0, 0.0, vec![Point::default()]);
    for i in 0..40 {
        let dt = if i % 4 < 2 { 15.0 } else { 16.0 };
        x += dt * if i % 2 == 0 { 1.0 } else { 3.0 };
        t += dt;
        points.push(Point { x, y: 0.0, t_ms: t });
    }
    let f = kinematics(&points, None);
    near(&f, "speed_lag1", -1.0, 1e-9);
    near(&f, "dt_spread_ms", 1.0, 1e-12);
    near(&f, "dt_median_ms", 15.5, 1e-12);
    near(&f, "time_quantum_ms", 1.0, 1e-12);
    near(&f, "submovements", 20.0, 0.0);
}

/// Nothing that a movement may be gives a number that is not finite.
#[test]
fn odd_movements_stay_finite() {
    let still = made(5, 50.0, |_| (7.0, 7.0));
    let there_and_back = made(4, 40.0, |s| (if s < 0.6 { s } else { 1.0 - s }, 0.0));
    let huge = made(3, 1e-3, |s| (1e150 * s, -1e150 * s));
    let tiny = made(3, 1e9, |s| (1e-12 * s, 0.0));
    for points in [&still[..], &there_and_back, &huge, &tiny, &still[..2], &still[..1], &[]] {
        let f = kinematics(points, None);
        assert!(f.iter().all(|v| v.is_finite()), "{points:?}: {f:?}");
    }
    near(&kinematics(&still, None), "efficiency", 0.0, 0.0);
}

/// Durations that follow the law exactly: 100 ms + 150 ms a bit.
#[test]
fn fitts_law_is_found_again() {
    let made = |straight: f64| {
        let duration = 100.0 + 150.0 * (straight / 20.0 + 1.0).log2();
        trajgan::Movement::new(made(10, duration, |s| (straight * s, 0.0))).unwrap()
    };
    let movements: Vec<_> = [40.0, 90.0, 200.0, 333.0, 700.0].map(made).into();
    let law = fitts(&movements.iter().collect::<Vec<_>>());
    assert!((law.a_ms - 100.0).abs() < 1e-6 && (law.b_ms_per_bit - 150.0).abs() < 1e-6, "{law:?}");
    assert!((law.r2 - 1.0).abs() < 1e-9);
    assert_eq!(fitts(&[]).r2, 0.0);
}

/// A pointer of 8 kHz that stops more abruptly than it began: 1, 2 and 4 px a step, then nothing, then a pixel.
#[test]
fn a_fast_clock_and_an_abrupt_stop() {
    let x = [0.0, 1.0, 3.0, 7.0, 7.0, 8.0];
    let points: Vec<Point> = x.iter().zip(0..).map(|(&x, i)| Point { x, y: 0.0, t_ms: 0.125 * f64::from(i) }).collect();
    let f = kinematics(&points, None);
    near(&f, "time_quantum_ms", 0.125, 1e-12);
    near(&f, "peak_speed", 32.0, 1e-9);
    // Speeds of 8, 16, 32, 0 and 8 px/ms: changes of 64, 128, -256 and 64 px/ms^2, whose changes are 512, -3072 and 2560 px/ms^3.
    near(&f, "peak_accel", 256.0, 1e-9);
    near(&f, "mean_accel", 128.0, 1e-9);
    near(&f, "peak_jerk", 3072.0, 1e-6);
}

/// Steps of 1, 6, 2 and 4 px in 1, 3, 2 and 1 ms: speeds of 1, 2, 1 and 4 px/ms in the middles at 0.5, 2.5, 5 and 6.5 ms,
/// accelerations of 0.5, -0.4 and 2 px/ms^2 between those at 1.5, 3.75 and 5.75 ms. Whenever it begins.
#[test]
fn uneven_times() {
    let way = [(0.0, 0.0), (1.0, 1.0), (7.0, 4.0), (9.0, 6.0), (13.0, 7.0)];
    let at = |start: f64| way.map(|(x, t)| Point { x, y: 0.0, t_ms: start + t });
    let f = kinematics(&at(0.0), None);
    near(&f, "peak_accel", 2.0, 1e-12);
    near(&f, "mean_accel", 2.9 / 3.0, 1e-12);
    near(&f, "peak_jerk", 1.2, 1e-12);
    near(&f, "mean_jerk", 0.8, 1e-12);
    near(&f, "time_to_peak", 6.5 / 7.0, 1e-12);
    assert_eq!(kinematics(&at(4096.0), None), f);
}

/// A second top that rises by less than 15 % of the highest above the valley before it is a ripple, and a rest is no corner.
#[test]
fn ripples_and_rests() {
    let made = |steps: &[(f64, f64)]| {
        let mut points = vec![Point::default()];
        for &(x, y) in steps {
            let p = points[points.len() - 1];
            points.push(Point { x: p.x + x, y: p.y + y, t_ms: p.t_ms + 8.0 });
        }
        kinematics(&points, None)
    };
    near(&made(&[2.0, 10.0, 9.0, 9.8, 3.0].map(|x| (x, 0.0))), "submovements", 1.0, 0.0);
    near(&made(&[2.0, 10.0, 8.0, 9.8, 3.0].map(|x| (x, 0.0))), "submovements", 2.0, 0.0);
    near(&made(&[(1.0, 0.0), (0.0, 0.0), (0.0, 1.0)]), "curvature", PI / 4.0, 1e-12);
    // Of seven steps: a corner after five is before the last quarter, one after six in it.
    let corner = |at: usize| made(&std::array::from_fn::<_, 7, _>(|k| if k < at { (1.0, 0.0) } else { (0.0, 1.0) }));
    near(&corner(5), "end_turn_mean", 0.0, 0.0);
    near(&corner(6), "end_turn_mean", PI / 2.0, 1e-12);
}
