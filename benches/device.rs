//! Rates on CUDA device 0 of what runs there: both stages and batches of walks. `scripts/gpu-check` packs it and runs it.

use std::hint::black_box;
use std::time::Instant;

use trajgan::config::{Config, Preset};
use trajgan::data::{Dataset, Movement, Point};
use trajgan::rng::{Rng, Stream};
use trajgan::{Control, Device, Model, SampleOptions, Stage, TrainOptions};

/// Movements of a batch of samples.
const SAMPLES: usize = 65_536;

/// 200 movements of so many points.
fn movements(points: impl Fn(&mut Rng) -> usize) -> Dataset {
    let mut data = Dataset::new(1);
    let mut rng = Rng::new(5, Stream::Demo, 0);
    for _ in 0..200 {
        let (x, y, n) = (rng.range(-600.0, 600.0), rng.range(-400.0, 400.0), points(&mut rng) - 1);
        let way = |i: usize| (1.0 - (std::f64::consts::PI * i as f64 / n as f64).cos()) / 2.0;
        let point = |i| Point { x: (x * way(i)).round(), y: (y * way(i)).round(), t_ms: 16.0 * i as f64 };
        data.push(Movement::new((0..=n).map(point).collect()).expect("a movement"), None).expect("pushed");
    }
    data
}

/// Seconds that a stage takes to come to so many iterations.
fn seconds(model: &mut Model, data: &Dataset, config: &Config, stage: Stage, iterations: u64) -> f64 {
    let config = Config { stage1_iterations: iterations, stage2_iterations: iterations, ..config.clone() };
    let start = Instant::now();
    let options = TrainOptions { config, threads: 0, seed: 0 };
    model.train(data, stage, &options, &mut |_, _| Control::Continue).expect("trained");
    start.elapsed().as_secs_f64()
}

/// Iterations a second of stage 1. What begins and ends a call is in both calls; their difference is iterations alone.
fn stage1(name: &str, data: &Dataset, config: &Config) -> Model {
    let mut model = Model::new(config.clone(), Device::Cuda(0)).expect("a model");
    seconds(&mut model, data, config, Stage::Autoencoder, 100);
    let [few, many] = [200, 1200].map(|end| seconds(&mut model, data, config, Stage::Autoencoder, end));
    println!("stage 1, {name}, B = {}: {:.0} it/s", config.batch_size, 900.0 / (many - few));
    model
}

fn main() {
    if let Err(error) = Device::Cuda(0).check() {
        println!("not run: {error}");
        std::process::exit(1);
    }
    // The peer's: all of 100 points. Recorded ones are of many lengths.
    let (data, ragged) = (movements(|_| 100), movements(|rng| 21 + rng.below(60)));
    // A patience that does not end: every call does its iterations.
    let same = |config: Config| Config {
        stage1_patience: 1_000_000,
        batch_size: 64,
        stage2_batch_size: 64,
        quality_z: 0.0,
        augment_mirror: false,
        ..config
    };
    stage1("v6", &data, &same(Config::default()));
    stage1("v6, 21 to 80 points", &ragged, &same(Config::default()));
    let config = same(Config::closed_loop(Preset::Default));
    let mut model = stage1("closed-loop", &data, &config);
    // 500 iterations and 5000. Encoding the data is in both calls; their difference is iterations alone.
    seconds(&mut model, &data, &config, Stage::Gan, 100);
    let [few, many] = [600, 5600].map(|end| seconds(&mut model, &data, &config, Stage::Gan, end));
    println!("stage 2, B = 64: {:.0} it/s", 4500.0 / (many - few));
    for call in ["first", "second"] {
        let start = Instant::now();
        let drawn = black_box(model.generate(SAMPLES, None, &SampleOptions::default()).expect("movements"));
        let points = drawn.iter().map(|m| m.points.len()).sum::<usize>() as f64;
        let rate = SAMPLES as f64 / start.elapsed().as_secs_f64();
        println!("{SAMPLES} walks, {call} call: {rate:.0} a second, {:.0} points each", points / SAMPLES as f64);
    }
}
