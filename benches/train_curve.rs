//! Does training learn as fast as PyTorch does? `cargo bench --bench train_curve` (minutes; not part of `make test`).
//!
//! 3000 iterations of stage 1 on ../shared/data/balabit/processed with preset recommended and batch 64, beside what
//! `bench/pytorch_peer.py train --preset recommended` printed for the same; then more of stage 1 if asked for (squared errors
//! learn the noisy features last), and 2000 iterations of stage 2; then as many movements as the test split has, whose
//! features are compared with the real ones. Exit code 1 if anything is out of bounds.
//! TRAJGAN_THREADS: how many threads (default: one per core). TRAJGAN_STAGE1: iterations of stage 1 in all.

use std::path::Path;
use std::process::ExitCode;

use trajgan::config::{Config, Preset};
use trajgan::data::{FEATURES, Prepared, ReadOptions};
use trajgan::{Control, Dataset, Device, Model, Result, SampleOptions, Stage, TrainOptions};

/// PyTorch's moving averages over 100 iterations: iteration, direct, recon.
const PEER: [(u64, f64, f64); 3] = [(1000, 0.0442, 0.0698), (2000, 0.0287, 0.0576), (3000, 0.0213, 0.0510)];
/// Of PyTorch's loss: two seeds of PyTorch itself differ by a tenth (after 200 iterations).
const WORST_RATIO: f64 = 1.15;
const STAGE1_ITERATIONS: u64 = 3000;
const STAGE2_ITERATIONS: u64 = 2000;
/// Of a scaled feature's mean and standard deviation; features lie in [-1,1].
const WORST_DIFFERENCE: f64 = 0.15;

fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/balabit/processed");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return ExitCode::SUCCESS;
    }
    match run(&folder) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path) -> Result<bool> {
    let (data, _) = Dataset::open(folder, &ReadOptions::default())?;
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let iterations = number("TRAJGAN_STAGE1").unwrap_or(STAGE1_ITERATIONS);
    let config = Config {
        stage1_iterations: iterations,
        stage1_patience: iterations,
        stage2_iterations: STAGE2_ITERATIONS,
        batch_size: 64,
        ..Config::preset(Preset::Recommended)
    };
    let prepared = data.prepare(&config, None)?;
    println!("{} training movements", prepared.train.len());
    let threads = number("TRAJGAN_THREADS").unwrap_or(0) as usize;
    let options = TrainOptions { config: config.clone(), threads, seed: 42 };
    let mut model = Model::new(config, Device::Cpu)?;
    let stage1 = stage1(&mut model, &data, &options)?;
    let stage2 = stage2(&mut model, &data, &options)?;
    Ok(compare(&model, &prepared, threads)? && stage1 && stage2)
}

fn stage1(model: &mut Model, data: &Dataset, options: &TrainOptions) -> Result<bool> {
    let mut good = true;
    let outcome = model.train(data, Stage::Autoencoder, options, &mut |_, p| {
        if p.log {
            println!("{p}");
        }
        if let Some((_, direct, recon)) = PEER.iter().find(|peer| peer.0 == p.iteration) {
            let ratios = [p.direct / direct, p.recon / recon];
            println!("  direct {:.4}, PyTorch {direct:.4}, ratio {:.3}", p.direct, ratios[0]);
            println!("  recon  {:.4}, PyTorch {recon:.4}, ratio {:.3}", p.recon, ratios[1]);
            good &= ratios.iter().all(|&r| r <= WORST_RATIO);
        }
        Control::Continue
    })?;
    println!("padding that was not computed: {:.1} %", 100.0 * outcome.waste.share());
    Ok(good)
}

/// A loss that is not finite ends training with an error.
fn stage2(model: &mut Model, data: &Dataset, options: &TrainOptions) -> Result<bool> {
    let mut finite = true;
    model.train(data, Stage::Gan, options, &mut |_, p| {
        finite &= [p.loss, p.critic, p.wasserstein, p.gradient_penalty].iter().all(|x| x.is_finite());
        if p.log {
            println!("{p}");
        }
        Control::Continue
    })?;
    Ok(finite)
}

/// Mean and standard deviation per feature, over all points: of as many generated movements as the test split has,
/// with its conditions and the model's own lengths, against the test split's. Beside them what the decoder makes of the
/// real movements' own summaries: what it averages away there, no generator can bring back.
fn compare(model: &Model, prepared: &Prepared, threads: usize) -> Result<bool> {
    let test = &prepared.test;
    let scaled = test.conditions();
    let conditions = prepared
        .scaler
        .as_ref()
        .map_or_else(|| scaled.iter().map(|&c| f64::from(c)).collect(), |s| s.unscale_condition(scaled));
    let options = SampleOptions { seed: 1, threads, ..SampleOptions::default() };
    let (fake, lengths) = model.generate_features(test.len(), Some(&conditions), &options)?;
    let rows: Vec<Vec<f32>> = (0..test.len()).map(|i| test.features(i).to_vec()).collect();
    let z = model.encode_features(&rows, threads)?;
    let decoded = model.decode_features(z.view(), &test.lengths(), threads)?;
    let (real, decoded) = (moments(rows.into_iter().flatten()), moments(decoded.into_iter().flatten()));
    let fake = fake.outer_iter().zip(&lengths).flat_map(|(x, &n)| x.into_iter().copied().take(n * FEATURES.len()));
    let fake = moments(fake);
    let mut good = true;
    println!("feature          mean: real  decoded generated    std: real  decoded generated");
    for (k, name) in FEATURES.iter().enumerate() {
        let ((mean, std), (decoded_mean, decoded_std), (fake_mean, fake_std)) = (real[k], decoded[k], fake[k]);
        print!("{name:10} {mean:16.4} {decoded_mean:8.4} {fake_mean:9.4}");
        println!("{std:13.4} {decoded_std:8.4} {fake_std:9.4}");
        good &= (mean - fake_mean).abs() <= WORST_DIFFERENCE && (std - fake_std).abs() <= WORST_DIFFERENCE;
    }
    Ok(good)
}

fn moments(rows: impl Iterator<Item = f32>) -> [(f64, f64); 8] {
    let (mut sum, mut square, mut count) = ([0.0; 8], [0.0; 8], 0usize);
    for (i, x) in rows.enumerate() {
        sum[i % 8] += f64::from(x);
        square[i % 8] += f64::from(x) * f64::from(x);
        count = i / 8 + 1;
    }
    let n = count as f64;
    std::array::from_fn(|k| (sum[k] / n, (square[k] / n - (sum[k] / n).powi(2)).max(0.0).sqrt()))
}
