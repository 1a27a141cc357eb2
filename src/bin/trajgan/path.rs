//! `path`: one movement from A to B.

use std::path::PathBuf;

use serde_json::json;
use trajgan::{Device, PathOptions};

use crate::console::{Console, say, say_json};
use crate::failure::{Failure, Result};
use crate::output::{self, thousandth};
use crate::run_folder;

/// Make a movement from one place to another, in pixels and milliseconds
#[derive(clap::Args)]
#[command(after_help = "Begins and ends exactly where it is told to.

Examples:
  trajgan path --model my.safetensors 100,200 900,450
  trajgan path --model my.safetensors 0,0 300,-20 --polling 125 --bounds 0,-200,1920,1080 --json")]
pub struct Args {
    /// From, as X,Y
    #[arg(allow_hyphen_values = true, value_parser = pair)]
    from: [f64; 2],
    /// To, as X,Y
    #[arg(allow_hyphen_values = true, value_parser = pair)]
    to: [f64; 2],
    /// Model file, or a run folder for its newest
    #[arg(long)]
    model: PathBuf,
    /// Same seed, same path
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many paths
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Index of the first path, to share the work of one seed between many calls
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Draw so many for each and keep one, by a lottery; 0: the model's own number
    #[arg(long, default_value_t = 1)]
    candidates: u32,
    /// Points a second, 60 to 8000 [default: as recorded]
    #[arg(long, default_value_t = 0.0)]
    polling: f64,
    /// Rectangle that the path does not leave: LEFT,TOP,RIGHT,BOTTOM
    #[arg(long, allow_hyphen_values = true, value_parser = four)]
    bounds: Option<[f64; 4]>,
    /// Factor on all times
    #[arg(long, default_value_t = 1.0)]
    duration_scale: f64,
    /// Shortest duration in ms, after --duration-scale
    #[arg(long, value_name = "MS", default_value_t = 0.0, hide_default_value = true, allow_negative_numbers = true)]
    min_duration: f64,
    /// Longest duration in ms
    #[arg(long, value_name = "MS", default_value_t = 0.0, hide_default_value = true, allow_negative_numbers = true)]
    max_duration: f64,
    /// closed-loop decoder: below 1, the likelier steps and times; 1 as learnt
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Fractions of pixels
    #[arg(long)]
    fractions: bool,
    /// CPU threads, 0 for one per core; the result does not depend on it
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print JSON rather than CSV
    #[arg(long)]
    json: bool,
}

fn numbers<const N: usize>(text: &str) -> std::result::Result<[f64; N], String> {
    let parts: std::result::Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let parts = parts.map_err(|_| format!("expected {N} numbers with commas between them"))?;
    parts.try_into().map_err(|_| format!("expected {N} numbers with commas between them"))
}

fn pair(text: &str) -> std::result::Result<[f64; 2], String> {
    numbers(text)
}

fn four(text: &str) -> std::result::Result<[f64; 4], String> {
    numbers(text)
}

pub fn run(args: &Args) -> Result<()> {
    if args.count == 0 {
        return Err(Failure::Usage("--count is 0, expected 1 or more".into()));
    }
    let fraction = [args.from, args.to].concat().into_iter().find(|x| x.fract() != 0.0);
    if let Some(fraction) = fraction.filter(|_| !args.fractions) {
        return Err(Failure::Usage(format!("{fraction} is no whole pixel: say --fractions to begin and end there")));
    }
    let (_, model) = run_folder::load(&args.model, Device::Cpu)?;
    let options = PathOptions {
        seed: args.seed,
        first: args.first,
        candidates: args.candidates,
        duration_scale: args.duration_scale,
        polling_hz: args.polling,
        integer_pixels: !args.fractions,
        bounds: args.bounds,
        min_duration_ms: args.min_duration,
        max_duration_ms: args.max_duration,
        step_temperature: args.temperature,
        time_temperature: args.temperature,
        threads: args.threads,
    };
    let paths = model.paths(&output::repeated([args.from, args.to], args.count)?, &options)?;
    if args.json {
        let paths = paths.iter().map(|path| {
            let column = |of: fn(&trajgan::Point) -> f64| path.points.iter().map(of).collect::<Vec<_>>();
            json!({ "x": column(|p| p.x), "y": column(|p| p.y), "t": column(|p| p.t_ms),
                    "scaled": path.scaled, "forced": path.forced })
        });
        say_json(&paths.collect());
        return Ok(());
    }
    if paths.iter().any(|path| path.scaled) {
        let note = "The model has learnt other distances: the path was drawn at the nearest of those and scaled.";
        Console { json: true }.line(note);
    }
    let forced = paths.iter().filter(|path| path.forced).count();
    if forced > 0 {
        let note = format!("Paths that were forced into the bounds or the duration, and show it: {forced}.");
        Console { json: true }.line(&note);
    }
    let strayed = model.out_of_points(paths.iter().map(|path| path.points.len()));
    if strayed > 0 && args.polling == 0.0 {
        let most = model.config().max_seq_len;
        let note = format!("Paths that took all {most} points of max_seq_len, most of them strayed: {strayed}.");
        Console { json: true }.line(&note);
    }
    say("movement,t_ms,x,y");
    for (i, path) in paths.iter().enumerate() {
        path.points.iter().for_each(|p| say(&format!("{i},{},{},{}", thousandth(p.t_ms), p.x, p.y)));
    }
    Ok(())
}
