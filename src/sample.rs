//! Drawing movements, and moving between movements, features and summaries.
//!
//! Sample i is a function of (model, seed, i): it is the same whatever the batch it is drawn in, so that
//! ranges of samples can be drawn on different machines without coordination.

use ndarray::{Array2, Array3, ArrayView2};

use crate::backend::cpu::Pool;
use crate::data::{FEATURES, Movement, Scaler, features};
use crate::error::{Error, Result, try_zeroed};
use crate::model::autoencoder::AutoencoderTrace;
use crate::model::generator::GeneratorTrace;
use crate::model::{DataModel, Model};
use crate::nn::Steps;
use crate::nn::spectral::Normed;
use crate::rng::{Rng, Stream};
use crate::train::shards::{Batch, ROWS, row_ranges};

/// How movements are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleOptions {
    pub seed: u64,
    /// Index of the first sample.
    pub first: u64,
    /// Points of every movement, 2 to max_seq_len; 0: the model's own lengths.
    pub seq_len: usize,
    /// Below 1, noise is clamped to +-2 psi: closer to the average.
    pub truncation_psi: f64,
    /// 0: one per core. The result does not depend on it.
    pub threads: usize,
}

impl Default for SampleOptions {
    fn default() -> Self {
        SampleOptions { seed: 0, first: 0, seq_len: 0, truncation_psi: 1.0, threads: 1 }
    }
}

/// What all samples share: the evaluation-mode norms.
#[derive(Clone, Debug)]
pub struct Sampler {
    encoder: Normed<f32>,
    decoder: Normed<f32>,
}

/// A batch of samples before it is decoded.
struct Drawn {
    /// (n,S)
    summaries: Vec<f32>,
    lengths: Vec<usize>,
}

impl Model {
    /// Draws count movements in pixels and milliseconds, each beginning at (0, 0, 0). conditions: count x C numbers in
    /// the units of the data set, or None: drawn from the training distribution.
    ///
    /// # Errors
    /// `State` before both stages have trained, or if the model has learnt from arrays without limits; `Argument` for
    /// options out of range or conditions of the wrong number.
    pub fn generate(&self, count: usize, conditions: Option<&[f64]>, options: &SampleOptions) -> Result<Vec<Movement>> {
        let scaler = self.scaler("generate")?;
        let drawn = self.draw(count, conditions, options)?;
        let mut pool = Pool::new(options.threads);
        let rows = self.decode_rows(&drawn.summaries, &drawn.lengths, &mut pool);
        Ok(rows.iter().map(|x| movement(scaler, x)).collect())
    }

    /// The same as scaled features: count x T x F in [-1,1]. T is options.seq_len, or max_seq_len for the model's own
    /// lengths; rows beyond a movement's length are 0. The lengths come second.
    pub fn generate_features(
        &self,
        count: usize,
        conditions: Option<&[f64]>,
        options: &SampleOptions,
    ) -> Result<(Array3<f32>, Vec<usize>)> {
        let drawn = self.draw(count, conditions, options)?;
        let steps = if options.seq_len == 0 { self.config.max_seq_len } else { options.seq_len };
        let mut out = zeros([count, steps, self.config.feature_dim])?;
        let rows = self.decode_rows(&drawn.summaries, &drawn.lengths, &mut Pool::new(options.threads));
        for (mut out, row) in out.outer_iter_mut().zip(&rows) {
            out.iter_mut().zip(row).for_each(|(out, x)| *out = *x);
        }
        Ok((out, drawn.lengths))
    }

    /// The conditions that `generate` makes movements for, given or drawn: count x C, scaled.
    pub fn sample_conditions(
        &self,
        count: usize,
        conditions: Option<&[f64]>,
        options: &SampleOptions,
    ) -> Result<Array2<f32>> {
        let scaled = self.conditions(count, conditions, self.known_data("generate")?, options)?;
        array2(count, self.config.condition_dim, scaled)
    }

    /// Summaries of movements: n x S in [-1,1].
    pub fn encode(&self, movements: &[Movement], threads: usize) -> Result<Array2<f32>> {
        let scaler = self.scaler("encode")?;
        let rows: Vec<Vec<f32>> = movements.iter().map(|m| scaler.scale(&features(&m.points))).collect();
        self.encode_features(&rows, threads)
    }

    /// Summaries of scaled features, length x F each: n x S in [-1,1].
    pub fn encode_features(&self, rows: &[Vec<f32>], threads: usize) -> Result<Array2<f32>> {
        let f = self.config.feature_dim;
        for (i, row) in rows.iter().enumerate() {
            let length = row.len() / f;
            if row.len() % f != 0 || !(1..=self.config.max_seq_len).contains(&length) {
                let expected = format!("1 to {} rows of {f} features", self.config.max_seq_len);
                return Err(Error::argument(format!("movement {i}"), format!("{} numbers", row.len()), expected));
            }
        }
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let z = self.encode_rows(&rows, &mut Pool::new(threads));
        array2(rows.len(), self.config.summary_dim, z)
    }

    /// Movements of summaries z (n,S), with so many points each.
    pub fn decode(&self, z: ArrayView2<f32>, lengths: &[usize], threads: usize) -> Result<Vec<Movement>> {
        let scaler = self.scaler("decode")?;
        let rows = self.decode_checked(z, lengths, threads)?;
        Ok(rows.iter().map(|x| movement(scaler, x)).collect())
    }

    /// Scaled features of summaries z (n,S): length x F numbers each.
    pub fn decode_features(&self, z: ArrayView2<f32>, lengths: &[usize], threads: usize) -> Result<Vec<Vec<f32>>> {
        self.decode_checked(z, lengths, threads)
    }

    /// Summaries on the straight line from one to another, both included: steps x S.
    pub fn interpolate(&self, from: &[f32], to: &[f32], steps: usize) -> Result<Array2<f32>> {
        let s = self.config.summary_dim;
        for (name, z) in [("z1", from), ("z2", to)] {
            if z.len() != s {
                return Err(Error::argument(name, format!("{} numbers", z.len()), format!("{s}, summary_dim")));
            }
        }
        if steps < 2 {
            return Err(Error::argument("steps", steps, "2 or more"));
        }
        let mut out = try_zeroed(steps.saturating_mul(s), "an interpolation")?;
        for (k, row) in out.chunks_exact_mut(s).enumerate() {
            let share = k as f32 / (steps - 1) as f32;
            row.iter_mut().zip(from.iter().zip(to)).for_each(|(z, (a, b))| *z = a * (1.0 - share) + b * share);
        }
        array2(steps, s, out)
    }

    fn sampler(&self) -> &Sampler {
        self.sampler.get_or_init(|| {
            let mut buffers = self.buffers.clone();
            let mut norm = |map: &crate::model::sequence::SequenceMap| {
                map.head.normalise(&self.weights.params, &mut buffers, false)
            };
            Sampler { encoder: norm(&self.networks.encoder), decoder: norm(&self.networks.decoder) }
        })
    }

    fn known_data(&self, call: &'static str) -> Result<&DataModel> {
        let problem = "the model has not been trained".to_string();
        self.data.as_ref().ok_or(Error::State { call, problem })
    }

    fn scaler(&self, call: &'static str) -> Result<&Scaler> {
        let problem = "the model has learnt from arrays without limits: it knows no pixels, only features".to_string();
        let known = self.known_data(call)?.scaler.as_ref();
        known.filter(|_| self.config.feature_dim == FEATURES.len()).ok_or(Error::State { call, problem })
    }

    fn draw(&self, count: usize, conditions: Option<&[f64]>, options: &SampleOptions) -> Result<Drawn> {
        let data = self.known_data("generate")?;
        if self.stages[1].iteration == 0 {
            let problem = "the GAN has not been trained".to_string();
            return Err(Error::State { call: "generate", problem });
        }
        self.check_options(options)?;
        let conditions = self.conditions(count, conditions, data, options)?;
        let c = &self.config;
        let lengths = conditions.chunks_exact(c.condition_dim).zip(options.first..).map(|(condition, i)| {
            let unit = Rng::new(options.seed, Stream::SampleLength, i).unit();
            match options.seq_len {
                0 => data.lengths.draw(condition[0], unit).clamp(2.min(c.max_seq_len), c.max_seq_len),
                n => n,
            }
        });
        let lengths = lengths.collect();
        let mut summaries = try_zeroed(count.saturating_mul(c.summary_dim), "summaries")?;
        let bound = if options.truncation_psi < 1.0 { 2.0 * options.truncation_psi } else { f64::INFINITY };
        let mut parts: Vec<_> = summaries.chunks_mut(ROWS * c.summary_dim).collect();
        let ranges = row_ranges(count);
        Pool::new(options.threads).for_each(&mut parts, |_, shard, summaries| {
            let rows = ranges[shard].clone();
            let mut noise = Vec::with_capacity(rows.len() * c.noise_dim);
            for i in rows.clone() {
                let mut rng = Rng::new(options.seed, Stream::SampleNoise, options.first.wrapping_add(i as u64));
                noise.extend((0..c.noise_dim).map(|_| rng.normal().clamp(-bound, bound) as f32));
            }
            let conditions = &conditions[rows.start * c.condition_dim..rows.end * c.condition_dim];
            let mut trace = GeneratorTrace::default();
            self.networks.generator.forward(&self.weights, &noise, conditions, &mut trace);
            summaries.copy_from_slice(&trace.z);
        });
        Ok(Drawn { summaries, lengths })
    }

    fn check_options(&self, options: &SampleOptions) -> Result<()> {
        let most = self.config.max_seq_len;
        if options.seq_len != 0 && !(2..=most).contains(&options.seq_len) {
            let expected = format!("2 to {most} (max_seq_len), or 0 for the model's own lengths");
            return Err(Error::argument("seq_len", options.seq_len, expected));
        }
        if !(options.truncation_psi > 0.0 && options.truncation_psi.is_finite()) {
            return Err(Error::argument("truncation_psi", options.truncation_psi, "a number above 0"));
        }
        Ok(())
    }

    /// count x C scaled conditions.
    fn conditions(
        &self,
        count: usize,
        given: Option<&[f64]>,
        data: &DataModel,
        options: &SampleOptions,
    ) -> Result<Vec<f32>> {
        let dim = self.config.condition_dim;
        let Some(given) = given else {
            let mut out = try_zeroed(count.saturating_mul(dim), "conditions")?;
            for (out, i) in out.chunks_exact_mut(dim).zip(options.first..) {
                let pick = Rng::new(options.seed, Stream::SampleCondition, i).below(data.conditions.len() / dim);
                out.copy_from_slice(&data.conditions[pick * dim..(pick + 1) * dim]);
            }
            return Ok(out);
        };
        if Some(given.len()) != count.checked_mul(dim) {
            let got = format!("{} numbers", given.len());
            return Err(Error::argument("conditions", got, format!("{count} x {dim}")));
        }
        if let Some(i) = given.iter().position(|x| !x.is_finite()) {
            return Err(Error::argument(format!("conditions[{i}]"), given[i], "a finite number"));
        }
        match &data.scaler {
            Some(scaler) => Ok(given.chunks_exact(dim).flat_map(|row| scaler.scale_condition(row)).collect()),
            None => Ok(given.iter().map(|&x| x as f32).collect()),
        }
    }

    /// Summaries (n,S) of scaled features.
    pub(crate) fn encode_rows(&self, rows: &[&[f32]], pool: &mut Pool) -> Vec<f32> {
        let (s, norm) = (self.config.summary_dim, &self.sampler().encoder);
        let owned: Vec<Vec<f32>> = rows.iter().map(|row| row.to_vec()).collect();
        let batch = Batch::new(&owned, self.config.feature_dim);
        let mut parts: Vec<_> = batch.shards.iter().map(|shard| (shard, Vec::new())).collect();
        pool.for_each(&mut parts, |_, _, (shard, z)| {
            let mut trace = AutoencoderTrace::default();
            z.extend_from_slice(self.networks.encode(&self.weights, norm, &shard.steps, &shard.x, &mut trace));
        });
        let mut out = vec![0.0; rows.len() * s];
        let summaries = parts.iter().flat_map(|(_, z)| z.chunks_exact(s));
        for (z, &row) in summaries.zip(&batch.order) {
            out[row * s..(row + 1) * s].copy_from_slice(z);
        }
        out
    }

    fn decode_checked(&self, z: ArrayView2<f32>, lengths: &[usize], threads: usize) -> Result<Vec<Vec<f32>>> {
        let (n, s) = z.dim();
        if s != self.config.summary_dim {
            return Err(Error::argument("columns of z", s, format!("{}, summary_dim", self.config.summary_dim)));
        }
        if lengths.len() != n {
            return Err(Error::argument("lengths", lengths.len(), format!("{n}, one for each summary")));
        }
        if let Some(i) = lengths.iter().position(|l| !(1..=self.config.max_seq_len).contains(l)) {
            let expected = format!("1 to {} (max_seq_len)", self.config.max_seq_len);
            return Err(Error::argument(format!("lengths[{i}]"), lengths[i], expected));
        }
        let z: Vec<f32> = z.iter().copied().collect();
        Ok(self.decode_rows(&z, lengths, &mut Pool::new(threads)))
    }

    /// Scaled features of summaries (n,S), clamped to [-1,1].
    fn decode_rows(&self, z: &[f32], lengths: &[usize], pool: &mut Pool) -> Vec<Vec<f32>> {
        let (s, f, norm) = (self.config.summary_dim, self.config.feature_dim, &self.sampler().decoder);
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
        let mut parts: Vec<_> = order.chunks(ROWS).map(|rows| (rows, Vec::new())).collect();
        pool.for_each(&mut parts, |_, _, (rows, out)| {
            let sorted: Vec<usize> = rows.iter().map(|&i| lengths[i]).collect();
            let steps = Steps::new(&sorted);
            let z: Vec<f32> = rows.iter().flat_map(|&i| &z[i * s..(i + 1) * s]).copied().collect();
            let mut trace = AutoencoderTrace::default();
            let packed = self.networks.decode(&self.weights, norm, &steps, &z, &mut trace);
            for (b, &length) in sorted.iter().enumerate() {
                let points = (0..length).flat_map(|t| &packed[steps.at(b, t) * f..][..f]);
                out.push(points.map(|x| x.clamp(-1.0, 1.0)).collect::<Vec<f32>>());
            }
        });
        let mut rows = vec![Vec::new(); lengths.len()];
        for (places, out) in parts {
            places.iter().zip(out).for_each(|(&i, x)| rows[i] = x);
        }
        rows
    }
}

fn movement(scaler: &Scaler, scaled: &[f32]) -> Movement {
    Movement { points: scaler.points(scaled), user: None, session: None }
}

fn zeros([a, b, c]: [usize; 3]) -> Result<Array3<f32>> {
    let count = a.checked_mul(b).and_then(|n| n.checked_mul(c)).unwrap_or(usize::MAX);
    let data = try_zeroed(count, "features")?;
    Array3::from_shape_vec((a, b, c), data).map_err(|e| Error::argument("count", a, e.to_string()))
}

fn array2(rows: usize, columns: usize, data: Vec<f32>) -> Result<Array2<f32>> {
    Array2::from_shape_vec((rows, columns), data).map_err(|e| Error::argument("rows", rows, e.to_string()))
}
