//! One of several walks: what chooses is learnt at the end of stage 2, belongs to the weights, and can be stopped.

mod common;

use common::{
    assert_same, contents, dataset, movements, options, targets, tiny, tiny_closed_loop, train_until, trained,
};
use trajgan::config::Config;
use trajgan::{Control, Dataset, Device, Error, Model, Movement, SampleOptions, Stage, TrainOptions};

/// As many recordings as it takes to learn to choose among walks.
fn choosing() -> (Config, Dataset) {
    (Config { candidates: 3, ..tiny_closed_loop() }, dataset(400, 3))
}

#[test]
fn one_of_several_walks_is_kept() {
    let (config, data) = choosing();
    let model = trained(&config, &data, 2);
    assert_eq!(model.candidates(), 3);
    let targets = targets(90, 2);
    let draw = |model: &Model, rows: std::ops::Range<usize>, first: u64, candidates, threads| {
        let first = first + rows.start as u64;
        let options = SampleOptions { seed: 8, first, candidates, threads, ..SampleOptions::default() };
        model.walk(&targets[rows], &options).unwrap()
    };
    let chosen = draw(&model, 0..90, 0, 3, 1);
    // Candidate k of sample i is sample i + k * 2^40.
    let each = [0, 1, 2].map(|k| draw(&model, 0..90, k << 40, 1, 2));
    let won = each.each_ref().map(|walks| walks.iter().zip(&chosen).filter(|(a, b)| a == b).count());
    assert!(won.iter().sum::<usize>() >= 90 && won.iter().all(|n| (10..60).contains(n)), "{won:?}");
    assert!(chosen == draw(&model, 0..90, 0, 0, 3), "the config's number");
    assert!(chosen == [draw(&model, 0..1, 0, 3, 2), draw(&model, 1..90, 0, 3, 8)].concat(), "in parts");
    // Of many, what is kept is as recordings are.
    let points = |walks: &[Movement]| walks.iter().map(|m| m.points.len() as f64).sum::<f64>() / walks.len() as f64;
    let off = |walks: &[Movement]| (points(walks) - points(&movements(400, 3))).abs();
    let (one, many) = (off(&each[0]), off(&draw(&model, 0..90, 0, 100, 2)));
    assert!(many < 0.7 * one, "{many} points off instead of {one}");
    // A file keeps what chooses, with and without the state of training.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    for training in [true, false] {
        if training { model.save(&path) } else { model.export(&path, false) }.unwrap();
        assert!(chosen == draw(&Model::load(&path, Device::Cpu).unwrap(), 0..90, 0, 3, 1));
    }
}

#[test]
fn what_chooses_belongs_to_the_weights() {
    let (config, data) = choosing();
    let never = Config { stage2_iterations: 0, ..config.clone() };
    assert_eq!(trained(&never, &data, 1).candidates(), 1);
    let chooses = |model: &Model| model.info()["candidates"] == 3;
    let whole = trained(&config, &data, 2);
    let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
    let go_on = |model: &mut Model, stage, config: &Config| {
        model.train(&data, stage, &options(config, 1), &mut |_, _| Control::Continue).unwrap();
    };
    go_on(&mut model, Stage::Autoencoder, &config);
    train_until(&mut model, &data, Stage::Gan, &options(&config, 1), 2);
    assert!(!chooses(&model));
    go_on(&mut model, Stage::Gan, &config);
    assert_same(&contents(&model), &contents(&whole), "stopped and gone on");
    // Nothing is left to do, whatever the seed.
    let other = TrainOptions { seed: 99, ..options(&config, 1) };
    for stage in [Stage::Autoencoder, Stage::Gan] {
        model.train(&data, stage, &other, &mut |_, _| Control::Continue).unwrap();
    }
    assert_same(&contents(&model), &contents(&whole), "once more");
    let noisier = Config { summary_noise: 0.9, ..config.clone() };
    go_on(&mut model, Stage::Autoencoder, &noisier);
    assert!(!chooses(&model), "of other walks");
    go_on(&mut model, Stage::Gan, &noisier);
    assert!(chooses(&model), "once more");
    let longer = Config { stage1_iterations: config.stage1_iterations + 1, ..config.clone() };
    go_on(&mut model, Stage::Autoencoder, &longer);
    assert!(!chooses(&model), "of other weights");
    go_on(&mut model, Stage::Gan, &longer);
    assert!(chooses(&model));
}

#[test]
fn what_cannot_choose_says_so() {
    let (config, data) = choosing();
    let draw = |model: &Model, candidates: u32| {
        let options = SampleOptions { candidates, ..SampleOptions::default() };
        model.generate(3, None, &options).map_err(|e| e.to_string())
    };
    for (config, data) in [(Config { candidates: 1, ..config.clone() }, &data), (config, &dataset(60, 3))] {
        let model = trained(&config, data, 2);
        assert_eq!(model.candidates(), 1);
        assert_eq!(draw(&model, 0), draw(&model, 1));
        let message = draw(&model, 2).unwrap_err();
        assert!(message.contains("among 2 candidates") && message.contains("200 training movements"), "{message}");
        assert!(draw(&model, 4097).unwrap_err().contains("candidates is 4097, expected 0 to 4096"));
    }
    let v6 = trained(&tiny(), &dataset(60, 3), 1);
    let message = draw(&v6, 2).unwrap_err();
    assert!(message.contains("candidates is 2, expected 0 or 1"), "{message}");
    for targets in [&[][..], &[[5, 5], [6, 6]]] {
        assert!(matches!(v6.walk(targets, &SampleOptions::default()), Err(Error::State { .. })));
    }
}

/// After its last iteration stage 2 says nothing new, and asks whether to go on while it learns to choose. Who stops it there
/// loses nothing.
#[test]
fn learning_to_choose_can_be_stopped() {
    let (config, data) = choosing();
    let config = Config { save_interval: config.stage2_iterations, ..config };
    let whole = trained(&config, &data, 2);
    let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
    let go_on = &mut |_: &Model, _: &trajgan::Progress| Control::Continue;
    model.train(&data, Stage::Autoencoder, &options(&config, 2), go_on).unwrap();
    let (mut logged, mut asked, mut saved) = (0, 0, Vec::new());
    for stop_at in [Some(3), None] {
        let done = model.train(&data, Stage::Gan, &options(&config, 1), &mut |model, progress| {
            let last = progress.iteration == progress.iterations;
            let choosing = progress.is_choosing();
            assert!(!choosing || (last && !progress.log), "an iteration that is logged has been");
            logged += u32::from(last && progress.log);
            asked += u32::from(choosing);
            if progress.save {
                saved.push(model.candidates());
            }
            if choosing && Some(asked) == stop_at { Control::Stop } else { Control::Continue }
        });
        match stop_at {
            Some(_) => {
                assert!(matches!(done, Err(Error::Cancelled { iteration }) if iteration == config.stage2_iterations))
            }
            None => assert_eq!(done.unwrap().iterations, config.stage2_iterations),
        }
    }
    assert_eq!(logged, 1, "the last iteration is logged once");
    assert!(asked > 100, "asked {asked} times only");
    assert_eq!(saved, [1, 3], "saved after the last iteration, and when it can choose");
    assert_same(&contents(&model), &contents(&whole), "stopped and gone on");
    // A model that has more iterations than are asked for learns to choose, and nothing else.
    let mut model = trained(&Config { candidates: 1, ..config.clone() }, &data, 1);
    let less = Config { stage2_iterations: config.stage2_iterations - 1, ..config };
    let mut look = |_: &Model, progress: &trajgan::Progress| {
        assert!(progress.is_choosing());
        Control::Continue
    };
    model.train(&data, Stage::Gan, &options(&less, 1), &mut look).unwrap();
    assert_eq!(model.candidates(), 3);
}
