//! Each rule of the diagnosis: a made-up history that triggers it, and one like it that must not.

mod common;

use common::{dataset, options, tiny, tiny_closed_loop, trained};
use trajgan::config::{Config, Preset};
use trajgan::model::{Record, StageState};
use trajgan::train::diagnose::{Diagnosis, Evidence, Trouble, diagnose, diagnose_error};
use trajgan::{Control, Error, Stage};

fn history(rows: &[(u64, [f64; 4])]) -> StageState {
    let record = |&(iteration, losses)| Record { iteration, losses, rate: 1e-3, validation: None };
    let iteration = rows.last().map_or(0, |row| row.0);
    StageState { iteration, history: rows.iter().map(record).collect(), ..StageState::default() }
}

fn found(config: &Config, stages: [StageState; 2]) -> Vec<Diagnosis> {
    diagnose(&Evidence { config, stages: &stages, speed: None })
}

fn troubles(config: &Config, stages: [StageState; 2]) -> Vec<Trouble> {
    found(config, stages).iter().map(|d| d.trouble).collect()
}

fn stage1(rows: &[(u64, [f64; 4])]) -> Vec<Trouble> {
    troubles(&Config::default(), [history(rows), StageState::default()])
}

fn stage2(rows: &[(u64, [f64; 4])]) -> Vec<Trouble> {
    let done = history(&[(3000, [0.03, 0.04, 0.02, 0.09])]);
    let all = [Config::default(), Config::closed_loop(Preset::Default)]
        .map(|config| troubles(&config, [done.clone(), history(rows)]));
    assert_eq!(all[0], all[1], "stage 2 is the same for both decoders");
    all.into_iter().next().unwrap()
}

/// The original's lines of a training that goes well.
#[test]
fn a_good_training_has_no_diagnosis() {
    let good = [
        (100, [0.3521, 0.4521, 0.2812, 1.0]),
        (500, [0.1423, 0.1823, 0.0956, 0.4]),
        (1000, [0.0792, 0.0992, 0.0534, 0.2]),
        (2000, [0.0523, 0.0623, 0.0312, 0.1]),
        (3000, [0.0398, 0.0458, 0.0221, 0.1]),
    ];
    (0..=good.len()).for_each(|n| assert_eq!(stage1(&good[..n]), []));
    let good = [
        (100, [-2.3451, 1.8923, 2.1234, 0.1]),
        (1000, [-0.8234, 0.7123, 0.5821, 0.1]),
        (5000, [-0.2341, 0.1892, 0.1523, 0.1]),
        (10_000, [-0.0823, 0.0734, 0.0456, 0.1]),
        (20_000, [-0.0412, 0.0389, 0.0234, 0.1]),
        // Arrived: it stands still where it should.
        (40_000, [-0.0412, 0.0389, 0.0234, 0.1]),
    ];
    (0..=good.len()).for_each(|n| assert_eq!(stage2(&good[..n]), []));
}

#[test]
fn stage_1_that_stands_still() {
    let flat = [
        (1000, [0.4234, 0.4234, 0.3891, 1.2]),
        (2000, [0.4198, 0.4198, 0.3845, 1.2]),
        (3000, [0.4156, 0.4156, 0.3802, 1.2]),
    ];
    assert_eq!(stage1(&flat), [Trouble::Stage1Flat]);
    // Slowly, but it falls.
    let falls = flat.map(|(i, [d, r, l, t])| (i, [d * 1000.0 / i as f64, r, l, t]));
    assert_eq!(stage1(&falls), []);
    // As flat, but good enough.
    assert_eq!(stage1(&flat.map(|(i, [d, r, l, t])| (i, [d / 5.0, r, l, t]))), []);
    // The fix depends on the rate.
    let fix = |rate| {
        let config = Config { lr_autoencoder: rate, ..Config::default() };
        found(&config, [history(&flat), StageState::default()]).remove(0).fix
    };
    assert!(fix(1e-4).contains("from 0.0001 to 0.001"), "{}", fix(1e-4));
    assert!(fix(1e-3).contains("to 0.005") && fix(1e-2).starts_with("lower"));
}

#[test]
fn an_expander_that_outruns_the_encoder() {
    let ahead = [
        (100, [0.1586, 0.1586, 0.0020, 0.3]),
        (200, [0.1422, 0.1422, 0.0003, 0.3]),
        (400, [0.1427, 0.1427, 0.0002, 0.3]),
    ];
    assert_eq!(stage1(&ahead), [Trouble::ExpanderAhead]);
    let longer = ahead.map(|(i, losses)| (10 * i, losses));
    assert_eq!(stage1(&longer), [Trouble::ExpanderAhead], "one cause, not two");
    // The encoder has something to say.
    assert_eq!(stage1(&ahead.map(|(i, [d, r, l, t])| (i, [d, r, 30.0 * l, t]))), []);
    assert_eq!(stage1(&ahead.map(|(i, [d, r, l, t])| (i, [d, r * 100.0 / i as f64, l, t]))), []);
}

#[test]
fn a_critic_that_is_too_strong() {
    let flat = [(5000, [-0.0012, 0.0008, 0.8923, 0.1]), (10_000, [-0.0008, 0.0005, 0.8845, 0.1])];
    assert_eq!(stage2(&flat), [Trouble::CriticTooStrong]);
    assert_eq!(stage2(&[flat[0], (10_000, [-0.0008, 0.0005, 0.6, 0.1])]), []);
    // It has come down a long way before it stood still.
    assert_eq!(stage2(&[(100, [0.0, 0.0, 2.5, 0.1]), flat[0], flat[1]]), []);
    // Of one step there are no fewer.
    let one = Config { n_critic: 1, ..Config::default() };
    let fix = found(&one, [StageState::default(), history(&flat)]).remove(0).fix;
    assert!(fix.starts_with("raise lr_generator"), "{fix}");
    // Too early to say.
    assert_eq!(stage2(&flat.map(|(i, losses)| (i / 4, losses))), []);
}

/// A threshold of 0 is never to stop early; any other says what is good.
#[test]
fn what_is_bad_follows_the_threshold() {
    let stuck_at = |loss: f64, stage1_threshold: f64| {
        let rows = [(5000, [loss; 4]), (10_000, [0.99 * loss; 4])];
        let config = Config { stage1_threshold, ..Config::default() };
        troubles(&config, [history(&rows), StageState::default()])
    };
    assert_eq!(stuck_at(0.02, 0.0), []);
    assert_eq!(stuck_at(0.2, 0.0), [Trouble::Stage1Flat]);
    assert_eq!(stuck_at(0.09, 0.01), [Trouble::Stage1Flat]);
    assert_eq!(stuck_at(0.09, 0.05), []);
}

#[test]
fn a_summary_that_says_nothing() {
    let of = |config: &Config, iterations: u64, spread: f64| {
        let first = history(&[(iterations, [0.03, 0.04, 0.02, 0.09])]);
        let second = StageState { spread: Some(spread), ..StageState::default() };
        troubles(config, [first, second])
    };
    let v6 = |iterations, spread| of(&Config::default(), iterations, spread);
    assert_eq!(v6(4000, 7e-7), [Trouble::SummaryDead]);
    assert_eq!(v6(4000, 0.06), []);
    assert_eq!(v6(100, 7e-7), []);
    // Noise of 0.6 drowns what noise of 0.1 does not.
    let loud = Config::closed_loop(Preset::Fast);
    let quiet = Config { summary_noise: 0.1, ..loud.clone() };
    assert_eq!((loud.summary_noise, of(&loud, 4000, 0.06)), (0.6, vec![Trouble::SummaryDead]));
    assert_eq!(of(&loud, 4000, 0.3), []);
    assert_eq!(of(&quiet, 4000, 0.06), []);
}

/// What the rule looks at is measured.
#[test]
fn the_spread_of_summaries_is_measured() {
    for config in [tiny(), tiny_closed_loop()] {
        let config = Config { augment_mirror: false, ..config };
        let data = dataset(60, 3);
        let model = trained(&config, &data, 1);
        let movements: Vec<_> = {
            let train = data.prepare(&config, model.data().unwrap().scaler.as_ref()).unwrap().train;
            (0..train.len()).map(|i| train.movement(i).unwrap().clone()).collect()
        };
        let z = model.encode(&movements, 1).unwrap();
        let deviation = z.std_axis(ndarray::Axis(0), 0.0).mean().unwrap();
        let spread = model.stages()[1].spread.unwrap();
        assert!((spread - f64::from(deviation)).abs() < 1e-4 + 1e-3 * spread, "{spread} {deviation}");
    }
}

#[test]
fn a_generator_that_has_collapsed() {
    let collapsed = [(2500, [-0.1, 3.0, 0.1, 0.1]), (5000, [0.0, 15.234, 0.0, 0.0])];
    assert_eq!(stage2(&collapsed), [Trouble::ModeCollapse]);
    assert_eq!(stage2(&[collapsed[0], (5000, [0.0, 0.0389, 0.0, 0.0])]), []);
    assert_eq!(stage2(&[collapsed[0], (5000, [-0.2, 15.234, 0.1, 0.0])]), []);
}

#[test]
fn a_generator_that_runs_away() {
    let rows = |rise: f64, with_it: f64| {
        let row = |i: u64| (100 * i, [-0.1, rise * i as f64, 0.2 + with_it * rise * i as f64, 0.1]);
        (1..=12).map(row).collect::<Vec<_>>()
    };
    assert_eq!(stage2(&rows(3.0, 1.0)), [Trouble::GeneratorDiverging]);
    assert_eq!(stage2(&rows(3.0, 0.0)), [], "a constant that the critic adds");
    assert_eq!(stage2(&rows(0.1, 1.0)), []);
    let mut up_and_down = rows(3.0, 1.0);
    up_and_down[7].1[1] = 1.0;
    assert_eq!(stage2(&up_and_down), []);
}

#[test]
fn losses_that_explode() {
    let nan = [(100, [-2.0, 1.0, 2.0, 0.1]), (500, [f64::NAN; 4])];
    assert_eq!(stage2(&nan), [Trouble::Diverged]);
    assert_eq!(stage1(&nan), [Trouble::Diverged]);
    let up = [(500, [0.06, 0.1, 0.1, 0.3]), (600, [0.5, 0.1, 0.1, 0.7])];
    assert_eq!(stage1(&up), [Trouble::Diverged]);
    assert_eq!(stage1(&[up[0], (600, [0.12, 0.1, 0.1, 0.3])]), []);
    let c = Config::default();
    let error = Error::Diverged { stage: 2, iteration: 77, what: "the gradient" };
    let said = diagnose_error(&error, &c).unwrap().to_string();
    assert!(said.contains("the gradient is not finite at iteration 77") && said.contains("lr_generator"), "{said}");
    assert_eq!(diagnose_error(&Error::Cancelled { iteration: 3 }, &c), None);
}

/// Of recordings that are not learnt from the loss has been less, by a tenth or more, and stays so.
#[test]
fn recordings_that_are_learnt_by_heart() {
    let told = |config: &Config, losses: &[[f64; 2]]| {
        let rows: Vec<_> = (1u64..).zip(losses).map(|(i, _)| (500 * i, [0.03, 0.0, 0.0, 0.03])).collect();
        let mut state = history(&rows);
        // What the other decoder looks at gets better and better.
        let watched = if config.decoder == trajgan::config::DecoderKind::V6 { [0, 3] } else { [3, 0] };
        for (record, loss) in state.history.iter_mut().zip(losses) {
            let mut parts = [0.0; 4];
            watched.iter().zip(loss).for_each(|(&k, loss)| parts[k] = *loss);
            record.validation = Some(parts);
        }
        found(config, [state, StageState::default()])
    };
    for (config, dropout) in
        [(Config::default(), "lstm_dropout"), (Config::closed_loop(Preset::Default), "expander_dropout")]
    {
        let falls = |loss: f64| [loss, 1.0 / loss];
        let rows = [4.0, 2.0, 2.3, 2.3].map(falls);
        let [diagnosis] = &told(&config, &rows)[..] else { panic!("{dropout}") };
        assert_eq!((diagnosis.trouble, diagnosis.stage), (Trouble::Overfitting, 1));
        let said = diagnosis.to_string();
        assert!(said.contains("is 2.3000 at iteration 2000 and was 2.0000 at 1000"), "{said}");
        assert!(said.contains(" to 1000, and let ") && said.contains(dropout), "{said}");
        for fine in [[4.0, 2.0, 2.3, 2.1], [4.0, 2.0, 2.1, 2.3], [4.0, 2.0, 2.19, 2.19], [5.0, 4.0, 3.0, 2.0]] {
            assert_eq!(told(&config, &fine.map(falls)), []);
        }
        assert_eq!(told(&config, &rows[..1]), []);
    }
}

#[test]
fn a_training_that_is_slow() {
    let c = Config::default();
    let at = |rate| diagnose(&Evidence { config: &c, stages: &Default::default(), speed: Some((Stage::Gan, rate)) });
    assert_eq!(at(0.7)[0].trouble, Trouble::Slow);
    assert_eq!((at(0.7)[0].stage, at(25.0), at(0.0)), (2, vec![], vec![]));
    let own = Config { batch_size: 64, stage2_batch_size: 256, ..Config::default() };
    let slow =
        diagnose(&Evidence { config: &own, stages: &Default::default(), speed: Some((Stage::Gan, 0.7)) }).remove(0);
    assert!(slow.finding.contains("256 movements") && slow.fix.contains("stage2_batch_size"), "{slow}");
    let fix = |device: &str| {
        let state = StageState { device: Some(device.into()), ..StageState::default() };
        let stages = [StageState::default(), state];
        diagnose(&Evidence { config: &c, stages: &stages, speed: Some((Stage::Gan, 0.7)) }).remove(0).fix
    };
    assert!(fix("cpu").contains("all cores") && fix("cuda:0 (Abacus)").contains("what else uses the device"));
}

/// Nats are not squared errors: 3 of them are good, and there is neither a threshold nor an expander.
#[test]
fn rules_of_one_decoder_are_silent_for_the_other() {
    let c = Config::closed_loop(Preset::Default);
    let nats = |rows: &[(u64, f64)]| {
        let rows: Vec<_> = rows.iter().map(|&(i, n)| (i, [n, 0.0, 0.0, n])).collect();
        troubles(&c, [history(&rows), StageState::default()])
    };
    assert_eq!(nats(&[(500, 4.0), (1000, 3.01), (2000, 3.0), (9000, 3.0)]), []);
    assert_eq!(nats(&[(500, 10.2), (1000, 10.1), (2000, 10.0)]), [Trouble::Stage1Flat]);
    assert_eq!(nats(&[(500, 10.2), (1000, 10.1), (2000, 7.0)]), []);
    assert_eq!(nats(&[(500, 3.0), (1000, 2.9), (2000, 40.0)]), [Trouble::Diverged]);
    // Three quarters of what it takes to guess: two steps, a time and whether it is the last.
    let classes = [2 * c.step_magnitudes - 1, 2 * c.step_magnitudes - 1, c.tick_classes, 2];
    let guessing: f64 = classes.iter().map(|&n| (n as f64).ln()).sum();
    assert_eq!(nats(&[(1000, 0.76 * guessing), (2000, 0.76 * guessing)]), [Trouble::Stage1Flat]);
    assert_eq!(nats(&[(1000, 0.74 * guessing), (2000, 0.74 * guessing)]), []);
}

#[test]
fn a_model_says_its_diagnosis() {
    for config in [tiny(), tiny_closed_loop()] {
        let model = trained(&config, &dataset(60, 3), 1);
        assert_eq!(model.diagnose(), []);
        assert_eq!(model.info()["diagnosis"], serde_json::json!([]));
        let name = model.parameter_names().last().unwrap();
        assert_eq!(model.remembered_gradient(name).unwrap().len(), model.tensor(name).unwrap().1.len());
        assert!(model.parameter_names().all(|name| model.remembered_gradient(name).is_some()));
        assert_eq!(model.remembered_gradient("nothing"), None);
    }
    let sick = found(&Config::default(), [history(&[(3000, [f64::NAN; 4])]), StageState::default()]);
    let json = serde_json::to_value(&sick).unwrap();
    assert_eq!((&json[0]["trouble"], &json[0]["stage"]), (&"diverged".into(), &1.into()));
}

#[test]
fn a_latent_space_that_has_moved() {
    for config in [tiny(), tiny_closed_loop()] {
        let data = dataset(60, 3);
        let mut model = trained(&config, &data, 1);
        let mut further = |stage, stage1_iterations, stage2_iterations| {
            let config = Config { stage1_iterations, stage2_iterations, ..config.clone() };
            model.train(&data, stage, &options(&config, 1), &mut |_, _| Control::Continue).unwrap();
            model.diagnose()
        };
        let (first, second) = (config.stage1_iterations, config.stage2_iterations);
        assert_eq!(further(Stage::Autoencoder, first, second), [], "nothing was left to do");
        let found = further(Stage::Autoencoder, first + 2, second).remove(0);
        assert_eq!((found.trouble, found.stage), (Trouble::LatentSpaceMoved, 2));
        assert!(found.finding.contains(&format!("{} iterations, {first} when", first + 2)), "{found}");
        assert_eq!(further(Stage::Gan, first, second)[0].trouble, Trouble::LatentSpaceMoved, "nothing was left to do");
        assert_eq!(further(Stage::Gan, first, second + 2), []);
    }
}
