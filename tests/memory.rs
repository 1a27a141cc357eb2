//! What training takes at most: preset large, 64 rows of 200 points, whatever the number of threads. And what does not fit.

mod common;
mod skip;

use std::process::Command;

use trajgan::config::Preset;
use trajgan::data::{Dataset, Movement};
use trajgan::eval::{EvalOptions, Inputs, evaluate};
use trajgan::{Config, Control, Device, Error, Model, Point, Result, SampleOptions, Stage};

/// The most that this process ever had resident, in KiB; None where the system does not say.
fn most_resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}

#[test]
fn training_of_preset_large_stays_under_a_gibibyte() {
    let Some(before) = most_resident() else { return skip::skipped("there is no VmHWM in /proc/self/status") };
    let mut data = Dataset::new(1);
    for k in 0..100 {
        let way = |i: u32| f64::from(i * (k + 3)).sqrt().round();
        let points = (0..200).map(|i| Point { x: way(i), y: f64::from(i), t_ms: 16.0 * f64::from(i) });
        data.push(Movement::new(points.collect()).unwrap(), None).unwrap();
    }
    for config in [Config::closed_loop(Preset::Large), Config::preset(Preset::Large)] {
        let decoder = config.decoder.name();
        let (batch_size, max_seq_len, stage1_iterations, stage2_iterations) = (64, 200, 3, 1);
        let config = Config { batch_size, max_seq_len, stage1_iterations, stage2_iterations, quality_z: 0.0, ..config };
        let options = common::options(&config, 8);
        let mut model = Model::new(config, Device::Cpu).unwrap();
        for stage in [Stage::Autoencoder, Stage::Gan] {
            model.train(&data, stage, &options, &mut |_, _| Control::Continue).unwrap();
        }
        let most = most_resident().unwrap();
        println!("{decoder}: {} MiB", most >> 10);
        assert!((before + (100 << 10)..1 << 20).contains(&most), "{decoder}: {most} KiB, {before} before");
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_no_abort() {
    if !cfg!(target_os = "linux") {
        return skip::skipped("no limit of a process's memory");
    }
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 2500000 && exec \"$0\" --exact child --nocapture"]);
    let output = limited.arg(std::env::current_exe().unwrap()).env("LITTLE_MEMORY", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("usable"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// The rest of the test above, in a process of its own.
#[test]
fn child() {
    if std::env::var_os("LITTLE_MEMORY").is_none() {
        return;
    }
    let config = Config { max_seq_len: 4096, batch_size: 8, stage2_batch_size: 8, ..common::tiny_closed_loop() };
    let model = common::trained(&config, &common::dataset(60, 3), 1);
    let (targets, options) = (vec![[5, 5]; 40_000], SampleOptions::default());
    let z = ndarray::Array2::zeros((targets.len(), config.summary_dim));
    refused(model.walk(&targets, &options));
    refused(model.walk_summaries(z.view(), &targets, &options));
    refused(model.generate(targets.len(), None, &options));
    for count in [1 << 31, 1 << 62] {
        refused(model.sample_conditions(count, None, &options));
    }
    let short = Movement::new((0..3).map(|i| Point { x: f64::from(i), y: 1.0, t_ms: f64::from(i) }).collect()).unwrap();
    let (train, some) = (vec![short; 4_000_000], common::movements(20, 1));
    let inputs = Inputs { train: &train, held_out: &some, generated: &some, mirrored: true, ..Inputs::default() };
    refused(evaluate(&inputs, &EvalOptions { quick: true, threads: 1, ..EvalOptions::default() }));
    assert_eq!(model.walk(&targets[..3], &options).unwrap().len(), 3);
    println!("usable");
}

fn refused<T>(result: Result<T>) {
    assert!(matches!(result.err(), Some(Error::Memory { .. })));
}
