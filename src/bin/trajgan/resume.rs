//! `resume`: a run that was stopped goes on as if it had not been.

use std::path::{Path, PathBuf};

use trajgan::{Config, Model, Stage};

use crate::console::{self, Console};
use crate::failure::{Failure, Result};
use crate::hardware::Hardware;
use crate::recordings;
use crate::run_folder::{self, RunFolder};
use crate::settings::{Flags, Settings};
use crate::train;
use crate::training::Job;

/// Go on with a run that was stopped, exactly as if it had not been
#[derive(clap::Args)]
#[command(after_help = "Settings and seeds are those of the checkpoint; flags change them, e.g. to train longer.

Examples:
  trajgan resume checkpoints/run_20260131_120000
  trajgan resume checkpoints/run_20260131_120000/stage2_iter5000.safetensors --iterations 60000")]
pub struct Args {
    /// Run folder, whose newest checkpoint is taken, or a checkpoint
    run: PathBuf,
    /// The data, if it is no longer where it was
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    #[command(flatten)]
    settings: Flags,
    #[command(flatten)]
    hardware: Hardware,
    /// Go on even if the data is not what the model has been trained on
    #[arg(long)]
    other_data: bool,
    /// Print the result as JSON; progress goes to stderr
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let console = Console { json: args.json };
    let (path, model) = run_folder::load(&args.run, args.hardware.device)?;
    let Some(folder) = RunFolder::of(&path) else {
        let message = "not in a run folder (no config.toml beside it); use: trajgan train --from";
        return Err(Failure::Usage(format!("{}: {message}", path.display())));
    };
    let mut settings = Settings::resumed(&args.settings, model.config(), &folder.config())?;
    settings.warn(console);
    let stages = stages_left(&path, &model, &settings.config, settings.stage())?;
    let data = settings.data(args.data.as_deref())?;
    console.line(&format!("Going on from {}", path.display()));
    let [first, second] = model.stages().each_ref().map(|stage| stage.iteration);
    if second > 0 && first < settings.config.stage1_iterations {
        console.line(&format!("Stage 1 stays at iteration {first}: stage 2 has begun in its latent space"));
    }
    let (data, _) = recordings::open(&data, &mut settings, console)?;
    if !args.other_data && !recordings::seen(&model, &data, &settings.config)? {
        let problem =
            "the training movements are not those that the model has seen: the data or its settings have changed";
        return Err(Failure::Usage(format!("{problem} (--other-data goes on all the same)")));
    }
    // A stage that has begun has its seed; one that has not takes that of the stage before it.
    let [first, second] = model.stages();
    let unsaved = folder.model("stage1_final");
    if stages == [Stage::Gan] && second.iteration == 0 && !unsaved.exists() {
        model.save(&unsaved)?; // a kill came before
    }
    let seed = |stage: &Stage| if *stage == Stage::Gan && second.iteration > 0 { second.seed } else { first.seed };
    let seeds = stages.iter().map(seed).collect();
    let folder = folder.with_logs()?;
    let (config, threads) = (settings.config, args.hardware.threads);
    let mut job = Job { model, data: &data, config, stages, seeds, threads, folder, console };
    let summary = job.run()?;
    if args.json {
        console::say_json(&summary);
    }
    Ok(())
}

/// Those of the run that have not done all their iterations; the last one, if all have.
fn stages_left(path: &Path, model: &Model, config: &Config, stage: Option<&str>) -> Result<Vec<Stage>> {
    let (_, mut stages) = train::stages(stage)?;
    let [first, second] = model.stages();
    // Stage 1 has ended, early or not, once stage 2 has begun.
    let first_done = second.iteration > 0
        || first.iteration >= config.stage1_iterations
        || first.early_stop.converged(config.stage1_patience);
    stages.retain(|&stage| stage == Stage::Gan || !first_done);
    if stages.is_empty() {
        let model = console::quoted(path);
        return Err(Failure::Usage(format!("stage 1 is done; go on with: trajgan train --stage 2 --from {model}")));
    }
    Ok(stages)
}
