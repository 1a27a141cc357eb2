//! Both stages on a CUDA device, as a program sees them: the training of the CPU, exact to go on with, and an error that leaves
//! the model as it was. The emulated driver runs the same kernels and launch code where there is no device.
#![cfg(feature = "cuda")]

mod common;
mod cuda_support;
mod golden_support;
mod skip;

use common::{Contents, assert_same, contents, dataset, movements, options, tiny, tiny_closed_loop, train_until};
use golden_support::{OUTPUT, WEIGHT};
use trajgan::backend::cuda::plan::Plan;
use trajgan::backend::cuda::session::Session;
use trajgan::config::{Expand, OptimizerKind, Pool, ScheduleKind};
use trajgan::{Config, Control, Dataset, Device, Error, Model, SampleOptions, Stage};

/// Both decoders, and what else the first stage can be made of.
fn configs() -> [Config; 3] {
    let other = Config {
        pool_type: Pool::Hybrid,
        expand_type: Expand::Mlp,
        optimizer: OptimizerKind::AdamW,
        lr_schedule: ScheduleKind::Plateau,
        augment_mirror: false,
        batch_size: 5, // fewer than a shard has
        ..tiny()
    };
    [tiny(), Config { summary_noise: 0.2, step_profiles: 2, augment_turn: 0.5, ..tiny_closed_loop() }, other]
}

/// A model that has done both stages.
fn trained(config: &Config, device: Device, data: &Dataset) -> Model {
    let mut model = Model::new(config.clone(), device).unwrap();
    for stage in [Stage::Autoencoder, Stage::Gan] {
        model.train(data, stage, &options(config, 1), &mut |_, _| Control::Continue).unwrap();
    }
    model
}

#[test]
fn both_stages_train_as_on_the_cpu() {
    if !cuda_support::load() {
        return;
    }
    let data = dataset(60, 3);
    for config in configs() {
        let (cpu, cuda) = (trained(&config, Device::Cpu, &data), trained(&config, Device::Cuda(0), &data));
        assert!(cuda.backend().name().starts_with("cuda:0"), "{}", cuda.backend().name());
        for (cpu, cuda) in cpu.stages().iter().zip(cuda.stages()) {
            assert_eq!(cpu.history.len(), cuda.history.len());
            for (a, b) in cpu.history.iter().zip(&cuda.history) {
                assert_eq!(
                    (a.iteration, a.rate, a.validation.is_some()),
                    (b.iteration, b.rate, b.validation.is_some())
                );
                let validation = a.validation.iter().flatten().zip(b.validation.iter().flatten());
                let mut pairs = a.losses.iter().zip(&b.losses).chain(validation);
                assert!(pairs.all(|(a, b)| (a - b).abs() <= 1e-3 * a.abs().max(1.0)), "{a:?} and {b:?}");
            }
        }
        assert!(cuda.stages()[0].history.iter().any(|record| record.validation.is_some()));
        // Adam makes steps of one size of gradients that are rounding alone, so a few weights may part.
        let (off, all) = autoencoder_off(&cpu, &cuda);
        println!("{off} of {all} numbers are off by more than {WEIGHT} of their tensor's largest");
        assert!(off * 100 <= all, "{off} of {all}");
    }
}

/// Numbers of the autoencoder that are off by more than WEIGHT of their tensor's largest, and all.
fn autoencoder_off(cpu: &Model, cuda: &Model) -> (usize, usize) {
    let (mut off, mut all) = (0, 0);
    let parts = ["encoder", "pooler", "expander", "decoder", "walker"];
    for name in cpu.parameter_names().filter(|name| parts.iter().any(|part| name.starts_with(part))) {
        let (a, b) = (cpu.tensor(name).unwrap().1, cuda.tensor(name).unwrap().1);
        let largest = a.iter().fold(0f32, |m, x| m.max(x.abs()));
        off += a.iter().zip(b).filter(|(a, b)| f64::from((**a - **b).abs()) > WEIGHT * f64::from(largest)).count();
        all += a.len();
    }
    (off, all)
}

#[test]
fn stopping_and_going_on_is_exact() {
    if !cuda_support::load() {
        return;
    }
    let (data, folder) = (dataset(60, 3), tempfile::tempdir().unwrap());
    for config in configs() {
        let whole = trained(&config, Device::Cuda(0), &data);
        let mut model = Model::new(config.clone(), Device::Cuda(0)).unwrap();
        for (stage, stops) in [(Stage::Autoencoder, [1, 3, 8]), (Stage::Gan, [1, 4, 6])] {
            for stop_at in stops {
                train_until(&mut model, &data, stage, &options(&config, 1), stop_at);
                let between = folder.path().join("between.safetensors");
                model.save(&between).unwrap();
                model = Model::load(&between, Device::Cuda(0)).unwrap();
            }
        }
        // So training is a function of the seed, too.
        assert_same(&contents(&whole), &contents(&model), "six parts");
    }
}

#[test]
fn summaries_are_those_of_the_cpu() {
    if !cuda_support::load() {
        return;
    }
    let (data, folder) = (dataset(60, 3), tempfile::tempdir().unwrap());
    for config in configs() {
        let path = folder.path().join("m.safetensors");
        trained(&config, Device::Cpu, &data).save(&path).unwrap();
        let (cpu, cuda) = (Model::load(&path, Device::Cpu).unwrap(), Model::load(&path, Device::Cuda(0)).unwrap());
        let some = movements(37, 8);
        let (a, b) = (cpu.encode(&some, 1).unwrap(), cuda.encode(&some, 1).unwrap());
        let error = a.iter().zip(&b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        assert!(error <= OUTPUT, "off by {error:e}");
        // A summary does not depend on its batch.
        let alone = cuda.encode(&some[20..21], 1).unwrap();
        assert_eq!(alone.row(0), b.row(20));
        assert_eq!(cuda.encode(&[], 1).unwrap().dim(), (0, config.summary_dim));
    }
}

fn same_numbers(before: &Contents, after: &Contents) {
    for (name, bits) in before.iter().filter(|(name, _)| !name.starts_with("metadata")) {
        assert!(after.get(name) == Some(bits), "{name} changed");
    }
}

/// As on the CPU: weights of the losses near the end of the numbers make the first step fail, and it changes nothing.
#[test]
fn divergence_changes_nothing() {
    if !cuda_support::load() {
        return;
    }
    let (data, config) = (dataset(60, 3), tiny());
    for device in [Device::Cpu, Device::Cuda(0)] {
        let mut model = Model::new(config.clone(), device).unwrap();
        train_until(&mut model, &data, Stage::Autoencoder, &options(&config, 1), 3);
        let good = contents(&model);
        let broken = options(&Config { lambda_recon: 1e300, ..config.clone() }, 1);
        let trained = model.train(&data, Stage::Autoencoder, &broken, &mut |_, _| panic!("it trained"));
        let Err(Error::Diverged { stage: 1, iteration: 3, what }) = trained else { panic!("{trained:?}") };
        assert_eq!(what, "the gradient");
        same_numbers(&good, &contents(&model));
        // And goes on.
        train_until(&mut model, &data, Stage::Autoencoder, &options(&config, 1), 8);
    }
}

/// Not a test of its own: what the next one runs in a process with little device memory.
#[test]
fn child() {
    if std::env::var_os("EMU_MEMORY").is_none() || !cuda_support::load() {
        return;
    }
    let (data, config) = (dataset(60, 3), tiny());
    let mut model = Model::new(config.clone(), Device::Cuda(0)).unwrap();
    let before = model.tensor("encoder.linear.weight_orig").unwrap().1.to_vec();
    let options = options(&config, 1);
    let error = model.train(&data, Stage::Autoencoder, &options, &mut |_, _| panic!("it trained")).unwrap_err();
    assert!(matches!(error, Error::Memory { bytes: 10_001.., .. }), "{error}");
    assert_eq!((model.stages()[0].iteration, model.tensor("encoder.linear.weight_orig").unwrap().1), (0, &before[..]));
    // SAFETY: the only test of this process, on its only thread but the harness's, which waits.
    unsafe { std::env::set_var("EMU_MEMORY", "100000000") };
    model.train(&data, Stage::Autoencoder, &options, &mut |_, _| Control::Continue).unwrap();
    println!("usable");
}

#[test]
fn too_little_device_memory() {
    cuda_support::run_with_little_memory();
}

/// Not a test of its own: what the next one runs, with a device that fails for good in the stage that LOSE_IN names.
#[test]
fn losing_child() {
    let Ok(stage) = std::env::var("LOSE_IN") else { return };
    if !cuda_support::load() {
        return;
    }
    let stage = if stage == "gan" { Stage::Gan } else { Stage::Autoencoder };
    let (data, config, folder) = (dataset(60, 3), tiny(), tempfile::tempdir().unwrap());
    let mut model = Model::new(config.clone(), Device::Cuda(0)).unwrap();
    let options = options(&config, 1);
    if stage == Stage::Gan {
        model.train(&data, Stage::Autoencoder, &options, &mut |_, _| Control::Continue).unwrap();
    }
    train_until(&mut model, &data, stage, &options, 2);
    let good = contents(&model);
    let mut fail = |_: &Model, _: &trajgan::Progress| {
        // SAFETY: the only test of this process, on its only thread but the harness's, which waits.
        unsafe { std::env::set_var("EMU_FAIL", "20") };
        Control::Continue
    };
    let error = model.train(&data, stage, &options, &mut fail).unwrap_err();
    assert!(matches!(&error, Error::Device { device: 0, reason } if reason.contains("LAUNCH_FAILED")), "{error}");
    assert_eq!(good, contents(&model), "what was there when weights last came back");
    // What the device does not do, the CPU does.
    let path = folder.path().join("saved.safetensors");
    model.save(&path).unwrap();
    let mut model = Model::load(&path, Device::Cpu).unwrap();
    train_until(&mut model, &data, stage, &options, 5);
    println!("usable");
}

#[test]
fn a_device_that_fails_takes_nothing_along() {
    for stage in ["autoencoder", "gan"] {
        cuda_support::run_child("losing_child", "LOSE_IN", stage);
    }
}

/// Not a test of its own: what the next one runs, on a device without clusters.
#[test]
fn waiting_child() {
    if std::env::var_os("EMU_MAJOR").is_none() || !cuda_support::load() {
        return;
    }
    let data = dataset(60, 3);
    let config = Config { expander_hidden_dim: 64, batch_size: 4, stage1_iterations: 2, ..tiny() };
    let mut model = Model::new(config.clone(), Device::Cuda(0)).unwrap();
    let options = options(&config, 1);
    train_until(&mut model, &data, Stage::Autoencoder, &options, 1);
    let good = contents(&model);
    // SAFETY: the only test of this process, on its only thread but the harness's, which waits.
    unsafe { std::env::set_var("EMU_APART", "1") };
    let error = model.train(&data, Stage::Autoencoder, &options, &mut |_, _| panic!("it trained")).unwrap_err();
    assert!(
        matches!(&error, Error::Device { device: 0, reason } if reason.contains("waiting for each other")),
        "{error}"
    );
    assert_eq!(good, contents(&model));
    // SAFETY: as above.
    unsafe { std::env::remove_var("EMU_APART") };
    train_until(&mut model, &data, Stage::Autoencoder, &options, 2);
    println!("usable");
}

/// Blocks that wait for each other and are not run at the same time: the training did not diverge, the device failed.
#[test]
fn blocks_that_wait_in_vain_are_the_devices_failure() {
    cuda_support::run_child("waiting_child", "EMU_MAJOR", "8");
}

/// Not a test of its own: what the next one runs, and counts the kernels of.
#[test]
fn recorded_child() {
    if std::env::var_os("EMU_TRACE").is_none() || !cuda_support::load() {
        return;
    }
    let config = Config { expander_hidden_dim: 64, batch_size: 4, stage1_iterations: 4, ..tiny() };
    let mut model = Model::new(config.clone(), Device::Cuda(0)).unwrap();
    model.train(&dataset(60, 3), Stage::Autoencoder, &options(&config, 1), &mut |_, _| Control::Continue).unwrap();
}

/// What the first iteration has been told of a kernel, the second, which is recorded, does not ask again.
#[test]
fn recorded_expanders_are_over_many_blocks() {
    if std::env::var_os("TRAJGAN_DRIVER").is_some() || cuda_support::library().is_none() {
        return;
    }
    for (major, kernel) in [("9", "expander_backward_cluster"), ("8", "expander_backward_group")] {
        let launched = cuda_support::kernels_of("recorded_child", [("EMU_MAJOR", major)]);
        let backward: Vec<_> = launched.lines().filter(|name| name.starts_with("expander_backward")).collect();
        assert_eq!(backward, [kernel; 4]);
    }
}

/// A panic while work is recorded does not leave the queue recording.
#[test]
fn a_recording_ends_where_its_work_panics() {
    let Some(device) = cuda_support::device() else { return };
    let mut plan = Plan::default();
    let span = plan.floats(3);
    let session = Session::new(&device, plan, "a test").unwrap();
    session.ask(|| Ok(())).unwrap();
    let work = || session.ask(|| panic!("what is recorded"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_err();
    session.upload(span, &[1.0f32, 2.0, 3.0]).unwrap();
    let mut back = [0.0f32; 3];
    session.download(span, &mut back).unwrap();
    assert_eq!(back, [1.0, 2.0, 3.0]);
}

/// Not a test of its own: what the next one runs.
#[test]
fn silent_child() {
    if std::env::var_os("EMU_SILENT").is_none() || !cuda_support::load() {
        return;
    }
    let config = Config { expander_hidden_dim: 64, stage1_iterations: 1, ..tiny() };
    let mut model = Model::new(config.clone(), Device::Cuda(0)).unwrap();
    // Multiprocessors, capability, cooperative launches, shared memory, clusters.
    for attribute in ["16", "75", "95", "97", "120"] {
        // SAFETY: the only test of this process, on its only thread but the harness's, which waits.
        unsafe { std::env::set_var("EMU_SILENT", attribute) };
        let Err(Error::Device { device: 0, reason }) = Device::Cuda(0).check() else { panic!("{attribute}") };
        assert_eq!(reason, "asking what the device can do gives CUDA_ERROR_NOT_INITIALIZED (3)");
    }
    // SAFETY: as above.
    unsafe { std::env::set_var("EMU_SILENT", "97") };
    let options = options(&config, 1);
    model.train(&dataset(60, 3), Stage::Autoencoder, &options, &mut |_, _| Control::Continue).unwrap();
    println!("usable");
}

/// A device that does not say what it can do is not opened; one that is open is not asked again.
#[test]
fn what_a_device_can_do_is_asked_once() {
    cuda_support::run_child("silent_child", "EMU_SILENT", "0");
}

/// A host program may use CUDA too: the context that its thread has current is its own.
#[test]
fn the_hosts_context_stays_current() {
    if std::env::var_os("TRAJGAN_DRIVER").is_some() || !cuda_support::load() {
        return; // only the emulated driver takes a context that is none
    }
    let data = dataset(60, 3);
    for (host, config) in [(0, tiny()), (0x7700, tiny()), (0x7700, tiny_closed_loop())] {
        // A first iteration, one that is recorded, and one of the recording; validation after the second.
        let config = Config { stage1_iterations: 3, stage2_iterations: 3, eval_interval: 2, ..config };
        cuda_support::set_context(host);
        let kept = |what: &str| assert_eq!(cuda_support::context(), host, "{what}");
        Device::Cuda(0).check().unwrap();
        kept("a device asked for");
        let mut model = Model::new(config.clone(), Device::Cuda(0)).unwrap();
        kept("a new model");
        for stage in [Stage::Autoencoder, Stage::Gan] {
            let mut callback = |_: &Model, _: &trajgan::Progress| {
                kept("a callback");
                Control::Continue
            };
            model.train(&data, stage, &options(&config, 1), &mut callback).unwrap();
            kept("training");
        }
        model.encode(&movements(3, 8), 1).unwrap();
        model.generate(3, None, &SampleOptions::default()).unwrap();
        kept("samples");
        drop(model);
        kept("a model's end");
    }
}

/// The same where the driver has no pools of memory.
#[test]
fn the_hosts_context_stays_current_without_pools() {
    if std::env::var_os("TRAJGAN_DRIVER").is_none() && cuda_support::library().is_some() {
        cuda_support::kernels_of("the_hosts_context_stays_current", [("EMU_LACKS", "115")]);
    }
}

/// Not a test of its own: what the next one runs, on a device with little shared memory.
#[test]
fn narrow_child() {
    if std::env::var_os("EMU_SHARED").is_none() || !cuda_support::load() {
        return;
    }
    let data = dataset(60, 3);
    // An encoder and a critic whose norms need more of it than there is.
    let config = Config {
        latent_dim: 1300,
        discriminator_hidden_dims: vec![1300],
        stage1_iterations: 1,
        stage2_iterations: 1,
        ..tiny()
    };
    let mut model = Model::new(config.clone(), Device::Cuda(0)).unwrap();
    for stage in [Stage::Autoencoder, Stage::Gan] {
        model.train(&data, stage, &options(&config, 1), &mut |_, _| Control::Continue).unwrap();
    }
    model.encode(&movements(3, 8), 1).unwrap();
    println!("usable");
}

/// What does not fit a block is done on the CPU.
#[test]
fn norms_that_do_not_fit() {
    cuda_support::run_child("narrow_child", "EMU_SHARED", "20000");
}
