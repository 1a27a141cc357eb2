//! A path point by point: bounded work for each, no allocation after the first.

use std::sync::Arc;

use super::path::{Ends, PathOptions, Similarity};
use super::walk::{WalkSettings, Walkers, Walking};
use crate::config::DecoderKind;
use crate::data::{Point, StepCodec};
use crate::error::{Error, Result};
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
    started: bool,
    ended: bool,
}

#[derive(Clone, Debug)]
enum Source {
    /// One LSTM step for every point.
    Walk(Box<WalkSource>),
    /// The v6 decoder makes a movement as a whole.
    Ready { points: Vec<Point>, next: usize },
}

#[derive(Clone, Debug)]
struct WalkSource {
    shared: Arc<Shared>,
    walkers: Walkers,
    /// One.
    walks: Vec<Walking>,
    settings: WalkSettings,
    /// From the walk's pixels to the caller's.
    similarity: Similarity,
}

#[derive(Debug)]
struct Shared {
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
        let (ends, sample, target) = self.stream_start([from, to], options)?;
        let source = match self.config().decoder {
            DecoderKind::V6 => Source::Ready { points: self.path(from, to, options)?.points, next: 0 },
            DecoderKind::ClosedLoop => Source::Walk(Box::new(self.walk_source(&ends, sample, target, options)?)),
        };
        Ok(Stream {
            source,
            ends,
            whole_pixels: options.integer_pixels,
            time_scale: options.duration_scale,
            recent: [Point { x: ends[0][0], y: ends[0][1], t_ms: 0.0 }; 2],
            started: false,
            ended: false,
        })
    }

    fn walk_source(&self, ends: &Ends, sample: u64, target: [i32; 2], options: &PathOptions) -> Result<WalkSource> {
        let codec = self.known_data("stream")?.codec.clone();
        let state = |problem: &str| Error::State { call: "stream", problem: problem.into() };
        let (Some(codec), Autoencoder::ClosedLoop(net)) = (codec, &self.networks.autoencoder) else {
            return Err(state("the model has the v6 decoder"));
        };
        let similarity = Similarity::new(ends, target.map(f64::from)).ok_or_else(|| state("no way to go"))?;
        let settings = WalkSettings {
            step_temperature: options.step_temperature,
            time_temperature: options.time_temperature,
            most_points: self.config().max_seq_len,
        };
        let sampling = super::SampleOptions { seed: options.seed, first: sample, ..Default::default() };
        let mut z = self.target_summaries(&[target], &sampling)?;
        self.add_summary_noise(options.seed, sample, &mut z);
        let mut walkers = Walkers::default();
        walkers.start(&net.walker, &self.weights, &z, 1);
        let walks = vec![Walking::new(target, options.seed, sample, settings.most_points)];
        let shared = Arc::new(Shared { walker: net.walker.clone(), weights: self.weights.clone(), codec });
        Ok(WalkSource { shared, walkers, walks, settings, similarity })
    }
}

impl Stream {
    /// The next point; None at the end.
    pub fn next_point(&mut self) -> Option<Point> {
        let point = match &mut self.source {
            Source::Ready { points, next } => {
                let point = points.get(*next).copied();
                *next += 1;
                point
            }
            _ if self.ended => None,
            Source::Walk(_) if !self.started => Some(self.recent[1]),
            Source::Walk(source) => source.next().map(|p| {
                let arrived = source.walks[0].place.left == [0, 0];
                let [x, y] = if arrived { self.ends[1] } else { source.similarity.apply(p.x, p.y) };
                let [x, y] = if self.whole_pixels { [x.round(), y.round()] } else { [x, y] };
                Point { x, y, t_ms: p.t_ms * self.time_scale }
            }),
        };
        self.started = true;
        self.ended = point.is_none();
        self.recent = [self.recent[1], point.unwrap_or(self.recent[1])];
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
        let share = if b.t_ms > a.t_ms { ((t_ms - a.t_ms) / (b.t_ms - a.t_ms)).clamp(0.0, 1.0) } else { 1.0 };
        Point { x: a.x + (b.x - a.x) * share, y: a.y + (b.y - a.y) * share, t_ms }
    }

    /// Another end (px) for the rest of the way. The closed-loop decoder walks there; what is left of a v6 movement is
    /// bent smoothly towards it.
    pub fn aim(&mut self, to: [f64; 2]) {
        let to = if self.whole_pixels { to.map(f64::round) } else { to };
        self.ends[1] = to;
        match &mut self.source {
            Source::Walk(source) => source.walks[0].aim(source.similarity.inverse(to).map(|x| x.round() as i32)),
            Source::Ready { points, next } => {
                let Some(&end) = points.last() else { return };
                let rest = points.len().saturating_sub(*next);
                for (k, p) in points.iter_mut().skip(*next).enumerate() {
                    let u = (k + 1) as f64 / rest as f64;
                    let bend = u * u * (3.0 - 2.0 * u);
                    let [x, y] = [p.x + (to[0] - end.x) * bend, p.y + (to[1] - end.y) * bend];
                    let [x, y] = if k + 1 == rest { to } else { [x, y] };
                    (p.x, p.y) = if self.whole_pixels { (x.round(), y.round()) } else { (x, y) };
                }
            }
        }
    }
}

impl Iterator for Stream {
    type Item = Point;

    fn next(&mut self) -> Option<Point> {
        self.next_point()
    }
}

impl WalkSource {
    fn next(&mut self) -> Option<Point> {
        let Shared { walker, weights, codec } = &*self.shared;
        self.walkers.step(walker, weights, codec, &self.settings, &mut self.walks);
        if self.walkers.done[0] {
            return None;
        }
        self.walks[0].points.last().copied()
    }
}
