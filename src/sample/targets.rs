//! Walks of the closed-loop decoder to targets, a batch of samples at a time.

use ndarray::ArrayView2;

use super::candidates::{Lottery, Walked, sample_of};
use super::walk::{WalkSettings, Walkers, Walking};
use super::{SampleOptions, check_conditions};
#[cfg(feature = "cuda")]
use crate::backend::Backend;
use crate::backend::cpu::Pool;
#[cfg(feature = "cuda")]
use crate::backend::cuda;
use crate::data::Movement;
use crate::data::steps::{MOST_WAY, condition};
use crate::error::{Error, Result, all_finite};
use crate::model::{Autoencoder, Model};
use crate::rng::{Rng, Stream};
use crate::train::shards::{row_ranges, together, workers};

impl Model {
    /// Walks of the closed-loop decoder to targets in whole pixels from (0, 0): exact ends, own lengths and times.
    ///
    /// # Errors
    /// As [`Model::generate`]; `State` for a model with the v6 decoder.
    pub fn walk(&self, targets: &[[i32; 2]], options: &SampleOptions) -> Result<Vec<Movement>> {
        Ok(self.walks(targets, options)?.into_iter().map(|(walk, _)| walk).collect())
    }

    /// The same, and which samples they are.
    pub(crate) fn walks(&self, targets: &[[i32; 2]], options: &SampleOptions) -> Result<Vec<Walked>> {
        #[cfg(feature = "cuda")]
        if let Some(walks) = self.walks_on_cuda(targets, options)? {
            return Ok(walks);
        }
        let samples: Vec<u64> = options.samples().take(targets.len()).collect();
        self.walks_on_cpu(targets, &samples, options)
    }

    /// Walks of samples in any order, whatever the model's device is. Of the same sample, a device's walk can differ where a
    /// draw was close.
    pub(super) fn walks_on_cpu(
        &self,
        targets: &[[i32; 2]],
        samples: &[u64],
        options: &SampleOptions,
    ) -> Result<Vec<Walked>> {
        let lottery = self.ready_to_walk(targets, options)?;
        let mut walked = Vec::with_capacity(targets.len());
        let at_once = lottery.targets(targets.len());
        for (targets, samples) in targets.chunks(at_once).zip(samples.chunks(at_once)) {
            let samples: Vec<u64> =
                (0..lottery.candidates).flat_map(|k| samples.iter().map(move |&s| sample_of(s, 0, k))).collect();
            let targets = targets.repeat(lottery.candidates as usize);
            let sample = |i: usize| samples[i];
            let summaries = self.summaries_of(&conditions(&targets), options, &sample)?;
            let walks = self.walk_from(&summaries, &targets, &sample, options)?;
            walked.extend(lottery.choose(walks.into_iter().zip(samples.iter().copied()).collect(), options));
        }
        Ok(walked)
    }

    /// None where the model computes on the CPU, or its decoder does not fit the device.
    #[cfg(feature = "cuda")]
    fn walks_on_cuda(&self, targets: &[[i32; 2]], options: &SampleOptions) -> Result<Option<Vec<Walked>>> {
        let (Backend::Cuda(device), Some(codec), Some(net)) =
            (&self.backend, &self.known_data("walk")?.codec, self.networks.closed_loop())
        else {
            return Ok(None);
        };
        /// Walks that a thread takes at a time to make movements of.
        const PART: usize = 128;
        let lottery = self.ready_to_walk(targets, options)?;
        let sizes = cuda::walks::Sizes::of(&net.walker, codec, self.config.max_seq_len);
        if targets.is_empty() || !sizes.fit(device) {
            return Ok(None);
        }
        let (params, at_once) = (&self.sampling_weights().params, lottery.targets(targets.len()));
        let mut device = cuda::walks::Walks::new(device, &self.networks, params, codec, sizes, at_once)?;
        let mut pool = Pool::new(workers(options.threads, targets.len()));
        let mut walked = Vec::with_capacity(targets.len());
        for (targets, i) in targets.chunks(at_once).zip((0u64..).step_by(at_once)) {
            let mut walks = Vec::with_capacity(targets.len());
            for k in 0..lottery.candidates {
                let first = sample_of(options.first.wrapping_add(i), 0, k);
                for (targets, i) in targets.chunks(device.rows()).zip((0u64..).step_by(device.rows())) {
                    let (first, conditions) = (first.wrapping_add(i), conditions(targets));
                    let noise = self.config.summary_noise;
                    let order = cuda::walks::Order { targets, conditions: &conditions, first, noise };
                    let drawn = device.draw(order, options)?;
                    let mut parts: Vec<_> =
                        row_ranges(targets.len(), PART).into_iter().map(|rows| (rows, Vec::new())).collect();
                    pool.for_each(&mut parts, |_, _, (rows, out)| {
                        out.extend(rows.clone().map(|row| {
                            let (sample, events) = (first.wrapping_add(row as u64), drawn.events(row));
                            let mut walk = Walking::new(targets[row], options.seed, sample, events.len() + 1);
                            events.for_each(|event| walk.go(event, codec));
                            (walk.movement(), sample)
                        }));
                    });
                    walks.extend(parts.into_iter().flat_map(|(_, out)| out));
                }
            }
            walked.extend(lottery.choose(walks, options));
        }
        Ok(Some(walked))
    }

    /// What every way to walk begins with.
    fn ready_to_walk(&self, targets: &[[i32; 2]], options: &SampleOptions) -> Result<Lottery<'_>> {
        self.check_ready("walk", options)?;
        if self.networks.closed_loop().is_none() {
            return Err(v6_does_not_walk());
        }
        check_targets(targets)?;
        let lottery = self.lottery(options.candidates)?;
        self.afford_walks(targets.len().saturating_add(lottery.rows(targets.len())))?;
        Ok(lottery)
    }

    /// Summaries (n,S) that walks of these samples go by.
    pub(crate) fn target_summaries(
        &self,
        targets: &[[i32; 2]],
        samples: &[u64],
        options: &SampleOptions,
    ) -> Result<Vec<f32>> {
        self.summaries_of(&conditions(targets), options, &|i| samples[i])
    }

    /// Walks from given summaries z (n,S), as [`Model::encode`] or [`Model::interpolate`] makes them: one each. As in training, noise
    /// of `summary_noise` is added to them, of each sample its own. `candidates` and `truncation_psi` change nothing.
    ///
    /// # Errors
    /// `Argument` for other shapes, numbers that are not finite, targets or options out of range; `State` for a model that has not
    /// trained, or has the v6 decoder.
    pub fn walk_summaries(
        &self,
        z: ArrayView2<f32>,
        targets: &[[i32; 2]],
        options: &SampleOptions,
    ) -> Result<Vec<Movement>> {
        let (n, s) = z.dim();
        if n != targets.len() || s != self.config.summary_dim {
            let expected = format!("{} x {}", targets.len(), self.config.summary_dim);
            return Err(Error::argument("z", format!("{n} x {s}"), expected));
        }
        self.check_options(options)?;
        let z: Vec<f32> = z.iter().copied().collect();
        all_finite("summaries", &z)?;
        self.afford_walks(n)?;
        let sample = |i: usize| options.first.wrapping_add(i as u64);
        self.walk_from(&z, targets, &sample, options)
    }

    fn walk_from(
        &self,
        summaries: &[f32],
        targets: &[[i32; 2]],
        sample: &(dyn Fn(usize) -> u64 + Sync),
        options: &SampleOptions,
    ) -> Result<Vec<Movement>> {
        let codec = self.known_data("walk")?.codec.as_ref();
        let (Some(codec), Autoencoder::ClosedLoop(net)) = (codec, &self.networks.autoencoder) else {
            return Err(v6_does_not_walk());
        };
        check_targets(targets)?;
        let settings = WalkSettings {
            step_temperature: options.step_temperature,
            time_temperature: options.time_temperature,
            most_points: self.config.max_seq_len,
            longest_step: f64::INFINITY,
        };
        let (s, weights) = (self.config.summary_dim, self.sampling_weights());
        let mut pool = Pool::new(workers(options.threads, targets.len()));
        let rows = together(targets.len(), TOGETHER, pool.threads());
        let mut parts: Vec<_> = row_ranges(targets.len(), rows).into_iter().map(|rows| (rows, Vec::new())).collect();
        pool.for_each(&mut parts, |_, _, (rows, out)| {
            let mut z = summaries[rows.start * s..rows.end * s].to_vec();
            let mut walks = Vec::with_capacity(rows.len());
            for (i, z) in rows.clone().zip(z.chunks_exact_mut(s)) {
                self.add_summary_noise(options.seed, sample(i), z);
                walks.push(Walking::new(targets[i], options.seed, sample(i), settings.most_points));
            }
            let mut places: Vec<usize> = (0..walks.len()).collect();
            let mut walkers = Walkers::default();
            walkers.start(&net.walker, weights, &z, walks.len());
            out.resize(walks.len(), Movement::default());
            while !walks.is_empty() {
                walkers.step(&net.walker, weights, codec, &settings, &mut walks);
                for row in (0..walks.len()).rev() {
                    if walks[row].arrived {
                        walkers.swap_remove(row, walks.len());
                        out[places.swap_remove(row)] = walks.swap_remove(row).movement();
                    }
                }
            }
        });
        Ok(parts.into_iter().flat_map(|(_, out)| out).collect())
    }

    /// z (S) += noise as in training.
    pub(crate) fn add_summary_noise(&self, seed: u64, sample: u64, z: &mut [f32]) {
        let mut rng = Rng::new(seed, Stream::SampleSummaryNoise, sample);
        z.iter_mut().for_each(|z| *z += (self.config.summary_noise * rng.normal()) as f32);
    }

    /// closed-loop: targets of count samples, in whole pixels. distances: one each, or None.
    pub(super) fn targets(
        &self,
        count: usize,
        distances: Option<&[f64]>,
        options: &SampleOptions,
    ) -> Result<Vec<[i32; 2]>> {
        let data = self.known_data("generate")?;
        if let Some(given) = distances {
            check_conditions(given, count, 1)?;
            if let Some(i) = given.iter().position(|&d| !(1.0..=1e6).contains(&d)) {
                return Err(Error::argument(format!("conditions[{i}]"), given[i], "a distance of 1 to 1000000 px"));
            }
        }
        let target = |i: usize| {
            let rng = &mut Rng::new(options.seed, Stream::SampleCondition, options.first.wrapping_add(i as u64));
            let pick = rng.below(data.conditions.len() / 2) * 2;
            let [x, y] = [data.conditions[pick], data.conditions[pick + 1]].map(f64::from);
            let Some(distance) = distances.map(|d| d[i]) else { return [x, y].map(|x| x.round() as i32) };
            // A movement that ended where it began has no direction.
            let [x, y] = if [x, y] == [0.0, 0.0] { [1.0, 0.0] } else { [x, y] };
            [x, y].map(|v| (v * distance / x.hypot(y)).round() as i32)
        };
        Ok((0..count).map(target).collect())
    }
}

/// Walks that a thread has under way at a time, where there are enough for all threads: weights are read once for all of them.
const TOGETHER: usize = 32;

fn v6_does_not_walk() -> Error {
    Error::State { call: "walk", problem: "the model has the v6 decoder".into() }
}

/// (n,3)
fn conditions(targets: &[[i32; 2]]) -> Vec<f32> {
    targets.iter().flat_map(|t| condition(t.map(f64::from))).collect()
}

pub(super) fn check_targets(targets: &[[i32; 2]]) -> Result<()> {
    match targets.iter().position(|t| t.iter().any(|&x| f64::from(x).abs() > MOST_WAY)) {
        Some(i) => {
            let expected = format!("within {MOST_WAY} px of 0");
            Err(Error::argument(format!("targets[{i}]"), format!("{:?}", targets[i]), expected))
        }
        None => Ok(()),
    }
}
