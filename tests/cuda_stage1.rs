//! Stage 1 on a CUDA device, held to the reference numbers. Where there is no device the emulated driver runs the same kernels
//! and the same launch code.
#![cfg(feature = "cuda")]

mod cuda_support;
mod golden_support;
mod skip;

use std::sync::Arc;

use golden_support::{Case, OUTPUT, Packing, WEIGHT, folders};
use trajgan::backend::cpu::Isa;
use trajgan::backend::cuda::Context;
use trajgan::backend::cuda::parts::{Given, Part, run};
use trajgan::backend::cuda::stage1::{Learner, Stage1, room};
use trajgan::config::Config;
use trajgan::nn::optim::Moments;
use trajgan::train::shards::Batch;
use trajgan::train::stage1::At;

/// Where dropout would be drawn.
const SITE: u64 = 0;

fn sequence(case: &mut Case, device: &Arc<Context>, encoder: bool) {
    let (networks, w, buffers) = case.networks();
    let training = case.note.contains("train mode");
    let net = networks.v6().unwrap();
    let (map, input) = if encoder { (&net.encoder, "x") } else { (&net.decoder, "h") };
    let name = format!("in/{input}");
    let (seq_len, width, outputs) = (case.shape(&name)[1], case.shape(&name)[2], map.head.weight.outputs);
    let packing = Packing::new(&case.lengths("in/lengths"), seq_len);
    let shard = packing.shard(case.get(&name), width);
    let dy = packing.pack(case.get("in/cotangent"), outputs);
    let given = Given { shard: &shard, z: &[], dy: &dy, training, dropout: None };
    let mut done = run(device, &networks, (&w.params, &buffers), Part::Sequence(map, SITE), given).unwrap();
    // Padded steps: the LSTM's output is 0 there, so the head makes tanh(bias) of it.
    let padding: Vec<f32> = map.head.bias.of(&w.params).iter().map(|b| b.tanh()).collect();
    case.check_output("out/out", &packing.unpack(&done.y, &padding));
    let cotangent = packing.rows(case.get("in/cotangent"));
    for (b, &length) in packing.steps.lengths().iter().enumerate() {
        for d in cotangent[(b * seq_len + length) * outputs..(b + 1) * seq_len * outputs].chunks(outputs) {
            let bias = map.head.bias.of_mut(&mut done.grads);
            (0..outputs).for_each(|j| bias[j] += d[j] * (1.0 - padding[j] * padding[j]));
        }
    }
    let dx = packing.unpack(&done.dx, &vec![0.0; width]);
    case.check_gradients(&networks, &done.grads, &[(input, &dx)]);
    case.check_after(&networks, &w.params, &done.buffers);
}

fn pooler(case: &mut Case, device: &Arc<Context>) {
    let (networks, w, buffers) = case.networks();
    let (seq_len, width) = (case.shape("in/h")[1], case.shape("in/h")[2]);
    let packing = Packing::new(&case.lengths("in/lengths"), seq_len);
    let shard = packing.shard(case.get("in/h"), width);
    let dz = packing.rows(case.get("in/cotangent"));
    let given = Given { shard: &shard, z: &[], dy: &dz, training: false, dropout: None };
    let part = Part::Pooler(&networks.v6().unwrap().pooler, SITE);
    let done = run(device, &networks, (&w.params, &buffers), part, given).unwrap();
    case.check_output("out/out", &packing.rows_back(&done.y));
    let dh = packing.unpack(&done.dx, &vec![0.0; width]);
    case.check_gradients(&networks, &done.grads, &[("h", &dh)]);
}

fn expander(case: &mut Case, device: &Arc<Context>) {
    let (networks, w, buffers) = case.networks();
    let [rows, seq_len, width] = case.shape("out/out")[..] else { panic!("{}: shape", case.name) };
    let packing = Packing::new(&vec![seq_len; rows], seq_len);
    let shard = packing.shard(&[], width);
    let dy = packing.pack(case.get("in/cotangent"), width);
    let given = Given { shard: &shard, z: case.get("in/z"), dy: &dy, training: false, dropout: None };
    let part = Part::Expander(&networks.v6().unwrap().expander, SITE);
    let done = run(device, &networks, (&w.params, &buffers), part, given).unwrap();
    case.check_output("out/out", &packing.unpack(&done.y, &vec![0.0; width]));
    case.check_gradients(&networks, &done.grads, &[("z", &done.dx)]);
}

/// Rows of a stored batch, without their padding.
fn stored_rows(case: &Case, prefix: &str) -> Vec<Vec<f32>> {
    let [_, seq_len, width] = case.shape(&format!("{prefix}x"))[..] else { panic!("{}: shape", case.name) };
    let lengths = case.lengths(&format!("{prefix}lengths"));
    let rows = case.get(&format!("{prefix}x")).chunks(seq_len * width).zip(&lengths);
    rows.map(|(x, n)| x[..n * width].to_vec()).collect()
}

/// Some steps with given batches, the gradients of the first, and the weights after them.
fn training(case: &mut Case, device: &Arc<Context>, prefixes: &[String]) {
    let c = case.config.clone();
    case.config = Config { lstm_dropout: 0.0, pooler_dropout: 0.0, expander_dropout: 0.0, ..c };
    let (networks, mut weights, mut buffers) = case.networks();
    let (c, mut moments) = (case.config.clone(), Moments::default());
    let batches: Vec<Vec<Vec<f32>>> =
        prefixes.iter().map(|prefix| stored_rows(case, &format!("in/{prefix}"))).collect();
    let lengths = batches.iter().flatten().map(|row| row.len() / c.feature_dim).collect();
    let mut learner = Learner { params: &mut weights.params, buffers: &mut buffers, moments: &mut moments };
    let mut stage = Stage1::new(device, networks.clone(), &c, room(lengths, batches[0].len()), &learner).unwrap();
    for (k, (prefix, rows)) in prefixes.iter().zip(&batches).enumerate() {
        let at = At { seed: 0, iteration: k as u64, rate: c.lr_autoencoder };
        let mut batch = Batch::new(rows, c.feature_dim);
        let seq_len = case.shape(&format!("in/{prefix}x"))[1];
        batch.shards.iter_mut().for_each(|shard| shard.seq_lens.fill(seq_len));
        let ([direct, recon, latent, total], norm) = stage.step(&batch, at, || ()).unwrap();
        let mut losses = vec![("recon", recon), ("latent", latent), ("direct", direct)];
        if case.tensors.contains_key(&format!("loss/{prefix}total")) {
            losses.push(("total", total));
        }
        for (name, got) in losses {
            // Later losses follow from weights that may be off by WEIGHT.
            let expected = case.get(&format!("loss/{prefix}{name}")).to_vec();
            let tolerance = if k == 0 { OUTPUT } else { WEIGHT };
            case.check("loss in training", name, &[got as f32], &expected, tolerance, 1e-7);
        }
        if case.tensors.contains_key(&format!("loss/{prefix}grad_norm")) {
            let expected = case.get(&format!("loss/{prefix}grad_norm")).to_vec();
            case.check("gradient norm", "grad_norm", &[norm as f32], &expected, WEIGHT, 0.0);
        }
    }
    case.check_gradients(&networks, &stage.gradients().unwrap(), &[]);
    stage.fetch(&mut learner).unwrap();
    assert_eq!(moments.steps, prefixes.len() as u64);
    if prefixes.len() > 1 {
        case.check_after(&networks, &weights.params, &buffers);
    }
}

#[test]
fn golden() {
    let Some(device) = cuda_support::device() else { return };
    let mut count = 0;
    for path in folders().iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path())) {
        if path.extension().is_none_or(|e| e != "safetensors") {
            continue;
        }
        let Some(mut case) = Case::read(&path, Isa::detect()) else { continue };
        let has = |name: &str| case.tensors.contains_key(name);
        let part = case.note.split(' ').next().unwrap_or("").to_string();
        let steps = (0..).take_while(|k| has(&format!("in/{k}/x"))).count();
        match part.as_str() {
            _ if steps > 0 => training(&mut case, &device, &(0..steps).map(|k| format!("{k}/")).collect::<Vec<_>>()),
            _ if has("loss/direct") => training(&mut case, &device, &[String::new()]),
            "encoder" => sequence(&mut case, &device, true),
            "decoder" => sequence(&mut case, &device, false),
            "pooler" => pooler(&mut case, &device),
            "expander" => expander(&mut case, &device),
            _ => continue,
        }
        count += 1;
        println!("{}: {:?}", case.name, case.worst);
    }
    assert!(count >= 15, "only {count} cases");
}
