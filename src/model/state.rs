//! A model: configuration, weights, what it knows of its data, and where its training is.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::Networks;
use crate::backend::cpu::Isa;
use crate::backend::{Backend, Device};
use crate::config::{Config, DecoderKind};
use crate::data::{LengthModel, Movement, Prepared, Scaler, StepCodec, evenly};
use crate::error::{Error, Result, afford};
use crate::eval::density_ratio::DensityRatio;
use crate::nn::Weights;
use crate::nn::optim::{Moments, Schedule};

/// What a model knows of the data it has learnt from, so that it alone can speak pixels and milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct DataModel {
    /// None for arrays that came without limits: such a model speaks features only.
    pub scaler: Option<Scaler>,
    pub lengths: LengthModel,
    /// closed-loop only.
    pub codec: Option<StepCodec>,
    /// What samples without a condition draw from, at most [`MOST_CONDITIONS`] rows. v6: (n,C) scaled conditions;
    /// closed-loop: (n,2) targets in pixels.
    pub conditions: Vec<f32>,
    /// Of the training split.
    pub hash: String,
}

/// More tell nothing new about the distribution.
pub const MOST_CONDITIONS: usize = 4096;

impl DataModel {
    pub fn new(data: &Prepared, config: &Config) -> Result<DataModel> {
        let n = data.train.len();
        let every = evenly(n, MOST_CONDITIONS);
        let movements = || (0..n).filter_map(|i| data.train.movement(i));
        let (codec, conditions) = match config.decoder {
            DecoderKind::V6 => (None, every.flat_map(|i| data.train.condition(i).to_vec()).collect()),
            DecoderKind::ClosedLoop => {
                let all: Vec<&Movement> = movements().collect();
                let codec = StepCodec::fit(&all, config.step_magnitudes, config.tick_classes)?;
                (Some(codec), every.filter_map(|i| all.get(i)).flat_map(|m| m.target().map(|x| x as f32)).collect())
            }
        };
        let (scaler, lengths, hash) = (data.scaler.clone(), data.lengths.clone(), data.hash.clone());
        Ok(DataModel { scaler, lengths, codec, conditions, hash })
    }

    /// Numbers in a row of `conditions`.
    pub fn condition_columns(config: &Config) -> usize {
        match config.decoder {
            DecoderKind::V6 => config.condition_dim,
            DecoderKind::ClosedLoop => 2,
        }
    }
}

/// Losses at one moment, averaged over the last [`WINDOW`] iterations. Which means what depends on the stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub iteration: u64,
    /// Stage 1: direct, recon, latent, total; closed-loop: nats of steps, ticks and stop, total. Stage 2: critic, generator,
    /// wasserstein, gradient penalty.
    pub losses: [f64; 4],
    pub rate: f64,
    /// Those of stage 1 on the validation split, in evaluation mode.
    pub validation: Option<[f64; 4]>,
}

/// Iterations that a moving average spans.
pub const WINDOW: usize = 100;

/// Records kept for each stage; beyond that every other one is dropped of those that are many: with validation losses, or without.
const MOST_RECORDS: usize = 1000;

/// Where a stage is, so that going on equals never having stopped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageState {
    /// Iterations done.
    pub iteration: u64,
    /// Of the last call that did an iteration.
    pub seed: u64,
    /// Where that call computed: other devices, other last bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Losses of the last iterations, oldest first, at most [`WINDOW`].
    pub recent: Vec<[f64; 4]>,
    pub history: Vec<Record>,
    pub early_stop: EarlyStop,
    pub schedule: Option<Schedule>,
    /// Of stage 2: iterations that stage 1 had done when it last trained, in whose latent space it learns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Of stage 2: how far training movements' summaries, in [-1,1], and their mirror images' were from each other then: the mean of
    /// their standard deviations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
}

impl StageState {
    pub fn observe(&mut self, losses: [f64; 4]) {
        self.iteration += 1;
        if self.recent.len() == WINDOW {
            self.recent.remove(0);
        }
        self.recent.push(losses);
    }

    /// Means over the window.
    pub fn averages(&self) -> [f64; 4] {
        let n = self.recent.len().max(1) as f64;
        std::array::from_fn(|k| self.recent.iter().map(|l| l[k]).sum::<f64>() / n)
    }

    pub fn record(&mut self, record: Record) {
        self.history.push(record);
        if self.history.len() > MOST_RECORDS {
            let validated = self.history.iter().filter(|record| record.validation.is_some()).count();
            let of_many = |record: &Record| record.validation.is_some() == (2 * validated > MOST_RECORDS);
            // From the end, so that the last stays.
            let mut keep = false;
            let of_many_kept = |record: &Record| {
                keep = if of_many(record) { !keep } else { keep };
                keep || !of_many(record)
            };
            let mut kept: Vec<bool> = self.history.iter().rev().map(of_many_kept).collect();
            self.history.retain(|_| kept.pop() == Some(true));
        }
    }
}

/// Stops stage 1 when the averaged direct loss stays below a threshold without getting better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EarlyStop {
    best: Option<f64>,
    waited: u64,
}

impl EarlyStop {
    /// An improvement by less than this is none.
    const IMPROVEMENT: f64 = 0.001;

    pub fn observe(&mut self, loss: f64, threshold: f64) {
        if loss >= threshold {
            *self = EarlyStop::default();
        } else if self.best.is_none_or(|best| loss < best - Self::IMPROVEMENT) {
            *self = EarlyStop { best: Some(loss), waited: 0 };
        } else {
            self.waited += 1;
        }
    }

    pub fn converged(&self, patience: u64) -> bool {
        self.best.is_some() && self.waited >= patience
    }
}

/// A model, trained or not.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) backend: Backend,
    pub(crate) config: Config,
    pub(crate) networks: Networks,
    pub(crate) weights: Weights<f32>,
    /// Spectral norm's u and v.
    pub(crate) buffers: Vec<f32>,
    pub(crate) data: Option<DataModel>,
    pub(crate) stages: [StageState; 2],
    /// Running average of the generator's weights, or empty.
    pub(crate) average: Vec<f32>,
    /// Of autoencoder, generator and critic.
    pub(crate) moments: [Moments<f32>; 3],
    /// closed-loop: what chooses among walks, once stage 2 has come to its end.
    pub(crate) ratio: Option<DensityRatio>,
    /// What sampling needs beside the weights, made on first use.
    pub(crate) sampler: OnceLock<crate::sample::Sampler>,
}

/// More parameters than any use of this design needs; a file or config that asks for more is refused.
const MOST_PARAMETERS: usize = 1 << 26;

impl Model {
    /// A new model with initial weights from config.seed.
    ///
    /// # Errors
    /// `Argument` for a setting out of range; `Device` for a device that is not there.
    pub fn new(config: Config, device: Device) -> Result<Model> {
        config.check()?;
        let networks = Networks::new(&config);
        let count = networks.layout.len();
        if count > MOST_PARAMETERS {
            return Err(Error::argument("parameters", count, format!("up to {MOST_PARAMETERS}")));
        }
        // Weights, the same packed for both directions, and a copy on the way.
        afford(count * 16, "a model")?;
        let (params, buffers) = networks.layout.initialise(config.seed);
        let weights = Weights::new(Isa::detect(), &networks.layout, params);
        Ok(Model {
            backend: Backend::open(device)?,
            config,
            networks,
            weights,
            buffers,
            data: None,
            stages: Default::default(),
            average: Vec::new(),
            moments: Default::default(),
            ratio: None,
            sampler: OnceLock::new(),
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the model computes, and why it is the CPU if it could have been another device.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Number of trained parameters.
    pub fn parameters(&self) -> usize {
        self.networks.layout.len()
    }

    /// The same by network, the first part of a tensor's name.
    pub fn parameters_by_network(&self) -> BTreeMap<&str, usize> {
        let mut sums = BTreeMap::new();
        for entry in &self.networks.layout.entries {
            let network = entry.name.split('.').next().unwrap_or_default();
            *sums.entry(network).or_default() += entry.len();
        }
        sums
    }

    /// What the model knows of its data: nothing before it has trained.
    pub fn data(&self) -> Option<&DataModel> {
        self.data.as_ref()
    }

    /// Where stage 1 and stage 2 are.
    pub fn stages(&self) -> &[StageState; 2] {
        &self.stages
    }

    /// Takes another instruction set that this machine has; results may differ in the last bits.
    pub fn set_isa(&mut self, isa: Isa) {
        self.weights.isa = isa;
        self.sampler = OnceLock::new();
    }

    /// A parameter or buffer by its name in files, row-major, with its shape.
    pub fn tensor(&self, name: &str) -> Option<(&[usize], &[f32])> {
        let of = |entries: &'_ [crate::nn::params::Entry]| entries.iter().position(|e| e.name == name);
        let layout = &self.networks.layout;
        if let Some(i) = of(&layout.entries) {
            let entry = &layout.entries[i];
            return Some((&entry.shape, &self.weights.params[entry.range()]));
        }
        let entry = &layout.buffers[of(&layout.buffers)?];
        Some((&entry.shape, &self.buffers[entry.range()]))
    }

    /// What Adam remembers of a parameter's gradient after clip and decay: with a first beta of 0.9 (stage 1) the mean
    /// of ten updates or so, with 0 (stage 2's default) the last one. None for a name that is no parameter, and for a
    /// network that has not trained.
    pub fn remembered_gradient(&self, name: &str) -> Option<&[f32]> {
        let n = &self.networks;
        let range = n.layout.entries.iter().find(|e| e.name == name)?.range();
        let ranges = [&n.autoencoder_range, &n.generator_range, &n.critic_range];
        let (moments, whole) = self.moments.iter().zip(ranges).find(|(_, whole)| whole.contains(&range.start))?;
        moments.m.get(range.start - whole.start..range.end - whole.start)
    }

    /// Names of all parameters, in the order of their arena.
    pub fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.networks.layout.entries.iter().map(|e| e.name.as_str())
    }

    /// What the model is and how far it has trained, for programs to read.
    pub fn info(&self) -> serde_json::Value {
        let stage = |s: &StageState| {
            serde_json::json!({
                "iterations": s.iteration,
                "device": s.device,
                "losses": s.averages(),
                "history": s.history,
            })
        };
        let data = self.data.as_ref().map(|d| {
            let limits = match self.config.decoder {
                DecoderKind::V6 => d.scaler.as_ref().map(|s| (s.condition_min.clone(), s.condition_max.clone())),
                // Whatever conditions the data had.
                DecoderKind::ClosedLoop => self.learnt_distances().map(|(low, high)| (vec![low], vec![high])),
            };
            let (low, high) = limits.unzip();
            serde_json::json!({
                "hash": d.hash,
                "points": d.scaler.is_some(),
                "condition_min": low,
                "condition_max": high,
            })
        });
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "parameters": self.parameters(),
            "device": self.backend.name(),
            "device_reason": self.backend.reason(),
            "instruction_set": self.weights.isa.name(),
            "config": self.config,
            "data": data,
            "candidates": self.candidates(),
            "stage1": stage(&self.stages[0]),
            "stage2": stage(&self.stages[1]),
            "diagnosis": self.diagnose(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Better by a thousandth or more starts the wait anew, and so does a loss that is not below the threshold.
    #[test]
    fn early_stopping_waits_for_an_improvement() {
        let after = |losses: &[f64], patience: u64| {
            let mut stop = EarlyStop::default();
            losses.iter().for_each(|&loss| stop.observe(loss, 1.0));
            stop.converged(patience)
        };
        assert!(after(&[0.5, 0.5, 0.4995], 2));
        assert!(!after(&[0.5, 0.5, 0.4995], 3), "patience is what it says");
        assert!(!after(&[0.5, 0.5, 0.4985], 2), "better");
        assert!(after(&[0.5, 0.4985, 0.4985, 0.4985], 2), "better, and then no more");
        assert!(!after(&[0.5, 0.5, 1.0], 2) && !after(&[0.5, 0.5, 1.0, 0.5, 0.5], 2), "above the threshold");
        assert!(!after(&[], 0) && !after(&[1.0], 0) && after(&[0.5], 0), "it has to be good to stop");
    }

    #[test]
    fn averages_are_of_the_last_hundred() {
        let mut state = StageState::default();
        assert_eq!(state.averages(), [0.0; 4]);
        (1..=150).for_each(|i| state.observe([f64::from(i), 0.0, 0.0, -1.0]));
        assert_eq!((state.iteration, state.averages()), (150, [100.5, 0.0, 0.0, -1.0]));
    }
}
