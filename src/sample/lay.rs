//! Laying a movement onto its ends, and reading it at other times.

use super::path::Ends;
use crate::data::Point;
use crate::error::{Error, Result};

/// From A to B.
pub fn way([from, to]: &Ends) -> [f64; 2] {
    [to[0] - from[0], to[1] - from[1]]
}

/// The similarity that sends (0, 0) to A and a target to B.
#[derive(Clone, Copy, Debug)]
pub struct Similarity {
    from: [f64; 2],
    /// Way over target, as complex numbers; exactly 1 where they are the same.
    turn: [f64; 2],
}

impl Similarity {
    /// None if there is no way to the target.
    pub fn new(ends: &Ends, [x, y]: [f64; 2]) -> Option<Similarity> {
        let (way, square) = (way(ends), x * x + y * y);
        let turn = [(way[0] * x + way[1] * y) / square, (way[1] * x - way[0] * y) / square];
        let turn = if way == [x, y] { [1.0, 0.0] } else { turn };
        (square >= 1.0).then_some(Similarity { from: ends[0], turn })
    }

    pub fn apply(&self, x: f64, y: f64) -> [f64; 2] {
        let [u, v] = self.turn;
        [self.from[0] + x * u - y * v, self.from[1] + x * v + y * u]
    }

    pub fn scale(&self) -> f64 {
        self.turn[0].hypot(self.turn[1])
    }

    pub fn inverse(&self, p: [f64; 2]) -> [f64; 2] {
        let ([u, v], x, y) = (self.turn, p[0] - self.from[0], p[1] - self.from[1]);
        let square = u * u + v * v;
        [(x * u + y * v) / square, (y * u - x * v) / square]
    }
}

/// The movement by the similarity that sends its first point to A and its last to B; None if it has no extent.
pub fn lay(points: &[Point], ends: &Ends) -> Option<Vec<Point>> {
    let (first, last) = (points.first()?, points.last()?);
    let similarity = Similarity::new(ends, [last.x - first.x, last.y - first.y])?;
    let lay = |p: &Point| {
        // Exactly B whenever it is there, as a stream sees it, and not only at the end.
        let arrived = (p.x, p.y) == (last.x, last.y);
        let [x, y] = if arrived { ends[1] } else { similarity.apply(p.x - first.x, p.y - first.y) };
        Point { x, y, t_ms: p.t_ms - first.t_ms }
    };
    let mut laid: Vec<Point> = points.iter().map(lay).collect();
    [laid[0].x, laid[0].y] = ends[0];
    Some(laid)
}

/// Points every `interval` ms and the last one: a cubic through the given ones (Catmull-Rom, uneven times).
///
/// # Errors
/// `Memory`: a slow path and a fast clock make very many.
pub fn resample(points: &[Point], interval: f64) -> Result<Vec<Point>> {
    let mut out = Vec::new();
    let Some(&last) = points.last() else { return Ok(out) };
    // The last interval is between one half and one and a half.
    let count = ((last.t_ms / interval - 0.5).ceil() as usize).max(1);
    let bytes = (count + 1).saturating_mul(size_of::<Point>());
    out.try_reserve_exact(count + 1).map_err(|_| Error::Memory { bytes, purpose: "a path at its polling rate" })?;
    let slope = |k: usize, value: fn(&Point) -> f64| {
        let (before, after) = (&points[k.saturating_sub(1)], &points[(k + 1).min(points.len() - 1)]);
        (value(after) - value(before)) / (after.t_ms - before.t_ms)
    };
    let mut k = 0;
    let point = |i: usize| {
        let t_ms = i as f64 * interval;
        while k + 2 < points.len() && points[k + 1].t_ms <= t_ms {
            k += 1;
        }
        let (a, b) = (&points[k], &points[k + 1]);
        let (span, u) = (b.t_ms - a.t_ms, (t_ms - a.t_ms) / (b.t_ms - a.t_ms));
        let cubic = |value: fn(&Point) -> f64| {
            let (m0, m1) = (slope(k, value) * span, slope(k + 1, value) * span);
            let (u2, u3) = (u * u, u * u * u);
            (2.0 * u3 - 3.0 * u2 + 1.0) * value(a)
                + (u3 - 2.0 * u2 + u) * m0
                + (3.0 * u2 - 2.0 * u3) * value(b)
                + (u3 - u2) * m1
        };
        Point { x: cubic(|p| p.x), y: cubic(|p| p.y), t_ms }
    };
    out.extend((0..count).map(point));
    out.push(last);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(list: &[(f64, f64, f64)]) -> Vec<Point> {
        list.iter().map(|&(x, y, t_ms)| Point { x, y, t_ms }).collect()
    }

    #[test]
    fn a_path_is_laid_onto_its_ends() {
        let movement = points(&[(0.0, 0.0, 0.0), (5.0, 5.0, 10.0), (10.0, 0.0, 25.0)]);
        let laid = lay(&movement, &[[100.0, 50.0], [110.0, 50.0]]).unwrap();
        assert_eq!(laid, points(&[(100.0, 50.0, 0.0), (105.0, 55.0, 10.0), (110.0, 50.0, 25.0)]));
        let turned = lay(&movement, &[[1.0, 1.0], [1.0, 21.0]]).unwrap();
        assert_eq!((turned[1].x, turned[1].y), (-9.0, 11.0));
        assert!(lay(&points(&[(0.0, 0.0, 0.0), (1.0, 0.0, 5.0)]), &[[0.0; 2], [9.0, 9.0]]).is_some());
        assert!(lay(&points(&[(0.0, 0.0, 0.0), (0.1, 0.0, 5.0)]), &[[0.0; 2], [9.0, 9.0]]).is_none());
    }

    #[test]
    fn resampling_keeps_ends_and_order() {
        let path = points(&[(0.0, 0.0, 0.0), (3.0, 1.0, 16.0), (9.0, 2.0, 31.0), (10.0, 2.0, 90.0)]);
        for interval in [0.125, 1.0, 8.0, 16.0] {
            let out = resample(&path, interval).unwrap();
            assert_eq!((out[0], out[out.len() - 1]), (path[0], path[3]));
            assert!(out.windows(2).all(|p| p[1].t_ms > p[0].t_ms));
            let steps = out[..out.len() - 1].windows(2).all(|p| (p[1].t_ms - p[0].t_ms - interval).abs() < 1e-9);
            assert!(steps, "{interval}");
        }
    }

    /// The cubic takes slopes from the points around: it reproduces what moves evenly, and in between what gets faster evenly.
    #[test]
    fn resampling_reproduces_even_and_evenly_faster_movements() {
        let even: Vec<_> = [0.0, 5.0, 13.0, 40.0, 41.0, 60.0].map(|t| (2.0 * t, -0.5 * t, t)).to_vec();
        for p in resample(&points(&even), 1.0).unwrap() {
            assert!((p.x - 2.0 * p.t_ms).abs() < 1e-9 && (p.y + 0.5 * p.t_ms).abs() < 1e-9, "{p:?}");
        }
        let faster: Vec<_> = (0..8).map(|i| 10.0 * f64::from(i)).map(|t| (t * t, 7.0 - t * t, t)).collect();
        let inner = resample(&points(&faster), 1.0).unwrap().into_iter().filter(|p| (10.0..=60.0).contains(&p.t_ms));
        for p in inner {
            assert!((p.x - p.t_ms * p.t_ms).abs() < 1e-9 && (p.x + p.y - 7.0).abs() < 1e-9, "{p:?}");
        }
    }

    #[test]
    fn a_similarity_has_its_inverse() {
        let similarity = Similarity::new(&[[10.0, -20.0], [40.0, 70.0]], [-60.0, 25.0]).unwrap();
        assert!((similarity.scale() - 9000f64.sqrt() / 65.0).abs() < 1e-12);
        let [x, y] = similarity.apply(-60.0, 25.0);
        assert!((x - 40.0).hypot(y - 70.0) < 1e-12);
        let [x, y] = similarity.inverse(similarity.apply(3.0, 4.0));
        assert!((x - 3.0).hypot(y - 4.0) < 1e-12);
    }
}
