//! The training loops: they learn as fast as PyTorch does, and they stop as they should.

mod common;
mod skip;

use std::path::Path;

use common::{assert_same, contents, dataset, options, tiny, tiny_closed_loop, train_until, trained};
use trajgan::config::{Config, DecoderKind, Preset};
use trajgan::data::ReadOptions;
use trajgan::model::{Record, StageState};
use trajgan::{Control, Dataset, Device, Error, Model, Stage, TrainOptions};

/// PyTorch's direct loss, averaged over iterations 1 to 100 (`pytorch_peer.py train --preset recommended --stage1 100`):
/// 0.2012 with seed 42 and 0.1955 with seed 7. See benches/train_curve.rs for the long version.
const PEER_DIRECT: f64 = 0.1955;
const WORST_RATIO: f64 = 1.15;

fn balabit() -> Option<Dataset> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/balabit/processed");
    if !folder.is_dir() {
        skip::skipped(format_args!("{} is not there", folder.display()));
        return None;
    }
    Some(Dataset::open(&folder, &ReadOptions::default()).unwrap().0)
}

#[test]
fn learns_as_fast_as_pytorch() {
    let Some(data) = balabit() else { return };
    let config = Config {
        stage1_iterations: 100,
        stage2_iterations: 30,
        batch_size: 64,
        log_interval: 10,
        ..Config::preset(Preset::Recommended)
    };
    let options = TrainOptions { config: config.clone(), threads: 0, seed: 42 };
    let mut model = Model::new(config, Device::Cpu).unwrap();
    let mut direct = f64::NAN;
    let outcome = model.train(&data, Stage::Autoencoder, &options, &mut |_, p| {
        direct = p.direct;
        Control::Continue
    });
    let share = outcome.unwrap().waste.share();
    println!("direct loss {direct:.4}, PyTorch {PEER_DIRECT}; {:.1} % padding not computed", 100.0 * share);
    assert!(direct <= WORST_RATIO * PEER_DIRECT, "direct loss {direct}");
    assert!(share > 0.0 && share < 0.4, "batches of like lengths waste {share}");
    model
        .train(&data, Stage::Gan, &options, &mut |_, p| {
            let losses = [p.loss, p.critic, p.wasserstein, p.gradient_penalty];
            assert!(losses.iter().all(|x| x.is_finite()), "{losses:?}");
            Control::Continue
        })
        .unwrap();
    assert_eq!(model.stages()[1].history.len(), 3);
}

/// Both decoders learn made-up movements.
#[test]
fn learns_made_up_movements() {
    let data = dataset(200, 4);
    for config in [tiny(), tiny_closed_loop()] {
        let config = Config { stage1_iterations: 150, lr_autoencoder: 1e-2, ..config };
        let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
        let mut losses = Vec::new();
        model
            .train(&data, Stage::Autoencoder, &options(&config, 0), &mut |_, p| {
                losses.push(p.loss);
                Control::Continue
            })
            .unwrap();
        assert!(losses.iter().all(|x| x.is_finite()));
        assert!(losses[149] < 0.8 * losses[0], "{} to {}", losses[0], losses[149]);
    }
}

#[test]
fn early_stopping_needs_the_threshold_and_patience() {
    let data = dataset(60, 5);
    // So slow that nothing improves by 0.001: the window fills, then patience runs out.
    let config = Config { stage1_iterations: 400, lr_autoencoder: 1e-9, stage1_patience: 20, ..tiny() };
    let run = |threshold: f64| {
        let config = Config { stage1_threshold: threshold, ..config.clone() };
        let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
        let mut last = None;
        let outcome = model.train(&data, Stage::Autoencoder, &options(&config, 2), &mut |_, p| {
            last = Some(p.clone());
            if p.iteration < 300 { Control::Continue } else { Control::Stop }
        });
        (outcome, last.unwrap())
    };
    let (outcome, last) = run(10.0);
    let outcome = outcome.unwrap();
    assert!(outcome.converged && last.converged && last.log);
    assert!((119..300).contains(&outcome.iterations), "{}", outcome.iterations);
    assert_eq!(last.iteration, outcome.iterations);
    let (outcome, last) = run(1e-6);
    assert!(matches!(outcome, Err(Error::Cancelled { iteration: 300 })) && !last.converged);
    // It is the direct loss that has to be below, and not the total.
    assert!(last.direct < last.loss);
    assert!(run(0.5 * (last.direct + last.loss)).1.converged);
}

/// A loss weight near the end of the numbers makes the gradient infinite at once, wherever training is.
#[test]
fn divergence_keeps_the_last_finite_weights() {
    let data = dataset(120, 6);
    for (config, broken) in [
        (tiny(), Config { lambda_recon: 1e300, ..tiny() }),
        (tiny(), Config { lambda_recon: 1e300, stage1_grad_clip: 1e300, ..tiny() }),
        (tiny(), Config { lambda_recon: 1e25, stage1_grad_clip: 1e300, ..tiny() }),
    ] {
        let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
        train_until(&mut model, &data, Stage::Autoencoder, &options(&config, 2), 5);
        let good = contents(&model);
        let error = model.train(&data, Stage::Autoencoder, &options(&broken, 2), &mut |_, _| Control::Continue);
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Diverged { stage: 1, iteration: 5, .. }), "{error}");
        assert!(error.to_string().contains("stage 1 diverged at iteration 5"), "{error}");
        assert_weights(&good, &contents(&model));
        // Training goes on once the cause is gone, and as if nothing had been.
        model.train(&data, Stage::Autoencoder, &options(&config, 2), &mut |_, _| Control::Continue).unwrap();
        let mut straight = Model::new(config.clone(), Device::Cpu).unwrap();
        train_until(&mut straight, &data, Stage::Autoencoder, &options(&config, 1), u64::MAX);
        assert_same(&contents(&straight), &contents(&model), "after divergence");
    }
    let broken = Config { lambda_gp: 1e300, stage2_iterations: 12, ..tiny() };
    let mut model = trained(&tiny(), &data, 1);
    let good = contents(&model);
    let error = model.train(&data, Stage::Gan, &options(&broken, 2), &mut |_, _| Control::Continue).unwrap_err();
    assert!(matches!(error, Error::Diverged { stage: 2, iteration: 6, .. }), "{error}");
    assert_weights(&good, &contents(&model));
}

/// The generator's step fails after the critic's steps of its iteration: those are undone with it.
#[test]
fn an_iteration_of_the_gan_is_all_or_nothing() {
    let data = dataset(120, 6);
    for config in [tiny(), tiny_closed_loop()] {
        let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
        train_until(&mut model, &data, Stage::Autoencoder, &options(&config, 2), u64::MAX);
        let mut straight = model.clone();
        train_until(&mut model, &data, Stage::Gan, &options(&config, 2), 3);
        let good = contents(&model);
        let broken = Config { lambda_fm: 1e300, ..config.clone() };
        let error = model.train(&data, Stage::Gan, &options(&broken, 2), &mut |_, _| Control::Continue).unwrap_err();
        assert!(matches!(error, Error::Diverged { stage: 2, iteration: 3, what: "the gradient" }), "{error}");
        assert_weights(&good, &contents(&model));
        train_until(&mut model, &data, Stage::Gan, &options(&config, 1), u64::MAX);
        train_until(&mut straight, &data, Stage::Gan, &options(&config, 2), u64::MAX);
        assert_same(&contents(&straight), &contents(&model), "after a failed iteration");
    }
}

/// The rate is as high as settings allow: the weights leave all bounds of sense, and stay finite.
#[test]
fn absurd_rates_leave_finite_weights() {
    let data = dataset(60, 6);
    let base = Config { lr_autoencoder: 10.0, lr_generator: 10.0, lr_discriminator: 10.0, ..tiny() };
    let decay = Config {
        optimizer: trajgan::config::OptimizerKind::AdamW,
        stage1_weight_decay: 1.0,
        stage1_iterations: 60,
        ..base.clone()
    };
    for config in [base.clone(), decay, Config { generator_average: 0.0, ..tiny_closed_loop() }] {
        let config = Config { lr_autoencoder: 10.0, ..config };
        let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
        for stage in [Stage::Autoencoder, Stage::Gan] {
            match model.train(&data, stage, &options(&config, 2), &mut |_, _| Control::Continue) {
                Ok(_) | Err(Error::Diverged { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        // A file with a number that is not finite would not load.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        model.save(&path).unwrap();
        Model::load(&path, Device::Cpu).unwrap();
    }
    let over = Config { lr_autoencoder: 11.0, ..tiny() };
    assert!(over.check().is_err());
}

/// All tensors; the metadata has the settings of the call that failed.
fn assert_weights(a: &common::Contents, b: &common::Contents) {
    for (name, bits) in a.iter().filter(|(name, _)| !name.starts_with("metadata")) {
        assert!(b.get(name) == Some(bits), "{name} changed");
    }
}

#[test]
fn cancel_keeps_finished_iterations() {
    let (data, config) = (dataset(60, 7), tiny());
    let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
    let mut calls = 0;
    let result = model.train(&data, Stage::Autoencoder, &options(&config, 2), &mut |model, p| {
        calls += 1;
        assert_eq!(model.stages()[0].iteration, p.iteration);
        if p.iteration == 3 { Control::Stop } else { Control::Continue }
    });
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Cancelled { iteration: 3 }), "{error}");
    assert_eq!((calls, model.stages()[0].iteration), (3, 3));
    let at_once = model.train(&data, Stage::Autoencoder, &options(&config, 2), &mut |_, _| Control::Stop);
    assert!(matches!(at_once, Err(Error::Cancelled { iteration: 4 })));
    let outcome = model.train(&data, Stage::Autoencoder, &options(&config, 2), &mut |_, _| Control::Continue).unwrap();
    assert_eq!((outcome.iterations, outcome.converged), (8, false));
}

#[test]
fn refused_calls_change_nothing() {
    let (data, config) = (dataset(60, 7), tiny());
    let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
    let fresh = contents(&model);
    let never: &mut dyn FnMut(&Model, &trajgan::Progress) -> Control = &mut |_, _| panic!("it trained");
    let before = model.train(&data, Stage::Gan, &options(&config, 1), never).unwrap_err();
    assert!(matches!(before, Error::State { .. }), "{before}");
    let wider = Config { latent_dim: 7, ..config.clone() };
    let message = model.train(&data, Stage::Autoencoder, &options(&wider, 1), never).unwrap_err().to_string();
    assert!(message.contains("latent_dim is 7"), "{message}");
    let bad = Config { lr_autoencoder: -1.0, ..config.clone() };
    assert!(matches!(model.train(&data, Stage::Autoencoder, &options(&bad, 1), never), Err(Error::Argument { .. })));
    let empty = Dataset::new(1);
    assert!(matches!(
        model.train(&empty, Stage::Autoencoder, &options(&config, 1), never),
        Err(Error::Argument { .. })
    ));
    let other = Dataset::new(2);
    assert!(matches!(
        model.train(&other, Stage::Autoencoder, &options(&config, 1), never),
        Err(Error::Argument { .. })
    ));
    assert_same(&fresh, &contents(&model), "a refused call");
    // A first iteration that fails leaves neither limits nor settings of its data behind.
    let broken = Config { lambda_recon: 1e300, ..config.clone() };
    let error = model.train(&data, Stage::Autoencoder, &options(&broken, 1), &mut |_, _| Control::Continue);
    assert!(matches!(error, Err(Error::Diverged { iteration: 0, .. })));
    assert!(model.data().is_none());
    assert_same(&fresh, &contents(&model), "a call that has done nothing");
    // Nor weights that begin with what is known of data.
    let config = tiny_closed_loop();
    let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
    let fresh = contents(&model);
    let none = Config { stage1_iterations: 0, ..config };
    model.train(&data, Stage::Autoencoder, &options(&none, 1), never).unwrap();
    assert_same(&fresh, &contents(&model), "a call of no iterations");
}

/// Samples come from an average that soon forgets the first weights: after an iteration a tenth is left. Without it, from the weights.
#[test]
fn the_generators_average_is_of_what_was_learnt() {
    let (data, folder) = (dataset(60, 7), tempfile::tempdir().unwrap());
    let path = folder.path().join("m.safetensors");
    let config = Config { generator_average: 0.9, stage2_iterations: 1, lr_generator: 0.1, ..tiny() };
    let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
    train_until(&mut model, &data, Stage::Autoencoder, &options(&config, 1), u64::MAX);
    let weights = |model: &Model| model.tensor("generator.output.weight").unwrap().1.to_vec();
    let exported = |model: &Model| {
        model.export(&path, false).unwrap();
        weights(&Model::load(&path, Device::Cpu).unwrap())
    };
    let before = weights(&model);
    train_until(&mut model, &data, Stage::Gan, &options(&config, 1), u64::MAX);
    for ((average, first), now) in exported(&model).iter().zip(&before).zip(weights(&model)) {
        assert!((average - (0.1 * first + 0.9 * now)).abs() < 1e-6, "{average} of {first} and {now}");
    }
    let without = Config { generator_average: 0.0, stage2_iterations: 2, ..config };
    train_until(&mut model, &data, Stage::Gan, &options(&without, 1), u64::MAX);
    assert_eq!(exported(&model), weights(&model));
}

/// What is set for one stage says nothing to the other.
#[test]
fn stages_have_settings_of_their_own() {
    let data = dataset(60, 7);
    let config = Config { stage2_batch_size: 33, stage2_weight_decay: 0.1, stage2_grad_clip: 0.5, ..tiny() };
    let mut begun = Model::new(config.clone(), Device::Cpu).unwrap();
    train_until(&mut begun, &data, Stage::Autoencoder, &options(&config, 1), u64::MAX);
    let stage2 = |config: &Config| {
        let mut model = begun.clone();
        train_until(&mut model, &data, Stage::Gan, &options(config, 1), u64::MAX);
        model.tensor("generator.output.weight").unwrap().1.to_vec()
    };
    let as_it_is = stage2(&config);
    let other = Config { batch_size: 20, lr_autoencoder: 0.1, stage1_grad_clip: 1e-3, ..config.clone() };
    assert!(stage2(&Config { stage1_weight_decay: 0.5, ..other }) == as_it_is);
    for changed in [
        Config { stage2_batch_size: 20, ..config.clone() },
        Config { stage2_weight_decay: 0.0, ..config.clone() },
        Config { stage2_grad_clip: 1e-3, ..config.clone() },
        Config { lr_generator: 0.02, ..config.clone() },
        Config { lr_discriminator: 0.02, ..config.clone() },
        Config { adam_beta1: 0.5, ..config.clone() },
        Config { adam_beta2: 0.5, ..config },
    ] {
        assert!(stage2(&changed) != as_it_is);
    }
}

/// The one loss that couples rows has only one.
#[test]
fn a_batch_may_be_one_movement() {
    let data = dataset(60, 7);
    for config in [tiny(), tiny_closed_loop()] {
        let config = Config { batch_size: 1, stage2_batch_size: 1, ..config };
        assert!(config.lambda_fm > 0.0);
        let last = trained(&config, &data, 1).stages()[1].history.last().unwrap().losses;
        assert!(last.iter().all(|loss| loss.is_finite()), "{last:?}");
    }
}

/// What can be changed on going on counts at once, and not only after saving and loading.
#[test]
fn dropout_may_change_on_going_on() {
    let (data, folder) = (dataset(60, 7), tempfile::tempdir().unwrap());
    for config in [tiny(), tiny_closed_loop()] {
        let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
        train_until(&mut model, &data, Stage::Autoencoder, &options(&config, 1), 3);
        let path = folder.path().join("m.safetensors");
        model.save(&path).unwrap();
        let mut as_before = Model::load(&path, Device::Cpu).unwrap();
        train_until(&mut as_before, &data, Stage::Autoencoder, &options(&config, 1), 5);
        let other = Config { lstm_dropout: 0.6, pooler_dropout: 0.4, expander_dropout: 0.3, ..config };
        train_until(&mut model, &data, Stage::Autoencoder, &options(&other, 1), 4);
        model.save(&path).unwrap();
        let mut loaded = Model::load(&path, Device::Cpu).unwrap();
        for model in [&mut model, &mut loaded] {
            train_until(model, &data, Stage::Autoencoder, &options(&other, 1), 5);
        }
        assert_same(&contents(&model), &contents(&loaded), "saved and loaded on the way");
        assert_ne!(model.stages()[0].history, as_before.stages()[0].history);
    }
}

/// A model is evaluated on its own split: what training is asked with may not make another.
#[test]
fn the_split_is_the_models() {
    let (data, config) = (dataset(60, 7), Config { seed: 3, ..tiny() });
    let model = |seed| {
        let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
        let other = Config { seed, ..config.clone() };
        model.train(&data, Stage::Autoencoder, &options(&other, 1), &mut |_, _| Control::Continue).unwrap();
        model
    };
    let hash = |seed| data.prepare(&Config { seed, ..config.clone() }, None).unwrap().hash;
    assert_ne!(hash(3), hash(4));
    for seed in [3, 4] {
        assert_eq!(model(seed).data().unwrap().hash, hash(3));
    }
}

/// What is dropped of a long history is not always the same kind.
#[test]
fn a_long_history_keeps_validations_and_its_end() {
    let mut state = StageState::default();
    for i in 1..=5000 {
        let validation = (i % 100 == 0).then_some([0.5; 4]);
        state.record(Record { iteration: 10 * i, losses: [1.0; 4], rate: 1e-3, validation });
    }
    let validated: Vec<u64> = state.history.iter().filter(|r| r.validation.is_some()).map(|r| r.iteration).collect();
    assert!(state.history.len() <= 1000 && state.history.is_sorted_by_key(|r| r.iteration));
    assert_eq!(validated, (1..=50).map(|k| 1000 * k).collect::<Vec<u64>>());
    assert_eq!(state.history.last().unwrap().iteration, 50_000);
}

#[test]
fn progress_history_and_validation_come_when_due() {
    let data = dataset(120, 8);
    for config in [tiny(), tiny_closed_loop()] {
        let config = Config { log_interval: 3, eval_interval: 4, save_interval: 5, ..config };
        let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
        let mut seen = Vec::new();
        for stage in [Stage::Autoencoder, Stage::Gan] {
            model
                .train(&data, stage, &options(&config, 2), &mut |_, p| {
                    seen.push(p.clone());
                    Control::Continue
                })
                .unwrap();
        }
        let (first, second) = seen.split_at(8);
        let at = |which: &dyn Fn(&trajgan::Progress) -> bool| -> Vec<u64> {
            first.iter().filter(|p| which(p)).map(|p| p.iteration).collect()
        };
        assert_eq!(at(&|p| p.log), [3, 6, 8], "the last iteration is logged too");
        assert_eq!(at(&|p| p.validation.is_some()), [4, 8]);
        assert_eq!(at(&|p| p.save), [5]);
        assert!(first.iter().all(|p| p.iterations == 8 && p.stage == Stage::Autoencoder && p.seconds >= 0.0));
        assert!(second.iter().all(|p| p.iterations == 6 && p.stage == Stage::Gan && p.loss.is_finite()));
        let validation = first[3].validation.unwrap();
        assert!(validation.iter().all(|x| x.is_finite() && *x > 0.0), "{validation:?}");
        let iterations = |k: usize| model.stages()[k].history.iter().map(|r| r.iteration).collect::<Vec<_>>();
        assert_eq!((iterations(0), iterations(1)), (vec![3, 4, 6, 8], vec![3, 6]));
        assert_eq!(model.stages()[0].history[1].validation, Some(validation));
        assert_eq!(model.stages()[0].history[3].losses, model.stages()[0].averages());
        assert!(first[7].to_string().starts_with("[Stage 1] Iter      8/8 | "), "{}", first[7]);
        assert!(second[5].to_string().starts_with("[Stage 2] Iter      6/6 | D: "), "{}", second[5]);
    }
}

/// What is said of an iteration fits together: totals are the weighted sums of their parts.
#[test]
fn losses_are_the_sums_of_their_parts() {
    let data = dataset(120, 8);
    let weighted = Config { lambda_direct: 0.7, lambda_recon: 1.3, lambda_latent: 0.4, lambda_gp: 5.0, ..tiny() };
    for config in [weighted, tiny_closed_loop()] {
        let walks = config.decoder == DecoderKind::ClosedLoop;
        let [a, b, c] =
            if walks { [1.0; 3] } else { [config.lambda_direct, config.lambda_recon, config.lambda_latent] };
        let near = |x: f64, y: f64| assert!((x - y).abs() < 1e-9 * y.abs().max(1.0), "{x} is not {y}");
        let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
        for stage in [Stage::Autoencoder, Stage::Gan] {
            let watch = &mut |_: &Model, p: &trajgan::Progress| {
                if stage == Stage::Autoencoder {
                    let parts = p.nats.unwrap_or([p.direct, p.recon, p.latent]);
                    assert!(parts.iter().all(|&x| x > 0.0));
                    for [x, y, z, total] in p.validation.into_iter().chain([[parts[0], parts[1], parts[2], p.loss]]) {
                        near(total, a * x + b * y + c * z);
                    }
                } else {
                    // The critic gains what it tells apart and pays for its slope.
                    near(p.critic, config.lambda_gp * p.gradient_penalty - p.wasserstein);
                    assert!(p.gradient_penalty > 0.0);
                }
                Control::Continue
            };
            model.train(&data, stage, &options(&config, 1), watch).unwrap();
        }
    }
}

/// Batches of like lengths waste little; one bin of all lengths would waste much. Waste is what padding would have cost.
#[test]
fn waste_is_reported() {
    let (data, config) = (dataset(200, 9), Config { batch_size: 16, ..tiny() });
    let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
    let outcome = model.train(&data, Stage::Autoencoder, &options(&config, 1), &mut |_, _| Control::Continue).unwrap();
    assert!(outcome.waste.valid_steps > 8 * 16 * 10 && outcome.waste.padded_steps > 0, "{:?}", outcome.waste);
    assert!(outcome.waste.share() < 0.25, "{:?}", outcome.waste);
}
