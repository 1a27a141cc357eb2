//! The program as its users see it: every command, for people and for programs, on a pipe and on a terminal; what it
//! refuses; and that a run which was stopped ends as if it had not been.
#![cfg(feature = "cli")]

mod commands;
mod data;
mod reports;
#[path = "../skip/mod.rs"]
mod skip;
mod terminal;
mod training;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trajgan");

fn trajgan(folder: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it, expects success, gives what it said.
fn good(folder: &Path, args: &[&str]) -> String {
    let output = trajgan(folder, args);
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn json(folder: &Path, args: &[&str]) -> Value {
    let out = good(folder, &[args, &["--json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}"))
}

/// Runs it, expects this exit code and one line on stderr, gives that line.
fn refused(folder: &Path, args: &[&str], code: i32) -> String {
    let output = trajgan(folder, args);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}{err}", text(&output.stdout));
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines.len() == 1 && lines[0].starts_with("error: "), "{args:?}: {err}");
    err
}

/// Movements of a hand that is a formula, one a line; every twentieth far from the others.
fn recordings(folder: &Path) -> &'static str {
    let mut lines = String::new();
    for i in 0..120 {
        let far = if i % 20 == 7 { 9.0 } else { 1.0 };
        let (n, length) = (12 + i % 25, 60.0 + 7.0 * i as f64);
        let column = |f: &dyn Fn(f64) -> f64| (0..n).map(|k| f(k as f64 / (n - 1) as f64)).collect::<Vec<_>>();
        let smooth = |u: f64| u * u * (3.0 - 2.0 * u);
        let x = column(&|u| (far * length * smooth(u)).round());
        let y = column(&|u| (f64::from(i % 7 - 3) * 20.0 * far * (u * 3.1).sin()).round() + 0.25 * u);
        let t: Vec<usize> = (0..n as usize).map(|k| 8 * k + k % 2).collect();
        lines += &format!("{}\n", serde_json::json!({ "x": x, "y": y, "t": t, "session": format!("s{}", i % 6) }));
    }
    fs::write(folder.join("recordings.jsonl"), lines).unwrap();
    "recordings.jsonl"
}

/// A model that learns next to nothing in next to no time.
const SMALL: &str = "
decoder = \"v6\"
encoder_hidden_dim = 8
encoder_num_layers = 1
decoder_hidden_dim = 8
decoder_num_layers = 1
latent_dim = 6
summary_dim = 10
expander_hidden_dim = 8
expander_num_layers = 1
noise_dim = 4
generator_hidden_dims = [12, 12]
discriminator_hidden_dims = [12]
stage1_iterations = 30
stage2_iterations = 20
batch_size = 16
log_interval = 10
eval_interval = 15
save_interval = 20
max_seq_len = 48
";

/// A folder with recordings and the settings of a small model.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    recordings(folder.path());
    fs::write(folder.path().join("small.toml"), SMALL).unwrap();
    folder
}

fn train(folder: &Path, more: &[&str]) -> Value {
    json(folder, &[&["train", "recordings.jsonl", "--config", "small.toml"], more].concat())
}

fn path(value: &Value) -> PathBuf {
    PathBuf::from(value.as_str().unwrap())
}
