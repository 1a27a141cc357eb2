//! Event files as the real TensorBoard reads them, and that a damaged one would be noticed. Needs a Python with the
//! tensorboard package: $TRAJGAN_PYTHON, python3, or an environment that this test makes under target/.
#![cfg(feature = "cli")]

mod common;
mod skip;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use common::{dataset, tiny, tiny_closed_loop};
use serde_json::Value;
use trajgan::report::Board;
use trajgan::{Config, Control, Device, Model, Stage, TrainOptions};

fn has_tensorboard(python: &Path) -> bool {
    let probe = Command::new(python).args(["-c", "import tensorboard"]).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

/// Looked for once: two tests must not install at the same time.
fn python() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find_python).clone()
}

fn find_python() -> Option<PathBuf> {
    let given = PathBuf::from(std::env::var_os("TRAJGAN_PYTHON").unwrap_or_else(|| "python3".into()));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tensorboard");
    let own = folder.join("bin/python");
    for python in [&given, &own] {
        if has_tensorboard(python) {
            return Some(python.clone());
        }
    }
    let run = |program: &Path, args: &[&str]| {
        let quiet = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet.is_ok_and(|status| status.success())
    };
    let made = run(&given, &["-m", "venv", folder.to_str()?]);
    if made && run(&own, &["-m", "pip", "install", "-q", "tensorboard"]) && has_tensorboard(&own) {
        return Some(own);
    }
    skip::skipped("no Python has the tensorboard package, and none could be installed");
    None
}

/// Trains both stages with a board that looks on; gives what TensorBoard reads.
fn logged(python: &Path, config: &Config) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let data = dataset(60, 3);
    let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
    let options = TrainOptions { config: config.clone(), threads: 1, seed: 1 };
    for stage in [Stage::Autoencoder, Stage::Gan] {
        let mut board = Board::create(folder.path(), &data).unwrap();
        let mut look = |model: &Model, progress: &trajgan::Progress| {
            board.look(model, progress).unwrap();
            Control::Continue
        };
        model.train(&data, stage, &options, &mut look).unwrap();
    }
    let found = read(python, folder.path());
    let last = model.stages().clone().map(|stage| stage.history.last().unwrap().clone());
    check_scalars(&found, &last, config);
    check_histograms(&found, &model);
    found
}

fn read(python: &Path, folder: &Path) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/read_events.py");
    let output = Command::new(python).arg(script).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn check_scalars(found: &Value, last: &[trajgan::model::Record; 2], config: &Config) {
    let v6 = config.decoder == trajgan::config::DecoderKind::V6;
    let first = if v6 {
        ["loss_direct", "loss_recon", "loss_latent", "loss_total"]
    } else {
        ["nats_steps", "nats_ticks", "nats_stop", "nats_total"]
    };
    let second = ["d_loss", "g_loss", "wasserstein", "gradient_penalty"];
    for (stage, names, record) in [("stage1", first, &last[0]), ("stage2", second, &last[1])] {
        for (name, loss) in names.iter().zip(record.losses) {
            let points = found["scalars"][format!("{stage}/{name}")].as_array().unwrap();
            let steps: Vec<u64> = points.iter().map(|p| p[0].as_u64().unwrap()).collect();
            let all: &[u64] = if stage == "stage1" { &[2, 4, 6, 8] } else { &[2, 4, 6] };
            assert_eq!(steps, all, "{stage}/{name}");
            let got = points.last().unwrap()[1].as_f64().unwrap();
            assert!((got - loss).abs() <= 1e-6 * loss.abs(), "{stage}/{name} is {got}, not {loss}");
        }
    }
    let validation = found["scalars"][format!("stage1/val_{}", first[3])].as_array().unwrap();
    assert_eq!(validation.iter().map(|p| p[0].as_u64().unwrap()).collect::<Vec<_>>(), [4, 8]);
}

/// The last histogram of each tensor is that of the model at the end.
fn check_histograms(found: &Value, model: &Model) {
    for name in model.parameter_names() {
        let (_, weights) = model.tensor(name).unwrap();
        for (kind, values) in [("weights", weights), ("gradients", model.remembered_gradient(name).unwrap())] {
            let last = found["histograms"][format!("{kind}/{name}")].as_array().unwrap().last().unwrap();
            let number = |k: usize| last[k].as_f64().unwrap();
            let low = values.iter().copied().fold(f32::INFINITY, f32::min);
            let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let n = values.len() as f64;
            assert_eq!([number(1), number(2), number(3), number(4)], [low.into(), high.into(), n, n], "{kind}/{name}");
        }
    }
}

fn check_images_and_projector(found: &Value, config: &Config) {
    const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
    for (tag, steps) in [("stage1/trajectories", &[4, 8][..]), ("stage2/generated_trajectories", &[4, 6])] {
        let images = found["images"][tag].as_array().unwrap();
        assert_eq!(images.iter().map(|i| i[0].as_u64().unwrap()).collect::<Vec<_>>(), steps, "{tag}");
        assert!(images.iter().all(|i| i[3] == serde_json::json!(PNG) && i[1].as_u64() > Some(500)), "{tag}");
    }
    let (vectors, metadata) = (found["vectors"].as_array().unwrap(), found["metadata"].as_array().unwrap());
    assert!(vectors.len() > 20 && vectors.iter().all(|width| *width == config.summary_dim));
    assert_eq!((metadata.len(), &metadata[0]), (vectors.len() + 1, &serde_json::json!(["condition", "length"])));
    // In pixels, and whole numbers of points.
    let number = |row: &Value, k: usize| row[k].as_str().unwrap().parse::<f64>().unwrap();
    assert!(metadata[1..].iter().all(|row| (20.0..700.0).contains(&number(row, 0)) && number(row, 1) >= 10.0));
}

#[test]
fn tensorboard_reads_every_event() {
    let Some(python) = python() else { return };
    for config in [tiny(), tiny_closed_loop()] {
        check_images_and_projector(&logged(&python, &config), &config);
    }
}

/// What the reader above would say to a file with a wrong checksum: it is not that anything would do.
#[test]
fn tensorboard_stops_at_a_damaged_record() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = dataset(60, 3);
    let config = tiny();
    let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
    let mut board = Board::create(folder.path(), &data).unwrap();
    let options = TrainOptions { config, threads: 1, seed: 1 };
    let mut look = |model: &Model, progress: &trajgan::Progress| {
        board.look(model, progress).unwrap();
        Control::Continue
    };
    model.train(&data, Stage::Autoencoder, &options, &mut look).unwrap();
    let whole = read(&python, folder.path());
    let mut files = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path());
    let events = files.find(|p| p.to_str().unwrap().contains("tfevents")).unwrap();
    let mut bytes = std::fs::read(&events).unwrap();
    // In the first losses: behind the record that has the version.
    bytes[100] ^= 1;
    std::fs::write(&events, bytes).unwrap();
    // It reads as far as the checksums hold.
    let damaged = read(&python, folder.path());
    assert!(damaged["scalars"].is_object() && damaged["scalars"] != whole["scalars"]);
}
