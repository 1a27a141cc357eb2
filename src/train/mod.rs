//! Both training stages: the loop around their steps.

pub mod diagnose;
pub mod shards;
pub mod stage1;
pub mod stage2;
pub mod update;

mod autoencoder;
pub(crate) mod gan;

use std::fmt;
use std::time::Instant;

use crate::config::{Config, DecoderKind};
use crate::data::{Dataset, Prepared, Waste};
use crate::error::{Error, Result, afford};
use crate::model::{DataModel, Model, Networks, Record};
use crate::sample::candidates::fit_bytes;
pub use stage1::Losses;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Autoencoder = 1,
    Gan = 2,
}

impl Stage {
    pub fn from_code(code: i32) -> Result<Stage> {
        match code {
            1 => Ok(Stage::Autoencoder),
            2 => Ok(Stage::Gan),
            _ => Err(Error::argument("stage", code, "1 (autoencoder) or 2 (GAN)")),
        }
    }
}

/// What the progress callback says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    Continue,
    Stop,
}

/// How one stage is trained.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Training settings; what is architecture in it must equal the model's. Iterations are of the stage in all:
    /// a model that has done some of them does the rest.
    pub config: Config,
    /// 0: one per core. The result does not depend on it.
    pub threads: usize,
    pub seed: u64,
}

/// Where training is, after every iteration. Losses are averages over the last 100 iterations.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    pub stage: Stage,
    /// Iterations done, and to do in all.
    pub iteration: u64,
    pub iterations: u64,
    /// Early stopping has decided: this is the last iteration.
    pub converged: bool,
    /// A log interval ends here, or the stage.
    pub log: bool,
    /// A save interval ends here.
    pub save: bool,
    /// Stage 1: total; stage 2: generator.
    pub loss: f64,
    /// Stage 1 of the v6 decoder only.
    pub direct: f64,
    pub recon: f64,
    pub latent: f64,
    /// Stage 1 of the closed-loop decoder: nats a point for steps, ticks and the stop.
    pub nats: Option<[f64; 3]>,
    /// Stage 1: the losses in the order of [`stage1::Losses`] on the validation split, where an eval interval ends here.
    pub validation: Option<[f64; 4]>,
    /// Stage 2 only.
    pub critic: f64,
    pub wasserstein: f64,
    pub gradient_penalty: f64,
    pub learning_rate: f64,
    /// Since this call began.
    pub seconds: f64,
    pub iterations_per_second: f64,
}

impl Progress {
    /// Whether the stage has done all its iterations, told of the last, and now learns to choose between candidates: nothing else
    /// is new.
    pub fn is_choosing(&self) -> bool {
        self.iteration >= self.iterations && !self.log
    }
}

/// The seed's progress line.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "[Stage {}] Iter {:6}/{} | ", self.stage as u32, self.iteration, self.iterations)?;
        match self.stage {
            Stage::Autoencoder if let Some([steps, ticks, stop]) = self.nats => {
                write!(f, "Nats: {:.4} | Steps: {steps:.4} | Ticks: {ticks:.4} | Stop: {stop:.4}", self.loss)?;
            }
            Stage::Autoencoder => {
                write!(f, "Direct: {:.4} | Recon: {:.4} | Latent: {:.4}", self.direct, self.recon, self.latent)?;
            }
            Stage::Gan => write!(f, "D: {:.4} | G: {:.4} | W: {:.4}", self.critic, self.loss, self.wasserstein)?,
        }
        write!(f, " | {:.1} it/s", self.iterations_per_second)
    }
}

/// How a call of [`Model::train`] ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Iterations that the stage has done in all.
    pub iterations: u64,
    pub converged: bool,
    /// What padded batches would have cost in stage 1.
    pub waste: Waste,
}

/// Called after every iteration with the model as it is then; and while stage 2 learns to choose between candidates, after its
/// last iteration, again and again with the same numbers ([`Progress::is_choosing`]), at the end with `save` as before. What a
/// CUDA device trains, it brings back where a log, eval or save interval ends and when the call does: between those the weights are
/// older.
pub type OnProgress<'a> = dyn FnMut(&Model, &Progress) -> Control + 'a;

impl Model {
    /// Trains one stage, the autoencoder first. Called again, it goes on from where the model is. An autoencoder that goes on
    /// moves the latent space that the GAN has learnt in: [`Model::diagnose`] says so until the GAN has trained again, which
    /// then learns anew which candidates to choose.
    ///
    /// # Errors
    /// `Argument` for settings or data that do not fit the model; `State` for the GAN before the autoencoder;
    /// `Cancelled` when the callback said stop, with all finished iterations kept; `Diverged` when a loss is not
    /// finite, with the last finite weights kept.
    pub fn train(
        &mut self,
        data: &Dataset,
        stage: Stage,
        options: &TrainOptions,
        on_progress: &mut OnProgress,
    ) -> Result<Outcome> {
        options.config.check()?;
        self.config.same_architecture(&options.config)?;
        if stage == Stage::Gan && self.stages[0].iteration == 0 {
            let problem = "the autoencoder has not been trained: the GAN learns in its latent space".into();
            return Err(Error::State { call: "train", problem });
        }
        // The split is the model's, whatever seed others have: what it is tested on must not be learnt.
        let config = Config { seed: self.config.seed, ..options.config.clone() };
        let scaler = self.data.as_ref().and_then(|d| d.scaler.as_ref());
        let data = data.prepare(&config, scaler)?;
        let closed_loop = self.config.decoder == DecoderKind::ClosedLoop;
        if closed_loop && (0..data.train.len()).any(|i| data.train.movement(i).is_none()) {
            let expected = "recordings in pixels and milliseconds: the closed-loop decoder walks in those";
            return Err(Error::argument("data set", "arrays of features", expected));
        }
        afford(self.training_bytes(stage, &config, data.train.len(), options.threads), "training")?;
        // What this call alone sets goes with it if no iteration comes of it, and it fails or is the first.
        let k = stage as usize - 1;
        let iteration = self.stages[k].iteration;
        let (average, ratio) = (self.average.clone(), self.ratio.clone());
        let before = (self.config.clone(), self.data.clone(), self.stages[k].clone(), average, ratio);
        if config.summary_noise != self.config.summary_noise {
            self.ratio = None; // of other walks
        }
        let mut untaught = None;
        if self.data.is_none() {
            untaught = Some(self.weights.params.clone());
            self.data = Some(self.meet(&data, &config)?);
        }
        // From here on the model changes.
        self.networks = Networks::new(&config); // as they are, but for other dropout
        self.config = config;
        self.stages[k].seed = options.seed;
        self.stages[k].device = Some(self.backend.name());
        self.stages[k].after = (stage == Stage::Gan).then_some(self.stages[0].iteration);
        self.sampler = Default::default();
        let done = match stage {
            Stage::Autoencoder => self.train_autoencoder(&data, options, on_progress),
            Stage::Gan => self.train_gan(&data, options, on_progress),
        };
        let learnt_nothing = done.is_err() || before.1.is_none();
        let none_done = self.stages[k].iteration == iteration;
        if none_done {
            self.stages[k].clone_from(&before.2);
        } else if stage == Stage::Autoencoder {
            self.ratio = None; // of walks as they were
        }
        if learnt_nothing && none_done {
            (self.config, self.data, _, self.average, self.ratio) = before;
            self.networks = Networks::new(&self.config);
            if let Some(params) = untaught {
                self.weights.params = params;
            }
        }
        self.sampler = Default::default();
        done
    }

    /// What is known of data that are new to the model, and the weights that begin with it.
    fn meet(&mut self, data: &Prepared, config: &Config) -> Result<DataModel> {
        let known = DataModel::new(data, config)?;
        if let (Some(net), Some(codec)) = (self.networks.closed_loop(), &known.codec) {
            let movements = (0..data.train.len()).filter_map(|i| data.train.movement(i));
            let walks = movements.map(|movement| codec.encode(&movement.points));
            net.walker.begin_at_frequencies(&mut self.weights.params, walks, config.augment_mirror);
        }
        Ok(known)
    }

    /// More than a stage takes: gradients of every shard, moments, what a worker keeps of a shard's steps (some twenty
    /// numbers a unit), batches and summaries.
    fn training_bytes(&self, stage: Stage, c: &Config, movements: usize, threads: usize) -> usize {
        let batch = c.batch_size.max(c.stage2_batch_size);
        // The GAN begins with the summaries of all.
        let at_once = if stage == Stage::Gan { batch.max(movements) } else { batch };
        let shards = batch.div_ceil(shards::ROWS);
        let layers = c.encoder_num_layers * c.encoder_hidden_dim
            + 2 * c.decoder_num_layers * c.decoder_hidden_dim
            + 2 * c.expander_num_layers * c.expander_hidden_dim;
        let units = layers + 4 * (c.latent_dim + c.summary_dim);
        let arenas = self.parameters() * (shards + 4);
        let traces = shards::workers(threads, at_once) * shards::ROWS * c.max_seq_len * units * 20;
        // Of a walk inputs and classes, twice, or the summaries of its four images.
        let images = if c.decoder == DecoderKind::ClosedLoop { 4 } else { 1 };
        let latents = movements * images * 2 * (c.summary_dim + c.max_seq_len * c.feature_dim);
        let chooses = stage == Stage::Gan && c.decoder == DecoderKind::ClosedLoop && c.candidates > 1;
        let ratio = if chooses { fit_bytes(movements, c.max_seq_len) } else { 0 };
        ratio + 4 * (arenas + traces + latents + 4 * batch * c.max_seq_len * c.feature_dim)
    }

    /// Books an iteration that is done and asks whether to go on.
    fn report(&mut self, clock: &Clock, step: Done, on_progress: &mut OnProgress) -> Result<()> {
        let progress = self.progress(clock, &step);
        let (state, iteration) = (&mut self.stages[step.stage as usize - 1], progress.iteration);
        if progress.log || step.validation.is_some() {
            let losses = state.averages();
            state.record(Record { iteration, losses, rate: step.rate, validation: step.validation });
        }
        self.sampler = Default::default(); // the callback may sample: from the weights as they are now
        self.ask(&progress, on_progress)
    }

    fn ask(&self, progress: &Progress, on_progress: &mut OnProgress) -> Result<()> {
        match on_progress(self, progress) {
            Control::Continue => Ok(()),
            Control::Stop => Err(Error::Cancelled { iteration: progress.iteration }),
        }
    }

    /// What is said of the iteration that the stage has done last.
    fn progress(&self, clock: &Clock, step: &Done) -> Progress {
        let (c, state) = (&self.config, &self.stages[step.stage as usize - 1]);
        let iteration = state.iteration;
        let last = iteration == step.iterations || step.converged;
        let [a, b, third, fourth] = state.averages();
        let first_stage = step.stage == Stage::Autoencoder;
        let v6 = first_stage && c.decoder == DecoderKind::V6;
        let only = |wanted: bool, value: f64| if wanted { value } else { 0.0 };
        let seconds = clock.start.elapsed().as_secs_f64();
        Progress {
            stage: step.stage,
            iteration,
            iterations: step.iterations,
            converged: step.converged,
            log: iteration.is_multiple_of(c.log_interval) || last,
            save: iteration.is_multiple_of(c.save_interval),
            loss: if first_stage { fourth } else { b },
            direct: only(v6, a),
            recon: only(v6, b),
            latent: only(v6, third),
            nats: (first_stage && !v6).then_some([a, b, third]),
            validation: step.validation,
            critic: only(!first_stage, a),
            wasserstein: only(!first_stage, third),
            gradient_penalty: only(!first_stage, fourth),
            learning_rate: step.rate,
            seconds,
            iterations_per_second: (iteration - clock.first) as f64 / seconds.max(1e-9),
        }
    }
}

/// The next iteration after which the callback may want the model: to log, to look at it, or to save it.
fn next_look(c: &Config, iteration: u64) -> u64 {
    let ends = [c.log_interval, c.eval_interval, c.save_interval].map(|every| (iteration / every + 1) * every);
    ends.into_iter().fold(u64::MAX, u64::min)
}

/// Whether the callback may want the model after an iteration.
fn is_looked_at(c: &Config, iteration: u64) -> bool {
    next_look(c, iteration - 1) == iteration
}

/// When a call began, and at which iteration.
struct Clock {
    start: Instant,
    first: u64,
}

impl Clock {
    fn new(first: u64) -> Clock {
        Clock { start: Instant::now(), first }
    }
}

/// An iteration that is done.
struct Done {
    stage: Stage,
    iterations: u64,
    converged: bool,
    rate: f64,
    validation: Option<[f64; 4]>,
}
