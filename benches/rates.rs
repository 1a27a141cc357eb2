//! Rates of training and sampling, as shares of this machine's own FMA peak and beside PyTorch.
//!
//!     make bench                                                  # a table, and JSON on the last line
//!     TRAJGAN_PEER=path/to/pytorch_peer.py make bench             # with the peer, where Python can import torch
//!     TRAJGAN_ISA=avx2 make bench                                 # products and training with another instruction set
//!     cargo bench --bench rates -- 'stage 2' sampling             # these parts only: products, kernels, stage 1,
//!                                                                 # stage 2, lengths, sampling
//!
//! Full-length synthetic batches, B = 64, T = 100, preset default: what the peer measures; `lengths` is stage 1 on the
//! recordings of ../shared/data/balabit/processed, where they are there. What is compared is measured in several rounds,
//! each ours and the peer's within two minutes of each other: a machine that others share changes between rounds, so the
//! middle ratio is what to quote, and the least and the largest say how much to believe it.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use serde_json::{Value, json};
use trajgan::backend::cpu::gemm::Left;
use trajgan::backend::cpu::math::{self, AdamStep};
use trajgan::backend::cpu::{Isa, Packed, Pool, gemm};
use trajgan::config::{Config, Preset};
use trajgan::data::steps::{INPUTS, Walk};
use trajgan::data::{Dataset, Movement, Point, ReadOptions};
use trajgan::model::Networks;
use trajgan::nn::Weights;
use trajgan::nn::optim::Moments;
use trajgan::nn::params::{To, outer_product};
use trajgan::rng::{Rng, Stream};
use trajgan::train::shards::{Batch, ROWS};
use trajgan::train::stage1::{self, At, Stage1};
use trajgan::train::stage2::{self, GanBatch, Stage2};
use trajgan::{Control, Device, Model, PathOptions, SampleOptions, Stage, TrainOptions};

const B: usize = 64;
const T: usize = 100;
/// Work of one stage-1 step and of one stage-2 iteration at that size, in GFLOP (multiply and add counted).
const STAGE1_GFLOP: f64 = 19.4;
const STAGE2_GFLOP: f64 = 1.8;

/// The instruction set to measure: TRAJGAN_ISA, or the best.
fn isa() -> Isa {
    let Ok(wanted) = std::env::var("TRAJGAN_ISA") else { return Isa::detect() };
    Isa::available()
        .into_iter()
        .find(|isa| isa.name() == wanted)
        .expect("TRAJGAN_ISA: this machine has no such instruction set")
}

/// Whether a part was asked for by (the beginning of) its name, or none was.
fn wanted(part: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|a| !a.starts_with("--")).peekable();
    names.peek().is_none() || names.any(|name| part.starts_with(&name))
}

/// Median seconds of a call, over at least `seconds`.
fn median(seconds: f64, mut run: impl FnMut()) -> f64 {
    run();
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed().as_secs_f64() < seconds || times.len() < 3 {
        let t = Instant::now();
        run();
        times.push(t.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// GFLOP/s of one thread with everything in the first-level cache: what the machine gives right now.
fn fma_peak() -> f64 {
    let (m, k, n) = (48, 128, 32);
    let (a, b, mut c) = (vec![0.5f32; m * k], vec![0.25f32; k * n], vec![0.0; m * n]);
    let mut packed = Packed::default();
    packed.pack(k, n, &b, n, 1);
    let calls = 2000;
    let seconds = median(1.0, || {
        for _ in 0..calls {
            gemm(isa(), Left::rows(&a, m, k), packed.whole(), black_box(&mut c), n, 1.0, false);
        }
    });
    calls as f64 * 2.0 * (m * k * n) as f64 / seconds / 1e9
}

/// GFLOP/s of matrix products as training has them: a step of a shard, the input products of a shard's sequence, and
/// a weight gradient.
fn products(peak: f64) -> Value {
    let steps = ROWS * T;
    let shapes =
        [(1, 128, 512), (ROWS, 64, 256), (ROWS, 128, 512), (ROWS, 96, 384), (steps, 64, 256), (steps, 160, 512)];
    let mut report = json!({});
    let mut show = |name: String, flop: f64, seconds: f64| {
        let rate = flop / seconds / 1e9;
        println!("{name}: {rate:.1} GFLOP/s ({:.0} % of peak)", rate / peak * 100.0);
        report[name] = rate.into();
    };
    for (m, k, n) in shapes {
        let (a, b, mut c) = (numbers(m * k, 1), numbers(k * n, 2), vec![0.0; m * n]);
        let mut packed = Packed::default();
        packed.pack(k, n, &b, n, 1);
        let calls = 1 + 20_000_000 / (m * k * n);
        let seconds = median(0.5, || {
            for _ in 0..calls {
                gemm(isa(), Left::rows(&a, m, k), packed.whole(), black_box(&mut c), n, 1.0, false);
            }
        });
        show(format!("product {m} x {k} x {n}"), 2.0 * (m * k * n) as f64, seconds / calls as f64);
    }
    for (rows, outputs, inputs) in [(steps, 256, 64), (steps, 512, 128)] {
        let (dy, x, mut dw) = (numbers(rows * outputs, 1), numbers(rows * inputs, 2), vec![0.0; outputs * inputs]);
        let seconds = median(0.5, || {
            let to = (black_box(&mut dw[..]), inputs);
            outer_product(isa(), &dy, outputs, x.chunks_exact(inputs), inputs, to, To::Add)
        });
        show(format!("gradient {rows} x {outputs} x {inputs}"), 2.0 * (rows * outputs * inputs) as f64, seconds);
    }
    report
}

/// What is no product, at the sizes of training: nanoseconds a number, beside what its arithmetic or its bytes alone
/// should take. Vector operations are counted by hand, each as long as a multiply-add at its peak, a division or root of
/// sixteen numbers as 20 (a core with AVX-512 begins one every ten cycles); bytes are those of the arrays, read and
/// written, at the rate of a copy of as many.
fn kernels(peak: f64) -> Value {
    const EXP: f64 = 17.0;
    const DIVISION: f64 = 20.0;
    const SIGMOID: f64 = EXP + 2.0 + DIVISION;
    const TANH: f64 = EXP + 16.0 + DIVISION;
    let isa = isa();
    let mut report = json!({});
    let mut show = |name: &str, count: usize, operations: f64, bytes: f64, run: &mut dyn FnMut()| {
        let calls = 1 + 2_000_000 / count;
        let seconds = median(0.3, || (0..calls).for_each(|_| run())) / (calls * count) as f64;
        let floats = (bytes * count as f64 / 8.0) as usize;
        let (from, mut to) = (numbers(floats, 1), vec![0.0; floats]);
        let copies = 1 + 2_000_000 / floats;
        let copy = median(0.2, || (0..copies).for_each(|_| black_box(&mut to).copy_from_slice(black_box(&from))));
        let (by_arithmetic, by_bytes) = (operations / (peak / 2.0), copy * 1e9 / (copies * count) as f64);
        let (ns, expected) = (seconds * 1e9, by_arithmetic.max(by_bytes));
        let what = if by_arithmetic > by_bytes { "arithmetic" } else { "bytes" };
        println!(
            "{name}: {ns:.3} ns a number, {:.0} % of what is expected: {expected:.3}, by its {what}",
            ns / expected * 100.0
        );
        report[name] = json!({ "ns": ns, "arithmetic_ns": by_arithmetic, "bytes_ns": by_bytes });
    };
    let (rows, hidden) = (ROWS, 64);
    let n = rows * hidden;
    let bias = numbers(4 * hidden, 9);
    let (mut gates, c0, mut c, mut h, dh) =
        (numbers(4 * n, 1), numbers(n, 2), vec![0.0; n], vec![0.0; n], numbers(n, 3));
    show(&format!("LSTM cell {rows} x {hidden}"), n, 3.0 * SIGMOID + 2.0 * TANH + 7.0, 44.0, &mut || {
        math::lstm_cell(isa, &mut gates, &bias, &c0, &mut c, &mut h, hidden);
    });
    let (before, dy, mut dc, mut dbias) = (gates.clone(), numbers(n, 8), numbers(n, 4), vec![0.0; 4 * hidden]);
    show("LSTM cell, reverse", n, TANH + 27.0, 56.0, &mut || {
        gates.copy_from_slice(&before); // what it replaces, so that numbers stay ordinary
        math::lstm_cell_backward(isa, &mut gates, &mut dbias, &c0, &c, &dh, &dy, &mut dc, &[], hidden);
    });
    let (rows, width) = (32, 256);
    let n = rows * width;
    let (mut x, mut normal, mut inverse) = (numbers(n, 5), vec![0.0; n], vec![0.0; rows]);
    let (gain, bias) = (vec![1.0; width], vec![0.0; width]);
    show("layer norm 32 x 256", n, 5.0, 12.0, &mut || {
        math::layer_norm(isa, &mut x, &mut normal, &mut inverse, &gain, &bias, 1e-5);
    });
    show("layer norm, reverse", n, 5.0, 12.0, &mut || math::centre(isa, &mut x, &normal, &inverse));
    show("leaky rectifier, reverse", n, 2.0, 12.0, &mut || math::leaky_relu_backward(isa, &normal, &mut x, 1.0));
    let (mut dropped, mut mask) = (vec![0.0; n], vec![0.0; n]);
    // Ten rounds of Philox for four numbers: two multiplications of 32 bits (four operations each way), two xors, a key.
    show("dropout", n, 10.0 * 12.0 / 4.0 + 3.0, 12.0, &mut || {
        math::dropout(isa, [1, 2], 0, [3, 4, 5], 1 << 30, 1.0, &x, &mut dropped, &mut mask);
    });
    let n = 200_000;
    let (mut w, g, mut m, mut v) = (numbers(n, 6), numbers(n, 7), vec![0.0; n], vec![0.0; n]);
    let step = AdamStep {
        scale: 1.0,
        decay: 0.0,
        shrink: 1.0,
        beta1: 0.9,
        beta2: 0.999,
        rate: 1e-6,
        v_scale: 1.0,
        epsilon: 1e-8,
        adaptive: true,
    };
    show("Adam, 200,000 weights", n, 12.0 + 2.0 * DIVISION, 28.0, &mut || {
        math::adam(isa, &mut w, &g, &mut m, &mut v, step);
    });
    show("sum of squares, 200,000", n, 4.0, 4.0, &mut || _ = black_box(math::sum_of_squares(isa, &g)));
    let mut packed = Packed::default();
    show("packing 256 x 512", 256 * 512, 0.0, 8.0, &mut || packed.pack(256, 512, &g, 512, 1));
    show("packing its transpose", 256 * 512, 0.0, 8.0, &mut || packed.pack(256, 512, &g, 1, 256));
    report
}

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, Stream::Evaluation, 0);
    (0..n).map(|_| rng.range(-1.0, 1.0) as f32).collect()
}

/// How often what is compared is measured.
const ROUNDS: usize = 3;

/// it/s, and GFLOP of a step.
type Rate = (f64, f64);
/// A part of training: its name, and its rate with so many threads.
type Part = (&'static str, fn(usize) -> Rate);
const TRAINING: [Part; 3] =
    [("stage 1", stage1_rate), ("stage 1, closed loop", closed_loop_rate), ("stage 2", stage2_rate)];

fn stage1_rate(threads: usize) -> Rate {
    let c = Config::default();
    let rows: Vec<Vec<f32>> = (0..B as u64).map(|i| numbers(T * c.feature_dim, i)).collect();
    (step_rate(&c, &Networks::new(&c), &Batch::new(&rows, c.feature_dim), threads), STAGE1_GFLOP)
}

fn closed_loop_rate(threads: usize) -> Rate {
    let c = Config::closed_loop(Preset::Default);
    let networks = Networks::new(&c);
    let walk = |i| Walk { inputs: numbers(T * INPUTS, i), events: vec![Default::default(); T] };
    let batch = Batch::of_walks(&(0..B as u64).map(walk).collect::<Vec<_>>());
    // Every weight of a matrix is used three times a step, but for the summary's, which are used once a walk.
    let used = |name: &str| ["encoder.", "pooler.attention.", "walker."].iter().any(|p| name.starts_with(p));
    let matrices = networks.layout.entries.iter().filter(|e| e.shape.len() == 2 && !e.name.contains("embed"));
    let weights: usize = matrices.filter(|e| used(&e.name)).map(|e| e.len()).sum();
    let each = weights - 4 * c.expander_hidden_dim * c.summary_dim;
    (step_rate(&c, &networks, &batch, threads), 6.0 * (each * B * T) as f64 / 1e9)
}

fn step_rate(c: &Config, networks: &Networks, batch: &Batch, threads: usize) -> f64 {
    let (params, mut buffers) = networks.layout.initialise(0);
    let mut weights = Weights::new(isa(), &networks.layout, params);
    let (mut moments, mut stage, mut pool) = (Moments::default(), Stage1::default(), Pool::new(threads));
    let mut iteration = 0;
    1.0 / median(6.0, || {
        let mut learner =
            stage1::Learner { networks, weights: &mut weights, buffers: &mut buffers, moments: &mut moments };
        stage.step(&mut pool, &mut learner, c, batch, At { seed: 0, iteration, rate: 1e-3 }).expect("a step");
        iteration += 1;
    })
}

fn stage2_rate(threads: usize) -> Rate {
    let c = Config::default();
    let networks = Networks::new(&c);
    let (params, mut buffers) = networks.layout.initialise(0);
    let mut weights = Weights::new(isa(), &networks.layout, params);
    let (mut generator, mut critic) = (Moments::default(), Moments::default());
    let (mut stage, mut pool) = (Stage2::default(), Pool::new(threads));
    let batch = GanBatch {
        z_real: numbers(B * c.summary_dim, 1),
        condition: numbers(B, 2),
        noise: numbers(B * c.noise_dim, 3),
        alpha: numbers(B, 4).iter().map(|x| x.abs()).collect(),
    };
    let seconds = median(4.0, || {
        let mut learner = stage2::Learner {
            networks: &networks,
            weights: &mut weights,
            buffers: &mut buffers,
            generator: &mut generator,
            critic: &mut critic,
        };
        for _ in 0..c.n_critic {
            stage.critic_step(&mut pool, &mut learner, &c, &batch, 0).expect("a step");
        }
        stage.generator_step(&mut pool, &mut learner, &c, &batch, 0).expect("a step");
    });
    (1.0 / seconds, STAGE2_GFLOP)
}

/// A model that can sample: what it has learnt does not matter for its speed.
fn sampler(config: &Config) -> Model {
    let mut data = Dataset::new(1);
    let mut rng = Rng::new(5, Stream::Demo, 0);
    for _ in 0..60 {
        let (x, y, n) = (rng.range(-600.0, 600.0), rng.range(-400.0, 400.0), 20 + rng.below(20));
        let at = |i: usize| (1.0 - (std::f64::consts::PI * i as f64 / n as f64).cos()) / 2.0;
        let point = |i| Point { x: (x * at(i)).round(), y: (y * at(i)).round(), t_ms: 16.0 * i as f64 };
        let movement = Movement::new((0..=n).map(point).collect()).expect("a movement");
        data.push(movement, None).expect("pushed");
    }
    let config = Config { stage1_iterations: 200, stage2_iterations: 1, ..config.clone() };
    let mut model = Model::new(config.clone(), Device::Cpu).expect("a model");
    let options = TrainOptions { config, threads: 0, seed: 0 };
    for stage in [Stage::Autoencoder, Stage::Gan] {
        model.train(&data, stage, &options, &mut |_, _| Control::Continue).expect("trained");
    }
    model
}

/// p50, p99 and largest of many calls, in ms.
fn latency(calls: u64, run: impl FnMut(u64)) -> [f64; 3] {
    quantiles(latency_of_each(calls, run))
}

/// Of each of many calls, after some to warm up.
fn latency_of_each(calls: u64, mut run: impl FnMut(u64)) -> Vec<f64> {
    (0..50).for_each(&mut run);
    let time = |i| {
        let t = Instant::now();
        run(i);
        t.elapsed().as_secs_f64() * 1e3
    };
    (0..calls).map(time).collect()
}

fn quantiles(mut times: Vec<f64>) -> [f64; 3] {
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[times.len() * 99 / 100], times[times.len() - 1]]
}

/// Latencies (ms) of paths that 8 threads draw from one model at a time.
fn crowd(walker: &Model) -> [f64; 3] {
    let draw = &|thread: u64| {
        latency_of_each(250, |i| {
            let options = PathOptions { first: thread * 1000 + i, ..PathOptions::default() };
            black_box(walker.path([0.0, 0.0], [300.0, 120.0], &options).expect("a path"));
        })
    };
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|thread| scope.spawn(move || draw(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    quantiles(times)
}

/// Points of a recorded movement: the median of the Balabit recordings.
const MEDIAN_POINTS: usize = 27;

/// Latencies of the closed loop, of single calls.
fn latencies() -> Value {
    let walker = sampler(&Config { quality_z: 0.0, ..Config::closed_loop(Preset::Default) });
    let path = |walker: &Model| {
        let mut points = 0;
        let ms = latency(2000, |i| {
            let options = PathOptions { first: i, ..PathOptions::default() };
            points += walker.path([0.0, 0.0], [300.0, 120.0], &options).expect("a path").points.len();
        });
        let points = points as f64 / 2050.0;
        println!(
            "closed-loop: one path ({points:.0} points), ms   p50 {:.3}  p99 {:.3}  max {:.3}",
            ms[0], ms[1], ms[2]
        );
        (ms, points)
    };
    let (whole, points_each) = path(&walker);
    // Untrained, they go on for as long as they may.
    let short = Config { quality_z: 0.0, max_seq_len: MEDIAN_POINTS, ..Config::closed_loop(Preset::Default) };
    let (median_length, _) = path(&sampler(&short));
    let crowd = crowd(&walker);
    println!(
        "closed-loop: the same, 8 threads on one model, ms   p50 {:.3}  p99 {:.3}  max {:.3}",
        crowd[0], crowd[1], crowd[2]
    );
    let (mut points, mut first) = (Vec::new(), 0);
    while points.len() < 20_000 {
        let options = PathOptions { first, ..PathOptions::default() };
        let mut stream = walker.stream([0.0, 0.0], [300.0, 120.0], &options).expect("a stream");
        loop {
            let t = Instant::now();
            let done = stream.next_point().is_none();
            points.push(t.elapsed().as_secs_f64() * 1e3);
            if done {
                break;
            }
        }
        first += 1;
    }
    let step = quantiles(points);
    println!("closed-loop: one point of a stream, us   p50 {:.1}  p99 {:.1}", step[0] * 1e3, step[1] * 1e3);
    json!({
        "path_ms": whole, "path_points": points_each, "path_8_threads_ms": crowd,
        "path_of_median_length_ms": median_length, "stream_point_ms": step,
    })
}

/// What the peer prints on one thread, if it can run.
fn ask_peer(args: &[&str]) -> Option<Vec<u8>> {
    let script = std::env::var_os("TRAJGAN_PEER")?;
    let python = std::env::var("TRAJGAN_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = std::process::Command::new(python).arg(script).args(args).args(["--threads", "1"]).output().ok()?;
    output.status.success().then_some(output.stdout)
}

/// The peer's rates by name.
fn peer() -> Option<serde_json::Map<String, Value>> {
    serde_json::from_slice(&ask_peer(&["rates"])?).ok()
}

/// Iterations per second of stage 1 on recorded movements of 8 to 128 points, one thread, beside the peer, which draws
/// batches of like lengths as we do. Null without the recordings.
fn recorded_lengths() -> Value {
    const ITERATIONS: u64 = 300;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/balabit/processed");
    if !folder.is_dir() {
        println!("stage 1, recorded lengths: skipped, {} is not there", folder.display());
        return Value::Null;
    }
    let (data, _) = Dataset::open(&folder, &ReadOptions::default()).expect("recordings");
    let config = Config { stage1_iterations: ITERATIONS, ..Config::default() };
    let mut model = Model::new(config.clone(), Device::Cpu).expect("a model");
    let (mut start, mut last) = (None, Instant::now());
    let mut watch = |_: &Model, _: &trajgan::Progress| {
        last = Instant::now();
        start.get_or_insert(last);
        Control::Continue
    };
    let options = TrainOptions { config, threads: 1, seed: 42 };
    model.train(&data, Stage::Autoencoder, &options, &mut watch).expect("trained");
    let seconds = last.duration_since(start.expect("an iteration")).as_secs_f64();
    let ours = (ITERATIONS - 1) as f64 / seconds;
    println!("stage 1, recorded lengths, it/s   one thread {ours:.2}");
    let out = tempfile::tempdir().expect("a folder for what the peer writes");
    let (folder, out, count) = (folder.to_string_lossy(), out.path().to_string_lossy(), ITERATIONS.to_string());
    let printed = ask_peer(&["train", "--data", &folder, "--out", &out, "--stage1", &count, "--stage2", "1"]);
    let printed = printed.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let line =
        printed.lines().rfind(|line| line.starts_with("[Stage 1]")).and_then(|line| line.split(' ').rev().nth(1));
    let theirs: Option<f64> = line.and_then(|rate| rate.parse().ok());
    if let Some(theirs) = theirs {
        println!("  PyTorch {theirs:.2}: {:.2}x", ours / theirs);
    }
    json!({ "it_per_s": ours, "peer_it_per_s": theirs })
}

/// What was measured, by name: a number a round.
#[derive(Default)]
struct Rounds(BTreeMap<String, Vec<f64>>);

impl Rounds {
    fn add(&mut self, what: &str, value: f64) {
        self.0.entry(what.into()).or_default().push(value);
    }

    /// Least, middle and largest of one quantity over another, each of the same round. None where one was not measured.
    fn ratio(&self, what: &str, over: &str) -> Option<[f64; 3]> {
        let each = self.0.get(what)?.iter().zip(self.0.get(over)?);
        let mut ratios: Vec<f64> = each.map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        Some([*ratios.first()?, ratios[ratios.len() / 2], *ratios.last()?])
    }

    /// `ratio` as a line.
    fn show(&self, title: &str, what: &str, over: &str) {
        match self.ratio(what, over) {
            Some([least, middle, largest]) => println!("  {title} {middle:.2}x ({least:.2} to {largest:.2})"),
            None => println!("  {title} not measured"),
        }
    }
}

/// One round of everything that is compared.
fn round(rounds: &mut Rounds, v6: Option<&Model>) {
    let peak = fma_peak();
    rounds.add("peak", peak);
    println!("FMA peak of one thread: {peak:.1} GFLOP/s ({})", isa().name());
    for (name, rate) in TRAINING.into_iter().filter(|(name, _)| wanted(name)) {
        let ((one, gflop), (two, _)) = (rate(1), rate(2));
        rounds.add(name, one);
        rounds.add(&format!("{name}, GFLOP/s"), one * gflop);
        rounds.add(&format!("{name}, two threads"), two);
        println!("{name}, it/s   one thread {one:.2}   two threads {two:.2}");
    }
    if let Some(v6) = v6 {
        let hundred = |first, threads| SampleOptions { seq_len: T, first, threads, ..SampleOptions::default() };
        let rounded = SampleOptions { allow_amx: true, ..hundred(0, 1) };
        let [p50, p99, max] =
            latency(2000, |i| drop(black_box(v6.generate_features(1, Some(&[300.0]), &hundred(i, 1)))));
        let [many, many_rounded] = [&hundred(0, 1), &rounded]
            .map(|options| median(3.0, || drop(black_box(v6.generate_features(1024, None, options)))) * 1e3);
        rounds.add("one movement, ms", p50);
        rounds.add("one movement, p99, ms", p99);
        rounds.add("one movement, largest, ms", max);
        rounds.add("1024 movements, ms", many);
        rounds.add("1024 movements, rounded, ms", many_rounded);
        println!("v6: one 100-step movement, ms   p50 {p50:.3}  p99 {p99:.3}  max {max:.3}");
        println!("v6: 1024 of them, one thread, ms   {many:.0}   with allow_amx {many_rounded:.0}");
    }
    let Some(peer) = peer() else { return };
    println!("PyTorch {}", peer["torch"]);
    for (name, value) in peer.iter().filter_map(|(name, value)| Some((name, value.as_f64()?))) {
        rounds.add(&format!("PyTorch {name}"), value);
    }
}

/// All rounds, and what they say together.
fn compare() -> Value {
    let mut rounds = Rounds::default();
    let v6 =
        wanted("sampling").then(|| sampler(&Config { augment_mirror: false, quality_z: 0.0, ..Config::default() }));
    (0..ROUNDS).for_each(|_| round(&mut rounds, v6.as_ref()));
    println!("Of {ROUNDS} rounds, the middle (the least to the largest):");
    for (name, _) in TRAINING.into_iter().filter(|(name, _)| wanted(name)) {
        rounds.show(&format!("{name}, share of the FMA peak"), &format!("{name}, GFLOP/s"), "peak");
        rounds.show(&format!("{name}, two threads over one"), &format!("{name}, two threads"), name);
    }
    if rounds.0.keys().any(|name| name.starts_with("PyTorch")) {
        println!("Over PyTorch, one thread each:");
        rounds.show("stage 1", "stage 1", "PyTorch stage1_it_per_s");
        rounds.show("stage 2, cached", "stage 2", "PyTorch stage2_it_per_s_cached");
        rounds.show("stage 2, as the original", "stage 2", "PyTorch stage2_it_per_s_encoding");
        // Of times, not of rates.
        rounds.show("one movement", "PyTorch generate_1_ms", "one movement, ms");
        rounds.show("1024 movements", "PyTorch generate_1024_ms", "1024 movements, ms");
        let rounded = "1024 movements, rounded, ms";
        rounds.show("1024 movements, allow_amx", "PyTorch generate_1024_ms", rounded);
    } else {
        println!("PyTorch: skipped (TRAJGAN_PEER is not set, or torch cannot be imported)");
    }
    json!(rounds.0)
}

fn main() {
    let mut report = json!({});
    if wanted("products") {
        report["products_gflops"] = products(fma_peak());
    }
    if wanted("kernels") {
        report["kernels"] = kernels(fma_peak());
    }
    if wanted("lengths") {
        report["lengths"] = recorded_lengths();
    }
    if wanted("sampling") {
        report["latencies"] = latencies();
    }
    if wanted("sampling") || TRAINING.iter().any(|(name, _)| wanted(name)) {
        report["rounds"] = compare();
    }
    println!("{report}");
}
