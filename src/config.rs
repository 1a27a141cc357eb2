//! Every setting, with the seed's names and defaults. One flat table, so that a config file, the model
//! file's metadata and the seed's CONFIG read alike.

mod check;
mod presets;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Declares an enum whose names in files are lower case, and the setting that it is.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident, $setting:literal { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $(#[serde(rename = $text)] $variant),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The name in files and on the command line.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::ALL.iter().copied().find(|v| v.name() == text).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|v| v.name()).collect();
                    Error::argument($setting, text, format!("one of {}", names.join(", ")))
                })
            }
        }
    };
}

choice!(
    /// How a latent sequence becomes one summary.
    Pool, "pool_type" { Attention = "attention", Mean = "mean", Last = "last", Hybrid = "hybrid" });
choice!(
    /// How a summary becomes a latent sequence again.
    Expand, "expand_type" { Lstm = "lstm", Mlp = "mlp", Repeat = "repeat" });
choice!(
    /// How the generator sees its condition: beside the noise, or as a modulation of every layer.
    GeneratorKind, "generator_type" { Standard = "standard", Film = "film" });
choice!(CriticKind, "discriminator_type" { Standard = "standard", Projection = "projection", Multiscale = "multiscale" });
choice!(
    /// adam adds L2 weight decay to the gradient, adamw decays the weights; radam is Adam with rectified warm-up.
    OptimizerKind, "optimizer" { Adam = "adam", AdamW = "adamw", RAdam = "radam" });
choice!(
    /// Learning rate of stage 1. See `nn::optim::Schedule`.
    ScheduleKind, "lr_schedule" { None = "none", Cosine = "cosine", Step = "step", Plateau = "plateau", OneCycle = "onecycle" });
choice!(
    /// How a summary becomes a movement. v6: the seed's, eight scaled features. closed-loop: ours, whole pixels and
    /// clock ticks, walking to its target.
    DecoderKind, "decoder" { V6 = "v6", ClosedLoop = "closed-loop" });
choice!(Preset, "preset" { Default = "default", Fast = "fast", Large = "large", Recommended = "recommended" });
choice!(
    /// What a movement is conditioned on, where the data set does not bring its own numbers.
    ConditionKind, "condition" { Straight = "straight", Path = "path" });

/// Architecture, both training stages, and generation. Names are the seed's where the seed has the setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    // Architecture: fixed for a model's life. Letters as in the shapes: F T L S N C.
    pub decoder: DecoderKind,
    pub feature_dim: usize,
    pub max_seq_len: usize,
    pub encoder_hidden_dim: usize,
    pub encoder_num_layers: usize,
    /// v6: of its LSTM decoder.
    pub decoder_hidden_dim: usize,
    pub decoder_num_layers: usize,
    /// Of encoder and v6's decoder: on the outputs of every LSTM layer but the last.
    pub lstm_dropout: f64,
    pub latent_dim: usize,
    pub summary_dim: usize,
    pub pool_type: Pool,
    /// attention: on what scores a step. The other poolers have none.
    pub pooler_dropout: f64,
    /// v6: the closed loop has a walker in place of expander and decoder, of the sizes and dropout that follow.
    pub expand_type: Expand,
    pub expander_hidden_dim: usize,
    pub expander_num_layers: usize,
    pub expander_dropout: f64,
    /// closed-loop: classes of a step's pixels along an axis, without its sign, and of its ticks.
    pub step_magnitudes: usize,
    pub tick_classes: usize,
    /// closed-loop: learnt profiles of a step's class around each class that a simple hand would draw; 0: none.
    pub step_profiles: usize,
    pub noise_dim: usize,
    pub condition_dim: usize,
    pub generator_type: GeneratorKind,
    pub generator_hidden_dims: Vec<usize>,
    pub generator_use_residual: bool,
    pub discriminator_type: CriticKind,
    /// Multiscale: each scale has two layers as wide as the first of these, with spectral norm.
    pub discriminator_hidden_dims: Vec<usize>,
    pub discriminator_use_spectral_norm: bool,
    pub discriminator_n_scales: usize,
    /// Of the initial weights.
    pub seed: u64,

    // Stage 1: the autoencoder.
    pub lr_autoencoder: f64,
    pub stage1_iterations: u64,
    /// v6: weights of the losses. The closed loop's are nats, which need none.
    pub lambda_recon: f64,
    pub lambda_latent: f64,
    pub lambda_direct: f64,
    /// v6: early stop: the direct loss, averaged over 100 iterations, must be below this.
    pub stage1_threshold: f64,
    /// Early stop: and must not have improved by 0.001 for so many iterations. closed-loop: this alone, of its loss.
    pub stage1_patience: u64,
    pub stage1_grad_clip: f64,
    pub stage1_weight_decay: f64,
    /// closed-loop: standard deviation of the noise on summaries, which are in [-1,1], while it trains and while it samples, so
    /// that it tolerates the generator's errors and its own: what a walk has drawn may contradict a summary that says too much.
    pub summary_noise: f64,
    pub optimizer: OptimizerKind,
    pub lr_schedule: ScheduleKind,
    /// cosine: iterations between warm restarts.
    pub lr_cosine_period: u64,
    /// step: iterations between decays, and the factor.
    pub lr_step_size: u64,
    pub lr_step_gamma: f64,
    /// plateau: log intervals without improvement before a decay, and the factor.
    pub lr_plateau_patience: u64,
    pub lr_plateau_factor: f64,

    // Stage 2: the WGAN-GP.
    pub lr_generator: f64,
    pub lr_discriminator: f64,
    pub n_critic: u32,
    pub lambda_gp: f64,
    pub lambda_fm: f64,
    pub use_feature_matching: bool,
    pub stage2_iterations: u64,
    pub adam_beta1: f64,
    pub adam_beta2: f64,
    pub stage2_grad_clip: f64,
    pub stage2_weight_decay: f64,
    /// Samples come from the average of the generator's weights: average <- this x average + (1 - this) x weights after
    /// every iteration, less of it at first. 0: from the weights as they are.
    pub generator_average: f64,
    /// Rows of a stage-2 batch; 0: batch_size.
    pub stage2_batch_size: usize,

    // Both stages.
    pub batch_size: usize,
    /// Iterations between progress lines, validation losses and checkpoints.
    pub log_interval: u64,
    pub eval_interval: u64,
    pub save_interval: u64,

    // Data.
    pub condition: ConditionKind,
    /// Training movements are also shown mirrored in x and in y, each with probability one half.
    pub augment_mirror: bool,
    /// Share of stage 1 in which mirrors are shown. Hands are not symmetric: what comes last should be as recorded. closed-loop:
    /// below 1 stage 2 learns from what was recorded alone; v6's always does.
    pub augment_mirror_share: f64,
    /// closed-loop: share of the training movements of stage 1 that are shown turned by any angle and scaled by about 20 %.
    /// The networks are told which and how, and learn what all directions have in common without taking them for the same.
    pub augment_turn: f64,
    /// v6: standard deviation of the noise on scaled features while stage 1 trains; none on the heading.
    pub augment_noise: f64,
    /// Quality filter: largest z-score of a movement's mean |feature|; 0 switches it off.
    pub quality_z: f64,
    pub quality_min_length: usize,

    // Generation.
    /// Below 1, noise is clamped to +-2 psi: closer to the average. Of `generate` and evaluation; paths and streams have 1.
    pub truncation_psi: f64,
    /// closed-loop: walks drawn for each movement, of which one is kept, the likelier the more often recordings are like it. What
    /// that is, is learnt at the end of stage 2, from 200 training movements or more, which takes seconds. 1: neither is done.
    pub candidates: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            decoder: DecoderKind::V6,
            feature_dim: 8,
            max_seq_len: 200,
            encoder_hidden_dim: 64,
            encoder_num_layers: 3,
            decoder_hidden_dim: 64,
            decoder_num_layers: 3,
            lstm_dropout: 0.2,
            latent_dim: 48,
            summary_dim: 96,
            pool_type: Pool::Attention,
            pooler_dropout: 0.1,
            expand_type: Expand::Lstm,
            expander_hidden_dim: 128,
            expander_num_layers: 2,
            expander_dropout: 0.1,
            step_magnitudes: 28,
            tick_classes: 12,
            step_profiles: 0,
            noise_dim: 128,
            condition_dim: 1,
            generator_type: GeneratorKind::Standard,
            generator_hidden_dims: vec![256, 256, 256],
            generator_use_residual: true,
            discriminator_type: CriticKind::Standard,
            discriminator_hidden_dims: vec![256, 256, 256],
            discriminator_use_spectral_norm: false,
            discriminator_n_scales: 3,
            seed: 0,
            lr_autoencoder: 1e-3,
            stage1_iterations: 15_000,
            lambda_recon: 1.0,
            lambda_latent: 0.5,
            lambda_direct: 1.0,
            stage1_threshold: 0.05,
            stage1_patience: 1000,
            stage1_grad_clip: 1.0,
            stage1_weight_decay: 1e-5,
            summary_noise: 0.6,
            optimizer: OptimizerKind::Adam,
            lr_schedule: ScheduleKind::None,
            lr_cosine_period: 5000,
            lr_step_size: 5000,
            lr_step_gamma: 0.5,
            lr_plateau_patience: 10,
            lr_plateau_factor: 0.5,
            lr_generator: 1e-4,
            lr_discriminator: 1e-4,
            n_critic: 5,
            lambda_gp: 10.0,
            lambda_fm: 1.0,
            use_feature_matching: true,
            stage2_iterations: 30_000,
            adam_beta1: 0.0,
            adam_beta2: 0.9,
            stage2_grad_clip: 1.0,
            stage2_weight_decay: 0.0,
            generator_average: 0.0,
            stage2_batch_size: 0,
            batch_size: 64,
            log_interval: 100,
            eval_interval: 1000,
            save_interval: 5000,
            condition: ConditionKind::Straight,
            augment_mirror: true,
            augment_mirror_share: 1.0,
            augment_turn: 0.0,
            augment_noise: 0.02,
            quality_z: 3.0,
            quality_min_length: 10,
            truncation_psi: 1.0,
            candidates: 1,
        }
    }
}

impl DecoderKind {
    /// The settings that are the other decoder's alone: those that `Config` marks with its name.
    pub fn unread(self) -> &'static [&'static str] {
        match self {
            DecoderKind::V6 => CLOSED_LOOP_ONLY,
            DecoderKind::ClosedLoop => V6_ONLY,
        }
    }
}

const V6_ONLY: &[&str] = &[
    "decoder_hidden_dim",
    "decoder_num_layers",
    "expand_type",
    "lambda_recon",
    "lambda_latent",
    "lambda_direct",
    "stage1_threshold",
    "augment_noise",
];

const CLOSED_LOOP_ONLY: &[&str] =
    &["step_magnitudes", "tick_classes", "step_profiles", "summary_noise", "augment_turn", "candidates"];

/// Bounds on what a config file or a model file may ask for, so that neither can exhaust the machine.
pub const MAX_DIM: usize = 4096;
pub const MAX_LAYERS: usize = 16;
pub const MAX_STEPS: usize = 4096;
pub const MAX_BATCH: usize = 65_536;
pub const MAX_CANDIDATES: u32 = 4096;
pub const MAX_PROFILES: usize = 16;

impl Config {
    /// Numbers that generator and critic see of a condition. closed-loop: log distance, direction cosine and sine.
    pub fn condition_inputs(&self) -> usize {
        match self.decoder {
            DecoderKind::V6 => self.condition_dim,
            DecoderKind::ClosedLoop => 3,
        }
    }

    /// Movements of a batch of stage 2.
    pub fn stage2_batch(&self) -> usize {
        if self.stage2_batch_size > 0 { self.stage2_batch_size } else { self.batch_size }
    }

    /// Names the first architecture setting in which the two differ.
    pub fn same_architecture(&self, other: &Config) -> Result<()> {
        let a = serde_json::to_value(self).unwrap_or_default();
        let b = serde_json::to_value(other).unwrap_or_default();
        for name in ARCHITECTURE {
            if a[name] != b[name] {
                return Err(Error::argument(*name, &b[name], format!("the model's {}", a[name])));
            }
        }
        Ok(())
    }
}

/// The settings that cannot change once a model exists.
const ARCHITECTURE: &[&str] = &[
    "decoder",
    "feature_dim",
    "max_seq_len",
    "encoder_hidden_dim",
    "encoder_num_layers",
    "decoder_hidden_dim",
    "decoder_num_layers",
    "latent_dim",
    "summary_dim",
    "pool_type",
    "expand_type",
    "expander_hidden_dim",
    "expander_num_layers",
    "step_magnitudes",
    "tick_classes",
    "step_profiles",
    "noise_dim",
    "condition_dim",
    "generator_type",
    "generator_hidden_dims",
    "generator_use_residual",
    "discriminator_type",
    "discriminator_hidden_dims",
    "discriminator_use_spectral_norm",
    "discriminator_n_scales",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_pass_their_own_check() {
        for &preset in Preset::ALL {
            Config::preset(preset).check().unwrap();
            Config::closed_loop(preset).check().unwrap();
        }
    }

    #[test]
    fn a_bad_setting_is_named() {
        let message = |c: Config| c.check().unwrap_err().to_string();
        assert_eq!(message(Config { latent_dim: 0, ..Config::default() }), "latent_dim is 0, expected 1 to 4096");
        let nan = Config { lambda_gp: f64::NAN, ..Config::default() };
        assert_eq!(message(nan), "lambda_gp is NaN, expected 0 or more");
        let hidden = Config { generator_hidden_dims: vec![8, 0], ..Config::default() };
        assert_eq!(message(hidden), "generator_hidden_dims[1] is 0, expected 1 to 4096");
        let scales = Config { discriminator_type: CriticKind::Multiscale, summary_dim: 3, ..Config::default() };
        assert_eq!(message(scales), "summary_dim is 3, expected 4 or more, halved 2 times");
    }

    #[test]
    fn names_of_settings_exist() {
        let all = serde_json::to_value(Config::default()).unwrap();
        for name in [ARCHITECTURE, V6_ONLY, CLOSED_LOOP_ONLY].concat() {
            assert!(all.get(name).is_some(), "{name}");
        }
    }
}
