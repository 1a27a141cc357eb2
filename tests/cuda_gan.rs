//! Stage 2 on a CUDA device, held to the reference numbers and to the CPU. Where there is no device the emulated driver runs
//! the same kernels and the same launch code.
#![cfg(feature = "cuda")]

mod cuda_support;
mod golden_support;

use std::sync::Arc;

use golden_support::{Case, WEIGHT, folders};
use trajgan::backend::cpu::Isa;
use trajgan::backend::cuda::Context;
use trajgan::backend::cuda::gan::{Gan, Learner, Real};
use trajgan::nn::optim::Moments;

const NOTHING: Real = Real { summaries: &[], conditions: &[] };

/// Losses, gradients and spectral norms of one step of the critic.
fn critic_losses(case: &mut Case, device: &Arc<Context>) {
    let (networks, weights, mut buffers) = case.networks();
    let (mut generator, mut critic) = (Moments::default(), Moments::default());
    let mut learner = Learner {
        params: &mut weights.params.clone(),
        buffers: &mut buffers,
        generator: &mut generator,
        critic: &mut critic,
        average: &mut [],
    };
    let batch = case.gan_batch("in/");
    let mut gan = Gan::new(device, &networks, &case.config, (batch.alpha.len(), 1, 0), NOTHING, &learner).unwrap();
    let losses = gan.critic_step(&batch, 0).unwrap();
    gan.fetch(&mut learner).unwrap();
    for (name, got) in [
        ("d_loss", losses.total(case.config.lambda_gp)),
        ("d_real", losses.d_real),
        ("d_fake", losses.d_fake),
        ("gp", losses.gp),
        ("wasserstein", losses.wasserstein()),
    ] {
        case.check_loss(&format!("loss/{name}"), got);
    }
    case.check_gradients(&networks, &gan.gradients().unwrap(), &[]);
    case.check_after(&networks, &weights.params, &buffers);
}

/// Losses and gradients of one step of the generator.
fn generator_losses(case: &mut Case, device: &Arc<Context>) {
    let (networks, mut weights, mut buffers) = case.networks();
    let (mut generator, mut critic) = (Moments::default(), Moments::default());
    let learner = Learner {
        params: &mut weights.params,
        buffers: &mut buffers,
        generator: &mut generator,
        critic: &mut critic,
        average: &mut [],
    };
    let (batch, weight) = (case.gan_batch("in/"), case.config.lambda_fm);
    let rows = batch.noise.len() / case.config.noise_dim;
    let mut gan = Gan::new(device, &networks, &case.config, (rows, 1, 0), NOTHING, &learner).unwrap();
    let losses = gan.generator_step(&batch, 0).unwrap();
    case.check_loss("loss/g_adv", losses.adversarial);
    case.check_loss("loss/g_fm", losses.feature_matching);
    case.check_loss("loss/g_loss", losses.adversarial + weight * losses.feature_matching);
    case.check_gradients(&networks, &gan.gradients().unwrap(), &[]);
}

/// Some iterations with given batches, and the weights after them.
fn training(case: &mut Case, device: &Arc<Context>) {
    let (networks, mut weights, mut buffers) = case.networks();
    let c = case.config.clone();
    let (mut generator, mut critic) = (Moments::default(), Moments::default());
    let mut learner = Learner {
        params: &mut weights.params,
        buffers: &mut buffers,
        generator: &mut generator,
        critic: &mut critic,
        average: &mut [],
    };
    let rows = case.gan_batch("in/0/generator/").noise.len() / c.noise_dim;
    let mut gan = Gan::new(device, &networks, &c, (rows, 1, 0), NOTHING, &learner).unwrap();
    let steps = (0..).take_while(|k| case.tensors.contains_key(&format!("in/{k}/generator/noise"))).count();
    for k in 0..steps {
        for part in (0..c.n_critic).map(|i| format!("critic{i}")).chain(["generator".to_string()]) {
            let batch = case.gan_batch(&format!("in/{k}/{part}/"));
            let (name, got) = match part.as_str() {
                "generator" => ("g_loss", gan.generator_step(&batch, k as u64).unwrap().total),
                _ => ("d_loss", gan.critic_step(&batch, k as u64).unwrap().total(c.lambda_gp)),
            };
            let expected = case.get(&format!("loss/{k}/{part}/{name}")).to_vec();
            case.check("loss in training", name, &[got as f32], &expected, WEIGHT, 1e-6);
        }
    }
    gan.fetch(&mut learner).unwrap();
    assert_eq!((generator.steps, critic.steps), (steps as u64, steps as u64 * u64::from(c.n_critic)));
    case.check_after(&networks, &weights.params, &buffers);
}

#[test]
fn golden() {
    let Some(device) = cuda_support::device() else { return };
    let mut count = 0;
    for folder in folders() {
        for path in std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()) {
            if path.extension().is_none_or(|e| e != "safetensors") {
                continue;
            }
            let Some(mut case) = Case::read(&path, Isa::detect()) else { continue };
            let has = |name: &str| case.tensors.contains_key(name);
            match () {
                () if has("in/0/generator/noise") => training(&mut case, &device),
                () if has("loss/d_loss") => critic_losses(&mut case, &device),
                () if has("loss/g_loss") => generator_losses(&mut case, &device),
                () => continue,
            }
            count += 1;
            println!("{}: {:?}", case.name, case.worst);
        }
    }
    assert!(count >= 10, "only {count} cases");
}
