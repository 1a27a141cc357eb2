//! Drawing movements.
//!
//! Sample i is a function of (model, seed, i): it is the same whatever the batch it is drawn in, so that
//! ranges of samples can be drawn on different machines without coordination.

pub(crate) mod candidates;
mod latent;
mod lay;
pub mod path;
pub mod stream;
mod targets;
pub mod walk;

use std::sync::{Arc, OnceLock};

use ndarray::{Array2, Array3};

use crate::backend::cpu::{Pool, tiles};
use crate::config::DecoderKind;
use crate::data::{FEATURES, Movement, Point, Scaler, features};
use crate::error::{Error, Result, afford, all_finite, try_zeroed};
use crate::model::critic::CallNorms;
use crate::model::generator::GeneratorTrace;
use crate::model::sequence::SequenceMap;
use crate::model::{Autoencoder, DataModel, Model};
use crate::nn::Weights;
use crate::nn::spectral::Normed;
use crate::rng::{Rng, Stream};
use crate::train::shards::{ROWS, row_ranges, workers};
use latent::Way;

/// How movements are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleOptions {
    pub seed: u64,
    /// Index of the first sample. Candidates of sample i are what samples i + 2^40, i + 2 * 2^40 ... would be: below 2^40 no two
    /// samples share one.
    pub first: u64,
    /// Points of every movement, 2 to max_seq_len; 0: the model's own lengths, and the only choice of the closed-loop
    /// decoder, which ends where its target is.
    pub seq_len: usize,
    /// Below 1, noise is clamped to +-2 psi: closer to the average.
    pub truncation_psi: f64,
    /// closed-loop: softmax temperatures of steps and of times. 1: as learnt; below: the likelier.
    pub step_temperature: f64,
    pub time_temperature: f64,
    /// closed-loop: walks drawn for each movement, of which one is kept, the likelier the more often recordings are like it:
    /// 1 to 4096. 1 is the fastest; more are an error of a model that cannot choose; 0: [`Model::candidates`].
    pub candidates: u32,
    /// v6 on a device: products of matrices, which recurrences are not, may round their factors to TF32 (10 bits of mantissa,
    /// sums in f32). Features of a trained model were off by 2e-5 on average, 4e-3 at worst. Nothing changes on the CPU or below compute
    /// capability 8.0.
    pub allow_tf32: bool,
    /// v6 on a processor with Intel's AMX, under Linux: products may round their factors to two bfloat16s (16 bits of mantissa, sums
    /// in f32), and many movements take half the time. Features of a trained model were off by 2e-7 on average, 2e-5 at worst. The
    /// first such call asks the system to let the process use tiles, which makes its signal frames larger: alternate stacks for
    /// signals below some 11 KB are refused from then on. Where it does not let it, and elsewhere, nothing changes.
    pub allow_amx: bool,
    /// 0: one per core. The result does not depend on it.
    pub threads: usize,
}

impl Default for SampleOptions {
    fn default() -> Self {
        SampleOptions {
            seed: 0,
            first: 0,
            seq_len: 0,
            truncation_psi: 1.0,
            step_temperature: 1.0,
            time_temperature: 1.0,
            candidates: 0,
            allow_tf32: false,
            allow_amx: false,
            threads: 1,
        }
    }
}

impl SampleOptions {
    /// Indices of the samples; after the last 64-bit number comes 0.
    fn samples(&self) -> impl Iterator<Item = u64> {
        let first = self.first;
        (0u64..).map(move |i| first.wrapping_add(i))
    }
}

/// What all samples share.
#[derive(Clone, Debug)]
pub struct Sampler {
    /// The model's, where they are not just those that it trains: with the generator's average in place of its
    /// weights, and a walker's matrices in 16 bits a weight.
    weights: Option<Weights<f32>>,
    /// Evaluation-mode norms.
    encoder: Normed<f32>,
    decoder: Normed<f32>,
    critic: Vec<CallNorms<f32>>,
    /// Distances (px) between which the model has learnt; None if it knows no pixels.
    distances: Option<(f64, f64)>,
    /// v6: weights for products of parts of floats, made by the first who wants them.
    split: OnceLock<Weights<f32>>,
    /// What streams walk with: copied by the first, shared by all.
    walker: OnceLock<Arc<stream::Shared>>,
}

impl Model {
    /// Draws count movements in pixels and milliseconds, each beginning at (0, 0, 0). conditions: count x C numbers in
    /// the units of the data set, or None: drawn from the training distribution. The closed-loop decoder's is the
    /// distance; the direction is that of a training movement.
    ///
    /// # Errors
    /// `State` before both stages have trained, or if the model has learnt from arrays without limits; `Argument` for
    /// options out of range or conditions of the wrong number.
    pub fn generate(&self, count: usize, conditions: Option<&[f64]>, options: &SampleOptions) -> Result<Vec<Movement>> {
        let scaler = self.scaler("generate")?;
        self.afford_movements(count, options)?;
        if self.config.decoder == DecoderKind::ClosedLoop {
            let targets = self.targets(count, conditions, options)?;
            return self.walk(&targets, options);
        }
        let (rows, _) = self.generate_rows(count, conditions, options)?;
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
        self.afford_movements(count, options)?;
        let (rows, lengths) = match self.config.decoder {
            DecoderKind::V6 => self.generate_rows(count, conditions, options)?,
            DecoderKind::ClosedLoop => {
                let scaler = self.scaler("generate")?;
                let movements = self.generate(count, conditions, options)?;
                let row = |m: &Movement| (scaler.scale(&features(&m.points)), m.points.len());
                movements.iter().map(row).unzip()
            }
        };
        let steps = self.most_steps(options.seq_len)?;
        let mut out = zeros([count, steps, self.config.feature_dim])?;
        for (mut out, row) in out.outer_iter_mut().zip(&rows) {
            out.iter_mut().zip(row).for_each(|(out, x)| *out = *x);
        }
        Ok((out, lengths))
    }

    /// As the model's settings would have movements drawn.
    pub fn sample_options(&self) -> SampleOptions {
        SampleOptions { truncation_psi: self.config.truncation_psi, ..SampleOptions::default() }
    }

    /// The conditions that `generate` makes movements for, given or drawn: count x C, scaled. Those of the closed-loop
    /// decoder are the distances of its targets in px (count x 1): its model knows limits of the data's own conditions only.
    pub fn sample_conditions(
        &self,
        count: usize,
        conditions: Option<&[f64]>,
        options: &SampleOptions,
    ) -> Result<Array2<f32>> {
        if self.config.decoder == DecoderKind::V6 {
            let scaled = self.conditions(count, conditions, self.known_data("generate")?, options)?;
            return array2(count, self.config.condition_dim, scaled);
        }
        // Targets and distances.
        afford(count.saturating_mul(12), "conditions")?;
        let distance = |[x, y]: &[i32; 2]| f64::from(*x).hypot(f64::from(*y)) as f32;
        array2(count, 1, self.targets(count, conditions, options)?.iter().map(distance).collect())
    }

    /// Of movements of so many points, those of the closed loop that took all that there are (`max_seq_len`): where that was not
    /// their end, the last step jumped to the target.
    pub fn out_of_points(&self, lengths: impl Iterator<Item = usize>) -> usize {
        let all = |&length: &usize| self.config.decoder == DecoderKind::ClosedLoop && length >= self.config.max_seq_len;
        lengths.filter(all).count()
    }

    fn sampler(&self) -> &Sampler {
        self.sampler.get_or_init(|| {
            let walker = self.networks.closed_loop().map(|net| net.walker.start()..self.networks.autoencoder_range.end);
            let weights = (walker.is_some() || !self.average.is_empty()).then(|| {
                let mut weights = self.weights.clone();
                if !self.average.is_empty() {
                    let range = self.networks.generator_range.clone();
                    weights.params[range.clone()].copy_from_slice(&self.average);
                    weights.pack(range);
                }
                if let Some(walker) = walker {
                    weights.halve(walker);
                }
                weights
            });
            let (params, mut buffers) = (&self.weights.params, self.buffers.clone());
            let mut normalised = |map: &SequenceMap| map.head.normalise(params, &mut buffers, false);
            let encoder = normalised(self.networks.encoder().0);
            let decoder = self.networks.v6().map_or_else(Normed::default, |net| normalised(&net.decoder));
            let critic = self.networks.critic.normalise(params, &mut buffers, false, 1);
            let (split, walker) = (OnceLock::new(), OnceLock::new());
            Sampler { weights, encoder, decoder, critic, distances: self.learnt_distances(), split, walker }
        })
    }

    /// What samples come from.
    fn sampling_weights(&self) -> &Weights<f32> {
        self.sampler().weights.as_ref().unwrap_or(&self.weights)
    }

    fn only_v6(&self, call: &'static str) -> Result<()> {
        match self.networks.autoencoder {
            Autoencoder::V6(_) => Ok(()),
            Autoencoder::ClosedLoop(_) => {
                let problem = "the closed-loop decoder speaks pixels and milliseconds, and needs a target".to_string();
                Err(Error::State { call, problem })
            }
        }
    }

    pub(crate) fn known_data(&self, call: &'static str) -> Result<&DataModel> {
        let problem = "the model has not been trained".to_string();
        self.data.as_ref().ok_or(Error::State { call, problem })
    }

    pub(crate) fn scaler(&self, call: &'static str) -> Result<&Scaler> {
        let problem = "the model has learnt from arrays without limits: it knows no pixels, only features".to_string();
        let known = self.known_data(call)?.scaler.as_ref();
        known.filter(|_| self.config.feature_dim == FEATURES.len()).ok_or(Error::State { call, problem })
    }

    /// More than count movements take on their way.
    fn afford_movements(&self, count: usize, options: &SampleOptions) -> Result<()> {
        let rows = count.saturating_add(self.lottery(options.candidates)?.rows(count));
        let decoding = match self.config.decoder {
            DecoderKind::ClosedLoop => 0,
            DecoderKind::V6 => {
                let longest = self.most_steps(options.seq_len).unwrap_or(0); // what is out of range is refused later
                self.working_bytes(Way::Out, count, longest, options.threads)
            }
        };
        let unsplit = self.sampler.get().is_none_or(|all| all.split.get().is_none());
        let splits = options.allow_amx && self.networks.v6().is_some() && tiles::may_be_fast();
        let split = if splits && unsplit { 16 * self.parameters() } else { 0 };
        let shared = self.sampler_bytes().saturating_add(decoding).saturating_add(split);
        afford(rows.saturating_mul(self.movement_bytes()).saturating_add(shared), "movements")
    }

    /// More than so many walks take: points, summary three times, what stands beside them.
    fn afford_walks(&self, rows: usize) -> Result<()> {
        let walk = size_of::<Point>() * self.config.max_seq_len + 12 * self.config.summary_dim + 512;
        afford(rows.saturating_mul(walk).saturating_add(self.sampler_bytes()), "walks")
    }

    /// What all samples share is made by the first.
    fn sampler_bytes(&self) -> usize {
        if self.sampler.get().is_none() { self.own_weights_bytes() + 12 * self.buffers.len() } else { 0 }
    }

    /// The weights that samples come from, packed, where they are not the model's.
    fn own_weights_bytes(&self) -> usize {
        let own = !self.average.is_empty() || self.config.decoder == DecoderKind::ClosedLoop;
        if own { 16 * self.parameters() } else { 0 }
    }

    /// More than a movement takes on its way: twice features, points, summary with noise and condition.
    fn movement_bytes(&self) -> usize {
        let c = &self.config;
        4 * (c.max_seq_len * (2 * c.feature_dim + 6) + 2 * c.summary_dim + c.noise_dim + c.condition_dim + 64)
    }

    /// v6: scaled features and lengths of count samples.
    fn generate_rows(
        &self,
        count: usize,
        conditions: Option<&[f64]>,
        options: &SampleOptions,
    ) -> Result<(Vec<Vec<f32>>, Vec<usize>)> {
        let data = self.check_ready("generate", options)?;
        let c = &self.config;
        let conditions = self.conditions(count, conditions, data, options)?;
        let lengths = conditions.chunks_exact(c.condition_dim).zip(options.samples()).map(|(condition, i)| {
            let unit = Rng::new(options.seed, Stream::SampleLength, i).unit();
            match options.seq_len {
                0 => data.lengths.draw(condition[0], unit).clamp(2.min(c.max_seq_len), c.max_seq_len),
                n => n,
            }
        });
        let lengths: Vec<usize> = lengths.collect();
        #[cfg(feature = "cuda")]
        if let Some(mut movements) = self.movements_on_cuda(&lengths, options.allow_tf32)? {
            let rows = movements.rows();
            let parts = conditions.chunks(rows * c.condition_dim).zip(lengths.chunks(rows));
            let drawn = parts
                .zip(options.samples().step_by(rows))
                .map(|((conditions, lengths), first)| movements.draw(conditions, lengths, first, options));
            return Ok((drawn.collect::<Result<Vec<_>>>()?.concat(), lengths));
        }
        let summaries = self.draw_summaries(&conditions, options)?;
        let mut pool = Pool::new(workers(options.threads, count));
        let rounded = options.allow_amx && tiles::are_fast();
        Ok((self.decode_rows(&summaries, &lengths, rounded, &mut pool), lengths))
    }

    /// Scaled conditions (n,C) -> summaries (n,S) from the generator.
    pub(crate) fn draw_summaries(&self, conditions: &[f32], options: &SampleOptions) -> Result<Vec<f32>> {
        self.summaries_of(conditions, options, &|i| options.first.wrapping_add(i as u64))
    }

    /// The same for samples of any index: row i is that of sample(i).
    fn summaries_of(
        &self,
        conditions: &[f32],
        options: &SampleOptions,
        sample: &(dyn Fn(usize) -> u64 + Sync),
    ) -> Result<Vec<f32>> {
        let (c, columns) = (&self.config, self.config.condition_inputs());
        let count = conditions.len() / columns;
        let mut summaries = try_zeroed(count.saturating_mul(c.summary_dim), "summaries")?;
        let bound = if options.truncation_psi < 1.0 { 2.0 * options.truncation_psi } else { f64::INFINITY };
        let weights = self.sampling_weights();
        let mut parts: Vec<_> = summaries.chunks_mut(ROWS * c.summary_dim).collect();
        let ranges = row_ranges(count, ROWS);
        Pool::new(workers(options.threads, count)).for_each(&mut parts, |_, shard, summaries| {
            let rows = ranges[shard].clone();
            let mut noise = Vec::with_capacity(rows.len() * c.noise_dim);
            for i in rows.clone() {
                let mut rng = Rng::new(options.seed, Stream::SampleNoise, sample(i));
                noise.extend((0..c.noise_dim).map(|_| rng.normal().clamp(-bound, bound) as f32));
            }
            let mut trace = GeneratorTrace::default();
            let conditions = &conditions[rows.start * columns..rows.end * columns];
            self.networks.generator.forward(weights, &noise, conditions, &mut trace);
            summaries.copy_from_slice(&trace.z);
        });
        Ok(summaries)
    }

    /// Points of the longest movement that a seq_len allows.
    pub(crate) fn most_steps(&self, seq_len: usize) -> Result<usize> {
        let most = self.config.max_seq_len;
        match self.config.decoder {
            _ if seq_len == 0 => Ok(most),
            DecoderKind::V6 if (2..=most).contains(&seq_len) => Ok(seq_len),
            DecoderKind::V6 => {
                let expected = format!("2 to {most} (max_seq_len), or 0 for the model's own lengths");
                Err(Error::argument("seq_len", seq_len, expected))
            }
            DecoderKind::ClosedLoop => {
                Err(Error::argument("seq_len", seq_len, "0: the closed-loop decoder ends where its target is"))
            }
        }
    }

    /// Both stages have trained and the options are in range.
    fn check_ready(&self, call: &'static str, options: &SampleOptions) -> Result<&DataModel> {
        let data = self.known_data(call)?;
        if self.stages[1].iteration == 0 {
            let problem = "the GAN has not been trained".to_string();
            return Err(Error::State { call, problem });
        }
        self.check_options(options)?;
        Ok(data)
    }

    fn check_options(&self, options: &SampleOptions) -> Result<()> {
        self.most_steps(options.seq_len)?;
        let numbers = [
            ("truncation_psi", options.truncation_psi),
            ("step_temperature", options.step_temperature),
            ("time_temperature", options.time_temperature),
        ];
        for (name, value) in numbers {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::argument(name, value, "a number above 0"));
            }
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
            for (out, i) in out.chunks_exact_mut(dim).zip(options.samples()) {
                let pick = Rng::new(options.seed, Stream::SampleCondition, i).below(data.conditions.len() / dim);
                out.copy_from_slice(&data.conditions[pick * dim..(pick + 1) * dim]);
            }
            return Ok(out);
        };
        check_conditions(given, count, dim)?;
        let scaled: Vec<f32> = match &data.scaler {
            Some(scaler) => given.chunks_exact(dim).flat_map(|row| scaler.scale_condition(row)).collect(),
            None => given.iter().map(|&x| x as f32).collect(),
        };
        match scaled.iter().position(|x| x.is_nan() || x.abs() > MOST_SCALED) {
            Some(i) => {
                let expected = format!("within {MOST_SCALED} times the range of training");
                Err(Error::argument(format!("conditions[{i}]"), given[i], expected))
            }
            None => Ok(scaled),
        }
    }
}

/// Of a condition: far more than any that makes sense, and far from what overflows on the way through the networks.
const MOST_SCALED: f32 = 1e6;

/// count x dim finite numbers.
fn check_conditions(given: &[f64], count: usize, dim: usize) -> Result<()> {
    if Some(given.len()) != count.checked_mul(dim) {
        let got = format!("{} numbers", given.len());
        return Err(Error::argument("conditions", got, format!("{count} x {dim}")));
    }
    all_finite("conditions", given)
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
