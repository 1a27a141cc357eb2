//! Training: options, progress, callback.

use std::ffi::{c_char, c_void};
use std::path::Path;

use super::data::tg_dataset;
use super::guard::{Failure, guard, outside};
use super::handle;
use super::memory;
use super::model::tg_model;
use super::options::{self, Options, choose, code, flag};
use super::settings::preset;
use super::status::{tg_decoder, tg_preset, tg_status};
use crate::config::{Config, OptimizerKind, ScheduleKind};
use crate::model::Model;
use crate::train::{Control, Progress, Stage, TrainOptions};

/// Where training is. The library's; valid during the callback. May grow at its end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tg_progress {
    /// How much of this the library knows.
    pub struct_size: u32,
    /// TG_STAGE_*.
    pub stage: i32,
    /// Finished iterations of the stage, and how many it is to have.
    pub iteration: u64,
    pub iterations: u64,
    /// 1: early stopping has decided, this is the last iteration.
    pub converged: u32,
    /// 1: the validation losses below are of this iteration.
    pub validated: u32,
    /// Losses are averages over the last 100 iterations. Stage 1: total; stage 2: generator.
    pub loss: f64,
    /// Stage 1 of the v6 decoder only, else 0.
    pub direct: f64,
    pub recon: f64,
    pub latent: f64,
    /// Stage 1 of the closed loop only, else 0: nats per point, of classes: where in its class a step or time is, is not
    /// counted.
    pub step_nats: f64,
    pub tick_nats: f64,
    pub stop_nats: f64,
    /// Stage 2 only, else 0.
    pub critic: f64,
    pub wasserstein: f64,
    pub gradient_penalty: f64,
    /// Stage 1, of at most 256 movements of the validation split, without dropout and noise; 0 where validated is 0.
    pub validation_loss: f64,
    /// Direct, recon and latent, or nats of steps, ticks and stop.
    pub validation_parts: [f64; 3],
    pub learning_rate: f64,
    /// Since the call began.
    pub seconds: f64,
    pub iterations_per_second: f64,
}

/// Called after every iteration, on the thread that called tg_train_stage(); after the last of stage 2 again and again
/// with the same numbers, while the model learns to choose between candidates. Return 0 to go on, anything else to stop.
/// It must return normally (no exception, no longjmp). Calls on the model in training give TG_ERR_STATE; freeing it is
/// allowed and stops.
pub type tg_progress_fn = Option<unsafe extern "C" fn(progress: *const tg_progress, user_data: *mut c_void) -> i32>;

/// How one stage is trained. Fields marked 1 or 2 matter to that stage only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tg_train_options {
    pub struct_size: u32,
    /// CPU threads; 0: one per core.
    pub threads: u32,
    /// Same seed, same device: same weights, to the bit, whatever the threads.
    pub seed: u64,
    /// How many the stage is to have in all: less those that the model has had already are run.
    pub iterations: u64,
    /// In stage 2, 0 is stage 1's.
    pub batch_size: u32,
    /// 2: critic steps per generator step.
    pub n_critic: u32,
    /// 2: of the generator.
    pub learning_rate: f64,
    /// 2.
    pub critic_learning_rate: f64,
    /// Largest norm of a gradient.
    pub grad_clip: f64,
    pub weight_decay: f64,
    /// 1: TG_OPTIMIZER_*.
    pub optimizer: i32,
    /// 1: TG_SCHEDULE_*, and below its settings.
    pub schedule: i32,
    /// Iterations between restarts of the cosine.
    pub cosine_period: u64,
    /// Iterations between steps.
    pub step_size: u64,
    pub step_gamma: f64,
    /// Log intervals without improvement.
    pub plateau_patience: u64,
    pub plateau_factor: f64,
    /// 1: stop early when the loss has not improved for patience iterations: v6's direct loss, once it is below threshold;
    /// the closed loop's nats, whatever the threshold.
    pub threshold: f64,
    pub patience: u64,
    /// 1, v6.
    pub lambda_recon: f64,
    pub lambda_latent: f64,
    pub lambda_direct: f64,
    /// 2. lambda_fm 0 switches feature matching off.
    pub lambda_gp: f64,
    pub lambda_fm: f64,
    /// 2: of Adam. In stage 1 they are 0.9 and 0.999.
    pub beta1: f64,
    pub beta2: f64,
    /// 2: samples come from a running average of the generator's weights that keeps so much of itself; 0: from the
    /// weights as they are.
    pub generator_average: f64,
    /// Closed loop: standard deviation of the noise on summaries, in training and sampling.
    pub summary_noise: f64,
    /// 1: show movements mirrored, too: 0 or 1.
    pub augment_mirror: u32,
    /// Shortest movement that is used, in points.
    pub quality_min_length: u32,
    /// 1, v6: standard deviation of the noise on features.
    pub augment_noise: f64,
    /// Movements further out than so many standard deviations are not used; 0: all are.
    pub quality_z: f64,
    /// Iterations between averages for the history and the plateau schedule.
    pub log_interval: u64,
    /// Iterations between validations.
    pub eval_interval: u64,
    /// Iterations between checkpoints.
    pub save_interval: u64,
    /// Where checkpoints go, each in place of the one before: a file for tg_model_load(). NULL: nowhere. One that cannot
    /// be written ends the training with that error.
    pub checkpoint_path: *const c_char,
    /// May be NULL.
    pub on_progress: tg_progress_fn,
    /// Handed to on_progress, never read.
    pub user_data: *mut c_void,
    /// 1, closed loop: share of the movements that are shown turned by any angle and scaled, and marked as such: 0 to 1.
    pub augment_turn: f64,
    /// 2, closed loop: of how many walks batches keep one, 1 to 4096. What chooses is learnt at the end of the stage, from 200
    /// training movements or more, in seconds. 1: nothing is learnt; for all calls but the last of a training in many.
    pub candidates: u64,
    /// Share of stage 1, from its beginning, that shows movements mirrored: 0 to 1. Below 1, stage 2 does not.
    pub augment_mirror_share: f64,
}

// SAFETY: repr(C), of numbers and pointers only; the size below says that there is no padding.
unsafe impl Options for tg_train_options {
    const NAME: &'static str = "tg_train_options";

    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<tg_train_options>() == 8 * 4 + 33 * 8);

const OPTIMIZERS: [OptimizerKind; 3] = [OptimizerKind::Adam, OptimizerKind::AdamW, OptimizerKind::RAdam];
const SCHEDULES: [ScheduleKind; 5] =
    [ScheduleKind::None, ScheduleKind::Cosine, ScheduleKind::Step, ScheduleKind::Plateau, ScheduleKind::OneCycle];

impl tg_train_options {
    fn of(config: &Config, stage: Stage) -> tg_train_options {
        let (iterations, learning_rate, grad_clip, weight_decay) = match stage {
            Stage::Autoencoder => {
                (config.stage1_iterations, config.lr_autoencoder, config.stage1_grad_clip, config.stage1_weight_decay)
            }
            Stage::Gan => {
                (config.stage2_iterations, config.lr_generator, config.stage2_grad_clip, config.stage2_weight_decay)
            }
        };
        let batch_size = if stage == Stage::Gan { config.stage2_batch() } else { config.batch_size };
        tg_train_options {
            struct_size: 0,
            threads: 0,
            seed: config.seed,
            iterations,
            batch_size: batch_size as u32,
            n_critic: config.n_critic,
            learning_rate,
            critic_learning_rate: config.lr_discriminator,
            grad_clip,
            weight_decay,
            optimizer: code(config.optimizer, &OPTIMIZERS),
            schedule: code(config.lr_schedule, &SCHEDULES),
            cosine_period: config.lr_cosine_period,
            step_size: config.lr_step_size,
            step_gamma: config.lr_step_gamma,
            plateau_patience: config.lr_plateau_patience,
            plateau_factor: config.lr_plateau_factor,
            threshold: config.stage1_threshold,
            patience: config.stage1_patience,
            lambda_recon: config.lambda_recon,
            lambda_latent: config.lambda_latent,
            lambda_direct: config.lambda_direct,
            lambda_gp: config.lambda_gp,
            lambda_fm: if config.use_feature_matching { config.lambda_fm } else { 0.0 },
            beta1: config.adam_beta1,
            beta2: config.adam_beta2,
            generator_average: config.generator_average,
            summary_noise: config.summary_noise,
            augment_mirror: config.augment_mirror.into(),
            quality_min_length: config.quality_min_length as u32,
            augment_noise: config.augment_noise,
            quality_z: config.quality_z,
            log_interval: config.log_interval,
            eval_interval: config.eval_interval,
            save_interval: config.save_interval,
            checkpoint_path: std::ptr::null(),
            on_progress: None,
            user_data: std::ptr::null_mut(),
            augment_turn: config.augment_turn,
            candidates: config.candidates.into(),
            augment_mirror_share: config.augment_mirror_share,
        }
    }

    /// Going on needs the seed that the stage began with.
    fn of_model(model: &Model, stage: Stage) -> tg_train_options {
        let options = tg_train_options::of(model.config(), stage);
        match &model.stages()[stage as usize - 1] {
            begun if begun.iteration > 0 => tg_train_options { seed: begun.seed, ..options },
            _ => options,
        }
    }

    /// The model's settings with these in place of its own.
    fn config(&self, stage: Stage, model: &Config) -> Result<Config, Failure> {
        let mut config = Config {
            n_critic: self.n_critic,
            lr_discriminator: self.critic_learning_rate,
            optimizer: choose("optimizer", self.optimizer, &OPTIMIZERS)?,
            lr_schedule: choose("schedule", self.schedule, &SCHEDULES)?,
            lr_cosine_period: self.cosine_period,
            lr_step_size: self.step_size,
            lr_step_gamma: self.step_gamma,
            lr_plateau_patience: self.plateau_patience,
            lr_plateau_factor: self.plateau_factor,
            stage1_threshold: self.threshold,
            stage1_patience: self.patience,
            lambda_recon: self.lambda_recon,
            lambda_latent: self.lambda_latent,
            lambda_direct: self.lambda_direct,
            lambda_gp: self.lambda_gp,
            lambda_fm: self.lambda_fm,
            use_feature_matching: self.lambda_fm != 0.0,
            adam_beta1: self.beta1,
            adam_beta2: self.beta2,
            generator_average: self.generator_average,
            summary_noise: self.summary_noise,
            augment_mirror: flag("augment_mirror", self.augment_mirror)?,
            quality_min_length: self.quality_min_length as usize,
            augment_noise: self.augment_noise,
            augment_turn: self.augment_turn,
            augment_mirror_share: self.augment_mirror_share,
            candidates: options::candidates(self.candidates, "1 to 4096")?,
            quality_z: self.quality_z,
            log_interval: self.log_interval,
            eval_interval: self.eval_interval,
            save_interval: self.save_interval,
            ..model.clone()
        };
        match stage {
            Stage::Autoencoder => {
                config.batch_size = self.batch_size as usize;
                config.stage1_iterations = self.iterations;
                config.lr_autoencoder = self.learning_rate;
                config.stage1_grad_clip = self.grad_clip;
                config.stage1_weight_decay = self.weight_decay;
            }
            Stage::Gan => {
                config.stage2_batch_size = self.batch_size as usize;
                config.stage2_iterations = self.iterations;
                config.lr_generator = self.learning_rate;
                config.stage2_grad_clip = self.grad_clip;
                config.stage2_weight_decay = self.weight_decay;
            }
        }
        Ok(config)
    }
}

/// ---- training ----
///
/// Fills *out, which has struct_size bytes, for a TG_STAGE_*: with the settings of the model, those of its preset or
/// its file and, if it has begun the stage, the seed that going on needs; model NULL: those of the default preset of the
/// closed loop.
/// [shared] for model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_train_options_init(
    out: *mut tg_train_options,
    struct_size: usize,
    stage: i32,
    model: *const tg_model,
) -> tg_status {
    guard(|| {
        let stage = Stage::from_code(stage)?;
        let value = if model.is_null() {
            let config = preset(tg_preset::TG_PRESET_DEFAULT as i32, tg_decoder::TG_DECODER_CLOSED_LOOP as i32)?;
            tg_train_options::of(&config, stage)
        } else {
            // SAFETY: a handle of ours.
            let model = unsafe { handle::borrow(model, "model")? };
            model.handle.shared("tg_train_options_init", |model| Ok(tg_train_options::of_model(model, stage)))?
        };
        // SAFETY: out is the caller's, with the size it says.
        unsafe { options::write(out, struct_size, value) }
    })
}

/// Trains one stage, the autoencoder first. Called again, it goes on from where the model is; where nothing is left to do, it
/// sets what of the options is the model's all the same. Blocks until done, cancelled or failed. options NULL: the model's settings. [exclusive] for model, [shared] for data; a call that meets
/// another one on the model is refused with TG_ERR_STATE rather than kept waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_train_stage(
    model: *mut tg_model,
    data: *const tg_dataset,
    stage: i32,
    options: *const tg_train_options,
) -> tg_status {
    guard(|| {
        let stage = Stage::from_code(stage)?;
        // SAFETY: handles of ours.
        let (owner, data) = unsafe { (handle::borrow(model, "model")?, handle::borrow(data, "data")?) };
        owner.handle.exclusive("tg_train_stage", |model| {
            // SAFETY: options are the caller's, and so is the path in them.
            let (given, checkpoint) = unsafe {
                let given = options::read(options, tg_train_options::of_model(model, stage))?;
                let path = given.checkpoint_path;
                (given, (!path.is_null()).then(|| memory::path(path)).transpose()?)
            };
            let settings = TrainOptions {
                config: given.config(stage, model.config())?,
                threads: options::threads(given.threads)?,
                seed: given.seed,
            };
            let mut failed_save = None;
            let mut on_progress = |model: &Model, progress: &Progress| {
                if let Err(error) = save_if_due(model, progress, checkpoint) {
                    failed_save = Some(error);
                    return Control::Stop;
                }
                let stop = report(&given, progress) || owner.handle.is_freed();
                if stop { Control::Stop } else { Control::Continue }
            };
            let outcome = data.handle().shared("tg_train_stage", |contents| {
                Ok(model.train(&contents.data, stage, &settings, &mut on_progress).map(|_| ())?)
            });
            failed_save.map_or(outcome, Err)
        })
    })
}

fn save_if_due(model: &Model, progress: &Progress, path: Option<&Path>) -> Result<(), Failure> {
    match path {
        Some(path) if progress.save => Ok(model.save(path)?),
        _ => Ok(()),
    }
}

/// Tells the host. True: it wants to stop.
fn report(options: &tg_train_options, progress: &Progress) -> bool {
    let Some(callback) = options.on_progress else { return false };
    let [a, b, c, total] = progress.validation.unwrap_or_default();
    let [step_nats, tick_nats, stop_nats] = progress.nats.unwrap_or_default();
    let shown = tg_progress {
        struct_size: size_of::<tg_progress>() as u32,
        stage: progress.stage as i32,
        iteration: progress.iteration,
        iterations: progress.iterations,
        converged: progress.converged.into(),
        validated: progress.validation.is_some().into(),
        loss: progress.loss,
        direct: progress.direct,
        recon: progress.recon,
        latent: progress.latent,
        step_nats,
        tick_nats,
        stop_nats,
        critic: progress.critic,
        wasserstein: progress.wasserstein,
        gradient_penalty: progress.gradient_penalty,
        validation_loss: total,
        validation_parts: [a, b, c],
        learning_rate: progress.learning_rate,
        seconds: progress.seconds,
        iterations_per_second: progress.iterations_per_second,
    };
    // SAFETY: the callback and its data are the caller's; `shown` lives until it returns.
    outside(|| unsafe { callback(&raw const shown, options.user_data) }) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each has a value of its own, so that none can take another's place.
    #[test]
    fn every_setting_of_a_stage_survives_the_way_through_c() {
        let both = Config {
            n_critic: 7,
            lr_discriminator: 0.011,
            optimizer: OptimizerKind::RAdam,
            lr_schedule: ScheduleKind::Step,
            lr_cosine_period: 101,
            lr_step_size: 102,
            lr_step_gamma: 0.12,
            lr_plateau_patience: 103,
            lr_plateau_factor: 0.13,
            stage1_threshold: 0.14,
            stage1_patience: 104,
            lambda_recon: 0.15,
            lambda_latent: 0.16,
            lambda_direct: 0.17,
            lambda_gp: 0.18,
            lambda_fm: 0.19,
            adam_beta1: 0.21,
            adam_beta2: 0.22,
            generator_average: 0.23,
            summary_noise: 0.24,
            augment_mirror: false,
            quality_min_length: 105,
            augment_noise: 0.25,
            augment_turn: 0.26,
            augment_mirror_share: 0.261,
            candidates: 106,
            quality_z: 0.27,
            log_interval: 107,
            eval_interval: 108,
            save_interval: 109,
            ..Config::default()
        };
        let first = Config {
            batch_size: 110,
            stage1_iterations: 111,
            lr_autoencoder: 0.028,
            stage1_grad_clip: 0.29,
            stage1_weight_decay: 0.31,
            ..both.clone()
        };
        let second = Config {
            stage2_batch_size: 112,
            stage2_iterations: 113,
            lr_generator: 0.032,
            stage2_grad_clip: 0.33,
            stage2_weight_decay: 0.34,
            ..both
        };
        for (stage, wanted) in [(Stage::Autoencoder, first), (Stage::Gan, second)] {
            assert!(wanted.check().is_ok() && wanted.use_feature_matching);
            let options = tg_train_options::of(&wanted, stage);
            assert_eq!(options.config(stage, &Config::default()).unwrap(), wanted, "{stage:?}");
            // 0 is the switch of feature matching, which has a setting of its own in Rust.
            let without = Config { use_feature_matching: false, ..wanted };
            let back = tg_train_options::of(&without, stage).config(stage, &Config::default()).unwrap();
            assert_eq!((back.use_feature_matching, back.lambda_fm), (false, 0.0));
        }
    }
}
