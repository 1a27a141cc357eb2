//! The training that `train`, `resume` and `demo` share: stages with progress, checkpoints, log and Ctrl-C.

use std::collections::HashSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use trajgan::config::DecoderKind;
use trajgan::report::plot::losses;
use trajgan::report::tracks::drawable;
use trajgan::report::{Board, Picture};
use trajgan::train::diagnose::{Diagnosis, Evidence, Trouble, diagnose, diagnose_error};
use trajgan::{Config, Control, Dataset, Error, Model, Outcome, Progress, SampleOptions, Stage, TrainOptions};

use crate::console::{self, Console, Meter, shown};
use crate::failure::{Failure, Result};
use crate::output::Order;
use crate::plot;
use crate::run_folder::{Log, RunFolder};

/// Samples that a finished run leaves behind, as the original's n_samples.
const SAMPLES: usize = 100;

/// Pairs in its picture.
const ROWS: usize = 5;

pub struct Job<'a> {
    pub model: Model,
    pub data: &'a Dataset,
    pub config: Config,
    pub stages: Vec<Stage>,
    /// Of each stage in `stages`.
    pub seeds: Vec<u64>,
    pub threads: usize,
    pub folder: RunFolder,
    pub console: Console,
}

impl Job<'_> {
    /// Trains, and gives the result for programs. A run that was stopped is a failure that says how to go on.
    pub fn run(&mut self) -> Result<Value> {
        console::watch_interrupts()?;
        let _alone = self.folder.alone()?;
        self.console.line(&format!("Run folder: {}", self.folder.path().display()));
        let mut summary = json!({ "run": shown(self.folder.path()), "interrupted": false });
        for (stage, seed) in self.stages.clone().into_iter().zip(self.seeds.clone()) {
            let outcome = self.stage(stage, seed)?;
            let path = self.folder.model(&format!("stage{}_final", stage as u32));
            self.model.save(&path)?;
            self.tell(stage, &outcome);
            let state = &self.model.stages()[stage as usize - 1];
            summary[format!("stage{}", stage as u32)] = json!({
                "iterations": outcome.iterations,
                "converged": outcome.converged,
                "losses": state.averages(),
                "checkpoint": shown(&path),
            });
        }
        if self.stages.last() == Some(&Stage::Gan) {
            let path = self.folder.model("final");
            self.model.save(&path)?;
            let samples = self.folder.samples();
            let options = SampleOptions { threads: self.threads, ..self.model.sample_options() };
            let order = Order { model: &self.model, count: SAMPLES, conditions: None, options, features: false };
            order.write(&samples)?;
            self.console.line(&format!("Model: {}", path.display()));
            self.console.line(&format!("Samples: {}", samples.display()));
            (summary["model"], summary["samples"]) = (json!(shown(&path)), json!(shown(&samples)));
        }
        summary["pictures"] = json!(self.pictures()?.iter().map(|path| shown(path)).collect::<Vec<_>>());
        summary["diagnosis"] = json!(self.model.diagnose());
        Ok(summary)
    }

    fn stage(&mut self, stage: Stage, seed: u64) -> Result<Outcome> {
        self.warn_if_not_as_before(stage);
        let options = TrainOptions { config: self.config.clone(), threads: self.threads, seed };
        let meter = self.console.meter();
        let mut watcher = Watcher {
            folder: &self.folder,
            log: self.folder.log()?,
            board: Board::create(&self.folder.logs(), self.data)?,
            meter: &meter,
            told: HashSet::new(),
            failed: None,
        };
        let done = self.model.train(self.data, stage, &options, &mut |model, progress| watcher.look(model, progress));
        meter.finish();
        let (failed, mut log) = (watcher.failed.take(), watcher.log);
        if let Some(failure) = failed {
            return self.leave(stage, failure.message());
        }
        match done {
            Ok(outcome) => Ok(outcome),
            Err(Error::Cancelled { iteration }) => self.leave(stage, &format!("stopped after iteration {iteration}")),
            Err(error @ Error::Diverged { .. }) => {
                if let Some(diagnosis) = diagnose_error(&error, &self.config) {
                    self.console.line(&diagnosis.to_string());
                    log.write_failure(stage, &diagnosis).map_err(|e| Failure::io(self.folder.path(), e))?;
                }
                self.leave(stage, &error.to_string())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// An exported model has none of the optimisers' state, and another device makes other last bits.
    fn warn_if_not_as_before(&self, stage: Stage) {
        let model = &self.model;
        let of_stage = |name: &&str| {
            (name.starts_with("generator.") || name.starts_with("discriminator.")) == (stage == Stage::Gan)
        };
        let lacks = |name: &str| model.remembered_gradient(name).is_none();
        let state = &model.stages()[stage as usize - 1];
        let warn = |how: &str| {
            let (stage, iteration) = (stage as u32, state.iteration);
            let start = format!("Stage {stage} goes on from iteration {iteration}");
            self.console.line(&format!("{start} {how}: not as if it had never stopped."));
        };
        if state.iteration > 0 && model.parameter_names().filter(of_stage).any(lacks) {
            warn("without the optimiser's state");
        }
        let here = model.backend().name();
        if let Some(before) = state.device.as_ref().filter(|before| **before != here) {
            warn(&format!("on {here}, after {before}"));
        }
    }

    /// Losses, and after stage 2 real against generated.
    fn pictures(&self) -> Result<Vec<PathBuf>> {
        let mut all = vec![("losses", plot::drawn(losses(&self.model))?)];
        if self.stages.last() == Some(&Stage::Gan) && drawable(&self.model).is_ok() {
            all.push(("trajectory_comparison", plot::compare(&self.model, self.data, ROWS, 0)?));
        }
        let write = |(kind, picture): &(&str, Picture)| {
            let path = self.folder.picture(kind);
            plot::write(&path, picture)?;
            self.console.line(&format!("Picture: {}", path.display()));
            Ok(path)
        };
        all.iter().map(write).collect()
    }

    /// Saves what has been learnt and says how to go on.
    fn leave(&self, stage: Stage, why: &str) -> Result<Outcome> {
        let iteration = self.model.stages()[stage as usize - 1].iteration;
        let path = self.folder.model(&checkpoint(stage, iteration));
        if let Err(error) = self.model.save(&path) {
            return Err(Failure::Work(format!("{why}; what was learnt cannot be saved: {error}")));
        }
        let (path, quoted) = (path.display(), console::quoted(&path));
        Err(Failure::Work(format!("{why}; saved {path}; go on with: trajgan resume {quoted}")))
    }

    fn tell(&self, stage: Stage, outcome: &Outcome) {
        if outcome.converged {
            self.console.line(&format!("Converged at iteration {}!", outcome.iterations));
        }
        if stage == Stage::Autoencoder {
            let (name, which) = watched(&self.config);
            let history = self.model.stages()[0].history.iter();
            let best = history.map(|record| record.losses[which]).fold(f64::INFINITY, f64::min);
            self.console.line(&format!("Best {name}: {best:.4}"));
        }
        if outcome.waste.padded_steps > 0 {
            let share = 100.0 * outcome.waste.share();
            self.console.line(&format!("Padding that was not computed: {share:.1} % of all steps"));
        }
    }
}

/// The loss that tells how well stage 1 does: its name, and where it stands in a record.
pub fn watched(config: &Config) -> (&'static str, usize) {
    match config.decoder {
        DecoderKind::V6 => ("direct reconstruction loss", 0),
        DecoderKind::ClosedLoop => ("loss in nats a point", 3),
    }
}

fn checkpoint(stage: Stage, iteration: u64) -> String {
    format!("stage{}_iter{iteration}", stage as u32)
}

/// Looks on after every iteration.
struct Watcher<'a> {
    folder: &'a RunFolder,
    log: Log,
    board: Board<'a>,
    meter: &'a Meter,
    /// Troubles that have been told, each once a stage.
    told: HashSet<(u32, Trouble)>,
    /// Why a checkpoint or the log could not be written.
    failed: Option<Failure>,
}

impl Watcher<'_> {
    fn look(&mut self, model: &Model, progress: &Progress) -> Control {
        self.meter.show(progress);
        if let Err(failure) = self.write(model, progress) {
            self.failed = Some(failure);
            return Control::Stop;
        }
        let last = progress.iteration >= progress.iterations || progress.converged;
        let last = last && !progress.is_choosing();
        if console::interrupted() && !last { Control::Stop } else { Control::Continue }
    }

    fn write(&mut self, model: &Model, progress: &Progress) -> Result<()> {
        if progress.log || progress.validation.is_some() {
            self.log.write(progress).map_err(|e| Failure::io(self.folder.path(), e))?;
        }
        self.board.look(model, progress)?;
        if progress.log {
            let speed = Some((progress.stage, progress.iterations_per_second));
            let all = diagnose(&Evidence { config: model.config(), stages: model.stages(), speed });
            // What is wrong with summaries is known once stage 2 looks at them.
            let now = |d: &&Diagnosis| d.stage == progress.stage as u32 || d.trouble == Trouble::SummaryDead;
            for diagnosis in all.iter().filter(now) {
                if self.told.insert((diagnosis.stage, diagnosis.trouble)) {
                    self.meter.line(&diagnosis.to_string());
                }
            }
        }
        if progress.save {
            model.save(&self.folder.model(&checkpoint(progress.stage, progress.iteration)))?;
        }
        Ok(())
    }
}
