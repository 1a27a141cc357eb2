//! Settings to start from.

use super::{Config, DecoderKind, OptimizerKind, Pool, Preset, ScheduleKind};

impl Config {
    /// A preset of a decoder.
    pub fn of(decoder: DecoderKind, preset: Preset) -> Config {
        match decoder {
            DecoderKind::V6 => Config::preset(preset),
            DecoderKind::ClosedLoop => Config::closed_loop(preset),
        }
    }

    /// The original's, for the v6 decoder.
    pub fn preset(preset: Preset) -> Config {
        let base = Config::default();
        match preset {
            Preset::Default => base,
            Preset::Fast => Config {
                latent_dim: 32,
                summary_dim: 64,
                noise_dim: 64,
                generator_hidden_dims: vec![128, 128],
                discriminator_hidden_dims: vec![128, 128],
                expander_hidden_dim: 64,
                stage1_iterations: 5000,
                stage2_iterations: 10_000,
                batch_size: 32,
                ..base
            },
            Preset::Large => Config {
                latent_dim: 64,
                summary_dim: 128,
                noise_dim: 256,
                generator_hidden_dims: vec![512, 512, 256],
                discriminator_hidden_dims: vec![512, 512, 256],
                expander_hidden_dim: 256,
                expander_num_layers: 3,
                stage1_iterations: 20_000,
                stage2_iterations: 50_000,
                ..base
            },
            // What the seed recommends when the loss plateaus.
            Preset::Recommended => {
                Config { latent_dim: 64, summary_dim: 192, pool_type: Pool::Hybrid, lr_autoencoder: 5e-4, ..base }
            }
        }
    }

    /// A preset for the closed-loop decoder. Its loss is a likelihood in nats, its data pixels and ticks, so it has
    /// settings of its own; the presets differ in width and in how long they train. Nothing is filtered: what is unusual
    /// has classes too, and a model that has not seen short or wild movements is told by their absence.
    pub fn closed_loop(preset: Preset) -> Config {
        let base = Config {
            decoder: DecoderKind::ClosedLoop,
            encoder_hidden_dim: 96,
            encoder_num_layers: 2,
            lstm_dropout: 0.1,
            summary_dim: 32,
            pool_type: Pool::Hybrid,
            step_profiles: 4,
            lr_autoencoder: 4e-3,
            stage1_iterations: 20_000,
            stage1_weight_decay: 1e-4,
            optimizer: OptimizerKind::AdamW,
            lr_schedule: ScheduleKind::OneCycle,
            // Never, in effect: the last iterations of onecycle are the best.
            stage1_patience: 1_000_000,
            augment_turn: 0.5,
            lr_generator: 2e-4,
            lr_discriminator: 2e-4,
            generator_average: 0.999,
            stage2_iterations: 10_000,
            stage2_batch_size: 128,
            quality_z: 0.0,
            quality_min_length: 3,
            candidates: 4,
            ..Config::default()
        };
        match preset {
            Preset::Default | Preset::Recommended => base,
            Preset::Fast => Config {
                encoder_hidden_dim: 64,
                expander_hidden_dim: 64,
                generator_hidden_dims: vec![128, 128],
                discriminator_hidden_dims: vec![128, 128],
                noise_dim: 64,
                stage1_iterations: 4000,
                stage2_iterations: 2000,
                ..base
            },
            Preset::Large => {
                Config { expander_hidden_dim: 256, stage1_iterations: 30_000, stage2_iterations: 20_000, ..base }
            }
        }
    }
}
