//! Toy recordings: movements like a hand's, made up. For the demo and for trying things without data.

use std::f64::consts::{PI, TAU};

use trajgan::rng::{Rng, Stream};
use trajgan::{Movement, Point, Result};

/// Recorders whose clocks tick at 125, 100, 80 and 62.5 Hz.
const TICKS_MS: [f64; 4] = [8.0, 10.0, 12.5, 16.0];

/// The i-th movement of a seed. A first, ballistic part of minimum jerk (Flash and Hogan, 1985) falls short of the
/// target or passes it, and a second one corrects that (Meyer et al., 1988). The time follows Fitts's law; the way is
/// bent; the hand trembles. Whole pixels and milliseconds, reported only when the pointer has moved.
pub fn movement(seed: u64, i: u64) -> Result<Movement> {
    let mut rng = Rng::new(seed, Stream::Demo, i);
    let distance = 30.0 * (900.0f64 / 30.0).powf(rng.unit());
    let angle = rng.range(0.0, TAU);
    let target_width = rng.range(12.0, 40.0);
    let duration = (120.0 + 130.0 * (distance / target_width + 1.0).log2()) * (0.15 * rng.normal()).exp();
    let reach = distance * (0.94 + 0.05 * rng.normal()).clamp(0.75, 1.1);
    let aside = 0.03 * distance * rng.normal();
    let bend = 0.06 * distance * rng.normal();
    let (first_end, second_start) = (duration * rng.range(0.65, 0.8), duration * rng.range(0.5, 0.65));
    let (tremor, phase) = (0.25 + 0.25 * rng.unit(), rng.range(0.0, TAU));
    // One recorder made them all.
    let tick = TICKS_MS[Rng::new(seed, Stream::Demo, u64::MAX).below(TICKS_MS.len())];
    let start = Point { x: rng.range(300.0, 1600.0).round(), y: rng.range(200.0, 900.0).round(), t_ms: 0.0 };
    let (sin, cos) = angle.sin_cos();
    let mut points = vec![start];
    let steps = (duration / tick).ceil().max(8.0) as usize;
    for k in 1..=steps {
        let t = (k as f64 * tick).min(duration);
        let first = minimum_jerk(t / first_end);
        let second = minimum_jerk((t - second_start) / (duration - second_start));
        // Still at both ends, or the first and last pixel would not be the ones aimed at.
        let shake = tremor * (PI * t / duration).sin() * ((TAU * 0.01 * t + phase).sin() + 0.5 * rng.normal());
        let along = reach * first + (distance - reach) * second;
        let across = aside * first - aside * second + bend * (PI * first).sin() + shake;
        let x = (start.x + along * cos - across * sin).round();
        let y = (start.y + along * sin + across * cos).round();
        let last = points[points.len() - 1];
        let t_ms = (k as f64 * tick).round();
        if (x, y) != (last.x, last.y) {
            points.push(Point { x, y, t_ms });
        }
    }
    let mut movement = Movement::new(points)?;
    movement.session = Some(format!("toy{}", i % 10));
    Ok(movement)
}

/// From 0 to 1 while tau goes from 0 to 1; before and after it rests.
fn minimum_jerk(tau: f64) -> f64 {
    let t = tau.clamp(0.0, 1.0);
    t * t * t * (10.0 - 15.0 * t + 6.0 * t * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn movements_are_like_a_hands() {
        for i in 0..300 {
            let m = movement(1, i).unwrap();
            let (straight, path) = (m.straight_distance(), m.path_length());
            assert!((25.0..950.0).contains(&straight) && path < 1.6 * straight, "{i}: {straight} {path}");
            assert!((100.0..2500.0).contains(&m.duration_ms()) && m.points.len() >= 6, "{i}: {}", m.points.len());
            let whole = |v: f64| v.fract() == 0.0;
            assert!(m.points.iter().all(|p| whole(p.x) && whole(p.y) && whole(p.t_ms)));
        }
        assert_eq!(movement(1, 5).unwrap(), movement(1, 5).unwrap());
        assert_ne!(movement(1, 5).unwrap(), movement(2, 5).unwrap());
    }
}
