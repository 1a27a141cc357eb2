//! How close does a trained model come to real recordings, and what does each setting contribute?
//!
//!     cargo bench --bench fidelity -- [RECORDINGS] [key=value ...]
//!
//! Trains the closed-loop decoder on a session split of the recordings (default: the Balabit movements beside the
//! project), draws as many movements as the test split has, to the same targets, and judges them with the library's own
//! evaluation. key=value are settings of `Config`, plus limit=N (recordings of the training split, which are split
//! again), eval=quick|full, out=FILE, split=N and seed=N (of the split and of training), threads=N, model=FILE (judges
//! that one, on its own split), stage1=FILE (trains its second stage only), step_temperature=T, candidates=N (of which
//! one walk is kept), draws=N (as many sets of movements, each judged: one set's scores are chance too).
//! Studies beside that:
//! - study=splits: real movements of the training sessions in the place of generated ones, for six splits;
//! - study=candidates: one walk of 1, 2, 4 and 8;
//! - study=decoder: with model=FILE, walks from the summaries of half of the training movements, judged against the other.

use std::path::{Path, PathBuf};
use std::time::Instant;

use trajgan::config::{Config, Preset};
use trajgan::data::steps::condition;
use trajgan::data::{Dataset, Movement, ReadOptions, Split};
use trajgan::eval::{EvalOptions, Inputs, evaluate};
use trajgan::rng::{Rng, Stream};
use trajgan::{Control, Device, Model, SampleOptions, Stage, TrainOptions};

struct Arguments {
    data: PathBuf,
    config: Config,
    limit: usize,
    quick: bool,
    out: Option<PathBuf>,
    model: Option<PathBuf>,
    stage1: Option<PathBuf>,
    seed: u64,
    step_temperature: f64,
    threads: usize,
    candidates: u32,
    draws: u64,
    study: String,
}

fn arguments() -> Arguments {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/balabit/raw/movements.jsonl.gz");
    let mut a = Arguments {
        data: default,
        config: Config::closed_loop(Preset::Default),
        limit: usize::MAX,
        quick: true,
        out: None,
        model: None,
        stage1: None,
        seed: 1,
        step_temperature: 1.0,
        threads: 0,
        candidates: 0,
        draws: 1,
        study: String::new(),
    };
    for argument in std::env::args().skip(1).filter(|a| a != "--bench") {
        match argument.split_once('=') {
            Some(("limit", n)) => a.limit = n.parse().expect("limit=N"),
            Some(("eval", kind)) => a.quick = kind == "quick",
            Some(("out", path)) => a.out = Some(path.into()),
            Some(("model", path)) => a.model = Some(path.into()),
            Some(("stage1", path)) => a.stage1 = Some(path.into()),
            Some(("split", n)) => a.config.seed = n.parse().expect("split=N"),
            Some(("seed", n)) => a.seed = n.parse().expect("seed=N"),
            Some(("threads", n)) => a.threads = n.parse().expect("threads=N"),
            Some(("draws", n)) => a.draws = n.parse().expect("draws=N"),
            Some(("candidates", n)) => {
                a.candidates = n.parse().expect("candidates=N");
                a.config.candidates = a.candidates.max(1);
            }
            Some(("study", what)) => a.study = what.into(),
            Some(("step_temperature", t)) => a.step_temperature = t.parse().expect("step_temperature=T"),
            Some((key, value)) => {
                let mut json = serde_json::to_value(&a.config).expect("a config is JSON");
                json[key] = serde_json::from_str(value).unwrap_or_else(|_| value.into());
                a.config = serde_json::from_value(json).expect("a setting of Config");
            }
            None => a.data = argument.into(),
        }
    }
    a
}

fn main() {
    let mut a = arguments();
    if !a.data.exists() {
        println!("skipped: {} is not there", a.data.display());
        return;
    }
    let (data, _) = Dataset::open(&a.data, &ReadOptions::default()).expect("recordings");
    if a.study == "splits" {
        return splits(&a, &data);
    }
    let loaded = a.model.as_ref().or(a.stage1.as_ref()).map(|path| Model::load(path, Device::Cpu).expect("a model"));
    if let Some(model) = &loaded {
        a.config.seed = model.config().seed; // what it has learnt is not what it is judged by
    }
    let (train, test) = split(&a.config, &data);
    println!("{} training movements, {} test movements", train.len(), test.len());

    let start = Instant::now();
    let model = match (loaded, &a.model) {
        (Some(model), Some(_)) => model,
        (loaded, _) => {
            let mut few = Dataset::new(1);
            if a.limit < train.len() {
                every_nth(&train, a.limit).into_iter().for_each(|m| few.push(m, None).expect("pushed"));
            }
            let data = if few.is_empty() { &data } else { &few };
            let (mut model, stages) = match loaded {
                Some(model) => (model, &[Stage::Gan][..]),
                None => {
                    (Model::new(a.config.clone(), Device::Cpu).expect("a model"), &[Stage::Autoencoder, Stage::Gan][..])
                }
            };
            let options = TrainOptions { config: a.config.clone(), threads: a.threads, seed: a.seed };
            for &stage in stages {
                let mut report = |_: &Model, p: &trajgan::Progress| {
                    if p.log {
                        println!("{p}  validation {:?}", p.validation.map(|v| v[3]));
                    }
                    Control::Continue
                };
                model.train(data, stage, &options, &mut report).expect("trained");
            }
            model
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    if let Some(out) = &a.out {
        model.save(out).expect("saved");
    }

    if a.study == "decoder" {
        return decoder(&a, &model, &train);
    }
    let (targets, options) = (targets(&test), sampling(&a));
    if a.study == "candidates" {
        for (candidates, draw) in [1, 2, 4, 8].into_iter().flat_map(|k| (0..a.draws).map(move |draw| (k, draw))) {
            let options = SampleOptions { candidates, seed: options.seed + draw, ..options.clone() };
            let walks = model.walk(&targets, &options).expect("walks");
            judge(&a, &format!("one of {candidates}, draw {draw}"), &train, &test, &walks);
        }
        return;
    }
    random_targets(&model, &options);
    let generated = model.walk(&targets, &options).expect("walks");
    let z = model.encode(&test, a.threads).expect("encoded");
    let reconstructed = model.walk_summaries(z.view(), &targets, &options).expect("walks");
    // What a perfect generator would give: summaries of training movements like those that are asked for.
    let z = model.encode(&matched(&train, &test), a.threads).expect("encoded");
    let ideal = model.walk_summaries(z.view(), &targets, &options).expect("walks");
    println!("trained {seconds:.0} s; {} of {} walks missed their target", missed(&generated, &targets), targets.len());
    // The training sessions themselves: what a perfect model of them would score.
    let real = every_nth(&train, test.len());
    let rows = [
        ("generated", &generated),
        ("from the encoder", &reconstructed),
        ("from training summaries", &ideal),
        ("the training split", &real),
    ];
    rows.into_iter().for_each(|(name, walks)| judge(&a, name, &train, &test, walks));
    for draw in 1..a.draws {
        let walks = model.walk(&targets, &SampleOptions { seed: options.seed + draw, ..options.clone() });
        judge(&a, &format!("generated, draw {draw}"), &train, &test, &walks.expect("walks"));
    }
}

/// Training and test movements.
fn split(config: &Config, data: &Dataset) -> (Vec<Movement>, Vec<Movement>) {
    let prepared = data.prepare(config, None).expect("prepared");
    let of = |split: &Split| -> Vec<Movement> { (0..split.len()).filter_map(|i| split.movement(i).cloned()).collect() };
    (of(&prepared.train), of(&prepared.test))
}

fn targets(movements: &[Movement]) -> Vec<[i32; 2]> {
    movements.iter().map(|m| m.target().map(|x| x as i32)).collect()
}

/// How many walks do not end where they should.
fn missed(walks: &[Movement], wanted: &[[i32; 2]]) -> usize {
    targets(walks).iter().zip(wanted).filter(|(got, wanted)| got != wanted).count()
}

fn sampling(a: &Arguments) -> SampleOptions {
    let (threads, step_temperature, candidates) = (a.threads, a.step_temperature, a.candidates);
    SampleOptions { seed: 7, threads, step_temperature, candidates, ..SampleOptions::default() }
}

/// At most so many movements, every n-th, so that the mix of sessions stays.
fn every_nth(movements: &[Movement], most: usize) -> Vec<Movement> {
    let count = most.min(movements.len());
    let every = movements.len() as f64 / count as f64;
    (0..count).map(|i| movements[(i as f64 * every) as usize].clone()).collect()
}

fn judge(a: &Arguments, name: &str, train: &[Movement], held_out: &[Movement], walks: &[Movement]) {
    let inputs = Inputs { train, held_out, generated: walks, mirrored: true, ..Inputs::default() };
    let options = EvalOptions { seed: 1, threads: a.threads, quick: a.quick };
    let start = Instant::now();
    let report = evaluate(&inputs, &options).expect("evaluated");
    println!("---- {name} (evaluated in {:.0} s)", start.elapsed().as_secs_f64());
    println!("{}", report.to_text());
}

/// 10,000 targets of any angle, 3 to 1500 px away.
fn random_targets(model: &Model, options: &SampleOptions) {
    let mut rng = Rng::new(9, Stream::Evaluation, 0);
    let mut target = || {
        let (distance, angle) = (3.0 * 500f64.powf(rng.unit()), rng.range(0.0, std::f64::consts::TAU));
        [(distance * angle.cos()).round() as i32, (distance * angle.sin()).round() as i32]
    };
    let wanted: Vec<[i32; 2]> = (0..10_000).map(|_| target()).collect();
    let walks = model.walk(&wanted, options).expect("walks");
    let missed = missed(&walks, &wanted);
    let most = model.config().max_seq_len;
    let full = walks.iter().filter(|w| w.points.len() >= most).count();
    println!(
        "{missed} of 10000 random targets missed; {full} used all {most} points, where the last step goes there by rule"
    );
}

/// How much do the training sessions themselves differ from the test sessions? As they come, and matched.
fn splits(a: &Arguments, data: &Dataset) {
    for seed in 0..6 {
        let (train, test) = split(&Config { seed, ..a.config.clone() }, data);
        let name =
            |what: &str| format!("split {seed}: {what}, {} training and {} test movements", train.len(), test.len());
        judge(a, &name("the training split"), &train, &test, &every_nth(&train, test.len()));
        judge(a, &name("the training split, matched"), &train, &test, &matched(&train, &test));
    }
}

/// For every movement of `to` that of `from` with the nearest distance and direction, each used once, mirrored if need be.
fn matched(from: &[Movement], to: &[Movement]) -> Vec<Movement> {
    let at = |m: &Movement| condition(m.target());
    let conditions: Vec<[f32; 3]> = from.iter().map(at).collect();
    let mut used = vec![false; from.len()];
    let nearest = |m: &Movement| {
        let [distance, x, y] = at(m);
        // A condition's distance is a logarithm over 3.5.
        let apart = |c: &[f32; 3]| {
            (3.5 * (c[0] - distance)).powi(2) + (c[1].abs() - x.abs()).powi(2) + (c[2].abs() - y.abs()).powi(2)
        };
        let free = (0..from.len()).filter(|&i| !used[i]);
        let best = free.min_by(|&i, &j| apart(&conditions[i]).total_cmp(&apart(&conditions[j])))?;
        used[best] = true;
        let other = |axis: usize| (from[best].target()[axis] < 0.0) != (m.target()[axis] < 0.0);
        Some(from[best].mirrored(other(0), other(1)))
    };
    to.iter().map_while(nearest).collect()
}

/// What is the decoder's part? Half of the training movements, matched to the other half; then walks from their summaries, to
/// their own targets and to those of the movements that they were matched to.
fn decoder(a: &Arguments, model: &Model, train: &[Movement]) {
    let half = |first: usize| -> Vec<Movement> { train.iter().skip(first).step_by(2).cloned().collect() };
    let (even, odd) = (half(0), half(1));
    let matched = matched(&odd, &even);
    let z = model.encode(&matched, a.threads).expect("encoded");
    let walk = |to: &[Movement]| model.walk_summaries(z.view(), &targets(to), &sampling(a)).expect("walks");
    judge(a, "recorded", &odd, &even, &matched);
    judge(a, "decoded, to their own targets", &odd, &even, &walk(&matched));
    judge(a, "decoded, to the others' targets", &odd, &even, &walk(&even[..matched.len()]));
}
