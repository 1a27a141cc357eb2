//! Every stored reference number. See tests/golden/README.md for where they come from.
//!
//! Reads each .safetensors file of the folder in TRAJGAN_GOLDEN (default tests/golden, and ../shared/golden
//! when it is there) and builds the model that its metadata describes.

mod golden_support;
mod skip;

use std::collections::BTreeMap;

use golden_support::{Case, OUTPUT, Packing, WEIGHT, folders};
use trajgan::backend::cpu::{Buffer, Isa, Pool};
use trajgan::config::{OptimizerKind, ScheduleKind};
use trajgan::model::critic::CriticTrace;
use trajgan::model::decoding::Decoding;
use trajgan::model::expander::ExpanderTrace;
use trajgan::model::gan::{CriticShard, FeatureMatching, GanTrace};
use trajgan::model::generator::GeneratorTrace;
use trajgan::model::pooler::PoolerTrace;
use trajgan::model::sequence::SequenceTrace;
use trajgan::model::v6::{self, LossWeights, Shard};
use trajgan::nn::Gradients;
use trajgan::nn::optim::{Moments, Optimizer, Plateau, Schedule};
use trajgan::train::shards::Batch;
use trajgan::train::stage1::{self, At, Stage1};
use trajgan::train::stage2::{self, Stage2};

fn sequence(case: &mut Case, encoder: bool) {
    let (networks, w, mut buffers) = case.networks();
    let training = case.note.contains("train mode");
    let (map, input) =
        if encoder { (&networks.v6().unwrap().encoder, "x") } else { (&networks.v6().unwrap().decoder, "h") };
    let name = format!("in/{input}");
    let (seq_len, width, outputs) = (case.shape(&name)[1], case.shape(&name)[2], map.head.weight.outputs);
    let packing = Packing::new(&case.lengths("in/lengths"), seq_len);
    let x = packing.pack(case.get(&name), width);
    let norm = map.head.normalise(&w.params, &mut buffers, training);
    let mut trace = SequenceTrace::default();
    map.forward(&w, &norm, &packing.steps, &x, None, &mut trace);
    // Padded steps: the LSTM's output is 0 there, so the head makes tanh(bias) of it.
    let padding: Vec<f32> = map.head.bias.of(&w.params).iter().map(|b| b.tanh()).collect();
    case.check_output("out/out", &packing.unpack(&trace.y, &padding));

    let mut grads = Gradients::new(&networks.layout);
    let cotangent = packing.rows(case.get("in/cotangent"));
    for (b, &length) in packing.steps.lengths().iter().enumerate() {
        for d in cotangent[(b * seq_len + length) * outputs..(b + 1) * seq_len * outputs].chunks(outputs) {
            let bias = map.head.bias.of_mut(&mut grads);
            (0..outputs).for_each(|j| bias[j] += d[j] * (1.0 - padding[j] * padding[j]));
        }
    }
    let mut dy = packing.pack(case.get("in/cotangent"), outputs);
    let mut dx = Buffer::default();
    map.backward(&w, &norm, &packing.steps, &x, false, &mut dy, &mut trace, Some(&mut dx), &mut grads);
    let dx = packing.unpack(&dx, &vec![0.0; width]);
    case.check_gradients(&networks, &grads, &[(input, &dx)]);
    case.check_after(&networks, &w.params, &buffers);
}

fn pooler(case: &mut Case) {
    let (networks, w, _) = case.networks();
    let (seq_len, width) = (case.shape("in/h")[1], case.shape("in/h")[2]);
    let packing = Packing::new(&case.lengths("in/lengths"), seq_len);
    let h = packing.pack(case.get("in/h"), width);
    let mut trace = PoolerTrace::default();
    networks.v6().unwrap().pooler.forward(&w, &packing.steps, &h, None, &mut trace);
    case.check_output("out/out", &packing.rows_back(&trace.z));
    let (mut grads, mut dh) = (Gradients::new(&networks.layout), Buffer::default());
    let mut dz = packing.rows(case.get("in/cotangent"));
    networks.v6().unwrap().pooler.backward(
        &w,
        &packing.steps,
        &h,
        false,
        &mut dz,
        0.0,
        &mut trace,
        &mut dh,
        &mut grads,
    );
    let dh = packing.unpack(&dh, &vec![0.0; width]);
    case.check_gradients(&networks, &grads, &[("h", &dh)]);
}

fn expander(case: &mut Case) {
    let (networks, w, _) = case.networks();
    let [rows, seq_len, width] = case.shape("out/out")[..] else { panic!("{}: shape", case.name) };
    let packing = Packing::new(&vec![seq_len; rows], seq_len);
    let z = case.get("in/z").to_vec();
    let mut trace = ExpanderTrace::default();
    networks.v6().unwrap().expander.forward(&w, &packing.steps, &packing.seq_lens(), &z, None, &mut trace);
    case.check_output("out/out", &packing.unpack(&trace.y, &vec![0.0; width]));
    let (mut grads, mut dz) = (Gradients::new(&networks.layout), Buffer::default());
    let mut dy = packing.pack(case.get("in/cotangent"), width);
    networks.v6().unwrap().expander.backward(&w, &packing.steps, &z, false, &mut dy, &mut trace, &mut dz, &mut grads);
    case.check_gradients(&networks, &grads, &[("z", &dz)]);
}

fn generator(case: &mut Case) {
    let (networks, w, _) = case.networks();
    let (noise, condition) = (case.get("in/noise").to_vec(), case.get("in/condition").to_vec());
    let mut trace = GeneratorTrace::default();
    networks.generator.forward(&w, &noise, &condition, &mut trace);
    case.check_output("out/out", &trace.z);
    let mut grads = Gradients::new(&networks.layout);
    let mut dz = case.get("in/cotangent").to_vec();
    networks.generator.backward(&w, &condition, &mut dz, &mut trace, &mut grads);
    let inputs = [("noise", &trace.dnoise[..]), ("condition", trace.dcondition())];
    case.check_gradients(&networks, &grads, &inputs);
}

fn critic(case: &mut Case) {
    let (networks, w, mut buffers) = case.networks();
    let (z, condition) = (case.get("in/z").to_vec(), case.get("in/condition").to_vec());
    let norms = networks.critic.normalise(&w.params, &mut buffers, case.note.contains("train mode"), 1);
    let mut trace = CriticTrace::default();
    networks.critic.forward(&w, &norms, &z, &condition, &mut trace);
    case.check_output("out/out", &trace.score.clone());
    let mut grads = Gradients::new(&networks.layout);
    let cotangent = case.get("in/cotangent").to_vec();
    networks.critic.backward_to_z(&w, &norms, &cotangent, &mut trace);
    networks.critic.backward(&w, &norms, (&condition, &cotangent), &mut trace, &mut grads);
    let mut dcondition = vec![0.0; condition.len()];
    trace.dconditions().for_each(|d| dcondition.iter_mut().zip(d).for_each(|(sum, d)| *sum += d));
    case.check_gradients(&networks, &grads, &[("z", &trace.dz), ("condition", &dcondition)]);
    case.check_after(&networks, &w.params, &buffers);
}

fn critic_losses(case: &mut Case) {
    let (networks, w, mut buffers) = case.networks();
    let norms = networks.critic.normalise(&w.params, &mut buffers, true, 3);
    let mut grads = Gradients::new(&networks.layout);
    let alpha = case.get("in/alpha");
    let shard = CriticShard {
        z_real: case.get("in/z_real"),
        condition: case.get("in/condition"),
        noise: case.get("in/noise"),
        alpha,
    };
    let (lambda, mut trace) = (case.config.lambda_gp, GanTrace::default());
    let losses = networks.critic_losses(&w, &norms, shard, alpha.len(), lambda, &mut trace, &mut grads);
    for (name, got) in [
        ("d_loss", losses.total(lambda)),
        ("d_real", losses.d_real),
        ("d_fake", losses.d_fake),
        ("gp", losses.gp),
        ("wasserstein", losses.wasserstein()),
    ] {
        case.check_loss(&format!("loss/{name}"), got);
    }
    case.check_gradients(&networks, &grads, &[]);
    case.check_after(&networks, &w.params, &buffers);
}

fn generator_losses(case: &mut Case) {
    let (networks, w, mut buffers) = case.networks();
    let norms = networks.critic.normalise(&w.params, &mut buffers, true, 1);
    let (z_real, condition) = (case.get("in/z_real").to_vec(), case.get("in/condition").to_vec());
    let rows = z_real.len() / case.config.summary_dim;
    let mut trace = GanTrace::default();
    let adversarial =
        -networks.generator_forward(&w, &norms, case.get("in/noise"), &condition, &mut trace) / rows as f64;
    let (width, weight) = (case.config.summary_dim, case.config.lambda_fm);
    let matching = FeatureMatching::new(&trace.generator.z, &z_real, width, weight);
    let matching = case.config.use_feature_matching.then_some(matching);
    let mut grads = Gradients::new(&networks.layout);
    networks.generator_backward(&w, &norms, &condition, rows, matching.as_ref(), &mut trace, &mut grads);
    let fm = matching.map_or(0.0, |m| m.loss);
    case.check_loss("loss/g_adv", adversarial);
    case.check_loss("loss/g_fm", fm);
    case.check_loss("loss/g_loss", adversarial + weight * fm);
    case.check_gradients(&networks, &grads, &[]);
}

fn autoencoder(case: &mut Case) {
    let (networks, w, mut buffers) = case.networks();
    let c = case.config.clone();
    let [_, seq_len, width] = case.shape("in/x")[..] else { panic!("{}: shape", case.name) };
    let packing = Packing::new(&case.lengths("in/lengths"), seq_len);
    let x = packing.pack(case.get("in/x"), width);
    let norms = networks.v6().unwrap().norms(&w.params, &mut buffers, true);
    let steps = packing.steps.total();
    let weights = LossWeights { recon: c.lambda_recon, latent: c.lambda_latent, direct: c.lambda_direct, steps };
    let shard = Shard { steps: &packing.steps, seq_lens: &packing.seq_lens(), x: &x };
    let (mut grads, mut trace) = (Gradients::new(&networks.layout), v6::Trace::default());
    let losses = networks.v6().unwrap().losses(&w, &norms, shard, weights, None, &mut trace, Some(&mut grads));
    case.check_loss("loss/recon", losses.recon);
    case.check_loss("loss/latent", losses.latent);
    case.check_loss("loss/direct", losses.direct);
    case.check_gradients(&networks, &grads, &[]);
}

fn generate(case: &mut Case) {
    let (networks, w, mut buffers) = case.networks();
    let [rows, seq_len, width] = case.shape("out/x")[..] else { panic!("{}: shape", case.name) };
    let psi: f32 = case.note.split("truncation_psi=").nth(1).unwrap().trim_end_matches(')').parse().unwrap();
    let clamp = |x: &f32| if psi < 1.0 { x.clamp(-2.0 * psi, 2.0 * psi) } else { *x };
    let noise: Vec<f32> = case.get("in/noise").iter().map(clamp).collect();
    let mut trace = GeneratorTrace::default();
    networks.generator.forward(&w, &noise, case.get("in/condition"), &mut trace);
    case.check_output("out/summary", &trace.z);
    let packing = Packing::new(&vec![seq_len; rows], seq_len);
    let norm = networks.v6().unwrap().decoder.head.normalise(&w.params, &mut buffers, false);
    let mut decoder = Decoding::default();
    let x = networks.v6().unwrap().decode(&w, &norm, &packing.steps, &trace.z, &mut decoder);
    case.check_output("out/x", &packing.unpack(x, &vec![0.0; width]));
}

fn train_stage1(case: &mut Case) {
    let (networks, mut weights, mut buffers) = case.networks();
    let (c, mut moments) = (case.config.clone(), Moments::default());
    let (mut stage, mut pool) = (Stage1::default(), Pool::new(2));
    let steps = (0..).take_while(|k| case.tensors.contains_key(&format!("in/{k}/x"))).count();
    assert!(steps > 0);
    for k in 0..steps {
        let [_, seq_len, width] = case.shape(&format!("in/{k}/x"))[..] else { panic!("{}: shape", case.name) };
        let lengths = case.lengths(&format!("in/{k}/lengths"));
        let rows = case.get(&format!("in/{k}/x")).chunks(seq_len * width).zip(&lengths);
        let rows: Vec<Vec<f32>> = rows.map(|(x, n)| x[..n * width].to_vec()).collect();
        let mut learner = stage1::Learner {
            networks: &networks,
            weights: &mut weights,
            buffers: &mut buffers,
            moments: &mut moments,
        };
        let at = At { seed: 0, iteration: k as u64, rate: c.lr_autoencoder };
        let ([direct, recon, latent, total], norm) =
            stage.step(&mut pool, &mut learner, &c, &Batch::new(&rows, width), at).unwrap();
        for (name, got) in [("recon", recon), ("latent", latent), ("direct", direct), ("total", total)] {
            // Later losses follow from weights that may be off by WEIGHT.
            let expected = case.get(&format!("loss/{k}/{name}")).to_vec();
            case.check("loss in training", name, &[got as f32], &expected, WEIGHT, 1e-7);
        }
        let expected = case.get(&format!("loss/{k}/grad_norm")).to_vec();
        case.check("gradient norm", "grad_norm", &[norm as f32], &expected, WEIGHT, 0.0);
    }
    case.check_after(&networks, &weights.params, &buffers);
}

fn train_stage2(case: &mut Case) {
    let (networks, mut weights, mut buffers) = case.networks();
    let c = case.config.clone();
    let (mut generator, mut critic) = (Moments::default(), Moments::default());
    let (mut stage, mut pool) = (Stage2::default(), Pool::new(2));
    let steps = (0..).take_while(|k| case.tensors.contains_key(&format!("in/{k}/generator/noise"))).count();
    assert!(steps > 0);
    for k in 0..steps {
        for part in (0..c.n_critic).map(|i| format!("critic{i}")).chain(["generator".to_string()]) {
            let batch = case.gan_batch(&format!("in/{k}/{part}/"));
            let mut learner = stage2::Learner {
                networks: &networks,
                weights: &mut weights,
                buffers: &mut buffers,
                generator: &mut generator,
                critic: &mut critic,
            };
            let (name, got) = if part == "generator" {
                ("g_loss", stage.generator_step(&mut pool, &mut learner, &c, &batch, k as u64).unwrap().total)
            } else {
                ("d_loss", stage.critic_step(&mut pool, &mut learner, &c, &batch, k as u64).unwrap().total(c.lambda_gp))
            };
            let expected = case.get(&format!("loss/{k}/{part}/{name}")).to_vec();
            case.check("loss in training", name, &[got as f32], &expected, WEIGHT, 1e-6);
        }
    }
    case.check_after(&networks, &weights.params, &buffers);
}

fn optimizer(case: &mut Case) {
    let kind = match case.note.split(['(', ' ']).nth(1) {
        Some("adam") => OptimizerKind::Adam,
        Some("adamw") => OptimizerKind::AdamW,
        Some("radam") => OptimizerKind::RAdam,
        other => panic!("{}: {other:?}", case.name),
    };
    let optimizer = Optimizer { kind, beta1: 0.9, beta2: 0.999, weight_decay: 1e-2 };
    let (mut p, mut moments) = (case.get("param/p").to_vec(), Moments::default());
    for k in 0..case.group("after/").len() {
        optimizer.step(case.isa, &mut p, case.get(&format!("in/grad{k}")), &mut moments, 3e-3, 1.0);
        let expected = case.get(&format!("after/{k}")).to_vec();
        case.check("optimizer", &format!("step {k}"), &p, &expected, OUTPUT, 0.0);
    }
}

fn schedules(case: &mut Case) {
    let metric = case.get("in/plateau_metric").to_vec();
    let all = [
        (ScheduleKind::Cosine, "cosine", 7, 1.0, 0),
        (ScheduleKind::Step, "step", 5, 0.3, 0),
        (ScheduleKind::Plateau, "plateau", 1, 0.5, 5),
    ];
    for (kind, name, period, factor, patience) in all {
        let mut schedule = Schedule { kind, base: 1e-3, period, factor, patience, plateau: Plateau::default() };
        let rates: Vec<f32> = (0..40)
            .map(|k| {
                let rate = schedule.rate(k as u64) as f32;
                schedule.observe(f64::from(metric[k]));
                rate
            })
            .collect();
        case.check_output(&format!("out/{name}"), &rates);
    }
}

/// Which check a case needs, by what it holds.
fn run(case: &mut Case) -> bool {
    let has = |name: &str| case.tensors.contains_key(name);
    let part = case.note.split(' ').next().unwrap_or("").to_string();
    match () {
        () if has("in/0/x") => train_stage1(case),
        () if has("in/0/generator/noise") => train_stage2(case),
        () if has("loss/d_loss") => critic_losses(case),
        () if has("loss/g_loss") => generator_losses(case),
        () if has("loss/direct") => autoencoder(case),
        () if has("out/summary") => generate(case),
        () if has("in/grad0") => optimizer(case),
        () if has("in/plateau_metric") => schedules(case),
        () if part == "encoder" => sequence(case, true),
        () if part == "decoder" => sequence(case, false),
        () if part == "pooler" => pooler(case),
        () if part == "expander" => expander(case),
        () if part == "generator" => generator(case),
        () if part == "discriminator" => critic(case),
        () => return false,
    }
    true
}

#[test]
fn golden() {
    let mut worst: BTreeMap<&str, (f64, String)> = BTreeMap::new();
    let mut count = 0;
    for isa in Isa::available() {
        for folder in folders() {
            let files = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path());
            for path in files.filter(|p| p.extension().is_some_and(|e| e == "safetensors")) {
                // The data layer's and the evaluation's own tests read these two.
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                if name == "features" || name == "metrics" {
                    continue;
                }
                let mut case = Case::read(&path, isa).unwrap_or_else(|| panic!("{name}: no config"));
                assert!(run(&mut case), "{name}: nothing known about '{}'", case.note);
                count += 1;
                for (kind, error) in case.worst {
                    let entry = worst.entry(kind).or_default();
                    if error > entry.0 {
                        *entry = (error, format!("{name}, {}", isa.name()));
                    }
                }
            }
        }
    }
    assert!(count >= 30, "only {count} cases");
    println!("{count} cases; largest errors relative to the tensor's largest magnitude:");
    worst.iter().for_each(|(kind, (error, name))| println!("  {kind:18} {error:.1e}  ({name})"));
}
