//! A path point by point: bounded work for each, no allocation after the first.

use std::f64::consts::SQRT_2;
use std::sync::Arc;

use super::lay::{Similarity, way};
use super::path::{Ends, PathOptions, whole};
use super::targets::check_targets;
use super::walk::{WalkSettings, Walkers, Walking};
use crate::config::DecoderKind;
use crate::data::steps::{Event, MOST_WAY};
use crate::data::{Point, StepCodec};
use crate::error::{Error, Result, afford};
use crate::model::walker::Walker;
use crate::model::{Autoencoder, Model};
use crate::nn::Weights;

/// One path under way. It keeps the weights that the model had, whatever becomes of the model.
#[derive(Clone, Debug)]
pub struct Stream {
    source: Source,
    /// Where it begins and where it now ends.
    ends: Ends,
    whole_pixels: bool,
    time_scale: f64,
    /// The points that [`Stream::at`] is between.
    recent: [Point; 2],
    /// The longest step so far (px).
    longest: f64,
    started: bool,
    ended: bool,
}

#[derive(Clone, Debug)]
enum Source {
    /// One LSTM step for every point.
    Walk(Box<WalkSource>),
    /// The v6 decoder makes a movement as a whole. Of it as it was drawn: the longest step in pixels, the mean pause in ms.
    Ready { points: Vec<Point>, next: usize, longest: f64, pause: f64 },
}

/// Points that a v6 movement may get to reach a new end.
const MOST_ADDED: f64 = 65_536.0;

#[derive(Clone, Debug)]
struct WalkSource {
    shared: Arc<Shared>,
    walkers: Walkers,
    /// One.
    walks: Vec<Walking>,
    settings: WalkSettings,
    /// Points of a movement; so many more for every new end.
    room: usize,
    /// From the walk's pixels to the caller's.
    similarity: Similarity,
}

/// What all streams of a model walk with.
#[derive(Debug)]
pub struct Shared {
    walker: Walker,
    weights: Weights<f32>,
    codec: StepCodec,
}

impl Model {
    /// Begins the path that [`Model::path`] draws with the same arguments. Options that need the whole path before its
    /// first point (bounds, durations, polling) are not for streams.
    ///
    /// # Errors
    /// As [`Model::path`]; `Argument` for such an option.
    pub fn stream(&self, from: [f64; 2], to: [f64; 2], options: &PathOptions) -> Result<Stream> {
        options.check()?;
        let whole = PathOptions {
            bounds: None,
            min_duration_ms: 0.0,
            max_duration_ms: 0.0,
            polling_hz: 0.0,
            ..options.clone()
        };
        if whole != *options {
            return Err(Error::argument(
                "bounds, durations or polling_hz",
                "set",
                "off for a stream: they need the whole path",
            ));
        }
        let ends = options.ends(0, [from, to])?;
        let source = match self.config().decoder {
            DecoderKind::V6 => {
                let points = self.path(from, to, options)?.points;
                let duration = points.last().map_or(0.0, |p| p.t_ms);
                let pause = duration / (points.len() - 1).max(1) as f64;
                Source::Ready { longest: longest_step(&points), points, next: 0, pause }
            }
            DecoderKind::ClosedLoop => Source::Walk(Box::new(self.walk_source(&ends, options)?)),
        };
        Ok(Stream {
            source,
            ends,
            whole_pixels: options.integer_pixels,
            time_scale: options.duration_scale,
            recent: [Point { x: ends[0][0], y: ends[0][1], t_ms: 0.0 }; 2],
            longest: 0.0,
            started: false,
            ended: false,
        })
    }

    fn walk_source(&self, ends: &Ends, options: &PathOptions) -> Result<WalkSource> {
        let sampling = super::SampleOptions { seed: options.seed, ..Default::default() };
        let codec = self.check_ready("stream", &sampling)?.codec.as_ref();
        let state = |problem: &str| Error::State { call: "stream", problem: problem.into() };
        let (Some(codec), Autoencoder::ClosedLoop(net)) = (codec, &self.networks.autoencoder) else {
            return Err(state("the model has the v6 decoder"));
        };
        let (sample, target) = self.stream_start(ends, options)?;
        check_targets(&[target])?;
        let similarity = Similarity::new(ends, target.map(f64::from)).ok_or_else(|| state("no way to go"))?;
        let settings = WalkSettings {
            step_temperature: options.step_temperature,
            time_temperature: options.time_temperature,
            most_points: self.config().max_seq_len,
            longest_step: f64::INFINITY,
        };
        let sampling = super::SampleOptions { first: sample, ..sampling };
        let mut z = self.target_summaries(&[target], &[sample], &sampling)?;
        self.add_summary_noise(options.seed, sample, &mut z);
        let (mut walkers, w) = (Walkers::default(), self.sampling_weights());
        let walks = || vec![Walking::new(target, options.seed, sample, settings.most_points)];
        // A step that leads nowhere makes room for all that follow.
        walkers.start(&net.walker, w, &z, 1);
        walkers.step(&net.walker, w, codec, &settings, &mut walks());
        walkers.start(&net.walker, w, &z, 1);
        let walks = walks();
        if self.sampler().walker.get().is_none() {
            afford(self.own_weights_bytes(), "a stream's weights")?;
        }
        let shared = self.sampler().walker.get_or_init(|| {
            Arc::new(Shared {
                walker: net.walker.clone(),
                weights: self.sampling_weights().clone(),
                codec: codec.clone(),
            })
        });
        let (shared, room) = (Arc::clone(shared), settings.most_points);
        Ok(WalkSource { shared, walkers, walks, settings, room, similarity })
    }
}

impl Stream {
    /// The next point; None at the end.
    pub fn next_point(&mut self) -> Option<Point> {
        let point = match &mut self.source {
            Source::Ready { points, next, .. } => {
                let point = points.get(*next).copied();
                *next += 1;
                point
            }
            _ if self.ended => None,
            Source::Walk(_) if !self.started => Some(self.recent[1]),
            Source::Walk(source) => source.next([self.recent[1].x, self.recent[1].y] == self.ends[1]).map(|p| {
                let arrived = source.walks[0].place.left == [0, 0];
                let [x, y] = if arrived { self.ends[1] } else { source.similarity.apply(p.x, p.y) };
                let [x, y] = if self.whole_pixels { whole([x, y]) } else { [x, y] };
                Point { x, y, t_ms: p.t_ms * self.time_scale }
            }),
        };
        self.started = true;
        self.ended = point.is_none();
        self.recent = [self.recent[1], point.unwrap_or(self.recent[1])];
        self.longest = self.longest.max(longest_step(&self.recent));
        point
    }

    /// Whether [`Stream::next_point`] has said so, or [`Stream::at`] was asked for a time behind the last point.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Where the pointer is at a time (ms): walks on as far as needed, and stays at the end. Times do not go back.
    pub fn at(&mut self, t_ms: f64) -> Point {
        while self.recent[1].t_ms < t_ms && self.next_point().is_some() {}
        let [a, b] = self.recent;
        // On a point it is exactly there, which the line below would miss by rounding.
        if b.t_ms <= a.t_ms || t_ms.is_nan() || t_ms >= b.t_ms {
            return Point { t_ms, ..b };
        }
        let share = ((t_ms - a.t_ms) / (b.t_ms - a.t_ms)).max(0.0);
        Point { x: a.x + (b.x - a.x) * share, y: a.y + (b.y - a.y) * share, t_ms }
    }

    /// Another end (px) for the rest of the way. The closed-loop decoder walks there; what is left of a v6 movement is
    /// bent smoothly towards it, and prolonged where it is too short for that. No step gets longer than twice the
    /// longest that the movement would have had, but for rounding to whole pixels; with v6 each further end may add
    /// an eighth of that longest step, and adds 65536 points at most: steps get longer to an end that is too far for those.
    ///
    /// To know that longest step, the first new end of a walk costs as much as the rest of its points, and memory.
    ///
    /// # Errors
    /// `Argument` for an end that is not within 1000000 px of 0, or more of a walk's pixels away from its start than walks
    /// go; `State` after the end. The stream stays as it was.
    pub fn aim(&mut self, to: [f64; 2]) -> Result<()> {
        for (name, value) in ["x", "y"].into_iter().zip(to) {
            if value.is_nan() || value.abs() > 1e6 {
                return Err(Error::argument(name, value, "within 1000000 px of 0"));
            }
        }
        if self.ended {
            return Err(Error::State { call: "aim", problem: "the stream has ended".into() });
        }
        let to = if self.whole_pixels { whole(to) } else { to };
        if to == self.ends[1] {
            return Ok(());
        }
        if let Source::Walk(source) = &self.source {
            let ([x, y], most) = (way(&[self.ends[0], to]), MOST_WAY * source.similarity.scale());
            if x.hypot(y) > most {
                let expected =
                    format!("within {} px of the start: the path is a longer walk scaled down", most.floor());
                return Err(Error::argument("x, y", format!("{}, {}", to[0], to[1]), expected));
            }
        }
        let limit = self.limit();
        self.ends[1] = to;
        match &mut self.source {
            Source::Walk(source) => {
                source.settings.longest_step = limit;
                let walk = &mut source.walks[0];
                walk.aim(source.similarity.inverse(to).map(|x| x.round() as i32));
                source.settings.most_points = walk.place.index + source.room;
            }
            Source::Ready { points, next, longest, pause } => {
                points.drain(..next.saturating_sub(1)); // however often it is aimed, it does not grow
                *next = (*next).min(1);
                bend(points, *next, to, (*longest, *pause), self.whole_pixels);
            }
        }
        Ok(())
    }
}

impl Stream {
    /// Of the steps of a walk that gets another end, in the walk's pixels.
    fn limit(&self) -> f64 {
        let Source::Walk(source) = &self.source else { return f64::INFINITY };
        if source.settings.longest_step.is_finite() {
            return source.settings.longest_step;
        }
        let mut ahead = self.clone();
        while ahead.next_point().is_some() {}
        // Whole pixels of the caller's, where the walk's are others, lengthen a step by up to a diagonal. And the walk
        // goes to the whole pixel next to the end, from where the last step is up to 0.71 px longer.
        let scale = source.similarity.scale();
        let rounding = if self.whole_pixels && scale != 1.0 { SQRT_2 } else { 0.0 };
        ((2.0 * ahead.longest - rounding) / scale - 0.75).max(1.0)
    }
}

/// Bends points from `next` on, but not the first, so that they end at `to`.
fn bend(points: &mut Vec<Point>, next: usize, to: [f64; 2], (longest, pause): (f64, f64), whole_pixels: bool) {
    let Some(&end) = points.last() else { return };
    let start = next.max(1);
    let way = [to[0] - end.x, to[1] - end.y];
    // What each step may have in addition; the steepest part of the bend is 3/2 of the mean.
    let spare = (2.0 * longest - longest_step(&points[start - 1..])).max(longest / 8.0);
    let needed = (1.5 * way[0].hypot(way[1]) / spare).ceil().clamp(1.0, MOST_ADDED) as usize;
    for k in 1..=(start + needed).saturating_sub(points.len()) {
        points.push(Point { t_ms: end.t_ms + k as f64 * pause, ..end });
    }
    let rest = (points.len() - start) as f64;
    for (k, p) in points[start..].iter_mut().enumerate() {
        let u = (k + 1) as f64 / rest;
        let share = u * u * (3.0 - 2.0 * u);
        let [x, y] = [p.x + way[0] * share, p.y + way[1] * share];
        [p.x, p.y] = if whole_pixels { whole([x, y]) } else { [x, y] };
    }
    if let Some(last) = points.last_mut() {
        [last.x, last.y] = to;
    }
}

/// In pixels.
fn longest_step(points: &[Point]) -> f64 {
    points.windows(2).map(|p| (p[1].x - p[0].x).hypot(p[1].y - p[0].y)).fold(0.0, f64::max)
}

impl Iterator for Stream {
    type Item = Point;

    fn next(&mut self) -> Option<Point> {
        self.next_point()
    }
}

impl WalkSource {
    /// The next point in the walk's pixels. there: the last one was exactly at the end; a walk that stops a fraction
    /// of a pixel beside it takes one more step.
    fn next(&mut self, there: bool) -> Option<Point> {
        let Shared { walker, weights, codec } = &*self.shared;
        // A walk looks back at one point only, and without end it must not grow.
        let points = &mut self.walks[0].points;
        points.drain(..points.len() - 1);
        match self.walks[0].arrived {
            true if there => return None,
            true => self.walks[0].go(Event { ticks: 1, ..Event::default() }, codec),
            false => self.walkers.step(walker, weights, codec, &self.settings, &mut self.walks),
        }
        self.walks[0].points.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten steps of 10 px to the right in 8 ms each.
    fn line() -> Vec<Point> {
        (0..11).map(|i| Point { x: 10.0 * f64::from(i), y: 0.0, t_ms: 8.0 * f64::from(i) }).collect()
    }

    /// From the point that comes next on, gently at first and at the end; as long as it was, where that is enough.
    #[test]
    fn what_is_left_is_bent_smoothly() {
        let mut points = line();
        bend(&mut points, 3, [100.0, 40.0], (10.0, 8.0), false);
        assert_eq!((points.len(), points[10]), (11, Point { x: 100.0, y: 40.0, t_ms: 80.0 }));
        assert_eq!(points[..3], line()[..3]);
        let aside: Vec<f64> = points[2..].windows(2).map(|p| p[1].y - p[0].y).collect();
        assert!(aside[0] < 0.5 * aside[3] && aside[7] < 0.5 * aside[4] && aside.iter().all(|&y| y > 0.0), "{aside:?}");
    }

    /// Prolonged at its pace, so that no step is longer than twice the longest.
    #[test]
    fn what_is_too_short_is_prolonged() {
        let mut points = line();
        bend(&mut points, 1, [100.0, 700.0], (10.0, 8.0), false);
        assert_eq!(points.last().map(|p| [p.x, p.y]), Some([100.0, 700.0]));
        assert!(points.windows(2).all(|p| (p[1].t_ms - p[0].t_ms - 8.0).abs() < 1e-9));
        assert!(
            longest_step(&points) <= 20.0 + 1e-9 && points.len() < 150,
            "{} {}",
            longest_step(&points),
            points.len()
        );
    }
}
