//! The closed-loop decoder: its likelihood and gradients, its codec, and walks that arrive whatever it has learnt.
//!
//! Gradients of the whole autoencoder on every instruction set stand in gradients/, training and going on in
//! determinism.rs, files in checkpoint.rs.

mod classes;
mod common;
mod skip;

use common::{dataset, movements, options, targets, tiny, tiny_closed_loop, trained};
use trajgan::backend::cpu::{Buffer, Isa};
use trajgan::config::{Config, DecoderKind};
use trajgan::data::StepCodec;
use trajgan::data::steps::{Classes, INPUTS};
use trajgan::model::closed_loop::{self, ClosedLoop};
use trajgan::model::pooler::PoolerTrace;
use trajgan::model::sequence::SequenceTrace;
use trajgan::model::walker::{WalkLosses, Walker, WalkerTrace};
use trajgan::nn::{Dropout, Gradients, Layout, Steps, Weights};
use trajgan::rng::{Rng, Stream};
use trajgan::train::shards::{ROWS, row_ranges};
use trajgan::{Control, Dataset, Device, Error, Model, Movement, Point, SampleOptions, Stage};

/// Of a tensor's largest gradient: central differences in f64 err by 1e-8 of it or less.
const RELATIVE: f64 = 1e-6;
/// Of the loss: its rounding over the step.
const ROUNDING: f64 = 2e-11;
const STEP: f64 = 1e-5;
const DROPOUT: Dropout = Dropout { seed: 9, step: 2, first_row: 0, batch_rows: 33 };

fn random(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = Rng::new(seed, Stream::Evaluation, 0);
    (0..n).map(|_| rng.normal()).collect()
}

/// Every width near n; odd ones find vector tails, 1 what divides by the wrong extent, 33 more rows than a shard has.
fn config(n: usize) -> Config {
    Config {
        decoder: DecoderKind::ClosedLoop,
        encoder_hidden_dim: n,
        encoder_num_layers: 2,
        latent_dim: n + 2,
        summary_dim: n + 4,
        expander_hidden_dim: n,
        expander_num_layers: if n == 3 { 3 } else { 2 },
        step_magnitudes: n.max(2),
        tick_classes: n.max(2),
        step_profiles: n % 4,
        lstm_dropout: 0.2,
        pooler_dropout: 0.2,
        expander_dropout: 0.2,
        ..Config::default()
    }
}

/// Walks of 1 to 6 steps, longest first, and their inputs and classes.
struct Given {
    steps: Steps,
    x: Vec<f64>,
    classes: Vec<Classes>,
    noise: Vec<f64>,
}

impl Given {
    fn new(c: &Config, rows: usize, seed: u64) -> Given {
        let mut rng = Rng::new(seed, Stream::Evaluation, 2);
        let mut lengths: Vec<usize> = (0..rows).map(|_| 1 + rng.below(6)).collect();
        lengths[0] = 6;
        lengths.sort_by_key(|&n| std::cmp::Reverse(n));
        let steps = Steps::new(&lengths);
        let classes = (0..steps.total()).map(|_| classes::random(&mut rng, c)).collect();
        let (x, noise) = (random(seed + 1, steps.total() * INPUTS), random(seed + 2, rows * c.summary_dim));
        Given { x, classes, noise: noise.iter().map(|x| 0.3 * x).collect(), steps }
    }

    /// Rows of a shard, packed again.
    fn rows(&self, rows: std::ops::Range<usize>, s: usize) -> Given {
        let steps = Steps::new(&self.steps.lengths()[rows.clone()]);
        let (mut x, mut classes) = (Vec::new(), Vec::new());
        for t in 0..steps.len() {
            for row in rows.start..rows.start + steps.running(t) {
                let at = self.steps.at(row, t);
                x.extend_from_slice(&self.x[at * INPUTS..(at + 1) * INPUTS]);
                classes.push(self.classes[at]);
            }
        }
        Given { steps, x, classes, noise: self.noise[rows.start * s..rows.end * s].to_vec() }
    }
}

fn walker(c: &Config) -> (Walker, Layout, Weights<f64>) {
    c.check().unwrap();
    let mut layout = Layout::default();
    let walker = Walker::new(&mut layout, c);
    let (mut params, _) = layout.initialise::<f64>(11);
    classes::fill_profiles(&layout, &mut params);
    let w = Weights::new(Isa::detect(), &layout, params);
    (walker, layout, w)
}

#[test]
fn gradients_of_the_likelihood() {
    for (k, n) in [1, 3, 7, 33].into_iter().enumerate() {
        for dropout in [None, Some((&DROPOUT, 512))] {
            let c = config(n);
            let (net, layout, w) = walker(&c);
            let given = Given::new(&c, [33, 7, 3, 1][k], n as u64);
            let (z, total) = (random(5, given.steps.rows() * c.summary_dim), given.steps.total() + 3);
            let run = |w: &Weights<f64>, z: &[f64], grads: Option<(&mut Gradients<f64>, &mut Buffer<f64>)>| {
                let input = (given.x.as_slice(), given.classes.as_slice());
                net.losses(w, &given.steps, input, z, total, dropout, &mut WalkerTrace::default(), grads)
            };
            let (mut grads, mut dz) = (Gradients::new(&layout), Buffer::default());
            let losses = run(&w, &z, Some((&mut grads, &mut dz)));
            assert_eq!(losses, run(&w, &z, None), "gradients do not change the losses");
            assert_eq!(dz.len(), z.len());
            let rounding = ROUNDING * losses.total().max(1.0);
            let largest = |g: &[f64]| g.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            let case = format!("{n}, dropout {}", dropout.is_some());
            for entry in &layout.entries {
                let allowed = RELATIVE * largest(&grads[entry.range()]) + rounding;
                let last = entry.len() - 1;
                for i in [0, last / 3, last / 2, last].map(|i| entry.offset + i) {
                    let loss = |h: f64| {
                        let mut moved = w.clone();
                        moved.params[i] += h;
                        moved.pack(entry.range());
                        run(&moved, &z, None).total()
                    };
                    let numeric = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
                    let what = format!("{case}: {}[{}]: {} is {numeric}", entry.name, i - entry.offset, grads[i]);
                    assert!((grads[i] - numeric).abs() <= allowed, "{what}");
                }
            }
            let allowed = RELATIVE * largest(&dz) + rounding;
            for i in (0..z.len()).step_by(1 + z.len() / 20) {
                let loss = |h: f64| {
                    let mut moved = z.clone();
                    moved[i] += h;
                    run(&w, &moved, None).total()
                };
                let numeric = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
                assert!((dz[i] - numeric).abs() <= allowed, "{case}: dz[{i}]: {} is {numeric}", dz[i]);
            }
        }
    }
}

/// Weights of zero give every class the same probability.
#[test]
fn the_loss_is_the_likelihood() {
    let c = config(7);
    let (net, layout, mut w) = walker(&c);
    let given = Given::new(&c, 9, 1);
    let z = random(5, 9 * c.summary_dim);
    let run = |w: &Weights<f64>, classes: &[Classes]| {
        let (mut grads, mut dz) = (Gradients::new(&layout), Buffer::default());
        let both = Some((&mut grads, &mut dz));
        let input = (given.x.as_slice(), classes);
        let total = given.steps.total();
        let losses = net.losses(w, &given.steps, input, &z, total, None, &mut WalkerTrace::default(), both);
        (losses, grads.to_vec(), dz.to_vec())
    };
    // What stands at a walk's last step is not looked at.
    let (mut other, mut rng) = (given.classes.clone(), Rng::new(6, Stream::Evaluation, 0));
    for (row, &length) in given.steps.lengths().iter().enumerate() {
        other[given.steps.at(row, length - 1)] = classes::random(&mut rng, &c);
    }
    assert!(run(&w, &given.classes) == run(&w, &other), "at the target nothing is left");

    w.params.fill(0.0);
    w.pack(0..w.params.len());
    let (losses, ..) = run(&w, &given.classes);
    // Of a walk's n - 1 events all have a time and may be the last; where the last goes is known.
    let per_step = |count: fn(usize) -> usize| {
        given.steps.lengths().iter().map(|&n| count(n)).sum::<usize>() as f64 / given.steps.total() as f64
    };
    let (events, steps) = (per_step(|n| n - 1), per_step(|n| n.saturating_sub(2)));
    let expected = [2.0 * 13f64.ln() * steps, 7f64.ln() * events, 2f64.ln() * events];
    for (got, expected) in [losses.steps, losses.ticks, losses.stop].into_iter().zip(expected) {
        assert!((got - expected).abs() < 1e-12, "{got}, expected {expected}");
    }
}

/// Encoder, pooler and walker, with their first weights and the buffers of their norms.
fn whole(c: &Config) -> (ClosedLoop, Layout, Weights<f64>, Vec<f64>) {
    let mut layout = Layout::default();
    let net = ClosedLoop::new(&mut layout, c);
    let (params, buffers) = layout.initialise(3);
    let weights = Weights::new(Isa::detect(), &layout, params);
    (net, layout, weights, buffers)
}

/// Shards of a batch, each alone, add up to the batch: losses are divided by its steps, masks go by its rows.
#[test]
fn shards_add_up() {
    let c = config(7);
    let (net, layout, w, mut buffers) = whole(&c);
    let norm = net.encoder.head.normalise(&w.params, &mut buffers, true);
    let given = Given::new(&c, 33, 2);
    for dropped in [false, true] {
        let run = |given: &Given, first_row: usize, grads: &mut Gradients<f64>| {
            let dropout = Dropout { first_row: first_row as u32, ..DROPOUT };
            let Given { steps, x, classes, noise } = given;
            let shard = closed_loop::Shard { steps, x, classes, noise, batch_rows: None };
            let (mut trace, total) = (closed_loop::Trace::default(), 111);
            net.losses(&w, &norm, shard, total, dropped.then_some(&dropout), &mut trace, Some(grads))
        };
        let mut whole = Gradients::new(&layout);
        let losses = run(&given, 0, &mut whole);
        let (mut sum, mut parts) = (Gradients::new(&layout), WalkLosses::default());
        for rows in row_ranges(33, ROWS) {
            parts += run(&given.rows(rows.clone(), c.summary_dim), rows.start, &mut sum);
        }
        assert!((losses.total() - parts.total()).abs() < 1e-12, "dropout {dropped}");
        let most = whole.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        assert!(most > 0.0);
        let far = whole.iter().zip(&sum[..]).position(|(a, b)| (a - b).abs() > 1e-12 * most);
        assert_eq!(far, None, "dropout {dropped}: a gradient differs");
    }
}

/// In training a row alone in its shard says nothing of what tells movements apart: of its losses the walker learns, and of a
/// summary where tanh is flat the encoder, to make it smaller.
#[test]
fn a_row_alone_teaches_the_walker_only() {
    let c = config(7);
    let (net, layout, mut w, mut buffers) = whole(&c);
    let Given { steps, x, classes, noise } = &Given::new(&c, 1, 2);
    for large in [false, true] {
        if large {
            w.params.iter_mut().for_each(|p| *p *= 20.0);
            w.pack(0..w.params.len());
        }
        let norm = net.encoder.head.normalise(&w.params, &mut buffers, true);
        let taught = |batch_rows| {
            let shard = closed_loop::Shard { steps, x, classes, noise, batch_rows };
            let mut grads = Gradients::new(&layout);
            net.losses(&w, &norm, shard, 111, None, &mut closed_loop::Trace::default(), Some(&mut grads));
            grads.to_vec()
        };
        let (mut encoded, mut pooled) = (SequenceTrace::default(), PoolerTrace::default());
        net.encoder.forward(&w, &norm, steps, x, None, &mut encoded);
        net.pooler.forward(&w, steps, &encoded.y, None, &mut pooled);
        let z = pooled.z;
        assert_eq!(z.iter().any(|z| z.abs() > 0.9), large);
        let noisy: Vec<f64> = z.iter().zip(noise).map(|(z, n)| z + n).collect();
        let (mut walker, mut dz) = (Gradients::new(&layout), Buffer::default());
        let (given, both) = ((x.as_slice(), classes.as_slice()), Some((&mut walker, &mut dz)));
        net.walker.losses(&w, steps, given, &noisy, 111, None, &mut WalkerTrace::default(), both);
        assert!(taught(None) != walker.to_vec(), "by all it is taught");
        assert_eq!([2, 9].map(|rows| taught(Some(rows)) == walker.to_vec()), [!large; 2]);
        let (ten, twenty) = (taught(Some(10)), taught(Some(20)));
        for i in layout.entries.iter().filter(|e| e.name.starts_with("encoder")).flat_map(|e| e.range()) {
            assert!((ten[i] - 2.0 * twenty[i]).abs() <= 1e-9 * ten[i].abs(), "a mean over the batch's rows");
        }
        assert_eq!(taught(Some(1)) == taught(None), !large, "one row is all there is");
    }
}

/// Random whole-pixel movements with steps up to so many pixels, and clock ticks of 8 ms.
fn whole_pixels(most: i32, seed: u64) -> Vec<Movement> {
    let movement = |i: u64| {
        let mut rng = Rng::new(seed, Stream::Evaluation, i);
        let mut p = Point { x: 100.0, y: -50.0, t_ms: 12.0 };
        let points = (0..20).map(|_| {
            let before = p;
            let mut step = || f64::from(rng.below(2 * most as usize + 1) as i32 - most);
            (p.x, p.y) = (p.x + step(), p.y + step());
            // Mostly one tick, as a clock shows itself.
            p.t_ms += 8.0 * (1.0 + rng.below(3).saturating_sub(1) as f64 * rng.below(5) as f64);
            before
        });
        Movement::new(points.collect()).unwrap()
    };
    (0..50).map(movement).collect()
}

fn decoded(codec: &StepCodec, m: &Movement, unit: f64) -> Vec<[f64; 3]> {
    let walk = codec.encode(&m.points);
    assert_eq!(walk.inputs.len(), (walk.events.len() + 1) * INPUTS);
    let step = |c: &Classes| {
        let (x, y) = (codec.step(c.x.into(), unit), codec.step(c.y.into(), unit));
        [f64::from(x), f64::from(y), f64::from(codec.ticks(c.ticks.into(), unit)) * codec.tick_ms]
    };
    walk.events.iter().map(step).collect()
}

#[test]
fn the_codec_gives_back_what_it_took() {
    let events = |m: &Movement| -> Vec<[f64; 3]> {
        m.points.windows(2).map(|p| [p[1].x - p[0].x, p[1].y - p[0].y, p[1].t_ms - p[0].t_ms]).collect()
    };
    // Steps and times with a class each come back exactly; the clock is found within its own rounding.
    let exact = whole_pixels(8, 1);
    let codec = StepCodec::fit(&exact.iter().collect::<Vec<_>>(), 28, 12).unwrap();
    for m in &exact {
        for (a, b) in events(m).iter().zip(decoded(&codec, m, 0.5)) {
            assert_eq!(a[..2], b[..2]);
            assert!((a[2] - b[2]).abs() < 1e-6, "{a:?} became {b:?}");
        }
    }
    // Longer ones come back within their class, whatever is drawn, with few classes as with many.
    for (magnitudes, ticks) in [(28, 12), (9, 6), (5, 4), (2, 2)] {
        let long = whole_pixels(900, 2);
        let codec = StepCodec::fit(&long.iter().collect::<Vec<_>>(), magnitudes, ticks).unwrap();
        codec.check().unwrap();
        assert_eq!((codec.step_classes(), codec.tick_classes()), (2 * magnitudes - 1, ticks));
        for m in &long {
            for unit in [0.0, 0.3, 1.0 - 1e-9] {
                for (a, b) in events(m).iter().zip(decoded(&codec, m, unit)) {
                    for axis in 0..2 {
                        let (a, b) = (a[axis] as i32, b[axis] as i32);
                        let k = codec.step_edges.partition_point(|&e| e <= a.unsigned_abs()) - 1;
                        assert!(k + 1 < codec.step_edges.len(), "{a} is beyond {:?}", codec.step_edges);
                        let class = codec.step_edges[k]..codec.step_edges[k + 1];
                        assert!(class.contains(&b.unsigned_abs()), "{magnitudes} classes: {a} became {b}");
                        assert!(a == 0 || a.signum() == b.signum(), "{a} became {b}");
                    }
                }
            }
        }
    }
}

/// Recordings may hold any finite number.
#[test]
fn absurd_positions_and_times_are_survived() {
    let at = |x: f64, y: f64, t_ms: f64| Point { x, y, t_ms };
    let wild = [at(0.0, 0.0, 0.0), at(1e12, -1e12, 8.0), at(-1e12, 1e12, 1e15), at(5.0, 5.0, 1e15 + 8.0)];
    let m = Movement::new(wild.to_vec()).unwrap();
    let codec = StepCodec::fit(&[&m], 28, 12).unwrap();
    codec.check().unwrap();
    let walk = codec.encode(&m.points);
    assert_eq!(walk.events.len(), 3);
    assert!(walk.inputs.iter().all(|x| x.is_finite()));
    assert_eq!(walk.inputs[3 * INPUTS..][..2], [0.0, 0.0], "it arrives");
    let slow = Movement::new((0..4).map(|k| at(f64::from(k), 0.0, 1e15 * f64::from(k))).collect()).unwrap();
    let message = StepCodec::fit(&[&slow], 28, 12).unwrap_err().to_string();
    assert!(message.contains("tick_ms"), "no model file could hold it: {message}");
}

#[test]
fn arrays_are_refused() {
    let shared = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/balabit/processed");
    if !shared.exists() {
        skip::skipped(format_args!("{} is not there", shared.display()));
        return;
    }
    let (data, _) = Dataset::open(&shared, &Default::default()).unwrap();
    let c = Config { max_seq_len: 200, ..tiny_closed_loop() };
    let mut model = Model::new(c.clone(), Device::Cpu).unwrap();
    let result = model.train(&data, Stage::Autoencoder, &options(&c, 1), &mut |_, _| Control::Continue);
    let message = result.unwrap_err().to_string();
    assert!(message.contains("arrays") && message.contains("pixels"), "{message}");
    assert!(model.data().is_none() && model.stages()[0].iteration == 0, "a refusal changes nothing");
}

#[test]
fn every_walk_arrives() {
    let data = dataset(60, 3);
    // The second may take so few points that nearly every walk has to be closed; the third has few classes.
    let configs = [
        tiny_closed_loop(),
        Config { max_seq_len: 30, lr_autoencoder: 0.05, ..tiny_closed_loop() },
        Config { step_magnitudes: 4, tick_classes: 3, max_seq_len: 300, ..tiny_closed_loop() },
    ];
    for config in configs {
        let model = trained(&config, &data, 2);
        let targets = targets(2000, 1);
        for (step_temperature, time_temperature) in [(1.0, 1.0), (0.3, 2.0)] {
            let options =
                SampleOptions { seed: 6, step_temperature, time_temperature, threads: 2, ..Default::default() };
            let walks = model.walk(&targets, &options).unwrap();
            assert_eq!(walks.len(), targets.len());
            for (m, target) in walks.iter().zip(&targets) {
                let last = m.points[m.points.len() - 1];
                assert_eq!(m.points[0], Point::default());
                assert_eq!([last.x, last.y], target.map(f64::from));
                assert!((3..=config.max_seq_len).contains(&m.points.len()), "{} points", m.points.len());
                assert!(m.points.iter().all(|p| [p.x, p.y, p.t_ms].iter().all(|x| x.fract() == 0.0)));
                Movement::new(m.points.clone()).unwrap(); // time rises
            }
        }
    }
}

#[test]
fn walks_do_not_depend_on_threads_or_batch() {
    let model = trained(&tiny_closed_loop(), &dataset(60, 3), 2);
    let targets = targets(60, 2);
    let z = model.encode(&movements(60, 4), 2).unwrap();
    let draw = |rows: std::ops::Range<usize>, threads| {
        let options = SampleOptions { seed: 8, first: rows.start as u64, threads, ..SampleOptions::default() };
        let walked = model.walk(&targets[rows.clone()], &options).unwrap();
        let part = z.slice(ndarray::s![rows.clone(), ..]);
        walked.into_iter().zip(model.walk_summaries(part, &targets[rows], &options).unwrap()).collect::<Vec<_>>()
    };
    let all = draw(0..60, 1);
    assert!(all.iter().filter(|(a, b)| a == b).count() < 30, "the summary matters");
    for threads in [2, 3, 8] {
        assert!(all == draw(0..60, threads), "{threads} threads");
    }
    assert!(all == (0..60).flat_map(|i| draw(i..i + 1, 1)).collect::<Vec<_>>(), "one at a time");
    assert!(all == [draw(0..16, 1), draw(16..19, 2), draw(19..60, 3)].concat(), "in parts");
}

/// What recorders let through: a movement that ends where it began, and one to a place that stands for none.
#[test]
fn odd_recordings_make_no_odd_targets() {
    let mut data = dataset(60, 3);
    let there = |x: f64| [(0.0, 0.0), (x / 2.0, 40.0), (x, 0.0)];
    let movement = |x: f64| {
        let points = there(x).into_iter().zip(0..).map(|((x, y), i)| Point { x, y, t_ms: 8.0 * f64::from(i) });
        Movement::new(points.collect()).unwrap()
    };
    (0..200).for_each(|_| data.push(movement(0.0), None).unwrap());
    data.push(movement(-2_147_483_648.0), None).unwrap();
    let config = Config { quality_min_length: 3, quality_z: 0.0, ..tiny_closed_loop() };
    let prepared = data.prepare(&config, None).unwrap();
    let total = prepared.train.len() + prepared.validation.len() + prepared.test.len();
    assert_eq!((total, prepared.report.outliers), (260, 1));
    let model = trained(&config, &data, 2);
    let walks = model.generate(100, Some(&[500.0; 100]), &SampleOptions::default()).unwrap();
    assert!(walks.iter().all(|m| (m.straight_distance() - 500.0).abs() < 1.0));
}

/// Of a fast clock a hand moves less than a pixel at a time: most events stand still, whatever the positions were.
/// Conditions of the data's own are nothing that the closed loop is asked for.
#[test]
fn a_model_tells_the_distances_that_it_knows() {
    let mut data = Dataset::new(1);
    for (movement, width) in movements(60, 3).into_iter().zip(1..) {
        data.push(movement, Some(&[f64::from(width)])).unwrap();
    }
    for (config, in_pixels) in [(tiny_closed_loop(), true), (tiny(), false)] {
        let model = trained(&config, &data, 2);
        let info = &model.info()["data"];
        let limit = |name: &str| info[name][0].as_f64().unwrap();
        let told = (limit("condition_min"), limit("condition_max"));
        if in_pixels {
            assert_eq!(Some(told), model.learnt_distances());
        } else {
            assert!(told.0 >= 1.0 && told.1 <= 60.0, "{told:?}");
        }
    }
}

#[test]
fn steps_below_a_pixel_stand_still() {
    let slow = |i: i32| Point { x: 0.3 * f64::from(i), y: 0.01 * f64::from(i), t_ms: f64::from(i) };
    let movement = Movement::new((0..100).map(slow).collect()).unwrap();
    assert!(StepCodec::fit(&[&movement], 32, 32).unwrap().repeats);
    let fast = |i: i32| Point { x: 3.0 * f64::from(i), ..slow(i) };
    let movement = Movement::new((0..100).map(fast).collect()).unwrap();
    assert!(!StepCodec::fit(&[&movement], 32, 32).unwrap().repeats);
}

#[test]
fn targets_out_of_reach_are_refused() {
    let model = trained(&tiny_closed_loop(), &dataset(60, 3), 2);
    for far in [i32::MAX, i32::MIN, 20_000_000] {
        let message = model.walk(&[[5, 5], [0, far]], &SampleOptions::default()).unwrap_err().to_string();
        assert!(message.contains("targets[1]") && message.contains(&far.to_string()), "{message}");
    }
    let furthest = model.walk(&[[10_000_000, -10_000_000]], &SampleOptions::default()).unwrap().remove(0);
    assert_eq!(furthest.target(), [1e7, -1e7]);
    let generate = |distance: f64| model.generate(1, Some(&[distance]), &SampleOptions::default());
    assert!([1.0, 1e6].iter().all(|&distance| generate(distance).is_ok()));
    for (distance, text) in [(0.99, "0.99"), (1_000_001.0, "1000001")] {
        let message = generate(distance).unwrap_err().to_string();
        assert!(message.starts_with(&format!("conditions[0] is {text}")), "{message}");
    }
    let long = Movement::new((0..41).map(|i| Point { x: f64::from(i), y: 0.0, t_ms: 8.0 * f64::from(i) }).collect());
    let message = model.encode(&[long.unwrap()], 1).unwrap_err().to_string();
    assert!(message.contains("movement 0 is 41 points, expected 2 to 40"), "{message}");
    let few = model.encode(&movements(1, 4), 1).unwrap();
    let result = model.walk_summaries(few.view(), &[[5, 5], [6, 6]], &SampleOptions::default());
    assert!(matches!(result, Err(Error::Argument { .. })));
    let walk = |z: &ndarray::Array2<f32>, options| model.walk_summaries(z.view(), &[[5, 5]], &options).unwrap_err();
    for step_temperature in [0.0, -1.0, f64::NAN] {
        let message = walk(&few, SampleOptions { step_temperature, ..SampleOptions::default() }).to_string();
        assert!(message.contains("step_temperature") && message.contains("a number above 0"), "{message}");
    }
    let message = walk(&few.mapv(|_| f32::NAN), SampleOptions::default()).to_string();
    assert!(message.contains("summaries[0] is NaN"), "{message}");
}
