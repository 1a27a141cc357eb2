//! Stage 1 on a CUDA device, part by part and step by step, held to the CPU at odd sizes. Where there is no device the emulated
//! driver runs the same kernels and the same launch code.
#![cfg(feature = "cuda")]

mod classes;
mod cuda_support;
mod golden_support;
mod skip;

use std::sync::Arc;

use golden_support::{GRADIENT, GRADIENT_FLOOR, OUTPUT, WEIGHT};
use trajgan::backend::cpu::{Buffer, Isa, Pool};
use trajgan::backend::cuda::Context;
use trajgan::backend::cuda::parts::{Given, Outcome, Part, run};
use trajgan::backend::cuda::stage1::{Learner, Stage1, room};
use trajgan::config::{Config, DecoderKind, Expand, OptimizerKind, Pool as Pooling};
use trajgan::data::steps::{INPUTS, Walk};
use trajgan::model::Networks;
use trajgan::model::expander::ExpanderTrace;
use trajgan::model::pooler::PoolerTrace;
use trajgan::model::sequence::SequenceTrace;
use trajgan::nn::optim::Moments;
use trajgan::nn::{Dropout, Gradients, Steps, Weights};
use trajgan::rng::{Rng, Stream};
use trajgan::train::shards::{Batch, SequenceShard};
use trajgan::train::stage1::{self, At};

/// Where dropout is drawn in these tests; any site will do.
const SITE: u64 = 77;

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, Stream::Evaluation, count as u64);
    (0..count).map(|_| rng.range(-1.0, 1.0) as f32).collect()
}

/// Lengths of so many rows, the longest first and of T steps.
fn lengths(rows: usize, most: usize) -> Vec<usize> {
    let mut rng = Rng::new(1, Stream::SampleLength, (rows * most) as u64);
    let mut lengths: Vec<usize> = (0..rows).map(|_| 1 + rng.below(most)).collect();
    lengths[0] = most;
    lengths.sort_by_key(|&n| std::cmp::Reverse(n));
    lengths
}

/// Off by no more than so much of the largest, with a floor for what is zero in exact arithmetic.
fn assert_close(what: &str, got: &[f32], expected: &[f32], relative: f64, floor: f64) {
    let largest = expected.iter().fold(0f64, |m, &x| m.max(f64::from(x.abs())));
    let error = got.iter().zip(expected).map(|(&a, &b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    assert_eq!(got.len(), expected.len(), "{what}");
    assert!(error <= relative * largest + floor, "{what} is off by {error:e} of {largest:e}");
    assert!(got.iter().all(|x| x.is_finite()), "{what} is not finite");
}

/// What a part must give, in the order of [`Outcome`], whose floor for gradients is one for all tensors.
fn compare(what: &str, networks: &Networks, got: &Outcome, expected: (&[f32], &[f32], &[f32])) {
    let (y, dx, grads) = expected;
    assert_close(&format!("{what}: y"), &got.y, y, OUTPUT, 0.0);
    let largest = grads.iter().chain(dx).fold(0f64, |m, &g| m.max(f64::from(g.abs())));
    assert_close(&format!("{what}: dx"), &got.dx, dx, GRADIENT, GRADIENT_FLOOR * largest);
    for entry in networks.layout.entries.iter().filter(|e| networks.autoencoder_range.contains(&e.offset)) {
        let range = entry.range();
        let name = format!("{what}: {}", entry.name);
        assert_close(&name, &got.grads[range.clone()], &grads[range], GRADIENT, GRADIENT_FLOOR * largest);
    }
}

fn small() -> Config {
    Config {
        max_seq_len: 40,
        encoder_hidden_dim: 12,
        decoder_hidden_dim: 17,
        encoder_num_layers: 2,
        decoder_num_layers: 2,
        latent_dim: 7,
        summary_dim: 11,
        expander_hidden_dim: 10,
        expander_num_layers: 2,
        noise_dim: 5,
        generator_hidden_dims: vec![13],
        discriminator_hidden_dims: vec![12],
        lstm_dropout: 0.2,
        pooler_dropout: 0.3,
        expander_dropout: 0.25,
        ..Config::default()
    }
}

fn seeded(c: &Config) -> (Networks, Weights<f32>, Vec<f32>) {
    let networks = Networks::new(c);
    let (mut params, buffers) = networks.layout.initialise(3);
    classes::fill_profiles(&networks.layout, &mut params);
    let weights = Weights::new(Isa::detect(), &networks.layout, params);
    (networks, weights, buffers)
}

/// Rows, most steps. 140 rows are more than the emulated device has multiprocessors: there, blocks have four rows.
const SHAPES: [(usize, usize); 5] = [(1, 1), (3, 2), (64, 13), (65, 2), (140, 2)];

#[test]
fn sequences_are_those_of_the_cpu() {
    let Some(device) = cuda_support::device() else { return };
    // 64, 96 and 128 have kernels of their own.
    for (hidden, shapes) in
        [(12, &SHAPES[..]), (17, &SHAPES[..4]), (64, &SHAPES[1..4]), (96, &SHAPES[1..2]), (128, &SHAPES[..3])]
    {
        let c = Config { encoder_hidden_dim: hidden, ..small() };
        let (networks, w, mut buffers) = seeded(&c);
        let map = &networks.v6().unwrap().encoder;
        for &(rows, most) in shapes {
            let steps = Steps::new(&lengths(rows, most));
            let (x, dy) = (numbers(steps.total() * c.feature_dim, 1), numbers(steps.total() * c.latent_dim, 2));
            let shard = shard(steps.clone(), x.clone());
            let given = Given { shard: &shard, z: &[], dy: &dy, training: true, dropout: Some((9, 4)) };
            let got = run(&device, &networks, (&w.params, &buffers), Part::Sequence(map, SITE), given).unwrap();
            let norm = map.head.normalise(&w.params, &mut buffers, true);
            assert_close("u and v", &got.buffers, &buffers, OUTPUT, 0.0);
            let dropout = Dropout { seed: 9, step: 4, first_row: 0, batch_rows: rows as u32 };
            let mut trace = SequenceTrace::default();
            map.forward(&w, &norm, &steps, &x, Some((&dropout, SITE)), &mut trace);
            let (mut grads, mut dx, y) = (Gradients::new(&networks.layout), Buffer::default(), trace.y.clone());
            map.backward(&w, &norm, &steps, &x, true, &mut dy.clone(), &mut trace, Some(&mut dx), &mut grads);
            compare(&format!("{hidden} units, {rows} rows, {most} steps"), &networks, &got, (&y, &dx, &grads));
        }
    }
}

fn shard(steps: Steps, x: Vec<f32>) -> SequenceShard {
    let seq_lens = vec![steps.len(); steps.rows()];
    SequenceShard { first_row: 0, steps, x, classes: Vec::new(), seq_lens }
}

#[test]
fn poolers_are_those_of_the_cpu() {
    let Some(device) = cuda_support::device() else { return };
    let hybrid_like_the_seed = Config { latent_dim: 64, summary_dim: 33, ..small() };
    let identity = Config { summary_dim: 7, ..small() };
    for pool_type in [Pooling::Attention, Pooling::Mean, Pooling::Last, Pooling::Hybrid] {
        for (base, (rows, most)) in [
            (small(), SHAPES[3]),
            (small(), SHAPES[0]),
            (hybrid_like_the_seed.clone(), SHAPES[1]),
            (identity.clone(), (64, 3)),
        ] {
            let c = Config { pool_type, ..base };
            let (networks, w, buffers) = seeded(&c);
            let net = &networks.v6().unwrap().pooler;
            let steps = Steps::new(&lengths(rows, most));
            let (h, dz) = (numbers(steps.total() * c.latent_dim, 1), numbers(rows * c.summary_dim, 2));
            let shard = shard(steps.clone(), h.clone());
            let given = Given { shard: &shard, z: &[], dy: &dz, training: true, dropout: Some((1 << 40, 1 << 33)) };
            let got = run(&device, &networks, (&w.params, &buffers), Part::Pooler(net, SITE), given).unwrap();
            let dropout = Dropout { seed: 1 << 40, step: 1 << 33, first_row: 0, batch_rows: rows as u32 };
            let mut trace = PoolerTrace::default();
            net.forward(&w, &steps, &h, Some((&dropout, SITE)), &mut trace);
            let (mut grads, mut dh, z) = (Gradients::new(&networks.layout), Buffer::default(), trace.z.clone());
            net.backward(&w, &steps, &h, true, &mut dz.clone(), 0.0, &mut trace, &mut dh, &mut grads);
            compare(&format!("{pool_type:?}, {rows} rows"), &networks, &got, (&z, &dh, &grads));
        }
    }
}

fn expander_as_on_the_cpu(device: &Arc<Context>, c: &Config, (rows, most): (usize, usize)) {
    let (networks, w, buffers) = seeded(c);
    let net = &networks.v6().unwrap().expander;
    let steps = Steps::new(&lengths(rows, most));
    let (z, dy) = (numbers(rows * c.summary_dim, 1), numbers(steps.total() * c.latent_dim, 2));
    let shard = shard(steps.clone(), Vec::new());
    let given = Given { shard: &shard, z: &z, dy: &dy, training: true, dropout: Some((2, 6)) };
    let got = run(device, &networks, (&w.params, &buffers), Part::Expander(net, SITE), given).unwrap();
    let dropout = Dropout { seed: 2, step: 6, first_row: 0, batch_rows: rows as u32 };
    let mut trace = ExpanderTrace::default();
    net.forward(&w, &steps, &shard.seq_lens, &z, Some((&dropout, SITE)), &mut trace);
    let (mut grads, mut dz, y) = (Gradients::new(&networks.layout), Buffer::default(), trace.y.clone());
    net.backward(&w, &steps, &z, true, &mut dy.clone(), &mut trace, &mut dz, &mut grads);
    let what = format!("{:?} of {}, {rows} rows, {most} steps", c.expand_type, c.expander_hidden_dim);
    compare(&what, &networks, &got, (&y, &dz, &grads));
}

#[test]
fn expanders_are_those_of_the_cpu() {
    let Some(device) = cuda_support::device() else { return };
    let one_layer = Config { expander_num_layers: 1, expander_hidden_dim: 17, ..small() };
    let three = Config { expander_num_layers: 3, expander_hidden_dim: 64, latent_dim: 65, ..small() };
    for expand_type in [Expand::Lstm, Expand::Mlp, Expand::Repeat] {
        let cases =
            [(small(), SHAPES[2]), (one_layer.clone(), SHAPES[0]), (three.clone(), SHAPES[1]), (small(), SHAPES[4])];
        for (base, shape) in cases {
            expander_as_on_the_cpu(&device, &Config { expand_type, ..base }, shape);
        }
    }
}

/// Several groups of blocks, several tiles of rows for each, and more steps than the exchange has buffers. 192 units do not
/// fit 8 blocks: they exchange through memory on every device. The emulated one is too slow for as many steps.
#[test]
fn expanders_over_many_blocks_are_those_of_the_cpu() {
    let Some(device) = cuda_support::device() else { return };
    let real = std::env::var_os("TRAJGAN_DRIVER").is_some();
    let wide = |hidden| Config { expander_hidden_dim: hidden, latent_dim: 48, ..small() };
    for (hidden, rows, most) in [(128, 64, 100), (128, 120, 40), (192, 24, 100)] {
        let shape = if real { (rows, most) } else { (rows / 4, 5) };
        expander_as_on_the_cpu(&device, &wide(hidden), shape);
    }
}

/// Where there are no clusters, blocks exchange numbers through memory.
#[test]
fn expanders_are_the_same_without_clusters() {
    if std::env::var_os("TRAJGAN_DRIVER").is_some() || cuda_support::library().is_none() {
        return; // only the emulated driver can be told what it is
    }
    for (major, kernel) in [("9", "cluster"), ("8", "group")] {
        // With fewer multiprocessors than a group has blocks, and where they can run none of its blocks, single blocks do it.
        for (count, blocks) in [("132", "1"), ("7", "1"), ("132", "0")] {
            let device = [("EMU_MAJOR", major), ("EMU_MULTIPROCESSORS", count), ("EMU_BLOCKS", blocks)];
            let launched = cuda_support::kernels_of("expanders_are_those_of_the_cpu", device);
            for direction in ["forward", "backward"] {
                let there = launched.contains(&format!("expander_{direction}_{kernel}\n"));
                assert_eq!(there, (count, blocks) == ("132", "1"), "{device:?}: {launched}");
            }
        }
    }
    // Nor where a slice of a device has no room for a cluster, or a grid cannot be launched all at the same time.
    for device in [[("EMU_MAJOR", "9"), ("EMU_SLICE", "1")], [("EMU_MAJOR", "8"), ("EMU_LACKS", "95")]] {
        let launched = cuda_support::kernels_of("expanders_are_those_of_the_cpu", device);
        assert!(launched.contains("expander_backward_"), "{launched}");
        assert!(!launched.contains("_cluster\n") && !launched.contains("_group\n"), "{device:?}: {launched}");
    }
}

/// Products with more results than a small device has multiprocessors for go by wide tiles.
#[test]
fn sequences_are_the_same_in_wide_tiles() {
    if std::env::var_os("TRAJGAN_DRIVER").is_some() || cuda_support::library().is_none() {
        return;
    }
    let launched = cuda_support::kernels_of("sequences_are_those_of_the_cpu", [("EMU_MULTIPROCESSORS", "1")]);
    for product in ["forward", "backward", "gradient"] {
        assert!(launched.contains(&format!("matrix_{product}_wide\n")), "{launched}");
        assert!(!launched.contains(&format!("matrix_{product}\n")), "{launched}");
    }
}

/// Batches of other rows and lengths each, so that one graph serves them all: the second is recorded.
const BATCHES: [(usize, usize); 4] = [(35, 13), (17, 5), (35, 9), (1, 2)];

fn feature_batches(c: &Config) -> Vec<Batch> {
    let rows = |(rows, most): &(usize, usize)| -> Vec<Vec<f32>> {
        let lengths = lengths(*rows, *most);
        lengths.iter().zip(0u64..).map(|(n, i)| numbers(n * c.feature_dim, i)).collect()
    };
    BATCHES.iter().map(|shape| Batch::new(&rows(shape), c.feature_dim)).collect()
}

fn walk_batches(c: &Config) -> Vec<Batch> {
    let walk = |(&n, i): (&usize, u64)| {
        let n = n + 1; // a walk has two points at least
        let mut rng = Rng::new(i, Stream::SampleEvents, n as u64);
        let events = (1..n).map(|_| classes::random(&mut rng, c)).collect();
        Walk { inputs: numbers(n * INPUTS, i), events }
    };
    let walks = |(rows, most): &(usize, usize)| lengths(*rows, *most).iter().zip(0u64..).map(walk).collect::<Vec<_>>();
    BATCHES.iter().map(|shape| Batch::of_walks(&walks(shape))).collect()
}

/// Steps on both, from the same weights: losses and norms of all, what the first makes of the moments, and evaluation.
fn steps_as_on_the_cpu(c: &Config, batches: &[Batch], device: &Arc<Context>) {
    let (networks, mut weights, mut buffers) = seeded(c);
    let (mut params, mut device_buffers) = (weights.params.clone(), buffers.clone());
    let (mut moments, mut device_moments) = (Moments::default(), Moments::default());
    let mut learner = Learner { params: &mut params, buffers: &mut device_buffers, moments: &mut device_moments };
    let most = |of: fn(&Batch) -> usize| batches.iter().map(of).max().unwrap();
    let all = vec![most(|b| b.shards[0].steps.len()); most(Batch::rows)];
    let mut on_device = Stage1::new(device, networks.clone(), c, room(all, batches[0].rows()), &learner).unwrap();
    let (mut stage, mut pool) = (stage1::Stage1::default(), Pool::new(1));
    for (k, batch) in batches.iter().enumerate() {
        let at = At { seed: 6, iteration: k as u64, rate: 1e-3 };
        let mut cpu = stage1::Learner {
            networks: &networks,
            weights: &mut weights,
            buffers: &mut buffers,
            moments: &mut moments,
        };
        let (expected, norm) = stage.step(&mut pool, &mut cpu, c, batch, at).unwrap();
        let (losses, device_norm) = on_device.step(batch, at, || ()).unwrap();
        let (relative, single) = (if k == 0 { OUTPUT } else { WEIGHT }, |x: f64| x as f32);
        for (got, expected) in losses.into_iter().zip(expected) {
            assert_close(&format!("loss in step {k}"), &[single(got)], &[single(expected)], relative, 1e-7);
        }
        assert_close(&format!("norm in step {k}"), &[single(device_norm)], &[single(norm)], WEIGHT, 0.0);
        if k == 0 {
            on_device.fetch(&mut learner).unwrap();
            for entry in networks.layout.entries.iter().filter(|e| networks.autoencoder_range.contains(&e.offset)) {
                let largest = moments.m.iter().fold(0f64, |m, &x| m.max(f64::from(x.abs())));
                let (got, expected) = (&learner.moments.m[entry.range()], &moments.m[entry.range()]);
                assert_close(&entry.name, got, expected, GRADIENT, GRADIENT_FLOOR * largest);
            }
            assert_close("u and v", learner.buffers, &buffers, WEIGHT, 0.0);
        }
    }
    let cpu =
        stage1::Learner { networks: &networks, weights: &mut weights, buffers: &mut buffers, moments: &mut moments };
    let expected = stage.evaluate(&mut pool, &cpu, c, &batches[0]);
    for (got, expected) in on_device.evaluate(&batches[0]).unwrap().into_iter().zip(expected) {
        assert_close("evaluation", &[got as f32], &[expected as f32], WEIGHT, 1e-7);
    }
    // Evaluation moves nothing.
    on_device.fetch(&mut learner).unwrap();
    let before = learner.buffers.to_vec();
    on_device.evaluate(&batches[1]).unwrap();
    on_device.fetch(&mut learner).unwrap();
    assert_eq!(before, learner.buffers);
    assert_eq!(learner.moments.steps, batches.len() as u64);
}

#[test]
fn v6_steps_are_those_of_the_cpu() {
    let Some(device) = cuda_support::device() else { return };
    let kinds = [
        (Expand::Lstm, 10, Pooling::Attention, OptimizerKind::Adam, 1e-3),
        // Over a group of blocks, which the graph launches too.
        (Expand::Lstm, 64, Pooling::Mean, OptimizerKind::Adam, 0.0),
        (Expand::Mlp, 10, Pooling::Hybrid, OptimizerKind::AdamW, 1e-2),
        (Expand::Repeat, 10, Pooling::Last, OptimizerKind::RAdam, 0.0),
    ];
    for (expand_type, expander_hidden_dim, pool_type, optimizer, stage1_weight_decay) in kinds {
        let kind = Config { expand_type, expander_hidden_dim, pool_type, ..small() };
        let c = Config { optimizer, stage1_weight_decay, stage1_grad_clip: 0.1, ..kind };
        steps_as_on_the_cpu(&c, &feature_batches(&c), &device);
    }
}

#[test]
fn closed_loop_steps_are_those_of_the_cpu() {
    let Some(device) = cuda_support::device() else { return };
    let noisy = Config { decoder: DecoderKind::ClosedLoop, summary_noise: 0.3, step_profiles: 3, ..small() };
    let mean = Config { pool_type: Pooling::Mean, expander_hidden_dim: 64, summary_noise: 0.0, ..noisy.clone() };
    let plain = Config { step_profiles: 0, ..noisy.clone() };
    for c in [noisy, mean, plain] {
        steps_as_on_the_cpu(&c, &walk_batches(&c), &device);
    }
}
