//! `plot`: pictures of what a model makes and of how it was trained.

use std::path::{Path, PathBuf};

use serde_json::json;
use trajgan::files::write_whole;
use trajgan::report::Picture;
use trajgan::report::plot::{Against, Panel, losses, pairs, sheet};
use trajgan::report::tracks::{Examples, drawable, generated, scaler};
use trajgan::{Dataset, Device, Model, SampleOptions};

use crate::console::{Console, say_json, shown};
use crate::failure::{Failure, Result};
use crate::recordings;
use crate::run_folder::{self, RunFolder};

/// Draw movements and losses as PNG files
#[derive(clap::Subcommand)]
pub enum Command {
    /// Real movements against generated ones: path, speed, features, heading
    #[command(after_help = "Examples:
  trajgan plot compare checkpoints/run_20260131_120000
  trajgan plot compare my.safetensors --data recordings/ --rows 8 -o compared.png")]
    Compare {
        #[command(flatten)]
        common: Common,
        /// The recordings that the model was trained on: the test split is shown [default: those of its run]
        #[arg(long, value_name = "PATH")]
        data: Option<PathBuf>,
        /// How recordings are read, where the model lies in no run folder or they differ: NAME=VALUE, as for train (csv_seconds=true)
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// Pairs of movements
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=50))]
        rows: u64,
        /// Same seed, same movements
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// A sheet of generated paths
    #[command(after_help = "Example: trajgan plot sheet checkpoints/run_20260131_120000 --distance 400 -o paths.png")]
    Sheet {
        #[command(flatten)]
        common: Common,
        /// Movements
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=200))]
        count: u64,
        /// Distance of all of them, in the data's units [default: as in the training data]
        #[arg(long)]
        distance: Option<f64>,
        /// Same seed, same movements
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// The losses of both stages
    #[command(after_help = "Example: trajgan plot losses checkpoints/run_20260131_120000")]
    Losses {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(clap::Args)]
pub struct Common {
    /// Model file, or a run folder for its newest
    model: PathBuf,
    /// The picture, a name in .png [default: in the run folder, or here]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Command) -> Result<()> {
    let (common, kind) = match command {
        Command::Compare { common, .. } => (common, "trajectory_comparison"),
        Command::Sheet { common, .. } => (common, "trajectory_sheet"),
        Command::Losses { common } => (common, "losses"),
    };
    // Now rather than after the work.
    if let Some(out) = common.out.as_ref().filter(|out| out.extension().is_none_or(|e| e != "png")) {
        return Err(Failure::Usage(format!("{}: expected a name in .png", out.display())));
    }
    let (path, model) = run_folder::load(&common.model, Device::Auto)?;
    let folder = RunFolder::of(&path);
    let picture = match command {
        Command::Compare { data, set, rows, seed, .. } => {
            let console = Console { json: common.json };
            let data = recordings::of_model(&model, folder.as_ref(), data.as_deref(), set, console)?;
            compare(&model, &data, *rows as usize, *seed)
        }
        Command::Sheet { count, distance, seed, .. } => paths(&model, *count as usize, *distance, *seed),
        Command::Losses { .. } => drawn(losses(&model)),
    }?;
    let out = match (&common.out, &folder) {
        (Some(out), _) => out.clone(),
        (None, Some(folder)) => folder.picture(kind),
        (None, None) => run_folder::picture_name(kind).into(),
    };
    write(&out, &picture)?;
    let (width, height) = (picture.width, picture.height);
    Console { json: common.json }.line(&format!("Picture: {} ({width} x {height})", out.display()));
    if common.json {
        say_json(&json!({ "picture": shown(&out), "width": width, "height": height, "model": shown(&path) }));
    }
    Ok(())
}

/// Movements of the test split, and what the model makes for the same wishes.
pub fn compare(model: &Model, data: &Dataset, rows: usize, seed: u64) -> Result<Picture> {
    drawable(model)?;
    let prepared = data.prepare(model.config(), scaler(model))?;
    let splits = [&prepared.test, &prepared.validation, &prepared.train];
    let split = splits.into_iter().find(|split| !split.is_empty()).unwrap_or(&prepared.train);
    let examples = Examples::of(split, rows);
    let made = examples.made(model, &SampleOptions { seed, threads: 0, ..model.sample_options() })?;
    let panels = [Panel::Path, Panel::Speed, Panel::Means, Panel::Heading];
    drawn(pairs(&examples.tracks(model), &made, Against::Generated, &panels, scaler(model).is_some()))
}

fn paths(model: &Model, count: usize, distance: Option<f64>, seed: u64) -> Result<Picture> {
    let conditions = match (distance, model.config().condition_dim) {
        (None, _) => None,
        (Some(distance), 1) => Some(vec![distance; count]),
        (Some(_), n) => return Err(Failure::Usage(format!("--distance: the model's conditions have {n} numbers"))),
    };
    let tracks =
        generated(model, count, conditions.as_deref(), &SampleOptions { seed, threads: 0, ..model.sample_options() })?;
    let title = match distance {
        Some(distance) => format!("Generated, asked for a distance of {distance}"),
        None => "Generated".to_owned(),
    };
    drawn(sheet(&title, &tracks, scaler(model).is_some()))
}

pub fn drawn(picture: std::io::Result<Picture>) -> Result<Picture> {
    picture.map_err(|e| Failure::Work(format!("the picture cannot be drawn: {e}")))
}

pub fn write(path: &Path, picture: &Picture) -> Result<()> {
    Ok(write_whole(path, |out| out.write_all(&picture.png))?)
}
