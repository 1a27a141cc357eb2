//! Models on a CUDA device, as a program sees them: the same training and the same walks as on the CPU, exact to go on with,
//! and an error that leaves the model as it was. The emulated driver runs the same kernels and launch code where there is no
//! device.
#![cfg(feature = "cuda")]

mod common;
mod cuda_support;
mod golden_support;
mod skip;

use std::path::PathBuf;

use common::{Contents, assert_same, contents, dataset, options, tiny, tiny_closed_loop, train_until};
use golden_support::WEIGHT;
use trajgan::{Config, Control, Dataset, Device, Error, Model, SampleOptions, Stage};

/// A model that has done stage 1 on the CPU, as a file.
fn after_stage1(config: &Config, data: &Dataset) -> (tempfile::TempDir, PathBuf) {
    let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
    model.train(data, Stage::Autoencoder, &options(config, 2), &mut |_, _| Control::Continue).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    model.save(&path).unwrap();
    (folder, path)
}

fn train_gan(path: &std::path::Path, device: Device, data: &Dataset, config: &Config) -> Model {
    let mut model = Model::load(path, device).unwrap();
    model.train(data, Stage::Gan, &options(config, 2), &mut |_, _| Control::Continue).unwrap();
    model
}

/// Numbers of the tensors, and of the losses, that are off by more than WEIGHT of the tensor's largest.
fn compare(cpu: &Contents, cuda: &Contents) -> (usize, usize) {
    let (mut off, mut all) = (0, 0);
    for (name, expected) in cpu.iter().filter(|(name, _)| !name.starts_with("metadata")) {
        let float = |bits: &u64| f32::from_bits(*bits as u32);
        let largest = expected.iter().map(|bits| float(bits).abs()).fold(0.0, f32::max);
        let pairs = expected.iter().zip(&cuda[name]);
        off += pairs.filter(|(a, b)| f64::from((float(a) - float(b)).abs()) > WEIGHT * f64::from(largest)).count();
        all += expected.len();
    }
    (off, all)
}

#[test]
fn the_gan_trains_as_on_the_cpu() {
    if !cuda_support::load() {
        return;
    }
    let data = dataset(60, 3);
    // More than 256 rows: gradients are summed in parts.
    let film = Config {
        generator_type: trajgan::config::GeneratorKind::Film,
        discriminator_type: trajgan::config::CriticKind::Projection,
        stage2_batch_size: 260,
        stage2_iterations: 1,
        n_critic: 1,
        ..tiny()
    };
    for config in [tiny_closed_loop(), film] {
        let (_folder, path) = after_stage1(&config, &data);
        let cpu = train_gan(&path, Device::Cpu, &data, &config);
        let cuda = train_gan(&path, Device::Cuda(0), &data, &config);
        assert!(cuda.backend().name().starts_with("cuda:0"), "{}", cuda.backend().name());
        for (a, b) in cpu.stages()[1].history.iter().zip(&cuda.stages()[1].history) {
            let close = a.losses.iter().zip(&b.losses).all(|(a, b)| (a - b).abs() <= 1e-4 * a.abs().max(1.0));
            assert!(close, "{:?} and {:?}", a.losses, b.losses);
        }
        // Adam makes steps of one size of gradients that are rounding alone, so a few weights may part.
        let (off, all) = compare(&contents(&cpu), &contents(&cuda));
        println!("{off} of {all} numbers are off by more than {WEIGHT} of their tensor's largest");
        assert!(off * 1000 <= all, "{off} of {all}");
    }
}

#[test]
fn stopping_and_going_on_is_exact() {
    if !cuda_support::load() {
        return;
    }
    let (data, config) = (dataset(60, 3), tiny_closed_loop());
    let (folder, path) = after_stage1(&config, &data);
    let whole = train_gan(&path, Device::Cuda(0), &data, &config);
    let mut model = Model::load(&path, Device::Cuda(0)).unwrap();
    for stop_at in [1, 4, 6] {
        train_until(&mut model, &data, Stage::Gan, &options(&config, 1), stop_at);
        let between = folder.path().join("between.safetensors");
        model.save(&between).unwrap();
        model = Model::load(&between, Device::Cuda(0)).unwrap();
    }
    // So training is a function of the seed, too.
    assert_same(&contents(&whole), &contents(&model), "three parts");
}

#[test]
fn walks_are_those_of_the_cpu() {
    walks_as_on_the_cpu(4);
}

#[test]
fn walks_without_profiles_are_those_of_the_cpu() {
    walks_as_on_the_cpu(0);
}

fn walks_as_on_the_cpu(step_profiles: usize) {
    if !cuda_support::load() {
        return;
    }
    // As many recordings as it takes to learn to choose among walks.
    let data = dataset(400, 3);
    let config = Config { summary_noise: 0.1, candidates: 2, step_profiles, ..tiny_closed_loop() };
    let (folder, path) = after_stage1(&config, &data);
    train_gan(&path, Device::Cpu, &data, &config).save(&path).unwrap();
    let (cpu, cuda) = (Model::load(&path, Device::Cpu).unwrap(), Model::load(&path, Device::Cuda(0)).unwrap());
    let targets: Vec<[i32; 2]> = (0..40).map(|i| [i * 7 - 90, 60 - i * 3]).collect();
    let options = SampleOptions { seed: 3, first: 7, truncation_psi: 0.9, ..SampleOptions::default() };
    let (a, b) = (cpu.walk(&targets, &options).unwrap(), cuda.walk(&targets, &options).unwrap());
    for (walk, target) in b.iter().zip(&targets) {
        let last = walk.points[walk.points.len() - 1];
        assert_eq!([last.x, last.y], target.map(f64::from));
    }
    // A draw that falls between two roundings takes another class, and the walk another way.
    let same = a.iter().zip(&b).filter(|(a, b)| a.points == b.points).count();
    println!("{same} of {} walks are the CPU's", targets.len());
    assert!(same * 10 >= targets.len() * 9, "{same} of {}", targets.len());
    let first = cuda.walk(&targets, &SampleOptions { candidates: 1, ..options.clone() }).unwrap();
    assert!((5..35).contains(&first.iter().zip(&b).filter(|(a, b)| a.points == b.points).count()), "one of two");
    // A sample does not depend on its batch.
    let alone = cuda.walk(&targets[20..21], &SampleOptions { first: 27, ..options.clone() }).unwrap();
    assert_eq!(alone[0].points, b[20].points);
    assert_eq!(cuda.walk(&[], &options).unwrap(), []);
    assert_eq!(cuda.generate(5, None, &options).unwrap().len(), 5);
    drop(folder);
}

/// As on the CPU: a loss weight near the end of the numbers makes the gradient infinite at once.
#[test]
fn divergence_changes_nothing() {
    if !cuda_support::load() {
        return;
    }
    let (data, config) = (dataset(60, 3), tiny());
    let (_folder, path) = after_stage1(&config, &data);
    let mut model = Model::load(&path, Device::Cuda(0)).unwrap();
    train_until(&mut model, &data, Stage::Gan, &options(&config, 1), 3);
    let good = contents(&model);
    let broken = Config { lambda_gp: 1e300, ..config };
    let error = model.train(&data, Stage::Gan, &options(&broken, 1), &mut |_, _| panic!("it trained")).unwrap_err();
    assert!(matches!(error, Error::Diverged { stage: 2, iteration: 3, .. }), "{error}");
    let after = contents(&model);
    for (name, bits) in good.iter().filter(|(name, _)| !name.starts_with("metadata")) {
        assert!(after.get(name) == Some(bits), "{name} changed");
    }
}

/// Not a test of its own: what the next one runs in a process with little device memory.
#[test]
fn child() {
    if std::env::var_os("EMU_MEMORY").is_none() || !cuda_support::load() {
        return;
    }
    let (data, config) = (dataset(60, 3), tiny_closed_loop());
    let (_folder, path) = after_stage1(&config, &data);
    let mut model = Model::load(&path, Device::Cuda(0)).unwrap();
    let before = model.tensor("generator.output.weight").unwrap().1.to_vec();
    let options = options(&config, 1);
    let error = model.train(&data, Stage::Gan, &options, &mut |_, _| panic!("it trained")).unwrap_err();
    assert!(matches!(error, Error::Memory { bytes: 10_001.., .. }), "{error}");
    assert_eq!(model.tensor("generator.output.weight").unwrap().1, before);
    // SAFETY: the only test of this process, on its only thread but the harness's, which waits.
    unsafe { std::env::set_var("EMU_MEMORY", "100000000") };
    model.train(&data, Stage::Gan, &options, &mut |_, _| Control::Continue).unwrap();
    println!("usable");
}

#[test]
fn too_little_device_memory() {
    cuda_support::run_with_little_memory();
}
