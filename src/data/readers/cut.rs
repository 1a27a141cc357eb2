//! A continuous recording is cut into point-to-point movements. Rules and numbers: README.md of the Balabit
//! movements, made from the Balabit Mouse Dynamics Challenge data set (Fulop et al., 2016).

use serde::{Deserialize, Serialize};

use crate::data::{Movement, Point};
use crate::error::{Error, Result};
use crate::order;

/// What ends a movement and which movements are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CutOptions {
    /// Rows with a coordinate of so many pixels or more are not positions.
    pub max_coordinate: f64,
    /// A pause of more than this plus the session's median dt ends a movement: no rows, or rows of one position.
    pub pause_ms: f64,
    pub min_points: usize,
    pub max_points: usize,
    /// Pixels, from start to end in a straight line.
    pub min_distance: f64,
    pub min_duration_ms: f64,
    pub max_duration_ms: f64,
    /// Path over straight line: above it, the movement went to several targets in turn.
    pub max_path_ratio: f64,
    /// Pixels per ms: a faster cursor was warped, not moved.
    pub max_speed: f64,
    /// Longest step as a share of the path: above it, the shape was not sampled.
    pub max_step_share: f64,
    /// Mean speed of the last two steps over the peak speed: above it, the movement was cut off.
    pub max_end_speed: f64,
}

impl Default for CutOptions {
    fn default() -> Self {
        CutOptions {
            max_coordinate: 10_000.0,
            pause_ms: 200.0,
            min_points: 8,
            max_points: 200,
            min_distance: 20.0,
            min_duration_ms: 80.0,
            max_duration_ms: 4000.0,
            max_path_ratio: 1.5,
            max_speed: 12.0,
            max_step_share: 0.5,
            max_end_speed: 0.5,
        }
    }
}

impl CutOptions {
    pub(super) fn check(&self) -> Result<()> {
        let limits = [
            ("max_coordinate", self.max_coordinate),
            ("pause_ms", self.pause_ms),
            ("min_distance", self.min_distance),
            ("min_duration_ms", self.min_duration_ms),
            ("max_duration_ms", self.max_duration_ms),
            ("max_path_ratio", self.max_path_ratio),
            ("max_speed", self.max_speed),
            ("max_step_share", self.max_step_share),
            ("max_end_speed", self.max_end_speed),
        ];
        for (name, value) in limits {
            if value.is_nan() || value < 0.0 {
                return Err(Error::argument(name, value, "0 or more"));
            }
        }
        if self.min_points > self.max_points {
            let expected = format!("up to max_points, {}", self.max_points);
            return Err(Error::argument("min_points", self.min_points, expected));
        }
        if self.min_duration_ms > self.max_duration_ms {
            let expected = format!("up to max_duration_ms, {}", self.max_duration_ms);
            return Err(Error::argument("min_duration_ms", self.min_duration_ms, expected));
        }
        Ok(())
    }
}

/// One row of a recording.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub point: Point,
    /// The pointer moved with no button down; anything else ends a movement.
    pub moving: bool,
    /// Of the file.
    pub line: usize,
}

/// A run that was cut out: its points from time 0, and the line it starts at.
pub(super) struct Run {
    pub points: Vec<Point>,
    pub line: usize,
}

/// Cuts the rows of one session, in order of time, into runs without pauses, presses, stationary ends and
/// repeated times, of which the last row is kept; repeated: told the others.
pub(super) fn runs(events: &[Event], options: &CutOptions, mut repeated: impl FnMut(&Event)) -> Vec<Run> {
    let mut runs: Vec<Vec<Event>> = Vec::new();
    let mut open = false;
    for event in events {
        if !event.moving {
            open = false;
        } else if is_position(event, options) {
            if !open {
                runs.push(Vec::new());
                open = true;
            }
            // A run is there: the line above saw to it.
            if let Some(run) = runs.last_mut() {
                if run.last().is_some_and(|last| last.point.t_ms == event.point.t_ms) {
                    run.pop().iter().for_each(&mut repeated);
                }
                run.push(*event);
            }
        }
    }
    let pause = options.pause_ms + median_dt(&runs);
    let parts = runs.iter().flat_map(|run| run.chunk_by(|a, b| (0.0..=pause).contains(&(b.point.t_ms - a.point.t_ms))));
    parts.flat_map(|part| without_rests(part, pause)).map(trim).collect()
}

/// Parts of a run between rests of more than `pause` ms: recorders that write rows while nothing moves have pauses without gaps. Each
/// part begins with the last row of its rest.
fn without_rests(run: &[Event], pause: f64) -> Vec<&[Event]> {
    let (mut parts, mut start, mut since) = (Vec::new(), 0, 0);
    for i in 1..run.len() {
        if still(&run[i - 1], &run[i]) {
            continue;
        }
        if run[i].point.t_ms - run[since].point.t_ms > pause {
            parts.push(&run[start..i - 1]);
            start = i - 1;
        }
        since = i;
    }
    parts.push(&run[start..]);
    parts
}

fn still(a: &Event, b: &Event) -> bool {
    a.point.x == b.point.x && a.point.y == b.point.y
}

/// Some recorders report coordinates far outside any screen.
pub(super) fn is_position(event: &Event, options: &CutOptions) -> bool {
    event.point.x < options.max_coordinate && event.point.y < options.max_coordinate
}

/// Of all steps within runs; time that runs backwards is none.
fn median_dt(runs: &[Vec<Event>]) -> f64 {
    let steps = runs.iter().flat_map(|run| run.windows(2).map(|e| e[1].point.t_ms - e[0].point.t_ms));
    let mut steps: Vec<f64> = steps.filter(|&dt| dt > 0.0).collect();
    order::rise(&mut steps);
    match steps.len() {
        0 => 0.0,
        n => (steps[(n - 1) / 2] + steps[n / 2]) / 2.0,
    }
}

/// Without the stationary points at both ends, time from 0.
fn trim(events: &[Event]) -> Run {
    let mut rest = events;
    while let [first, second, ..] = rest
        && still(first, second)
    {
        rest = &rest[1..];
    }
    while let [.., before, last] = rest
        && still(before, last)
    {
        rest = &rest[..rest.len() - 1];
    }
    let start = rest.first().map_or(0.0, |e| e.point.t_ms);
    let points = rest.iter().map(|e| Point { t_ms: e.point.t_ms - start, ..e.point }).collect();
    Run { points, line: rest.first().map_or(0, |e| e.line) }
}

/// Why a movement is not kept: the kind of reason, and the reason with its numbers.
pub(super) fn fault(movement: &Movement, options: &CutOptions) -> Option<(&'static str, String)> {
    let points = &movement.points;
    let (straight, path, duration) = (movement.straight_distance(), movement.path_length(), movement.duration_ms());
    let steps: Vec<(f64, f64)> =
        points.windows(2).map(|p| ((p[1].x - p[0].x).hypot(p[1].y - p[0].y), p[1].t_ms - p[0].t_ms)).collect();
    let longest = steps.iter().fold(0.0, |most, &(d, _)| f64::max(most, d));
    let speeds: Vec<f64> = steps.iter().map(|&(d, dt)| d / dt).collect();
    let peak = speeds.iter().copied().fold(0.0, f64::max);
    let end = speeds.iter().rev().take(2).sum::<f64>() / 2.0;
    let o = options;
    let rules = [
        (points.len() < o.min_points, "too few points", points.len() as f64, "min_points", o.min_points as f64),
        (points.len() > o.max_points, "too many points", points.len() as f64, "max_points", o.max_points as f64),
        (straight < o.min_distance, "too short a way", straight, "min_distance", o.min_distance),
        (duration < o.min_duration_ms, "too short a time", duration, "min_duration_ms", o.min_duration_ms),
        (duration > o.max_duration_ms, "too long a time", duration, "max_duration_ms", o.max_duration_ms),
        (path > o.max_path_ratio * straight, "not one target", path / straight, "max_path_ratio", o.max_path_ratio),
        (peak > o.max_speed, "cursor was warped", peak, "max_speed", o.max_speed),
        (longest > o.max_step_share * path, "shape not sampled", longest / path, "max_step_share", o.max_step_share),
        (end > o.max_end_speed * peak, "cut off at speed", end / peak, "max_end_speed", o.max_end_speed),
    ];
    let broken = rules.into_iter().find(|rule| rule.0);
    broken.map(|(_, kind, got, setting, limit)| {
        let got = (got * 1e4).round() / 1e4;
        (kind, format!("{kind}: {got}, {setting} is {limit}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(steps: &[(f64, f64, f64)]) -> Vec<Point> {
        let mut points = vec![Point::default()];
        for &(x, y, dt) in steps {
            let p = points[points.len() - 1];
            points.push(Point { x: p.x + x, y: p.y + y, t_ms: p.t_ms + dt });
        }
        points
    }

    /// At its limits a movement is kept; a little less room, and the rule says so.
    #[test]
    fn limits_are_what_is_still_kept() {
        // 41 px away by a way of 61 px in 60 ms; at most 2 px/ms, and 0.55 of that on average of the last two steps.
        let steps = [(10.0, 0.0, 10.0), (0.0, 10.0, 10.0), (20.0, 0.0, 10.0), (0.0, -10.0, 10.0)];
        let steps = [&steps[..], &[(7.0, 0.0, 10.0), (4.0, 0.0, 10.0)]].concat();
        let movement = Movement::new(points(&steps)).unwrap();
        let at = CutOptions {
            min_points: 7,
            max_points: 7,
            min_distance: 41.0,
            min_duration_ms: 60.0,
            max_duration_ms: 60.0,
            max_path_ratio: 61.0 / 41.0 + 1e-9,
            max_speed: 2.0,
            max_step_share: 20.0 / 61.0 + 1e-9,
            max_end_speed: 0.275 + 1e-9,
            ..CutOptions::default()
        };
        assert_eq!(fault(&movement, &at), None);
        let cases = [
            (CutOptions { min_points: 8, max_points: 8, ..at.clone() }, "too few points"),
            (CutOptions { min_points: 6, max_points: 6, ..at.clone() }, "too many points"),
            (CutOptions { min_distance: 41.1, ..at.clone() }, "too short a way"),
            (CutOptions { min_duration_ms: 60.1, ..at.clone() }, "too short a time"),
            (CutOptions { max_duration_ms: 59.9, ..at.clone() }, "too long a time"),
            (CutOptions { max_path_ratio: 1.48, ..at.clone() }, "not one target"),
            (CutOptions { max_speed: 1.99, ..at.clone() }, "cursor was warped"),
            (CutOptions { max_step_share: 0.32, ..at.clone() }, "shape not sampled"),
            (CutOptions { max_end_speed: 0.27, ..at }, "cut off at speed"),
        ];
        for (options, kind) in cases {
            assert_eq!(fault(&movement, &options).map(|f| f.0), Some(kind));
        }
    }

    #[test]
    fn rules_that_nothing_can_keep_are_refused() {
        assert!(CutOptions { min_points: 8, max_points: 8, ..CutOptions::default() }.check().is_ok());
        let message = |options: CutOptions| options.check().unwrap_err().to_string();
        let few = CutOptions { min_points: 9, max_points: 8, ..CutOptions::default() };
        assert_eq!(message(few), "min_points is 9, expected up to max_points, 8");
        let short = CutOptions { min_duration_ms: 5000.0, ..CutOptions::default() };
        assert_eq!(message(short), "min_duration_ms is 5000, expected up to max_duration_ms, 4000");
        for pause_ms in [-1.0, f64::NAN] {
            assert!(message(CutOptions { pause_ms, ..CutOptions::default() }).starts_with("pause_ms is "));
        }
    }

    /// Pauses are measured against the median time between rows: the mean of the middle two of an even number.
    #[test]
    fn a_pause_is_longer_than_usual_by_more_than_the_limit() {
        let options = CutOptions { pause_ms: 100.0, ..CutOptions::default() };
        let parts = |steps: &[(f64, f64, f64)]| {
            let rows = points(steps).into_iter().zip(1..).map(|(point, line)| Event { point, moving: true, line });
            runs(&rows.collect::<Vec<_>>(), &options, |_| ()).iter().map(|run| run.points.len()).collect::<Vec<_>>()
        };
        // Medians of 8, 8, 16, 112 and more are 12.
        assert_eq!(parts(&[(1.0, 0.0, 8.0), (1.0, 0.0, 112.0), (1.0, 0.0, 16.0), (1.0, 0.0, 8.0)]), [5]);
        assert_eq!(parts(&[(1.0, 0.0, 8.0), (1.0, 0.0, 112.5), (1.0, 0.0, 16.0), (1.0, 0.0, 8.0)]), [2, 3]);
        // Rest at either end is cut away, and rows off the screen along either axis are no positions.
        assert_eq!(parts(&[(0.0, 0.0, 8.0), (1.0, 0.0, 8.0), (2.0, 0.0, 8.0), (0.0, 0.0, 8.0), (0.0, 0.0, 8.0)]), [3]);
        // Who writes rows while nothing moves has pauses too: what comes after begins with the last of these rows.
        let rest = |rows: usize| [&[(1.0, 0.0, 8.0)], &vec![(0.0, 0.0, 8.0); rows][..], &[(2.0, 0.0, 8.0); 3]].concat();
        assert_eq!([parts(&rest(12)), parts(&rest(13))], [vec![17], vec![2, 4]]);
        assert_eq!(parts(&[(1.0, 0.0, 8.0), (9999.0, 0.0, 8.0), (-9999.0, 0.0, 8.0)]), [2]);
        assert_eq!(parts(&[(1.0, 0.0, 8.0), (0.0, 10_000.0, 8.0), (0.0, -10_000.0, 8.0)]), [2]);
        assert_eq!(parts(&[(1.0, 0.0, 8.0), (0.0, 9999.0, 8.0), (0.0, -9999.0, 8.0)]), [4]);
    }
}
