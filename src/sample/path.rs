//! A movement from A to B in pixels: exact ends, own length and timing.

use super::SampleOptions;
use super::candidates::{check_candidates, sample_of};
use super::lay::{lay, resample, way};
use crate::config::DecoderKind;
use crate::data::steps::condition;
use crate::data::{Movement, Point};
use crate::error::{Error, Result, afford};
use crate::model::Model;
use crate::model::critic::CriticTrace;
use crate::model::generator::EMBED;
use crate::rng::{Rng, Stream};
use crate::train::shards::ROWS;

/// How paths are drawn. 0 or None switches an option off.
#[derive(Clone, Debug, PartialEq)]
pub struct PathOptions {
    pub seed: u64,
    /// Index of the first path: path i is a function of (model, seed, i, ends, options).
    pub first: u64,
    /// So many are drawn for each path, and a lottery keeps one. closed-loop: as [`SampleOptions::candidates`]; v6: summaries,
    /// weighed by the critic, and 0 is 1.
    pub candidates: u32,
    /// Factor on all times.
    pub duration_scale: f64,
    /// Resamples to this many points a second.
    pub polling_hz: f64,
    /// Rounds every point to whole pixels; the ends are then the rounded ones.
    pub integer_pixels: bool,
    /// left, top, right, bottom (px): a rectangle that the path does not leave.
    pub bounds: Option<[f64; 4]>,
    /// Bounds on the duration, after duration_scale.
    pub min_duration_ms: f64,
    pub max_duration_ms: f64,
    pub step_temperature: f64,
    pub time_temperature: f64,
    /// 0: one per core. The result does not depend on it.
    pub threads: usize,
}

impl Default for PathOptions {
    fn default() -> Self {
        PathOptions {
            seed: 0,
            first: 0,
            candidates: 1,
            duration_scale: 1.0,
            polling_hz: 0.0,
            integer_pixels: true,
            bounds: None,
            min_duration_ms: 0.0,
            max_duration_ms: 0.0,
            step_temperature: 1.0,
            time_temperature: 1.0,
            threads: 1,
        }
    }
}

/// A path and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// From A at 0 ms to B.
    pub points: Vec<Point>,
    /// The distance is outside what the model has learnt: it was drawn at the nearest that is not, and scaled.
    pub scaled: bool,
    /// The path had to be bent to stay in bounds, or stretched to keep to a duration.
    pub forced: bool,
}

/// Times that a path is drawn again because it leaves its bounds, takes another time than is allowed, or has no extent.
const TRIES: u64 = 8;

/// Longest duration that can be asked for: an hour.
const LONGEST_MS: f64 = 3_600_000.0;

/// Points of the longest path that is resampled.
const MOST_POINTS: f64 = 1_000_000.0;

/// From and to, in pixels.
pub type Ends = [[f64; 2]; 2];

impl Model {
    /// One path; see [`Model::paths`].
    pub fn path(&self, from: [f64; 2], to: [f64; 2], options: &PathOptions) -> Result<Path> {
        let mut paths = self.paths(&[[from, to]], options)?;
        paths.pop().ok_or(Error::Argument { name: "ends".into(), got: "none".into(), expected: "one pair".into() })
    }

    /// A path for every pair of ends, at least 1 px apart. It begins at A at 0 ms, ends exactly at B, and time rises
    /// strictly. Of a v6 model the one condition is taken for the distance in pixels, whatever it has learnt it as.
    ///
    /// # Errors
    /// As [`Model::generate`]; `Argument` for ends that are less than a pixel apart, out of bounds or not finite.
    pub fn paths(&self, ends: &[Ends], options: &PathOptions) -> Result<Vec<Path>> {
        options.check()?;
        self.afford_walks(ends.len())?;
        let ends: Vec<Ends> = ends.iter().enumerate().map(|(i, e)| options.ends(i, *e)).collect::<Result<_>>()?;
        let mut paths: Vec<Option<Path>> = vec![None; ends.len()];
        for attempt in 0..=TRIES {
            let open: Vec<usize> = (0..ends.len()).filter(|&i| paths[i].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let wanted: Vec<(u64, Ends)> =
                open.iter().map(|&i| (options.first.wrapping_add(i as u64), ends[i])).collect();
            let drawn = self.attempt(&wanted, attempt, options)?;
            let ms: f64 = drawn.iter().map(|d| options.duration(d.movement.duration_ms())).sum();
            let points = ms * options.polling_hz / 1000.0;
            // A quarter more than they are.
            afford((1.25 * points * size_of::<Point>() as f64) as usize, "paths at their polling rate")?;
            for ((&i, drawn), (_, ends)) in open.iter().zip(drawn).zip(&wanted) {
                paths[i] = options.finish(drawn, ends, attempt == TRIES)?;
            }
        }
        let missing = || {
            let problem = "the model's movements have no extent: it has not learnt enough".to_string();
            Error::State { call: "path", problem }
        };
        paths.into_iter().map(|path| path.ok_or_else(missing)).collect()
    }

    /// Distances (px) between which the model has learnt; None if it knows no pixels.
    pub fn learnt_distances(&self) -> Option<(f64, f64)> {
        let scaler = self.scaler("path").ok()?;
        Some(match self.config().decoder {
            DecoderKind::ClosedLoop => {
                let targets = self.known_data("path").ok()?.conditions.chunks_exact(2);
                let distances = targets.map(|t| f64::from(t[0]).hypot(f64::from(t[1])));
                distances.fold((f64::INFINITY, 0.0), |(low, high), d| (low.min(d), d.max(high)))
            }
            DecoderKind::V6 => (scaler.condition_min[0], scaler.condition_max[0]),
        })
    }

    /// Movements for samples and their ends, before they are laid onto the ends.
    fn attempt(&self, wanted: &[(u64, Ends)], attempt: u64, options: &PathOptions) -> Result<Vec<Drawn>> {
        let mut drawn = Vec::with_capacity(wanted.len());
        let (mut targets, mut samples) = (Vec::new(), Vec::new());
        for &(sample, ends) in wanted {
            let (target, scaled) = self.target(way(&ends))?;
            targets.push(target);
            samples.push(match self.config().decoder {
                DecoderKind::ClosedLoop => sample_of(sample, attempt, 0),
                DecoderKind::V6 => self.critics_lottery(sample, attempt, target, options)?,
            });
            drawn.push(Drawn { movement: Movement::default(), scaled });
        }
        for (movement, drawn) in self.movements(&samples, &targets, options)?.into_iter().zip(&mut drawn) {
            drawn.movement = movement;
        }
        Ok(drawn)
    }

    fn movements(&self, samples: &[u64], targets: &[[i32; 2]], options: &PathOptions) -> Result<Vec<Movement>> {
        if self.config().decoder == DecoderKind::ClosedLoop {
            // A few: a device is for many.
            let walks = self.walks_on_cpu(targets, samples, &options.walks())?;
            return Ok(walks.into_iter().map(|(walk, _)| walk).collect());
        }
        // Runs of consecutive samples are one batch; a retry or a lottery breaks them.
        let mut movements = Vec::with_capacity(samples.len());
        let mut start = 0;
        while start < samples.len() {
            let run =
                (start..samples.len()).take_while(|&i| samples[i] == samples[start].wrapping_add((i - start) as u64));
            let end = start + run.count();
            let part = &targets[start..end];
            let distances: Vec<f64> = part.iter().map(|t| f64::from(t[0]).hypot(f64::from(t[1]))).collect();
            let one = SampleOptions { first: samples[start], candidates: 1, ..options.walks() };
            movements.extend(self.generate(part.len(), Some(&distances), &one)?);
            start = end;
        }
        Ok(movements)
    }

    /// Where a walk has to go for a way: whole pixels at a distance that the model has learnt, and whether that is another.
    fn target(&self, way: [f64; 2]) -> Result<([i32; 2], bool)> {
        self.scaler("path")?;
        if self.config().decoder == DecoderKind::V6 && self.config().condition_dim != 1 {
            let problem = "its condition is not the distance of a movement: there is none for a path".into();
            return Err(Error::State { call: "path", problem });
        }
        let (low, high) = self.sampler().distances.unwrap_or_default();
        // Scaled, the nearest that such a model can walk would be hundreds of times as wide as the way is long.
        if self.config().decoder == DecoderKind::ClosedLoop && high < 1.0 {
            let problem = "all movements that the model has learnt end where they began".into();
            return Err(Error::State { call: "path", problem });
        }
        let distance = way[0].hypot(way[1]);
        let scale = distance.clamp(low.max(1.0), high.max(1.0)) / distance;
        Ok((way.map(|x| (x * scale).round() as i32), (scale - 1.0).abs() > 1e-9))
    }

    /// The sample and target of a stream, which are those of a path that is not drawn again.
    pub(super) fn stream_start(&self, ends: &Ends, options: &PathOptions) -> Result<(u64, [i32; 2])> {
        self.afford_walks(1)?;
        let (target, _) = self.target(way(ends))?;
        let sample = match self.config().decoder {
            DecoderKind::V6 => self.critics_lottery(options.first, 0, target, options)?,
            DecoderKind::ClosedLoop if self.lottery(options.candidates)?.candidates == 1 => options.first,
            DecoderKind::ClosedLoop => {
                let walks = self.walks_on_cpu(&[target], &[options.first], &options.walks())?;
                walks.first().map_or(options.first, |(_, sample)| *sample)
            }
        };
        Ok((sample, target))
    }

    /// v6: which sample index a path takes: of the candidates, one by lot, the better the critic likes it the likelier.
    fn critics_lottery(&self, sample: u64, attempt: u64, target: [i32; 2], options: &PathOptions) -> Result<u64> {
        let candidates = u64::from(options.candidates);
        let index = |k: u64| sample_of(sample, attempt, k);
        if candidates <= 1 {
            return Ok(index(0));
        }
        afford(self.lottery_bytes(options.candidates as usize), "candidates")?;
        let condition = self.target_condition(target.map(f64::from))?.repeat(options.candidates as usize);
        let drawn = SampleOptions { seed: options.seed, ..SampleOptions::default() };
        let z = self.summaries_of(&condition, &drawn, &|k| index(k as u64))?;
        let (mut trace, mut scores) = (CriticTrace::default(), Vec::with_capacity(options.candidates as usize));
        let rows = (z.chunks(ROWS * self.config.summary_dim), condition.chunks(ROWS * self.config.condition_inputs()));
        for (z, condition) in rows.0.zip(rows.1) {
            self.networks.critic.forward(&self.weights, &self.sampler().critic, z, condition, &mut trace);
            scores.extend(trace.score.iter().map(|&score| f64::from(score)));
        }
        let mean = scores.iter().sum::<f64>() / candidates as f64;
        let deviation = (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / candidates as f64).sqrt();
        let tickets: Vec<f64> = scores.iter().map(|s| ((s - mean) / deviation.max(1e-12)).exp()).collect();
        let mut left = Rng::new(options.seed, Stream::PathLottery, index(0)).unit() * tickets.iter().sum::<f64>();
        let winner = tickets.iter().position(|ticket| {
            left -= ticket;
            left < 0.0
        });
        Ok(index(winner.map_or(0, |k| k as u64)))
    }

    /// More than the critic's lottery takes: summaries, conditions, scores and tickets of all, and for a shard what
    /// generator and critic keep of their layers, six numbers a unit.
    fn lottery_bytes(&self, candidates: usize) -> usize {
        let (c, critic) = (&self.config, &self.networks.critic);
        let layers = critic.scales.iter().flat_map(|scale| &scale.layers).map(|(dense, _)| dense.outputs());
        let hidden = layers.chain(c.generator_hidden_dims.iter().copied()).sum::<usize>();
        let units = hidden + (1 + critic.scales.len()) * (c.summary_dim + c.noise_dim + 2 * EMBED);
        candidates * (4 * (c.summary_dim + c.condition_inputs()) + 16) + 24 * ROWS.min(candidates) * units
    }

    /// What generator and critic see of a target.
    fn target_condition(&self, target: [f64; 2]) -> Result<Vec<f32>> {
        match self.config().decoder {
            DecoderKind::ClosedLoop => Ok(condition(target).to_vec()),
            DecoderKind::V6 => Ok(self.scaler("path")?.scale_condition(&[target[0].hypot(target[1])])),
        }
    }
}

/// A movement on its own, from (0, 0).
struct Drawn {
    movement: Movement,
    scaled: bool,
}

impl PathOptions {
    pub(super) fn check(&self) -> Result<()> {
        if !(0.001..=1000.0).contains(&self.duration_scale) {
            return Err(Error::argument("duration_scale", self.duration_scale, "0.001 to 1000"));
        }
        let positive = [("step_temperature", self.step_temperature), ("time_temperature", self.time_temperature)];
        for (name, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::argument(name, value, "a number above 0"));
            }
        }
        check_candidates(self.candidates)?;
        if self.polling_hz != 0.0 && !(60.0..=8000.0).contains(&self.polling_hz) {
            return Err(Error::argument("polling_hz", self.polling_hz, "60 to 8000, or 0 for off"));
        }
        let (low, high) = (self.min_duration_ms, self.max_duration_ms);
        let off_or_longest = high == 0.0 || (high >= 1.0 && high >= low);
        if !([low, high].iter().all(|d| (0.0..=LONGEST_MS).contains(d)) && off_or_longest) {
            let expected = "0 to an hour, the longest not below the shortest and 1 ms";
            return Err(Error::argument("min_duration_ms, max_duration_ms", format!("{low}, {high}"), expected));
        }
        match self.bounds {
            Some([l, t, r, b])
                if !(l.is_finite() && t.is_finite() && r >= l && b >= t && r.is_finite() && b.is_finite()) =>
            {
                Err(Error::argument("bounds", format!("{:?}", [l, t, r, b]), "left <= right, top <= bottom"))
            }
            _ => Ok(()),
        }
    }

    /// The ends that the path gets.
    pub(super) fn ends(&self, i: usize, ends: Ends) -> Result<Ends> {
        let ends = if self.integer_pixels { ends.map(whole) } else { ends };
        let [a, b] = ends;
        if !ends.iter().flatten().all(|x| x.is_finite() && x.abs() <= 1e6) {
            return Err(Error::argument(format!("ends[{i}]"), format!("{ends:?}"), "within 1000000 px of 0"));
        }
        let distance = (b[0] - a[0]).hypot(b[1] - a[1]);
        if distance < 1.0 {
            return Err(Error::argument(format!("distance of ends[{i}]"), distance, "1 px or more"));
        }
        if !ends.iter().all(|&p| self.inside(p)) {
            return Err(Error::argument(format!("ends[{i}]"), format!("{ends:?}"), "inside the bounds"));
        }
        Ok(ends)
    }

    fn inside(&self, [x, y]: [f64; 2]) -> bool {
        self.bounds.is_none_or(|[l, t, r, b]| (l..=r).contains(&x) && (t..=b).contains(&y))
    }

    /// How the movements of paths are drawn.
    fn walks(&self) -> SampleOptions {
        SampleOptions {
            seed: self.seed,
            candidates: self.candidates,
            step_temperature: self.step_temperature,
            time_temperature: self.time_temperature,
            threads: self.threads,
            ..SampleOptions::default()
        }
    }

    /// What becomes of a duration (ms) as drawn.
    fn duration(&self, drawn: f64) -> f64 {
        let longest = if self.max_duration_ms > 0.0 { self.max_duration_ms } else { f64::INFINITY };
        (drawn * self.duration_scale).max(self.min_duration_ms).min(longest)
    }

    /// Lays a movement onto its ends. None: it has to be drawn again, unless it is the last try.
    fn finish(&self, drawn: Drawn, ends: &Ends, last: bool) -> Result<Option<Path>> {
        let Drawn { movement, scaled } = drawn;
        let Some(mut points) = lay(&movement.points, ends) else { return Ok(None) };
        let duration = points.last().map_or(0.0, |p| p.t_ms);
        let wanted = self.duration(duration);
        let stretched = (wanted - duration * self.duration_scale).abs() > 1e-9;
        if stretched && !last {
            return Ok(None);
        }
        let factor = if stretched { wanted / duration } else { self.duration_scale };
        points.iter_mut().for_each(|p| p.t_ms *= factor);
        points.last_mut().into_iter().for_each(|p| p.t_ms = wanted); // which the product can miss by rounding
        if self.polling_hz > 0.0 {
            let count = duration * factor * self.polling_hz / 1000.0;
            if count > MOST_POINTS {
                let name = "points of a path (duration times polling_hz)";
                return Err(Error::argument(name, count, format!("up to {MOST_POINTS}")));
            }
            points = resample(&points, 1000.0 / self.polling_hz)?;
        }
        if self.integer_pixels {
            points.iter_mut().for_each(|p| [p.x, p.y] = whole([p.x, p.y]));
        }
        let outside = points.iter().any(|p| !self.inside([p.x, p.y]));
        if outside && !last {
            return Ok(None);
        }
        if let (true, Some([l, t, r, b])) = (outside, self.bounds) {
            let whole = [l.ceil(), t.ceil(), r.floor(), b.floor()].map(|v| v + 0.0); // none of them -0
            let [l, t, r, b] = if self.integer_pixels { whole } else { [l, t, r, b] };
            points.iter_mut().for_each(|p| (p.x, p.y) = (p.x.clamp(l, r), p.y.clamp(t, b)));
        }
        Ok(Some(Path { points, scaled, forced: stretched || outside }))
    }
}

/// In whole pixels, none of them -0.
pub(super) fn whole(xy: [f64; 2]) -> [f64; 2] {
    xy.map(|v| v.round() + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::train::{Control, Stage, TrainOptions};
    use crate::{Config, Device};

    /// Of eight summaries one is kept by a softmax of their scores in standard deviations.
    #[test]
    fn the_critics_lottery_prefers_what_it_likes() {
        let small =
            Config { encoder_hidden_dim: 4, decoder_hidden_dim: 4, expander_hidden_dim: 4, ..Config::default() };
        let config = Config {
            latent_dim: 4,
            summary_dim: 4,
            batch_size: 8,
            stage1_iterations: 1,
            stage2_iterations: 1,
            ..small
        };
        let mut data = Dataset::new(1);
        for n in 10..60 {
            let point = |i: i32| Point { x: f64::from(i * n), y: f64::from(i * i), t_ms: f64::from(8 * i) };
            data.push(Movement::new((0..n).map(point).collect()).unwrap(), None).unwrap();
        }
        let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
        let options = TrainOptions { config, threads: 1, seed: 1 };
        for stage in [Stage::Autoencoder, Stage::Gan] {
            model.train(&data, stage, &options, &mut |_, _| Control::Continue).unwrap();
        }
        let options = PathOptions { candidates: 8, seed: 3, ..PathOptions::default() };
        let condition = model.target_condition([300.0, 0.0]).unwrap();
        let score = |sample: u64| {
            let drawn = SampleOptions { seed: 3, ..SampleOptions::default() };
            let z = model.summaries_of(&condition, &drawn, &|_| sample).unwrap();
            let mut trace = CriticTrace::default();
            model.networks.critic.forward(&model.weights, &model.sampler().critic, &z, &condition, &mut trace);
            f64::from(trace.score[0])
        };
        // What is kept, in deviations above the mean, and what a softmax keeps on average.
        let kept = |sample: u64| {
            let all: Vec<f64> = (0..8).map(|k| score(sample_of(sample, 0, k))).collect();
            let mean = all.iter().sum::<f64>() / 8.0;
            let deviation = (all.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 8.0).sqrt();
            let above = |score: f64| (score - mean) / deviation;
            let weights: Vec<f64> = all.iter().map(|&s| above(s).exp()).collect();
            let expected =
                all.iter().zip(&weights).map(|(&s, w)| above(s) * w).sum::<f64>() / weights.iter().sum::<f64>();
            [above(score(model.critics_lottery(sample, 0, [300, 0], &options).unwrap())), expected]
        };
        let [got, expected] = (0..300).map(kept).fold([0.0; 2], |[a, b], [x, y]| [a + x / 300.0, b + y / 300.0]);
        assert!(expected > 0.4 && (got - expected).abs() < 0.2, "{got}, expected {expected}");
    }
}
