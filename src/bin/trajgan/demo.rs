//! `demo`: everything once, on made-up recordings.

use std::path::{Path, PathBuf};

use serde_json::json;
use trajgan::config::Preset;
use trajgan::files::write_whole;
use trajgan::{Config, Dataset, Model, Movement, SampleOptions, Stage};

use crate::console::{self, Console, shown};
use crate::failure::{Failure, Result};
use crate::hardware::Hardware;
use crate::output::Order;
use crate::plot;
use crate::run_folder::RunFolder;
use crate::settings::{Flags, Settings};
use crate::toy;
use crate::training::Job;

/// What a demo makes, beside its run folder.
const FILES: [&str; 5] = ["recordings.jsonl", "model.safetensors", "movements.jsonl", "movements.csv", "picture.png"];

/// Tells these files from somebody's own of the same names.
const MARKER: &str = ".trajgan-demo";

/// Pairs in the picture.
const ROWS: usize = 4;

/// Make toy recordings, train on them briefly, make movements and a picture, and say what to look at
#[derive(clap::Args)]
#[command(after_help = "Example: trajgan demo --out demo")]
pub struct Args {
    /// Folder for everything
    #[arg(long, value_name = "FOLDER", default_value = "demo")]
    out: PathBuf,
    /// Toy recordings to make
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(20..=100_000))]
    recordings: u64,
    /// Movements to make with the trained model
    #[arg(long, default_value_t = 200)]
    count: usize,
    /// Iterations of each stage
    #[arg(long, default_value_t = 1500)]
    iterations: u64,
    /// Same seed, same recordings and movements
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: u64,
    #[command(flatten)]
    hardware: Hardware,
    /// Print the result as JSON; progress goes to stderr
    #[arg(long)]
    json: bool,
}

/// Small, so that a minute is enough.
fn config(args: &Args) -> Config {
    Config {
        max_seq_len: 160,
        encoder_hidden_dim: 48,
        encoder_num_layers: 1,
        latent_dim: 32,
        summary_dim: 24,
        expander_hidden_dim: 96,
        expander_num_layers: 1,
        noise_dim: 32,
        generator_hidden_dims: vec![64, 64],
        discriminator_hidden_dims: vec![64, 64],
        stage1_iterations: args.iterations,
        stage2_iterations: args.iterations,
        stage2_batch_size: 64,
        batch_size: 32,
        log_interval: (args.iterations / 5).max(1),
        eval_interval: (args.iterations / 2).max(1),
        seed: args.seed,
        ..Config::closed_loop(Preset::Default)
    }
}

pub fn run(args: &Args) -> Result<()> {
    let console = Console { json: args.json };
    let [recordings, model_path, jsonl, csv, picture] = FILES.map(|name| args.out.join(name));
    let marker = args.out.join(MARKER);
    if let Some(file) = [&recordings, &model_path, &jsonl, &csv, &picture].iter().find(|file| file.exists())
        && !marker.exists()
    {
        let problem = "is there already, and not from a demo: name another folder with --out";
        return Err(Failure::Usage(format!("{}: {problem}", file.display())));
    }
    let movements = (0..args.recordings).map(|i| toy::movement(args.seed, i)).collect::<trajgan::Result<Vec<_>>>()?;
    std::fs::create_dir_all(&args.out).map_err(|e| Failure::io(&args.out, e))?;
    write_whole(&marker, |out| writeln!(out, "trajgan demo replaces its files in this folder."))?;
    write_recordings(&recordings, &movements)?;
    console.line(&format!("{} toy recordings: {}", movements.len(), recordings.display()));

    let mut settings = Settings::new(&Flags::default(), None)?;
    settings.config = config(args);
    settings.remember(&recordings, "both");
    let (data, _) = Dataset::open(&recordings, &settings.read)?;
    let folder = RunFolder::create(&args.out, None)?;
    folder.write_config(&settings)?;
    let model = Model::new(settings.config.clone(), args.hardware.device)?;
    let (stages, seeds) = (vec![Stage::Autoencoder, Stage::Gan], vec![args.seed; 2]);
    let (config, threads) = (settings.config, args.hardware.threads);
    let mut job = Job { model, data: &data, config, stages, seeds, threads, folder, console };
    let mut summary = job.run()?;

    job.model.save(&model_path)?;
    let options = SampleOptions { seed: args.seed, threads: args.hardware.threads, ..SampleOptions::default() };
    let made = job.model.generate(args.count, None, &options)?;
    let order = Order { model: &job.model, count: args.count, conditions: None, options, features: false };
    order.write(&jsonl)?;
    order.write(&csv)?;
    plot::write(&picture, &plot::compare(&job.model, &data, ROWS, args.seed)?)?;
    tell(console, &model_path, [&csv, &picture], [&movements, &made]);
    if args.json {
        (summary["recordings"], summary["model"]) = (json!(shown(&recordings)), json!(shown(&model_path)));
        (summary["movements"], summary["picture"]) = (json!([shown(&jsonl), shown(&csv)]), json!(shown(&picture)));
        console::say_json(&summary);
    }
    Ok(())
}

fn write_recordings(path: &Path, movements: &[Movement]) -> Result<()> {
    Ok(write_whole(path, |out| {
        for movement in movements {
            let column = |of: fn(&trajgan::Point) -> f64| movement.points.iter().map(of).collect::<Vec<_>>();
            let (x, y, t) = (column(|p| p.x), column(|p| p.y), column(|p| p.t_ms));
            writeln!(out, "{}", json!({ "x": x, "y": y, "t": t, "session": movement.session }))?;
        }
        Ok(())
    })?)
}

fn tell(console: Console, model: &Path, [csv, picture]: [&Path; 2], sets: [&[Movement]; 2]) {
    console.line("");
    console.line(&format!("{:32} {:>10} {:>10}", "mean of", "recorded", "made"));
    let row = |name: &str, of: &dyn Fn(&Movement) -> f64| {
        let [recorded, made] = sets.map(|set| set.iter().map(of).sum::<f64>() / set.len().max(1) as f64);
        console.line(&format!("{name:32} {recorded:>10.2} {made:>10.2}"));
    };
    row("points", &|m| m.points.len() as f64);
    row("duration, ms", &|m| m.duration_ms());
    row("straight line, px", &|m| m.straight_distance());
    row("way over straight line", &|m| m.path_length() / m.straight_distance().max(1.0));
    console.line("");
    console.line(&format!("Model: {}    movements: {} (and .jsonl)", model.display(), csv.display()));
    console.line(&format!("What to look at in {}:", picture.display()));
    console.line("  1. Paths: each generated one (green) begins and ends exactly where the recorded one (blue) does.");
    console.line(
        "  2. Speeds: one hump, early or in the middle, and slower at the end; after a minute it is still uneven.",
    );
    console.line(
        "  3. Features and headings: the closer the two colours, the better; trajgan evaluate puts numbers to that.",
    );
}
