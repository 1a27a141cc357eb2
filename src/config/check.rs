//! What settings may be.

use super::{
    Config, CriticKind, DecoderKind, MAX_BATCH, MAX_CANDIDATES, MAX_DIM, MAX_LAYERS, MAX_PROFILES, MAX_STEPS, Pool,
};
use crate::error::{Error, Result};

impl Config {
    /// Names the first setting that is out of range.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("feature_dim", self.feature_dim, MAX_DIM),
            ("max_seq_len", self.max_seq_len, MAX_STEPS),
            ("encoder_hidden_dim", self.encoder_hidden_dim, MAX_DIM),
            ("encoder_num_layers", self.encoder_num_layers, MAX_LAYERS),
            ("decoder_hidden_dim", self.decoder_hidden_dim, MAX_DIM),
            ("decoder_num_layers", self.decoder_num_layers, MAX_LAYERS),
            ("latent_dim", self.latent_dim, MAX_DIM),
            ("summary_dim", self.summary_dim, MAX_DIM),
            ("expander_hidden_dim", self.expander_hidden_dim, MAX_DIM),
            ("expander_num_layers", self.expander_num_layers, MAX_LAYERS),
            ("noise_dim", self.noise_dim, MAX_DIM),
            ("condition_dim", self.condition_dim, MAX_DIM),
            ("generator_hidden_dims.len", self.generator_hidden_dims.len(), MAX_LAYERS),
            ("discriminator_hidden_dims.len", self.discriminator_hidden_dims.len(), MAX_LAYERS),
            ("discriminator_n_scales", self.discriminator_n_scales, MAX_LAYERS),
            ("batch_size", self.batch_size, MAX_BATCH),
            ("n_critic", self.n_critic as usize, 1000),
            ("candidates", self.candidates as usize, MAX_CANDIDATES as usize),
        ];
        for (name, value, most) in sizes {
            if !(1..=most).contains(&value) {
                return Err(Error::argument(name, value, format!("1 to {most}")));
            }
        }
        let lists = [
            ("generator_hidden_dims", &self.generator_hidden_dims),
            ("discriminator_hidden_dims", &self.discriminator_hidden_dims),
        ];
        for (name, widths) in lists {
            for (i, &width) in widths.iter().enumerate() {
                if !(1..=MAX_DIM).contains(&width) {
                    return Err(Error::argument(format!("{name}[{i}]"), width, format!("1 to {MAX_DIM}")));
                }
            }
        }
        self.check_numbers()?;
        self.check_combinations()
    }

    fn check_numbers(&self) -> Result<()> {
        let below_one = [
            ("lstm_dropout", self.lstm_dropout),
            ("pooler_dropout", self.pooler_dropout),
            ("expander_dropout", self.expander_dropout),
            ("adam_beta1", self.adam_beta1),
            ("adam_beta2", self.adam_beta2),
            ("generator_average", self.generator_average),
        ];
        for (name, value) in below_one {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::argument(name, value, "0 or more and below 1"));
            }
        }
        let positive = [
            ("stage1_grad_clip", self.stage1_grad_clip),
            ("stage2_grad_clip", self.stage2_grad_clip),
            ("truncation_psi", self.truncation_psi),
        ];
        for (name, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::argument(name, value, "a number above 0"));
            }
        }
        let rates = [
            ("lr_autoencoder", self.lr_autoencoder),
            ("lr_generator", self.lr_generator),
            ("lr_discriminator", self.lr_discriminator),
        ];
        for (name, value) in rates {
            // A step moves a weight by about the rate: beyond this finite gradients could make infinite weights.
            if !(value > 0.0 && value <= 10.0) {
                return Err(Error::argument(name, value, "above 0, up to 10"));
            }
        }
        let not_negative = [
            ("lambda_recon", self.lambda_recon),
            ("lambda_latent", self.lambda_latent),
            ("lambda_direct", self.lambda_direct),
            ("lambda_gp", self.lambda_gp),
            ("lambda_fm", self.lambda_fm),
            ("stage1_threshold", self.stage1_threshold),
            ("summary_noise", self.summary_noise),
            ("augment_noise", self.augment_noise),
            ("quality_z", self.quality_z),
        ];
        for (name, value) in not_negative {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::argument(name, value, "0 or more"));
            }
        }
        let shares = [
            ("augment_mirror_share", self.augment_mirror_share),
            ("augment_turn", self.augment_turn),
            ("stage1_weight_decay", self.stage1_weight_decay),
            ("stage2_weight_decay", self.stage2_weight_decay),
            ("lr_step_gamma", self.lr_step_gamma),
            ("lr_plateau_factor", self.lr_plateau_factor),
        ];
        for (name, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::argument(name, value, "0 to 1"));
            }
        }
        let intervals = [
            ("lr_cosine_period", self.lr_cosine_period),
            ("lr_step_size", self.lr_step_size),
            ("log_interval", self.log_interval),
            ("eval_interval", self.eval_interval),
            ("save_interval", self.save_interval),
        ];
        for (name, value) in intervals {
            if value == 0 {
                return Err(Error::argument(name, value, "1 or more"));
            }
        }
        Ok(())
    }

    fn check_combinations(&self) -> Result<()> {
        for (name, classes) in [("step_magnitudes", self.step_magnitudes), ("tick_classes", self.tick_classes)] {
            if !(2..=128).contains(&classes) {
                return Err(Error::argument(name, classes, "2 to 128"));
            }
        }
        if self.step_profiles > MAX_PROFILES {
            return Err(Error::argument("step_profiles", self.step_profiles, format!("0 to {MAX_PROFILES}")));
        }
        if self.stage2_batch_size > MAX_BATCH {
            return Err(Error::argument("stage2_batch_size", self.stage2_batch_size, format!("0 to {MAX_BATCH}")));
        }
        if self.decoder == DecoderKind::ClosedLoop && self.condition_dim != 1 {
            return Err(Error::argument(
                "condition_dim",
                self.condition_dim,
                "1 with the closed-loop decoder: the distance",
            ));
        }
        if self.decoder == DecoderKind::ClosedLoop && self.max_seq_len < 3 {
            return Err(Error::argument("max_seq_len", self.max_seq_len, "3 or more with the closed-loop decoder"));
        }
        if self.pool_type == Pool::Attention && self.latent_dim < 2 {
            return Err(Error::argument("latent_dim", self.latent_dim, "2 or more with attention pooling"));
        }
        let least = 1 << (self.discriminator_n_scales - 1);
        if self.discriminator_type == CriticKind::Multiscale && self.summary_dim < least {
            let expected = format!("{least} or more, halved {} times", self.discriminator_n_scales - 1);
            return Err(Error::argument("summary_dim", self.summary_dim, expected));
        }
        Ok(())
    }
}
