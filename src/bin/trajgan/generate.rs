//! `generate`: movements from a model.

use std::path::PathBuf;

use serde_json::json;
use trajgan::config::DecoderKind;
use trajgan::{Model, SampleOptions};

use crate::console::{self, Console, shown};
use crate::failure::{Failure, Result, check_place};
use crate::hardware::Hardware;
use crate::{output, run_folder};

/// Make movements with a trained model
#[derive(clap::Args)]
#[command(
    after_help = "The name of the output says its form: .jsonl (one movement a line: x, y in pixels, t in ms), .csv, or .npz (X scaled features, C conditions, of the closed loop in px, L lengths, and points). Movement i depends on model, seed and i alone.

Examples:
  trajgan generate --model checkpoints/run_20260131_120000 --count 1000 -o new.jsonl
  trajgan generate --model my.safetensors --distance 400 --seed 3 -o new.csv
  trajgan generate --model my.safetensors --count 500 --features -o new.npz"
)]
pub struct Args {
    /// Model file, or a run folder for its newest
    #[arg(long)]
    model: PathBuf,
    /// Where the movements go: .npz, .csv or .jsonl
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// How many [default: 100, or one for each line of --conditions]
    #[arg(long, conflicts_with = "conditions")]
    count: Option<usize>,
    /// Distance in pixels, the same for all [default: as in the training data]
    #[arg(long, conflicts_with = "conditions", allow_negative_numbers = true)]
    distance: Option<f64>,
    /// File of conditions, one line for each movement
    #[arg(long, value_name = "FILE")]
    conditions: Option<PathBuf>,
    /// Same seed, same movements
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Index of the first movement, to share the work of one seed between many calls
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// v6 decoder: points of every movement, 0 for lengths as in the training data
    #[arg(long, default_value_t = 0)]
    seq_len: usize,
    /// Below 1: closer to the average movement [default: truncation_psi of the model]
    #[arg(long)]
    psi: Option<f64>,
    /// closed-loop decoder: below 1, the likelier steps and times; 1 as learnt
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    temperature: f64,
    /// closed-loop decoder: draw so many for each and keep one, the likelier the more often recordings are like it; 1: the
    /// fastest; 0: the model's own number
    #[arg(long, default_value_t = 0)]
    candidates: u32,
    /// v6 decoder on a GPU: TF32 in products of matrices, features off by some 1e-5
    #[arg(long)]
    allow_tf32: bool,
    /// v6 decoder on a processor with AMX, under Linux: products of 16 bits of mantissa, features off by some 1e-7
    #[arg(long)]
    allow_amx: bool,
    /// Scaled features rather than points
    #[arg(long)]
    features: bool,
    #[command(flatten)]
    hardware: Hardware,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    output::Format::of(&args.out)?;
    let (path, model) = run_folder::load(&args.model, args.hardware.device)?;
    let dim = model.config().condition_dim;
    let mut count = args.count.unwrap_or(100);
    let conditions = match (&args.conditions, args.distance) {
        (Some(file), _) => {
            let numbers = output::read_conditions(file, dim)?;
            count = numbers.len() / dim;
            Some(numbers)
        }
        (None, Some(_)) if dim != 1 => {
            let message = format!("--distance is for models with one condition number, this one has {dim}");
            return Err(Failure::Usage(message));
        }
        (None, distance) => distance.map(|d| output::repeated(d, count)).transpose()?,
    };
    if let (Some(conditions), Some((low, high))) = (&conditions, range(&model)) {
        let outside = conditions.iter().filter(|c| !(low..=high).contains(*c)).count();
        if outside > 0 {
            let learnt = format!("what was learnt, {low:.1} to {high:.1}");
            Console { json: args.json }.line(&format!("Warning: {outside} of {count} conditions are outside {learnt}"));
        }
    }
    if args.temperature != 1.0 && model.config().decoder == DecoderKind::V6 {
        return Err(Failure::Usage("--temperature is of the closed-loop decoder, this model has v6".into()));
    }
    let options = SampleOptions {
        seed: args.seed,
        first: args.first,
        seq_len: args.seq_len,
        truncation_psi: args.psi.unwrap_or(model.config().truncation_psi),
        step_temperature: args.temperature,
        time_temperature: args.temperature,
        candidates: args.candidates,
        allow_tf32: args.allow_tf32,
        allow_amx: args.allow_amx,
        threads: args.hardware.threads,
    };
    let conditions = conditions.as_deref();
    let order = output::Order { model: &model, count, conditions, options, features: args.features };
    check_place(&args.out)?; // now rather than after the work
    let forced = order.write(&args.out)?;
    if forced > 0 {
        let most = model.config().max_seq_len;
        let said = "max_seq_len: where that is not the end of a movement, its last step jumps to the target";
        Console { json: args.json }.line(&format!("Warning: {forced} of {count} took all {most} points of {said}"));
    }
    if args.json {
        console::say_json(
            &json!({ "model": shown(&path), "out": shown(&args.out), "count": count, "seed": args.seed }),
        );
    }
    Console { json: args.json }.line(&format!("{count} movements: {}", args.out.display()));
    Ok(())
}

/// Of the one condition that the model has learnt with, where it knows its units.
fn range(model: &Model) -> Option<(f64, f64)> {
    model.learnt_distances().filter(|_| model.config().condition_dim == 1)
}
