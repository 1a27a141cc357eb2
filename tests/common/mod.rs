//! What several tests share: made-up movements, small models, and the numbers of a model file.
#![allow(dead_code)] // no test uses all of it

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::path::Path;

use trajgan::config::{Config, DecoderKind, Pool};
use trajgan::files::{TensorFile, Values};
use trajgan::rng::{Rng, Stream};
use trajgan::{Control, Dataset, Device, Model, Movement, Point, Stage, TrainOptions};

/// Minimum-jerk movements (T. Flash, N. Hogan, 1985) in whole pixels and milliseconds, bent and trembling.
pub fn movements(count: usize, seed: u64) -> Vec<Movement> {
    let movement = |i: usize| {
        let mut rng = Rng::new(seed, Stream::Demo, i as u64);
        let (distance, angle) = (rng.range(30.0, 600.0), rng.range(0.0, std::f64::consts::TAU));
        let n = 10 + (distance / 40.0) as usize + rng.below(6);
        let bend = rng.range(-0.15, 0.15);
        let mut t_ms = 0.0;
        let point = |k: usize| {
            let u = k as f64 / (n - 1) as f64;
            let along = u * u * u * (10.0 + u * (6.0 * u - 15.0));
            let across = bend * (std::f64::consts::PI * along).sin();
            let (s, c) = angle.sin_cos();
            let x = distance * (along * c - across * s) + rng.range(-1.0, 1.0);
            let y = distance * (along * s + across * c) + rng.range(-1.0, 1.0);
            let p = Point { x: x.round(), y: y.round(), t_ms };
            t_ms += 8.0 * (1.0 + rng.below(3) as f64);
            p
        };
        Movement::new((0..n).map(point).collect()).unwrap()
    };
    (0..count).map(movement).collect()
}

pub fn dataset(count: usize, seed: u64) -> Dataset {
    let mut data = Dataset::new(1);
    movements(count, seed).into_iter().for_each(|m| data.push(m, None).unwrap());
    data
}

/// A model of odd sizes that trains in moments, with everything on that draws random numbers.
pub fn tiny() -> Config {
    Config {
        max_seq_len: 40,
        encoder_hidden_dim: 9,
        encoder_num_layers: 2,
        decoder_hidden_dim: 7,
        decoder_num_layers: 2,
        latent_dim: 6,
        summary_dim: 11,
        pool_type: Pool::Attention,
        expander_hidden_dim: 10,
        noise_dim: 5,
        generator_hidden_dims: vec![13, 13],
        discriminator_hidden_dims: vec![12, 9],
        discriminator_use_spectral_norm: true,
        lr_autoencoder: 5e-3,
        stage1_iterations: 8,
        stage2_iterations: 6,
        n_critic: 2,
        batch_size: 37,
        log_interval: 2,
        eval_interval: 4,
        ..Config::default()
    }
}

pub fn tiny_closed_loop() -> Config {
    let base = tiny();
    Config { decoder: DecoderKind::ClosedLoop, step_profiles: 2, generator_average: 0.9, stage2_batch_size: 33, ..base }
}

pub fn options(config: &Config, threads: usize) -> TrainOptions {
    TrainOptions { config: config.clone(), threads, seed: 5 }
}

/// A model that has done both stages.
pub fn trained(config: &Config, data: &Dataset, threads: usize) -> Model {
    let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
    for stage in [Stage::Autoencoder, Stage::Gan] {
        model.train(data, stage, &options(config, threads), &mut |_, _| Control::Continue).unwrap();
    }
    model
}

/// Trains until so many iterations of the stage are done, by a cancel unless that is all.
pub fn train_until(model: &mut Model, data: &Dataset, stage: Stage, options: &TrainOptions, stop_at: u64) {
    let result = model.train(data, stage, options, &mut |_, p| match p.iteration == stop_at {
        true => Control::Stop,
        false => Control::Continue,
    });
    match result {
        Ok(_) => {}
        Err(trajgan::Error::Cancelled { iteration }) => assert_eq!(iteration, stop_at),
        Err(error) => panic!("{error}"),
    }
}

/// All that a model file says: metadata, and the bits of every number, by name.
pub type Contents = BTreeMap<String, Vec<u64>>;

pub fn contents(model: &Model) -> Contents {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    model.save(&path).unwrap();
    contents_of(&path)
}

pub fn contents_of(path: &Path) -> Contents {
    let file = TensorFile::read(path).unwrap();
    let bits = |values: &Values| match values {
        Values::F32(v) => v.iter().map(|x| u64::from(x.to_bits())).collect(),
        other => panic!("{other:?}"),
    };
    let mut all: Contents = file.tensors.iter().map(|(name, t)| (name.clone(), bits(&t.values))).collect();
    for (key, text) in &file.metadata {
        match serde_json::from_str(text) {
            Ok(json) => flatten(&format!("metadata.{key}"), &json, &mut all),
            Err(_) => _ = all.insert(format!("metadata.{key}"), text.bytes().map(u64::from).collect()),
        }
    }
    all
}

/// A JSON document by the names of its leaves.
fn flatten(name: &str, json: &serde_json::Value, all: &mut Contents) {
    match json {
        serde_json::Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| flatten(&format!("{name}.{key}"), value, all));
        }
        serde_json::Value::Array(items) => {
            all.insert(format!("{name}.len"), vec![items.len() as u64]);
            items.iter().enumerate().for_each(|(i, value)| flatten(&format!("{name}[{i}]"), value, all));
        }
        leaf => _ = all.insert(name.to_string(), leaf.to_string().bytes().map(u64::from).collect()),
    }
}

/// Names what differs, rather than printing all numbers.
pub fn assert_same(a: &Contents, b: &Contents, case: &str) {
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let names: Vec<&String> = names.into_iter().filter(|name| a.get(*name) != b.get(*name)).collect();
    assert!(names.is_empty(), "{case}: {names:?} differ");
}

pub fn targets(count: usize, seed: u64) -> Vec<[i32; 2]> {
    let target = |i: u64| {
        let mut rng = Rng::new(seed, Stream::Evaluation, i);
        let (far, angle) = (3.0 * 500f64.powf(rng.unit()), rng.range(0.0, TAU));
        [(far * angle.cos()).round() as i32, (far * angle.sin()).round() as i32]
    };
    (0..count as u64).map(target).collect()
}
