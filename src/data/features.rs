//! The eight features of a movement, one row per point. Formulas and their order: the V4 array layout.

use super::Point;
use crate::error::{Error, Result};

/// Columns of a feature row. Pixels, px/s, px/s^2, -, -, rad/s, s.
pub const FEATURES: [&str; 8] = ["dx", "dy", "speed", "accel", "sin_h", "cos_h", "ang_vel", "dt"];

pub const DX: usize = 0;
pub const DY: usize = 1;
pub const SPEED: usize = 2;
pub const ACCEL: usize = 3;
pub const SIN_H: usize = 4;
pub const COS_H: usize = 5;
pub const ANG_VEL: usize = 6;
pub const DT: usize = 7;

/// Shortest dt in seconds, so that two events at one time do not divide by zero.
const LEAST_DT: f64 = 1e-6;

/// Largest feature that scaling and its sums hold with ease.
const LARGEST: f64 = 1e30;

/// Unscaled features (n,8) of n >= 3 points; fewer points have none. dx and dy are offsets from the first
/// point. Step k belongs to point k; what is not known at the first points repeats the first known value.
pub fn features(points: &[Point]) -> Vec<[f64; 8]> {
    let n = points.len();
    if n < 3 {
        return Vec::new();
    }
    let mut rows = vec![[0.0; 8]; n];
    let mut heading = vec![0.0; n];
    for k in 1..n {
        let (a, b) = (&points[k - 1], &points[k]);
        let (sx, sy) = (b.x - a.x, b.y - a.y);
        let dt = ((b.t_ms - a.t_ms) / 1000.0).max(LEAST_DT);
        heading[k] = sy.atan2(sx);
        let row = &mut rows[k];
        row[DX] = b.x - points[0].x;
        row[DY] = b.y - points[0].y;
        row[SPEED] = sx.hypot(sy) / dt;
        row[SIN_H] = heading[k].sin();
        row[COS_H] = heading[k].cos();
        row[DT] = dt;
    }
    for k in 2..n {
        let dt = rows[k][DT];
        rows[k][ACCEL] = (rows[k][SPEED] - rows[k - 1][SPEED]) / dt;
        rows[k][ANG_VEL] = wrap(heading[k] - heading[k - 1]) / dt;
    }
    for column in [ACCEL, ANG_VEL] {
        rows[1][column] = rows[2][column];
    }
    for column in [SPEED, ACCEL, SIN_H, COS_H, ANG_VEL, DT] {
        rows[0][column] = rows[1][column];
    }
    rows
}

/// Refuses points that are finite, but so far apart that scaling them would not stay finite.
pub(crate) fn check_range(points: &[Point]) -> Result<()> {
    /// At a time: features of a movement of any length may not find room.
    const PIECE: usize = 1024;
    for start in (0..points.len()).step_by(PIECE) {
        // With the two points before, from which acceleration and turn are.
        let first = start.saturating_sub(2);
        let piece = features(&points[first..points.len().min(start + PIECE)]);
        for (i, mut row) in (first..).zip(piece).skip(start - first) {
            (row[DX], row[DY]) = (points[i].x - points[0].x, points[i].y - points[0].y);
            if let Some(column) = row.iter().position(|v| v.is_nan() || v.abs() > LARGEST) {
                let expected = format!("up to {LARGEST:e}");
                return Err(Error::argument(format!("points[{i}] {}", FEATURES[column]), row[column], expected));
            }
        }
    }
    Ok(())
}

/// Refuses condition numbers of the caller's own that scaling could not hold.
pub(crate) fn check_condition(numbers: &[f64]) -> Result<()> {
    match numbers.iter().position(|n| n.is_nan() || n.abs() > LARGEST) {
        Some(i) => Err(Error::argument(format!("condition[{i}]"), numbers[i], format!("a number up to {LARGEST:e}"))),
        None => Ok(()),
    }
}

/// An angle's equal in [-pi, pi].
fn wrap(angle: f64) -> f64 {
    angle.sin().atan2(angle.cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f64, y: f64, t_ms: f64) -> Point {
        Point { x, y, t_ms }
    }

    #[test]
    fn first_points_repeat_the_first_known_value() {
        let rows = features(&[point(5.0, 5.0, 10.0), point(8.0, 9.0, 20.0), point(8.0, 19.0, 40.0)]);
        assert_eq!(rows[0][..2], [0.0, 0.0]);
        assert_eq!(rows[2][..2], [3.0, 14.0]);
        assert_eq!([rows[0][SPEED], rows[1][SPEED], rows[2][SPEED]], [500.0; 3]);
        assert_eq!([rows[0][DT], rows[1][DT], rows[2][DT]], [0.01, 0.01, 0.02]);
        assert_eq!(rows[0][ANG_VEL], rows[2][ANG_VEL]);
        let turn = (std::f64::consts::FRAC_PI_2 - 4f64.atan2(3.0)) / 0.02;
        assert!((rows[2][ANG_VEL] - turn).abs() < 1e-12);
    }

    #[test]
    fn turns_are_wrapped() {
        let rows = features(&[point(0.0, 0.0, 0.0), point(-9.0, 1.0, 1000.0), point(-18.0, 0.0, 2000.0)]);
        assert!(rows[2][ANG_VEL].abs() < 0.3, "{}", rows[2][ANG_VEL]);
    }

    #[test]
    fn points_too_far_apart_are_refused() {
        let far = [point(0.0, 0.0, 0.0), point(1e300, 0.0, 1.0), point(-1e300, 0.0, 2.0)];
        let message = check_range(&far).unwrap_err().to_string();
        assert!(message.starts_with("points[0] speed is"), "{message}");
        check_range(&[point(0.0, 0.0, 0.0), point(1e6, 0.0, 1.0), point(-1e6, 0.0, 2.0)]).unwrap();
        // Pieces in which it is checked hide nothing: not a step between two, nor how far it is from the first.
        let long =
            |x: fn(usize) -> f64| -> Vec<Point> { (0..5000).map(|i| point(x(i), 0.0, 1000.0 * i as f64)).collect() };
        check_range(&long(|i| 1e20 * i as f64)).unwrap();
        let message = |x| check_range(&long(x)).unwrap_err().to_string();
        assert!(message(|i| if i < 1024 { 0.0 } else { 2e30 }).starts_with("points[1024] dx is 2000000"));
        assert!(message(|i| 4e26 * i as f64).starts_with("points[2501] dx is 1000400"));
        assert!(message(|i| if i == 2048 { 9e29 } else { -9e29 }).starts_with("points[2048] dx is 1800000"));
    }

    #[test]
    fn too_few_points_have_no_features() {
        assert!(features(&[]).is_empty());
        assert!(features(&[point(0.0, 0.0, 0.0), point(1.0, 0.0, 1.0)]).is_empty());
    }

    /// Speeds of points at nearly one time are those of a microsecond.
    #[test]
    fn no_step_takes_less_than_a_microsecond() {
        let rows = features(&[point(0.0, 0.0, 0.0), point(3.0, 4.0, 1e-9), point(3.0, 4.0, 1.0)]);
        assert_eq!((rows[1][DT], rows[1][SPEED]), (1e-6, 5e6));
    }
}
