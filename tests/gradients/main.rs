//! Every layer, network and loss against central differences in f64.
//!
//! Sizes are 1, 3, 7 and 33 on purpose: 1 finds a mean or stride that divides by the wrong extent, 3 and 7 vector
//! tails (no multiple of 4 or 8) and exchanged extents, 33 whole vectors with a tail and more rows than one shard
//! holds. Every tensor is sampled, its first and last number always.

#[path = "../classes/mod.rs"]
mod classes;
mod layers;
mod losses;
mod networks;

use trajgan::backend::cpu::Isa;
use trajgan::config::{Config, CriticKind};
use trajgan::model::{Autoencoder, Networks};
use trajgan::nn::{Dropout, Layout, Steps, Weights};
use trajgan::rng::{Rng, Stream};

/// Of the tensor's largest gradient. Central differences err by h^2 f''' / 6 and by 1e-16 f / h: with the best of
/// three step sizes 1e-8 or less, and up to 1e-7 where LayerNorm over three numbers bends sharply.
const RELATIVE: f64 = 1e-6;
/// Of the largest gradient of the case: what rounding leaves of tensors whose gradient is zero in exact arithmetic.
const FLOOR: f64 = 1e-8;
/// Of the loss, if that is above 1: rounding of the loss, 1e-16 of it, over the step. Matters where a gradient comes
/// through so many layers that it is some 1e-7 of the loss.
const ROUNDING: f64 = 2e-11;
/// A kink (LeakyReLU, a maximum that changes hands) nearer than the step makes one size useless; a wrong
/// derivative fails at all of them.
const STEP_SIZES: [f64; 3] = [1e-5, 1e-6, 1e-4];
/// Numbers looked at in each tensor.
const SAMPLES: usize = 8;

const SIZES: [usize; 4] = [1, 3, 7, 33];

fn random(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = Rng::new(seed, Stream::Evaluation, 0);
    (0..n).map(|_| rng.normal()).collect()
}

fn uniform(seed: u64, n: usize, low: f64, high: f64) -> Vec<f64> {
    let mut rng = Rng::new(seed, Stream::Evaluation, 1);
    (0..n).map(|_| rng.range(low, high)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Rows of random lengths, longest first.
fn random_steps(seed: u64, rows: usize, longest: usize) -> Steps {
    let mut rng = Rng::new(seed, Stream::Evaluation, 2);
    let mut lengths: Vec<usize> = (0..rows).map(|_| 1 + rng.below(longest)).collect();
    lengths[0] = longest;
    lengths.sort_by_key(|&n| std::cmp::Reverse(n));
    Steps::new(&lengths)
}

/// Weights where no gain is 1 and no bias 0, so that each matters.
fn weights(isa: Isa, layout: &Layout, seed: u64) -> (Weights<f64>, Vec<f64>) {
    let (mut params, buffers) = layout.initialise::<f64>(seed);
    for entry in layout.entries.iter().filter(|e| e.shape.len() == 1) {
        let noise = random(seed + 7, entry.len());
        params[entry.range()].iter_mut().zip(noise).for_each(|(p, n)| *p += 0.1 * n);
    }
    (Weights::new(isa, layout, params), buffers)
}

/// First, last and some between.
fn sampled(seed: u64, n: usize) -> Vec<usize> {
    if n <= SAMPLES {
        return (0..n).collect();
    }
    let mut rng = Rng::new(seed, Stream::Evaluation, 3);
    [0, n - 1].into_iter().chain((2..SAMPLES).map(|_| rng.below(n))).collect()
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m: f64, x| m.max(x.abs()))
}

/// loss: of x moved by so much at one place.
fn compare(what: &str, analytic: f64, allowed: f64, loss: &mut dyn FnMut(f64) -> f64) {
    let mut tried = Vec::new();
    for h in STEP_SIZES {
        let numeric = (loss(h) - loss(-h)) / (2.0 * h);
        if (analytic - numeric).abs() <= allowed {
            return;
        }
        tried.push(numeric);
    }
    panic!("{what}: {analytic:e}, central differences {tried:?}, allowed {allowed:e}");
}

/// Gradients of the tensors whose names begin with `prefix`; all others must be untouched.
fn check_params(
    case: &str,
    layout: &Layout,
    w: &Weights<f64>,
    prefix: &str,
    grads: &[f64],
    loss: impl Fn(&Weights<f64>) -> f64,
) {
    let most = largest(grads);
    assert!(most.is_finite(), "{case}: a gradient is not finite");
    let rounding = ROUNDING * loss(w).abs().max(1.0);
    let mut checked = 0;
    let mut moved = w.clone();
    for entry in layout.entries.iter().filter(|e| !e.name.starts_with(prefix)) {
        assert!(grads[entry.range()].iter().all(|&g| g == 0.0), "{case}: {} has a gradient", entry.name);
    }
    for entry in layout.entries.iter().filter(|e| e.name.starts_with(prefix)) {
        let allowed = RELATIVE * largest(&grads[entry.range()]) + FLOOR * most + rounding;
        for i in sampled(entry.offset as u64, entry.len()).into_iter().map(|i| entry.offset + i) {
            let what = format!("{case}: {}[{}]", entry.name, i - entry.offset);
            compare(&what, grads[i], allowed, &mut |h| {
                moved.params[i] = w.params[i] + h;
                moved.pack(entry.range());
                let value = loss(&moved);
                moved.params[i] = w.params[i];
                moved.pack(entry.range());
                value
            });
            checked += 1;
        }
    }
    assert!(checked > 0, "{case}: no tensor begins with {prefix}");
}

fn check_input(case: &str, x: &[f64], dx: &[f64], loss: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), dx.len(), "{case}");
    let allowed = (RELATIVE + FLOOR) * largest(dx) + ROUNDING * loss(x).abs().max(1.0);
    let mut moved = x.to_vec();
    for i in sampled(x.len() as u64, x.len()) {
        compare(&format!("{case}[{i}]"), dx[i], allowed, &mut |h| {
            moved[i] = x[i] + h;
            let value = loss(&moved);
            moved[i] = x[i];
            value
        });
    }
}

/// A model with all widths near n.
fn config(n: usize) -> Config {
    Config {
        feature_dim: n,
        encoder_hidden_dim: n,
        encoder_num_layers: 2,
        decoder_hidden_dim: n + 1,
        decoder_num_layers: if n == 3 { 3 } else { 1 },
        latent_dim: n + 2,
        summary_dim: n + 4,
        expander_hidden_dim: n,
        noise_dim: n,
        condition_dim: if n == 7 { 3 } else { 1 },
        generator_hidden_dims: vec![n, n],
        discriminator_hidden_dims: vec![n.max(3), n + 3],
        lstm_dropout: 0.2,
        pooler_dropout: 0.2,
        expander_dropout: 0.2,
        ..Config::default()
    }
}

fn build(isa: Isa, c: &Config) -> (Networks, Weights<f64>, Vec<f64>) {
    c.check().unwrap();
    let networks = Networks::new(c);
    let (w, mut buffers) = weights(isa, &networks.layout, 11);
    // A few power iterations, so that sigma is not near zero.
    for _ in 0..3 {
        match &networks.autoencoder {
            Autoencoder::V6(net) => drop(net.norms(&w.params, &mut buffers, true)),
            Autoencoder::ClosedLoop(net) => drop(net.encoder.head.normalise(&w.params, &mut buffers, true)),
        }
        networks.critic.normalise(&w.params, &mut buffers, true, 1);
    }
    (networks, w, buffers)
}

const DROPOUT: Dropout = Dropout { seed: 9, step: 2, first_row: 0, batch_rows: 33 };

/// All kinds of critics, with and without spectral norm (which multiscale always has).
fn critics(n: usize) -> Vec<(String, Config)> {
    let kinds = [
        (CriticKind::Standard, false),
        (CriticKind::Standard, true),
        (CriticKind::Projection, false),
        (CriticKind::Projection, true),
        (CriticKind::Multiscale, true),
    ];
    let case = |(kind, spectral): (CriticKind, bool)| {
        let c = Config { discriminator_type: kind, discriminator_use_spectral_norm: spectral, ..config(n) };
        (format!("critic {} {n}, spectral {spectral}", kind.name()), c)
    };
    kinds.into_iter().map(case).collect()
}
