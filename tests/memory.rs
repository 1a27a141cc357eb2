//! What training takes at most: preset large, 64 rows of 200 points, whatever the number of threads.

mod common;
mod skip;

use trajgan::config::Preset;
use trajgan::data::{Dataset, Movement};
use trajgan::{Config, Control, Device, Model, Point, Stage};

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
