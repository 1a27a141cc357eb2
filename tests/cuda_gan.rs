//! Stage 2 on a CUDA device, held to the reference numbers and to the CPU. Where there is no device the emulated driver runs
//! the same kernels and the same launch code.
#![cfg(feature = "cuda")]

mod cuda_support;
mod golden_support;
mod skip;

use std::sync::Arc;

use golden_support::{Case, WEIGHT, folders};
use trajgan::backend::cpu::Isa;
use trajgan::backend::cuda::Context;
use trajgan::backend::cuda::gan::{Gan, Learner, RING, Real};
use trajgan::model::Networks;
use trajgan::nn::optim::Moments;
use trajgan::{Config, Error};

const NOTHING: Real = Real { summaries: &[], conditions: &[], bins: &[] };

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

/// What a training has learnt.
#[derive(Clone, Debug, PartialEq)]
struct Learnt {
    params: Vec<f32>,
    buffers: Vec<f32>,
    average: Vec<f32>,
    moments: [Vec<f32>; 4],
    steps: [u64; 2],
}

/// Runs `work` on a GAN that has learnt nothing: losses of all its iterations, and what it has learnt then.
fn learnt(c: &Config, device: &Arc<Context>, work: impl FnOnce(&mut Gan)) -> Learnt {
    let networks = Networks::new(c);
    let (mut params, mut buffers) = networks.layout.initialise(3);
    let (mut generator, mut critic) = (Moments::default(), Moments::default());
    let mut average = params[networks.generator_range.clone()].to_vec();
    let mut learner = Learner {
        params: &mut params,
        buffers: &mut buffers,
        generator: &mut generator,
        critic: &mut critic,
        average: &mut average,
    };
    let summaries: Vec<f32> = (0..40 * c.summary_dim).map(|i| (i as f32).sin()).collect();
    let conditions: Vec<f32> = (0..40).map(|i| (i as f32).cos()).collect();
    let bins = [(0..3).collect(), (3..30).collect(), (30..40).collect::<Vec<usize>>()];
    let real = Real { summaries: &summaries, conditions: &conditions, bins: &bins };
    // The ring comes round.
    let start = (17, 5, RING as u64 - 2);
    let mut gan = Gan::new(device, &networks, c, start, real, &learner).unwrap();
    work(&mut gan);
    gan.fetch(&mut learner).unwrap();
    let steps = [generator.steps, critic.steps];
    Learnt { params, buffers, average, moments: [generator.m, generator.v, critic.m, critic.v], steps }
}

fn small() -> Config {
    Config {
        encoder_hidden_dim: 4,
        decoder_hidden_dim: 4,
        expander_hidden_dim: 4,
        latent_dim: 3,
        summary_dim: 7,
        noise_dim: 5,
        generator_hidden_dims: vec![9],
        discriminator_hidden_dims: vec![8],
        discriminator_use_spectral_norm: true,
        generator_average: 0.5,
        n_critic: 2,
        ..Config::default()
    }
}

/// Iterations that are asked for together are those asked for one by one, and what is undone leaves nothing.
#[test]
fn runs_of_any_length() {
    let Some(device) = cuda_support::device() else { return };
    let c = small();
    let one_by_one = learnt(&c, &device, |gan| {
        for _ in 0..5 {
            assert!(gan.run(1).unwrap()[0].is_ok());
        }
    });
    assert_eq!(one_by_one.steps, [5, 10]);
    let together = learnt(&c, &device, |gan| assert_eq!(gan.run(5).unwrap().len(), 5));
    assert_eq!(together, one_by_one);
    let undone = learnt(&c, &device, |gan| {
        gan.run(1).unwrap();
        gan.run(4).unwrap();
        gan.rewind(2).unwrap();
        gan.run(2).unwrap();
        gan.rewind(2).unwrap();
    });
    assert_eq!(undone, one_by_one);
}

/// Steps of a size that soon makes the critic's gradients infinite.
#[test]
fn an_iteration_that_diverges_changes_nothing() {
    let Some(device) = cuda_support::device() else { return };
    let c = Config {
        lr_discriminator: 10.0,
        lambda_gp: 1e37,
        discriminator_use_spectral_norm: false,
        n_critic: 1,
        ..small()
    };
    let mut good = 0;
    let diverged = learnt(&c, &device, |gan| {
        let run = gan.run(12).unwrap();
        good = run.len() - 1;
        let iteration = RING as u64 - 2 + good as u64;
        let last = run[good].as_ref().unwrap_err();
        assert!(matches!(last, Error::Diverged { stage: 2, iteration: i, .. } if *i == iteration), "{last:?}");
    });
    assert!(good > 0, "nothing was learnt before");
    assert_eq!(learnt(&c, &device, |gan| assert!(gan.run(good).unwrap().iter().all(Result::is_ok))), diverged);
}

/// Not a test of its own: an iteration of as many layers as there are by default.
#[test]
fn iteration() {
    if std::env::var_os("EMU_TRACE").is_none() {
        return;
    }
    let Some(device) = cuda_support::device() else { return };
    let c = Config {
        generator_hidden_dims: vec![9; 3],
        discriminator_hidden_dims: vec![8; 3],
        discriminator_use_spectral_norm: false,
        generator_average: 0.0,
        n_critic: 5,
        ..small()
    };
    learnt(&c, &device, |gan| assert!(gan.run(1).unwrap()[0].is_ok()));
}

/// What an iteration takes is latency, and that grows with its launches.
#[test]
fn launches_of_an_iteration() {
    if std::env::var_os("TRAJGAN_DRIVER").is_some() || cuda_support::library().is_none() {
        return; // only the emulated driver counts them
    }
    let launches = cuda_support::kernels_of("iteration", []);
    let count = launches.lines().count();
    println!("{count} launches");
    assert!(count <= 727, "{count} launches");
}
