//! Option structs of models and samples, and their counterparts in Rust.

use super::guard::Failure;
use super::options::{Options, choose, code, flag};
use super::status::TG_MAX_LAYERS;
use crate::config::{ConditionKind, Config, CriticKind, DecoderKind, Expand, GeneratorKind, Pool, Preset};
use crate::sample::SampleOptions;

/// What a model is: fixed for its life and stored in its file.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tg_model_options {
    pub struct_size: u32,
    /// TG_PRESET_*, as given to the _init: with decoder it says which settings training begins with.
    pub preset: i32,
    /// Of the initial weights.
    pub seed: u64,
    /// Numbers per movement that say what is wanted. 1: the distance in pixels, which is all that the closed loop takes.
    pub condition_dim: u32,
    /// Numbers per point: 8. Others are for models of feature arrays, which know no pixels.
    pub feature_dim: u32,
    pub max_seq_len: u32,
    pub latent_dim: u32,
    pub summary_dim: u32,
    pub noise_dim: u32,
    pub encoder_hidden_dim: u32,
    pub encoder_num_layers: u32,
    /// v6 only.
    pub decoder_hidden_dim: u32,
    pub decoder_num_layers: u32,
    /// v6: of the LSTM from the summary to the decoder; closed loop: of the walker.
    pub expander_hidden_dim: u32,
    pub expander_num_layers: u32,
    /// TG_POOL_*, TG_EXPAND_* (v6 only), TG_GENERATOR_*, TG_CRITIC_*.
    pub pool: i32,
    pub expand: i32,
    pub generator: i32,
    pub critic: i32,
    /// 0 ends the list.
    pub generator_hidden_dims: [u32; TG_MAX_LAYERS],
    /// The same; of the multiscale critic the first counts alone: each scale has two layers as wide, always with spectral norm.
    pub critic_hidden_dims: [u32; TG_MAX_LAYERS],
    /// TG_DECODER_*, as given to the _init.
    pub decoder: i32,
    /// TG_CONDITION_*.
    pub condition: i32,
    /// Closed loop: classes of a step's pixels along an axis, without its sign, and of its ticks.
    pub step_magnitudes: u32,
    pub tick_classes: u32,
    /// 0 or 1.
    pub critic_spectral_norm: u32,
    /// Of the multiscale critic.
    pub critic_scales: u32,
    pub lstm_dropout: f64,
    /// Of TG_POOL_ATTENTION; the others have none.
    pub pooler_dropout: f64,
    pub expander_dropout: f64,
    /// Closed loop: learnt profiles around each anchor of a step; 0: none.
    pub step_profiles: u64,
}

/// How movements are drawn.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tg_sample_options {
    pub struct_size: u32,
    /// CPU threads; 0: one per core. The default is 1.
    pub threads: u32,
    /// Same seed, same movements, whatever the threads.
    pub seed: u64,
    /// Index of the first movement. Movement i is a function of model, seed and i alone, so that many calls or machines
    /// can share the work. Candidates of movement i are what movements i + 2^40, i + 2 * 2^40 ... would be if they were asked
    /// for what it is.
    pub first: u64,
    /// Points per movement, 2 .. max_seq_len; 0, the default and all that the closed loop takes: as many as the model
    /// finds right for the condition.
    pub seq_len: u64,
    /// 1: as learnt; below 1: closer to the average. 0, the default: as the model's settings say.
    pub truncation_psi: f64,
    /// Closed loop: 1: as learnt; below 1: likelier steps, likelier times.
    pub step_temperature: f64,
    pub time_temperature: f64,
    /// 0 or 1: on a GPU the v6 decoder may use TF32 in products of matrices. Features of a trained model were off by 2e-5
    /// on average, 4e-3 at worst.
    pub allow_tf32: u32,
    /// Closed loop: walks drawn for each movement, of which one is kept, the likelier the more often recordings are like it:
    /// 1, the fastest, to 4096. 0, the default: the model's own number (4), or 1 of a model that cannot choose; 2 or more of
    /// one: TG_ERR_STATE.
    pub candidates: u32,
    /// 0 or 1: on a processor with Intel's AMX, under Linux, the v6 decoder may round factors of products to 16 bits of mantissa:
    /// many movements take half the time. Features of a trained model were off by 2e-7 on average, 2e-5 at worst. The first such call
    /// asks the system to let the process use tiles: from then on, until it ends, sigaltstack() refuses stacks below some 11 KB. Where
    /// it does not let it, as where a thread has such a stack already, and on other processors nothing is rounded.
    pub allow_amx: u64,
}

// SAFETY: repr(C), of numbers only; the sizes below say that there is no padding.
unsafe impl Options for tg_model_options {
    const NAME: &'static str = "tg_model_options";

    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

// SAFETY: as above.
unsafe impl Options for tg_sample_options {
    const NAME: &'static str = "tg_sample_options";

    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

const _: () = assert!(size_of::<tg_model_options>() == 2 * 4 + 8 + 16 * 4 + 2 * TG_MAX_LAYERS * 4 + 6 * 4 + 4 * 8);
const _: () = assert!(size_of::<tg_sample_options>() == 2 * 4 + 6 * 8 + 2 * 4 + 8);

const POOLS: [Pool; 4] = [Pool::Attention, Pool::Mean, Pool::Last, Pool::Hybrid];
const EXPANDS: [Expand; 3] = [Expand::Lstm, Expand::Mlp, Expand::Repeat];
/// With and without residual connections.
const GENERATORS: [(GeneratorKind, bool); 3] =
    [(GeneratorKind::Standard, true), (GeneratorKind::Standard, false), (GeneratorKind::Film, true)];
const CRITICS: [CriticKind; 3] = [CriticKind::Standard, CriticKind::Projection, CriticKind::Multiscale];
const PRESETS: [Preset; 4] = [Preset::Default, Preset::Fast, Preset::Large, Preset::Recommended];

const DECODERS: [DecoderKind; 2] = [DecoderKind::ClosedLoop, DecoderKind::V6];
const CONDITIONS: [ConditionKind; 2] = [ConditionKind::Straight, ConditionKind::Path];

/// Of a TG_PRESET_* for a TG_DECODER_*.
pub(super) fn preset(preset: i32, decoder: i32) -> Result<Config, Failure> {
    let preset = choose("preset", preset, &PRESETS)?;
    Ok(Config::of(choose("decoder", decoder, &DECODERS)?, preset))
}

impl tg_model_options {
    /// `struct_size` is left to whoever hands it out.
    pub(super) fn of(config: &Config, preset: i32) -> tg_model_options {
        let kind = match config.generator_type {
            GeneratorKind::Film => (GeneratorKind::Film, true),
            kind => (kind, config.generator_use_residual),
        };
        tg_model_options {
            struct_size: 0,
            preset,
            seed: config.seed,
            condition_dim: config.condition_dim as u32,
            feature_dim: config.feature_dim as u32,
            max_seq_len: config.max_seq_len as u32,
            latent_dim: config.latent_dim as u32,
            summary_dim: config.summary_dim as u32,
            noise_dim: config.noise_dim as u32,
            encoder_hidden_dim: config.encoder_hidden_dim as u32,
            encoder_num_layers: config.encoder_num_layers as u32,
            decoder_hidden_dim: config.decoder_hidden_dim as u32,
            decoder_num_layers: config.decoder_num_layers as u32,
            expander_hidden_dim: config.expander_hidden_dim as u32,
            expander_num_layers: config.expander_num_layers as u32,
            pool: code(config.pool_type, &POOLS),
            expand: code(config.expand_type, &EXPANDS),
            generator: code(kind, &GENERATORS),
            critic: code(config.discriminator_type, &CRITICS),
            generator_hidden_dims: widths(&config.generator_hidden_dims),
            critic_hidden_dims: widths(&config.discriminator_hidden_dims),
            decoder: code(config.decoder, &DECODERS),
            condition: code(config.condition, &CONDITIONS),
            step_magnitudes: config.step_magnitudes as u32,
            tick_classes: config.tick_classes as u32,
            critic_spectral_norm: config.discriminator_use_spectral_norm.into(),
            critic_scales: config.discriminator_n_scales as u32,
            lstm_dropout: config.lstm_dropout,
            pooler_dropout: config.pooler_dropout,
            expander_dropout: config.expander_dropout,
            step_profiles: config.step_profiles as u64,
        }
    }

    /// Sizes are checked by `Config::check`, which the model calls.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let (generator_type, generator_use_residual) = choose("generator", self.generator, &GENERATORS)?;
        Ok(Config {
            seed: self.seed,
            condition_dim: self.condition_dim as usize,
            feature_dim: self.feature_dim as usize,
            max_seq_len: self.max_seq_len as usize,
            latent_dim: self.latent_dim as usize,
            summary_dim: self.summary_dim as usize,
            noise_dim: self.noise_dim as usize,
            encoder_hidden_dim: self.encoder_hidden_dim as usize,
            encoder_num_layers: self.encoder_num_layers as usize,
            decoder_hidden_dim: self.decoder_hidden_dim as usize,
            decoder_num_layers: self.decoder_num_layers as usize,
            expander_hidden_dim: self.expander_hidden_dim as usize,
            expander_num_layers: self.expander_num_layers as usize,
            pool_type: choose("pool", self.pool, &POOLS)?,
            expand_type: choose("expand", self.expand, &EXPANDS)?,
            generator_type,
            generator_use_residual,
            discriminator_type: choose("critic", self.critic, &CRITICS)?,
            generator_hidden_dims: list(&self.generator_hidden_dims),
            discriminator_hidden_dims: list(&self.critic_hidden_dims),
            discriminator_use_spectral_norm: flag("critic_spectral_norm", self.critic_spectral_norm)?,
            discriminator_n_scales: self.critic_scales as usize,
            lstm_dropout: self.lstm_dropout,
            pooler_dropout: self.pooler_dropout,
            expander_dropout: self.expander_dropout,
            condition: choose("condition", self.condition, &CONDITIONS)?,
            step_magnitudes: self.step_magnitudes as usize,
            tick_classes: self.tick_classes as usize,
            step_profiles: self.step_profiles as usize,
            ..preset(self.preset, self.decoder)?
        })
    }
}

impl Default for tg_sample_options {
    fn default() -> Self {
        let own = SampleOptions::default();
        tg_sample_options {
            struct_size: 0,
            threads: own.threads as u32,
            seed: own.seed,
            first: own.first,
            seq_len: own.seq_len as u64,
            truncation_psi: 0.0,
            step_temperature: own.step_temperature,
            time_temperature: own.time_temperature,
            allow_tf32: own.allow_tf32.into(),
            candidates: own.candidates,
            allow_amx: own.allow_amx.into(),
        }
    }
}

/// Config::check keeps lists within TG_MAX_LAYERS.
fn widths(list: &[usize]) -> [u32; TG_MAX_LAYERS] {
    let mut widths = [0; TG_MAX_LAYERS];
    widths.iter_mut().zip(list).for_each(|(to, from)| *to = *from as u32);
    widths
}

fn list(widths: &[u32]) -> Vec<usize> {
    widths.iter().take_while(|w| **w != 0).map(|w| *w as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_survives_the_way_through_c() {
        for (i, &kind) in PRESETS.iter().enumerate() {
            for config in [Config::preset(kind), Config::closed_loop(kind)] {
                let config = Config { seed: 7, ..config };
                assert_eq!(tg_model_options::of(&config, i as i32).config().unwrap(), config);
            }
        }
        let other = Config {
            generator_type: GeneratorKind::Film,
            discriminator_type: CriticKind::Multiscale,
            discriminator_use_spectral_norm: true,
            generator_hidden_dims: vec![3; TG_MAX_LAYERS],
            condition_dim: 3,
            condition: ConditionKind::Path,
            step_profiles: 9,
            ..Config::default()
        };
        assert_eq!(tg_model_options::of(&other, 0).config().unwrap(), other);
        assert_eq!(TG_MAX_LAYERS, crate::config::MAX_LAYERS);
    }

    #[test]
    fn unknown_numbers_are_named() {
        let options = tg_model_options::of(&Config::default(), 0);
        let message = |o: tg_model_options| o.config().unwrap_err().message;
        assert_eq!(message(tg_model_options { pool: 4, ..options }), "pool is 4, expected 0 to 3");
        assert_eq!(message(tg_model_options { critic: -1, ..options }), "critic is -1, expected 0 to 2");
        let flag = tg_model_options { critic_spectral_norm: 2, ..options };
        assert_eq!(message(flag), "critic_spectral_norm is 2, expected 0 or 1");
    }
}
