//! Same seed, same bits: whatever the number of threads, the batch a sample is drawn in, and wherever training
//! stopped and went on.

mod common;

use common::{assert_same, contents, dataset, movements, options, tiny, tiny_closed_loop, train_until, trained};
use trajgan::backend::cpu::Isa;
use trajgan::config::{Config, CriticKind, DecoderKind, Expand, GeneratorKind, OptimizerKind, Pool, ScheduleKind};
use trajgan::{Control, Device, Model, Movement, SampleOptions, Stage};

const THREADS: [usize; 4] = [1, 2, 3, 8];

/// Every kind of network appears, both decoders do.
fn configs() -> Vec<(&'static str, Config)> {
    let other = Config {
        pool_type: Pool::Hybrid,
        expand_type: Expand::Mlp,
        generator_type: GeneratorKind::Film,
        discriminator_type: CriticKind::Multiscale,
        optimizer: OptimizerKind::AdamW,
        generator_average: 0.5,
        ..tiny()
    };
    let third = Config {
        pool_type: Pool::Mean,
        expand_type: Expand::Repeat,
        generator_use_residual: false,
        discriminator_type: CriticKind::Projection,
        optimizer: OptimizerKind::RAdam,
        use_feature_matching: false,
        ..tiny()
    };
    let turned = Config { augment_turn: 0.5, ..tiny_closed_loop() };
    vec![("v6", tiny()), ("v6 other kinds", other), ("v6 third kinds", third), ("closed loop", turned)]
}

#[test]
fn training_does_not_depend_on_threads() {
    let data = dataset(120, 1);
    let mut runs = Vec::new();
    for isa in Isa::available() {
        for (name, config) in configs() {
            let run = |threads| {
                let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
                model.set_isa(isa);
                let mut seen = Vec::new();
                for stage in [Stage::Autoencoder, Stage::Gan] {
                    let watch = &mut |_: &Model, p: &trajgan::Progress| {
                        seen.push([p.loss, p.direct, p.critic, p.gradient_penalty].map(f64::to_bits));
                        seen.extend(p.validation.map(|v| v.map(f64::to_bits)));
                        Control::Continue
                    };
                    model.train(&data, stage, &options(&config, threads), watch).unwrap();
                }
                (contents(&model), seen)
            };
            let (one, seen_one) = run(1);
            for threads in &THREADS[1..] {
                let (more, seen) = run(*threads);
                let case = format!("{name}, {threads} threads, {}", isa.name());
                assert_same(&one, &more, &case);
                assert_eq!(seen_one, seen, "{case}: losses");
            }
            runs.push((isa.name(), name, one));
        }
    }
    // AVX-512 does in one register what AVX2 does in two.
    for (_, name, wide) in runs.iter().filter(|(isa, ..)| *isa == "avx512") {
        let pair = runs.iter().find(|(isa, other, _)| *isa == "avx2" && other == name);
        assert_same(wide, &pair.unwrap().2, &format!("{name}, avx512 and avx2"));
    }
}

#[test]
fn another_seed_is_another_model() {
    let (data, config) = (dataset(120, 1), tiny());
    let first = contents(&trained(&config, &data, 1));
    let mut other = Model::new(config.clone(), Device::Cpu).unwrap();
    let options = trajgan::TrainOptions { seed: 6, ..options(&config, 1) };
    other.train(&data, Stage::Autoencoder, &options, &mut |_, _| Control::Continue).unwrap();
    assert_ne!(first["encoder.linear.bias"], contents(&other)["encoder.linear.bias"]);
    let initial = |seed| contents(&Model::new(Config { seed, ..config.clone() }, Device::Cpu).unwrap());
    assert_eq!(initial(1), initial(1));
    assert_ne!(initial(1)["generator.output.weight"], initial(2)["generator.output.weight"]);
}

fn bits(movements: &[Movement]) -> Vec<Vec<[u64; 3]>> {
    let row = |m: &Movement| m.points.iter().map(|p| [p.x, p.y, p.t_ms].map(f64::to_bits)).collect();
    movements.iter().map(row).collect()
}

#[test]
fn a_sample_is_the_same_in_every_batch_and_thread() {
    let data = dataset(120, 1);
    for isa in Isa::available() {
        for (name, config) in configs() {
            let mut model = trained(&config, &data, 1);
            model.set_isa(isa);
            let conditions: Vec<f64> = (0..40).map(|i| 40.0 + 13.0 * f64::from(i)).collect();
            for given in [None, Some(conditions.as_slice())] {
                let case = format!("{name}, conditions {}, {}", given.is_some(), isa.name());
                let draw = |first: usize, count: usize, threads| {
                    let options = SampleOptions { seed: 3, first: first as u64, threads, ..SampleOptions::default() };
                    let given = given.map(|g| &g[first..first + count]);
                    bits(&model.generate(count, given, &options).unwrap())
                };
                let all = draw(0, 40, 1);
                assert_eq!(all.len(), 40);
                assert_ne!(all[0], all[1], "{case}");
                for threads in &THREADS[1..] {
                    assert!(all == draw(0, 40, *threads), "{case}: {threads} threads");
                }
                assert!(all == (0..40).flat_map(|i| draw(i, 1, 1)).collect::<Vec<_>>(), "{case}: one at a time");
                assert!(all == [draw(0, 17, 2), draw(17, 16, 1), draw(33, 7, 3)].concat(), "{case}: in three parts");
            }
        }
    }
}

#[test]
fn features_and_summaries_do_not_depend_on_the_batch() {
    let data = dataset(120, 1);
    let config = tiny();
    let model = trained(&config, &data, 1);
    for (seq_len, allow_amx) in [(0, false), (21, false), (0, true)] {
        let draw = |first: u64, count, threads| {
            let base = SampleOptions { first, threads, seq_len, allow_amx, ..SampleOptions::default() };
            let (x, lengths) =
                model.generate_features(count, None, &SampleOptions { truncation_psi: 0.7, ..base }).unwrap();
            (x.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), lengths)
        };
        let (all, lengths) = draw(0, 40, 1);
        assert!((all.clone(), lengths.clone()) == draw(0, 40, 3));
        let single: Vec<_> = (0..40).map(|i| draw(i, 1, 1)).collect();
        assert!(all == single.iter().flat_map(|s| s.0.clone()).collect::<Vec<_>>());
        assert_eq!(lengths, single.iter().flat_map(|s| s.1.clone()).collect::<Vec<_>>());
    }
    for (name, config) in configs() {
        let model = if config == tiny() { model.clone() } else { trained(&config, &data, 1) };
        let some = movements(40, 9);
        let encode =
            |m: &[Movement], threads| model.encode(m, threads).unwrap().iter().map(|z| z.to_bits()).collect::<Vec<_>>();
        let all = encode(&some, 1);
        THREADS.iter().for_each(|&threads| assert!(all == encode(&some, threads), "{name}: {threads} threads"));
        assert!(all == some.iter().flat_map(|m| encode(std::slice::from_ref(m), 1)).collect::<Vec<_>>(), "{name}");
        if config.decoder == DecoderKind::V6 {
            let z = model.encode(&some, 1).unwrap();
            let lengths: Vec<usize> = (0..40).map(|i| 2 + i % 30).collect();
            let rows = bits(&model.decode(z.view(), &lengths, 3).unwrap());
            for i in 0..40 {
                let one = z.slice(ndarray::s![i..i + 1, ..]);
                assert!(rows[i..=i] == bits(&model.decode(one, &lengths[i..=i], 1).unwrap()), "{name}: row {i}");
            }
        }
    }
}

/// On machines that have no faster products they are the same.
#[test]
fn rounded_features_are_near_the_exact_ones() {
    let model = trained(&tiny(), &dataset(120, 1), 1);
    let [exact, rounded] = [false, true].map(|allow_amx| {
        let options = SampleOptions { allow_amx, ..SampleOptions::default() };
        model.generate_features(70, None, &options).unwrap().0
    });
    let worst = exact.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4, "{worst}");
    assert_eq!(worst > 0.0, trajgan::backend::cpu::tiles::are_fast());
}

/// Stopped by a cancel, saved, loaded, trained on: the same file as without, bit for bit.
#[test]
fn going_on_equals_never_having_stopped() {
    let data = dataset(120, 1);
    let kinds = ScheduleKind::ALL.iter().map(|&lr_schedule| {
        // Short periods, so that schedules turn and the plateau decays within a few iterations.
        let short = Config { lr_cosine_period: 3, lr_step_size: 2, lr_plateau_patience: 0, log_interval: 1, ..tiny() };
        (lr_schedule.name(), Config { lr_schedule, ..short })
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    for (name, config) in kinds.chain(configs()) {
        let whole = trained(&config, &data, 1);
        let go_on = |model: &Model| {
            model.save(&path).unwrap();
            Model::load(&path, Device::Cpu).unwrap()
        };
        let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
        for (stage, stops) in [(Stage::Autoencoder, [3, 4, 8]), (Stage::Gan, [1, 4, 6])] {
            for (k, stop) in stops.into_iter().enumerate() {
                train_until(&mut model, &data, stage, &options(&config, 1 + k), stop);
                model = go_on(&model);
            }
        }
        assert_same(&contents(&whole), &contents(&model), name);
        let sample = |model: &Model| bits(&model.generate(9, None, &SampleOptions::default()).unwrap());
        assert_eq!(sample(&whole), sample(&model), "{name}");
    }
}

/// A callback may sample: it sees the weights as they are then, and what it saw is not what later calls see.
#[test]
fn sampling_inside_the_callback_changes_nothing() {
    let data = dataset(60, 2);
    for (name, config) in configs() {
        // Fast enough that each iteration shows, in whole pixels as well.
        let config = Config { lr_generator: 0.05, ..config };
        let sample = |model: &Model| bits(&model.generate(12, None, &SampleOptions::default()).unwrap());
        let mut model = trained(&config, &data, 1);
        let more = Config { stage2_iterations: 9, ..config.clone() };
        let mut seen = vec![sample(&model)];
        let watch = &mut |model: &Model, _: &trajgan::Progress| {
            seen.push(sample(model));
            Control::Continue
        };
        model.train(&data, Stage::Gan, &options(&more, 2), watch).unwrap();
        assert_eq!(seen.len(), 4);
        assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "{name}: training does not show");
        assert_eq!(seen[3], sample(&model), "{name}");
        let mut quiet = trained(&config, &data, 1);
        quiet.train(&data, Stage::Gan, &options(&more, 1), &mut |_, _| Control::Continue).unwrap();
        assert_same(&contents(&quiet), &contents(&model), name);
        assert_eq!(seen[3], sample(&quiet), "{name}");
    }
}

/// More than the window of averages, across an epoch's end and with early stopping under way.
#[test]
fn going_on_keeps_windows_and_early_stopping() {
    let data = dataset(60, 2);
    let base = tiny();
    let config = Config {
        stage1_iterations: 130,
        stage1_threshold: 10.0,
        stage1_patience: 12,
        lr_autoencoder: 1e-5,
        batch_size: 8,
        ..base
    };
    let train = |model: &mut Model, stop| train_until(model, &data, Stage::Autoencoder, &options(&config, 2), stop);
    let mut whole = Model::new(config.clone(), Device::Cpu).unwrap();
    train(&mut whole, u64::MAX);
    let done = whole.stages()[0].iteration;
    assert!((102..130).contains(&done), "stopped early, at {done}");
    let mut parts = Model::new(config.clone(), Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    for stop in [7, 60, 101, done - 1, u64::MAX] {
        train(&mut parts, stop);
        parts.save(&path).unwrap();
        parts = Model::load(&path, Device::Cpu).unwrap();
    }
    assert_same(&contents(&whole), &contents(&parts), "window");
    // Converged is converged: a further call does nothing.
    train(&mut parts, u64::MAX);
    assert_same(&contents(&whole), &contents(&parts), "converged");
}
