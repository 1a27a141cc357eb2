//! One polling rate and one pixel quantum for both sides, so that the second joint test cannot win by the recorder's clock.

use super::kinematics::{NAMES, kinematics};
use super::memorisation::at;
use super::stats::median;
use crate::data::{Movement, Point};

/// How a common recorder would see movements.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Grid {
    pub period_ms: f64,
    pub quantum_px: f64,
}

impl Grid {
    /// The coarser quantum of both sides, and one and a half times the coarser period: no multiple of either, so that a
    /// side that already ticks at the common rate is smoothed as much as one that does not.
    pub fn common(real: &[&Movement], generated: &[&Movement]) -> Grid {
        let typical = |side: &[&Movement], name: &str| {
            let feature = NAMES.iter().position(|n| *n == name).unwrap_or(0);
            median(&side.iter().map(|m| kinematics(&m.points, None)[feature]).collect::<Vec<_>>())
        };
        let coarser = |name: &str| typical(real, name).max(typical(generated, name));
        Grid { period_ms: (1.5 * coarser("dt_median_ms")).max(1e-3), quantum_px: coarser("pixel_quantum_px").max(1e-3) }
    }

    /// Straight between points, rounded to whole quanta from the start, reported only where the position has changed. None if
    /// fewer than 3 points are left, or the movement is longer than a million periods.
    pub fn resample(&self, movement: &Movement) -> Option<Movement> {
        let start = *movement.points.first()?;
        let periods = (movement.duration_ms() / self.period_ms).ceil();
        if !(1.0..=1e6).contains(&periods) {
            return None;
        }
        let round = |v: f64| (v / self.quantum_px).round() * self.quantum_px;
        let mut points: Vec<Point> = Vec::new();
        for k in 0..=periods as usize {
            let t_ms = k as f64 * self.period_ms;
            let p = at(&movement.points, start.t_ms + t_ms);
            let p = Point { x: round(p.x - start.x), y: round(p.y - start.y), t_ms };
            if points.last().is_none_or(|last| (last.x, last.y) != (p.x, p.y)) {
                points.push(p);
            }
        }
        (points.len() >= 3).then(|| Movement { points, ..movement.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: usize, dt: f64, dx: f64) -> Movement {
        let points = (0..n).map(|i| Point { x: 5.0 + dx * i as f64, y: 3.0, t_ms: 7.0 + dt * i as f64 }).collect();
        Movement::new(points).unwrap()
    }

    #[test]
    fn both_sides_come_out_on_one_grid() {
        let (a, b) = (line(30, 16.0, 3.0), line(90, 5.0, 0.7));
        let grid = Grid::common(&[&a], &[&b]);
        assert_eq!(grid, Grid { period_ms: 24.0, quantum_px: 3.0 });
        assert_eq!(Grid::common(&[&b], &[&a]), grid, "the coarser of both");
        for movement in [a, b] {
            let got = grid.resample(&movement).unwrap();
            assert!(got.points.iter().all(|p| p.x % 3.0 == 0.0 && p.t_ms % 24.0 == 0.0));
            let end = movement.points.last().unwrap();
            assert!((got.points.last().unwrap().x - (end.x - 5.0)).abs() <= 1.5);
            assert!(got.points.windows(2).all(|p| p[0].x != p[1].x));
        }
        assert!(grid.resample(&line(3, 1.0, 0.1)).is_none());
    }
}
