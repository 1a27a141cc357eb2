//! `inspect`: what a model is and how far it has trained.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use trajgan::config::{CriticKind, DecoderKind, Expand, GeneratorKind, Preset};
use trajgan::data::steps::INPUTS;
use trajgan::model::StageState;
use trajgan::train::diagnose::{Evidence, diagnose};
use trajgan::{Config, Device, Model};

use crate::console::{say, say_json, shown};
use crate::failure::Result;
use crate::run_folder::{self, LogEnd, RunFolder};

/// Show what a model, checkpoint or preset is: architecture, parameters, training so far, data
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trajgan inspect checkpoints/run_20260131_120000/final.safetensors --json
  trajgan inspect --diagnose checkpoints/run_20260131_120000
  trajgan inspect --preset large --decoder v6")]
pub struct Args {
    /// Model file, or a run folder for its newest
    #[arg(required_unless_present = "preset", conflicts_with = "preset")]
    model: Option<PathBuf>,
    /// The networks of a preset instead: default, fast, large or recommended
    #[arg(long, value_name = "NAME")]
    preset: Option<Preset>,
    /// Of the preset: closed-loop or v6 [default: closed-loop]
    #[arg(long, value_name = "NAME", requires = "preset")]
    decoder: Option<DecoderKind>,
    /// Say what is wrong with the training, as far as its losses tell: cause and fix
    #[arg(long)]
    diagnose: bool,
    /// Print everything as JSON, the history of the losses included
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let Some(path) = &args.model else {
        let preset = args.preset.unwrap_or(Preset::Default);
        let decoder = args.decoder.unwrap_or(DecoderKind::ClosedLoop);
        let model = Model::new(Config::of(decoder, preset), Device::Cpu)?;
        if args.json {
            let mut info = model.info();
            info["networks"] = json!(model.parameters_by_network());
            say_json(&info);
        } else {
            say(&format!("preset {}, {} decoder", preset.name(), model.config().decoder.name()));
            networks(&model);
        }
        return Ok(());
    };
    let (path, model) = run_folder::load(path, Device::Auto)?;
    if args.diagnose {
        diagnosis(&path, &model, args.json);
        return Ok(());
    }
    let bytes = std::fs::metadata(&path).map_err(|e| crate::failure::Failure::io(&path, e))?.len();
    if args.json {
        let mut info = model.info();
        (info["path"], info["bytes"], info["networks"]) =
            (json!(shown(&path)), json!(bytes), json!(model.parameters_by_network()));
        say_json(&info);
        return Ok(());
    }
    say(&format!("{} ({:.1} MB), {} decoder", path.display(), bytes as f64 / 1e6, model.config().decoder.name()));
    networks(&model);
    say("");
    let [first, second] = model.stages();
    let c = model.config();
    let first_losses = match c.decoder {
        DecoderKind::V6 => ["direct", "recon", "latent", "total"],
        DecoderKind::ClosedLoop => ["steps", "ticks", "stop", "nats"],
    };
    say(&stage("stage 1", first, c.stage1_iterations, first_losses));
    say(&stage("stage 2", second, c.stage2_iterations, ["critic", "generator", "wasserstein", "penalty"]));
    say("");
    data(&model);
    if c.decoder == DecoderKind::ClosedLoop {
        say(&format!("batches: of {} walks one is kept", model.candidates()));
    }
    say(&device(&model));
    Ok(())
}

/// A table of the networks.
fn networks(model: &Model) {
    let parameters = model.parameters_by_network();
    say("");
    say(&format!("{:14} {:>10}  architecture", "network", "parameters"));
    for (name, what) in architecture(model.config()) {
        say(&format!("{name:14} {:>10}  {what}", parameters.get(name).copied().unwrap_or(0)));
    }
    say(&format!("{:14} {:>10}", "all", model.parameters()));
}

/// What the losses say, and what the log of the run adds: how fast it was, and whether it ended by exploding.
fn diagnosis(path: &Path, model: &Model, json: bool) {
    let log = RunFolder::of(path).map(|folder| LogEnd::of(&folder)).unwrap_or_default();
    let found = diagnose(&Evidence { config: model.config(), stages: model.stages(), speed: log.speed });
    let mut all: Vec<Value> = found.iter().map(|diagnosis| json!(diagnosis)).collect();
    all.extend(log.failure);
    if json {
        say_json(&json!({ "path": shown(path), "diagnosis": all }));
        return;
    }
    say(&format!(
        "{}: stage 1 at iteration {}, stage 2 at {}",
        path.display(),
        model.stages()[0].iteration,
        model.stages()[1].iteration
    ));
    if all.is_empty() {
        say("Nothing wrong that the losses tell.");
    }
    for diagnosis in &all {
        let word = |name: &str| diagnosis[name].as_str().unwrap_or_default();
        say("");
        say(&format!("stage {}: {}", diagnosis["stage"], word("finding")));
        say(&format!("  likely cause: {}", word("cause")));
        say(&format!("  try: {}", word("fix")));
    }
}

/// Networks by the first part of their tensors' names, and what they are.
fn architecture(c: &Config) -> Vec<(&'static str, String)> {
    // A modulated layer has no sum around it, and the critic of several scales has one width and always the norm.
    let residual = c.generator_use_residual && c.generator_type == GeneratorKind::Standard;
    let residual = if residual { ", residual" } else { "" };
    let multiscale = c.discriminator_type == CriticKind::Multiscale;
    let spectral = if c.discriminator_use_spectral_norm || multiscale { ", spectral norm" } else { "" };
    let lstm = |layers, hidden, from: &str, to: &str| format!("LSTM {layers} x {hidden}, {from} -> {to}");
    let (layers, hidden) = (c.encoder_num_layers, c.encoder_hidden_dim);
    let (latent, summary, condition) = (c.latent_dim.to_string(), c.summary_dim, c.condition_inputs());
    let (generator, critic) = (&c.generator_hidden_dims, &c.discriminator_hidden_dims);
    let inputs = if c.decoder == DecoderKind::V6 { c.feature_dim } else { INPUTS };
    let expander = match c.expand_type {
        Expand::Lstm => lstm(c.expander_num_layers, c.expander_hidden_dim, &summary.to_string(), &latent),
        kind => format!("{}, {summary} -> {latent}", kind.name()),
    };
    let decoder = lstm(c.decoder_num_layers, c.decoder_hidden_dim, &latent, &c.feature_dim.to_string());
    let (hidden_walker, layers_walker) = (c.expander_hidden_dim, c.expander_num_layers);
    let classes =
        format!("{} step and {} tick classes, {} profiles", 2 * c.step_magnitudes - 1, c.tick_classes, c.step_profiles);
    let mut rows = vec![
        ("encoder", lstm(layers, hidden, &inputs.to_string(), &latent)),
        ("pooler", format!("{}, {latent} -> {summary}", c.pool_type.name())),
    ];
    match c.decoder {
        DecoderKind::V6 => rows.extend([("expander", expander), ("decoder", decoder)]),
        DecoderKind::ClosedLoop => {
            rows.push(("walker", lstm(layers_walker, hidden_walker, &format!("{INPUTS}+{summary}"), &classes)));
        }
    }
    let kind = c.generator_type.name();
    rows.push(("generator", format!("{kind}{residual} {generator:?}, {}+{condition} -> {summary}", c.noise_dim)));
    rows.push(("discriminator", format!("{}{spectral} {critic:?}, {summary} -> 1", c.discriminator_type.name())));
    rows
}

fn stage(name: &str, state: &StageState, iterations: u64, losses: [&str; 4]) -> String {
    if state.iteration == 0 {
        return format!("{name}: not trained");
    }
    let averages = state.history.last().map_or_else(|| state.averages(), |record| record.losses);
    let losses: Vec<String> = losses.iter().zip(averages).map(|(name, loss)| format!("{name} {loss:.4}")).collect();
    let device = state.device.as_ref().map_or_else(String::new, |device| format!(", on {device}"));
    format!("{name}: {}/{iterations} iterations, {}, seed {}{device}", state.iteration, losses.join(", "), state.seed)
}

/// Where the model would compute, and why not elsewhere.
fn device(model: &Model) -> String {
    let (name, reason) = (model.backend().name(), model.backend().reason());
    reason.map_or_else(|| format!("device: {name}"), |reason| format!("device: {name}: {reason}"))
}

fn data(model: &Model) {
    let Some(data) = model.data() else {
        return say("data: none yet");
    };
    match (&data.scaler, model.config().decoder) {
        // Whatever conditions the data had.
        (Some(_), DecoderKind::ClosedLoop) => {
            let (low, high) = model.learnt_distances().unwrap_or_default();
            say(&format!("data: distances {low:.1} to {high:.1} px"));
        }
        (Some(scaler), DecoderKind::V6) => {
            let limits = scaler.condition_min.iter().zip(&scaler.condition_max);
            let ranges: Vec<String> = limits.map(|(low, high)| format!("{low:.1} to {high:.1}")).collect();
            say(&format!("data: conditions {}", ranges.join(", ")));
        }
        (None, _) => say("data: arrays without limits: the model speaks features, not pixels"),
    }
    let shortest = data.lengths.quantiles.iter().filter_map(|q| q.first()).copied().fold(f32::INFINITY, f32::min);
    let longest = data.lengths.quantiles.iter().filter_map(|q| q.last()).copied().fold(0.0, f32::max);
    say(&format!(
        "      lengths {shortest} to {longest} points, training split {}",
        &data.hash[..data.hash.len().min(12)]
    ));
}
