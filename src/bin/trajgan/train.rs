//! `train`: a new run.

use std::path::PathBuf;

use trajgan::config::{ConditionKind, DecoderKind};
use trajgan::{Config, Dataset, Model, Movement, Stage};

use crate::console::{self, Console};
use crate::failure::{Failure, Result};
use crate::hardware::Hardware;
use crate::run_folder::{self, RunFolder};
use crate::settings::{Flags, Settings, explained};
use crate::training::Job;
use crate::{console::say, recordings};

/// Train a model on recordings, into a run folder of its own
#[derive(clap::Args)]
#[command(
    after_help = "Stage 1 learns to compress movements, stage 2 to make new ones. Ctrl-C stops after the iteration and saves.

Examples:
  trajgan train recordings/ --preset fast --seed 7
  trajgan train recordings/ --stage 1 --set lr_schedule=cosine
  trajgan train recordings/ --stage 2 --from checkpoints/run_20260131_120000/stage1_final.safetensors"
)]
pub struct Args {
    /// File or folder of recordings, or a folder that `prepare` wrote [default: data_dir of the settings]
    data: Option<PathBuf>,
    /// Which stages: 1, 2 or both [default: both]
    #[arg(long, value_parser = ["1", "2", "both"])]
    stage: Option<String>,
    /// Model to go on with, in a new run folder: a file, or a run folder for its newest
    #[arg(long, value_name = "MODEL")]
    from: Option<PathBuf>,
    /// Weights to begin with: the original's state_dict, as safetensors.torch.save_file writes it, of the sizes that are set
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    import: Option<PathBuf>,
    /// Where run folders go [default: checkpoints]
    #[arg(long, value_name = "FOLDER")]
    checkpoints: Option<PathBuf>,
    /// Name of the run folder [default: run_YYYYMMDD_HHMMSS, in UTC]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    settings: Flags,
    #[command(flatten)]
    hardware: Hardware,
    /// Print all settings as TOML, with what they mean, and train nothing
    #[arg(long)]
    show_settings: bool,
    /// Print the result as JSON; progress goes to stderr
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let console = Console { json: args.json };
    let device = args.hardware.device;
    let from = args.from.as_deref().map(|from| run_folder::load(from, device)).transpose()?.map(|(_, model)| model);
    let mut settings = match &from {
        Some(model) => Settings::new(&args.settings, Some(model.config()))?,
        None => Settings::for_data(&args.settings, args.data.as_deref())?,
    };
    if args.show_settings {
        say(explained(&settings.to_toml()?).trim_end());
        return Ok(());
    }
    settings.warn(console);
    let (name, stages) = stages(args.stage.as_deref().or(settings.stage()))?;
    if stages[0] == Stage::Gan && from.is_none() {
        return Err(Failure::Usage("--stage 2 learns on top of stage 1: name its model with --from".into()));
    }
    let path = settings.data(args.data.as_deref())?;
    let (data, _) = recordings::open(&path, &mut settings, console)?;
    if settings.config.decoder == DecoderKind::ClosedLoop && data.movements().is_empty() {
        let message = "arrays of features, which the closed-loop decoder cannot walk in: use --decoder v6";
        return Err(Failure::Usage(format!("{}: {message}", path.display())));
    }
    unused_conditions(&data, &settings.config, console);
    recordings::other_units(data.movements()).iter().for_each(|said| console.line(&format!("Warning: {said}")));
    let seeds = vec![settings.config.seed; stages.len()];
    let model = match (from, &args.import) {
        (Some(model), _) => model,
        (None, Some(weights)) => Model::import(weights, settings.config.clone(), device)?,
        (None, None) => Model::new(settings.config.clone(), device)?,
    };
    // The split stays that of the model, whatever the seed of this training: what it was tested on must not be learnt.
    settings.config.seed = model.config().seed;
    // Now rather than after the folder is there.
    if stages.len() == 2 && settings.config.stage1_iterations == 0 && model.stages()[0].iteration == 0 {
        return Err(Failure::Usage("stage1_iterations is 0: stage 2 learns on top of stage 1".into()));
    }
    model.config().same_architecture(&settings.config)?;
    let known = model.data().and_then(|d| d.scaler.as_ref());
    let prepared = data.prepare(&settings.config, known)?;
    recordings::splits(&prepared.report, console);
    if settings.config.decoder == DecoderKind::ClosedLoop {
        let train: Vec<&Movement> = (0..prepared.train.len()).filter_map(|i| prepared.train.movement(i)).collect();
        let sparse = recordings::sparse(&train, settings.config.augment_mirror);
        sparse.iter().for_each(|said| console.line(&format!("Warning: {said}")));
    }
    settings.remember(&path, name);
    let folder = RunFolder::create(&settings.checkpoints(args.checkpoints.as_deref()), args.name.as_deref())?;
    folder.write_config(&settings)?;
    let (config, threads) = (settings.config, args.hardware.threads);
    let mut job = Job { model, data: &data, config, stages, seeds, threads, folder, console };
    let summary = job.run()?;
    if args.json {
        console::say_json(&summary);
    }
    Ok(())
}

/// Says so where conditions that somebody went to the trouble of are not those of the decoder.
fn unused_conditions(data: &Dataset, config: &Config, console: Console) {
    let what = match (config.decoder, data.has_conditions(), config.condition) {
        (DecoderKind::ClosedLoop, true, _) => "conditions of the recordings' own",
        (DecoderKind::ClosedLoop, false, ConditionKind::Path) => "condition = path",
        _ => return,
    };
    let instead = "it is asked for targets and their distance (--decoder v6 has conditions)";
    console.line(&format!("Warning: the closed-loop decoder does not use {what}: {instead}"));
}

/// The stages that a name stands for.
pub fn stages(name: Option<&str>) -> Result<(&'static str, Vec<Stage>)> {
    match name {
        Some("1") => Ok(("1", vec![Stage::Autoencoder])),
        Some("2") => Ok(("2", vec![Stage::Gan])),
        None | Some("both") => Ok(("both", vec![Stage::Autoencoder, Stage::Gan])),
        Some(other) => Err(Failure::Usage(format!("stage is {other}, expected 1, 2 or both"))),
    }
}
