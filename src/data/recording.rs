//! Points and movements: what a recording is made of.

use crate::error::{Error, Result};

/// A pointer event. An array of n is also an n x 3 row-major matrix of f64.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Point {
    /// Pixels, to the right.
    pub x: f64,
    /// Pixels, downwards.
    pub y: f64,
    /// Milliseconds.
    pub t_ms: f64,
}

/// One point-to-point motion: at least 3 points, time strictly rising.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Movement {
    pub points: Vec<Point>,
    pub user: Option<String>,
    pub session: Option<String>,
}

impl Movement {
    /// Refuses fewer than 3 points, numbers that are not finite, and time that does not rise.
    pub fn new(points: Vec<Point>) -> Result<Movement> {
        check(&points)?;
        Ok(Movement { points, user: None, session: None })
    }

    /// Pixels from the first point to the last.
    pub fn straight_distance(&self) -> f64 {
        match (self.points.first(), self.points.last()) {
            (Some(a), Some(b)) => (b.x - a.x).hypot(b.y - a.y),
            _ => 0.0,
        }
    }

    /// From the first point to the last, in whole pixels.
    pub fn target(&self) -> [f64; 2] {
        match (self.points.first(), self.points.last()) {
            (Some(a), Some(b)) => [(b.x - a.x).round(), (b.y - a.y).round()],
            _ => [0.0; 2],
        }
    }

    /// Pixels along the way.
    pub fn path_length(&self) -> f64 {
        self.points.windows(2).map(|p| (p[1].x - p[0].x).hypot(p[1].y - p[0].y)).sum()
    }

    pub fn duration_ms(&self) -> f64 {
        match (self.points.first(), self.points.last()) {
            (Some(a), Some(b)) => b.t_ms - a.t_ms,
            _ => 0.0,
        }
    }

    /// The exact mirror image, about the first point.
    pub fn mirrored(&self, x: bool, y: bool) -> Movement {
        let Some(&first) = self.points.first() else { return self.clone() };
        let flip = |v: f64, origin: f64, flip: bool| if flip { 2.0 * origin - v } else { v };
        let points = self.points.iter();
        let points = points.map(|p| Point { x: flip(p.x, first.x, x), y: flip(p.y, first.y, y), t_ms: p.t_ms });
        Movement { points: points.collect(), ..self.clone() }
    }

    /// Turned and scaled, in whole pixels from its first point, without the points that then repeat the one before. None for a
    /// movement that has fewer than three left.
    pub fn turned(&self, turn: Turn) -> Option<Movement> {
        let first = self.points.first()?;
        let (sine, cosine) = turn.angle.sin_cos();
        let image = |p: &Point| {
            let (x, y) = (turn.scale * (p.x - first.x), turn.scale * (p.y - first.y));
            Point { x: (cosine * x - sine * y).round(), y: (sine * x + cosine * y).round(), t_ms: p.t_ms }
        };
        let mut points: Vec<Point> = self.points.iter().map(image).collect();
        points.dedup_by(|p, before| (p.x, p.y) == (before.x, before.y));
        (points.len() >= 3).then(|| Movement { points, ..self.clone() })
    }
}

/// Radians and a factor, about the first point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    pub angle: f64,
    pub scale: f64,
}

/// The rules of [`Movement::new`].
pub(super) fn check(points: &[Point]) -> Result<()> {
    if points.len() < 3 {
        return Err(Error::argument("points", points.len(), "3 or more"));
    }
    for (i, p) in points.iter().enumerate() {
        for (name, value) in [("x", p.x), ("y", p.y), ("t_ms", p.t_ms)] {
            if !value.is_finite() {
                return Err(Error::argument(format!("points[{i}].{name}"), value, "a finite number"));
            }
        }
    }
    for (i, p) in points.windows(2).enumerate() {
        if p[1].t_ms <= p[0].t_ms {
            let expected = format!("more than the {} before it", p[0].t_ms);
            return Err(Error::argument(format!("points[{}].t_ms", i + 1), p[1].t_ms, expected));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shrinks_to_two_points_is_no_movement() {
        let points = [(0.0, 0.0), (3.0, -4.0), (3.0, -3.0), (3.0, -2.0)].into_iter().zip(0..);
        let points = points.map(|((x, y), i)| Point { x, y, t_ms: f64::from(i) }).collect();
        let movement = Movement::new(points).unwrap();
        let left = |scale| movement.turned(Turn { angle: 0.0, scale }).map(|m| m.points.len());
        assert_eq!((left(0.5), left(0.3)), (Some(3), None));
    }
}
