//! How close does a trained model come to real recordings, and what does each setting contribute?
//!
//!     cargo bench --bench fidelity -- [RECORDINGS] [key=value ...]
//!
//! Trains the closed-loop decoder on a session split of the recordings (default: the Balabit movements beside the
//! project), draws as many movements as the test split has, to the same targets, and judges them with the library's own
//! evaluation. key=value are settings of `Config`, plus limit=N (training movements), eval=quick|full, out=FILE,
//! split=N and seed=N (of the split and of training), threads=N, model=FILE (judges that one), stage1=FILE (trains its
//! second stage only), step_temperature=T.

use std::path::{Path, PathBuf};
use std::time::Instant;

use trajgan::config::{Config, Preset};
use trajgan::data::{Dataset, Movement, ReadOptions};
use trajgan::eval::{EvalOptions, Inputs, evaluate};
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
    let a = arguments();
    if !a.data.exists() {
        println!("skipped: {} is not there", a.data.display());
        return;
    }
    let (data, _) = Dataset::open(&a.data, &ReadOptions::default()).expect("recordings");
    let prepared = data.prepare(&a.config, None).expect("prepared");
    let of = |split: &trajgan::data::Split| -> Vec<Movement> {
        (0..split.len()).filter_map(|i| split.movement(i).cloned()).collect()
    };
    let (train, test) = (of(&prepared.train), of(&prepared.test));
    println!("{} training movements, {} test movements", train.len(), test.len());

    let start = Instant::now();
    let model = match &a.model {
        Some(path) => Model::load(path, Device::Cpu).expect("a model"),
        None => {
            let mut few = Dataset::new(1);
            if a.limit < train.len() {
                // Every n-th movement, so that the mix of sessions stays.
                let every = train.len() as f64 / a.limit as f64;
                (0..a.limit).for_each(|i| few.push(train[(i as f64 * every) as usize].clone(), None).expect("pushed"));
            }
            let data = if few.is_empty() { &data } else { &few };
            let (mut model, stages) = match &a.stage1 {
                Some(path) => (Model::load(path, Device::Cpu).expect("a model"), &[Stage::Gan][..]),
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

    let targets: Vec<[i32; 2]> = test.iter().map(|m| m.target().map(|x| x as i32)).collect();
    let options =
        SampleOptions { seed: 7, threads: 0, step_temperature: a.step_temperature, ..SampleOptions::default() };
    let generated = model.walk(&targets, &options).expect("walks");
    let z = model.encode(&test, 0).expect("encoded");
    let reconstructed = model.walk_summaries(z.view(), &targets, &options).expect("walks");
    let missed = targets.iter().zip(&generated).filter(|(t, m)| m.target().map(|x| x as i32) != **t).count();
    println!("trained {seconds:.0} s; {missed} of {} walks missed their target", targets.len());
    // The training sessions themselves, every n-th movement: what a perfect model of them would score.
    let every = train.len() as f64 / test.len().min(train.len()) as f64;
    let real: Vec<Movement> =
        (0..test.len().min(train.len())).map(|i| train[(i as f64 * every) as usize].clone()).collect();
    let mirrored: Vec<Movement> = real.iter().enumerate().map(|(i, m)| m.mirrored(i & 1 != 0, i & 2 != 0)).collect();
    let rows = [
        ("mirrored", &mirrored),
        ("generated", &generated),
        ("from the encoder", &reconstructed),
        ("the training split", &real),
    ];
    for (name, walks) in rows {
        let inputs = Inputs { train: &train, held_out: &test, generated: walks, ..Inputs::default() };
        let options = EvalOptions { seed: 1, threads: 0, quick: a.quick };
        let start = Instant::now();
        let report = evaluate(&inputs, &options).expect("evaluated");
        println!("---- {name} (evaluated in {:.0} s)", start.elapsed().as_secs_f64());
        println!("{}", report.to_text());
    }
}
