//! The losses of both stages.

use trajgan::backend::cpu::Isa;
use trajgan::config::{Config, CriticKind, DecoderKind, Expand, Pool};
use trajgan::data::steps::{Classes, INPUTS};
use trajgan::model::Networks;
use trajgan::model::closed_loop;
use trajgan::model::expander::ExpanderTrace;
use trajgan::model::gan::{CriticShard, FeatureMatching, GanTrace};
use trajgan::model::pooler::PoolerTrace;
use trajgan::model::sequence::SequenceTrace;
use trajgan::model::v6::{self, LossWeights, V6};
use trajgan::nn::{Dropout, Gradients, Steps, Weights};
use trajgan::rng::{Rng, Stream};
use trajgan::train::shards::row_ranges;
use trajgan::train::stage2::ROWS;

use super::{DROPOUT, SIZES, build, check_params, classes, config, critics, random, random_steps, uniform};

/// The whole WGAN-GP loss, second derivative included, over as many shards as its rows fill.
#[test]
fn critic_losses() {
    for isa in Isa::available() {
        for (k, n) in SIZES.into_iter().enumerate() {
            for (case, c) in critics(n) {
                let (networks, w, buffers) = build(isa, &c);
                let rows = SIZES[3 - k];
                let (z_real, noise) = (uniform(2, rows * c.summary_dim, -1.0, 1.0), random(3, rows * n));
                let (condition, alpha) = (random(4, rows * c.condition_dim), uniform(5, rows, 0.0, 1.0));
                let run = |w: &Weights<f64>, grads: &mut Gradients<f64>| {
                    // The three calls differ in u and v in training; here all three have the same.
                    let norms = networks.critic.normalise(&w.params, &mut buffers.clone(), false, 3);
                    let parts = row_ranges(rows, ROWS).into_iter().map(|r| {
                        let shard = CriticShard {
                            z_real: &z_real[r.start * c.summary_dim..r.end * c.summary_dim],
                            condition: &condition[r.start * c.condition_dim..r.end * c.condition_dim],
                            noise: &noise[r.start * n..r.end * n],
                            alpha: &alpha[r],
                        };
                        networks.critic_losses(w, &norms, shard, rows, c.lambda_gp, &mut GanTrace::default(), grads)
                    });
                    parts.map(|losses| losses.total(c.lambda_gp)).sum::<f64>()
                };
                let mut grads = Gradients::new(&networks.layout);
                run(&w, &mut grads);
                let case = format!("loss of {case}, {rows} rows, {}", isa.name());
                check_params(&case, &networks.layout, &w, "discriminator.", &grads, |w| {
                    run(w, &mut Gradients::new(&networks.layout))
                });
            }
        }
    }
}

/// Adversarial loss and feature matching, which couples all rows.
#[test]
fn generator_losses() {
    for isa in Isa::available() {
        for n in SIZES {
            for (matching, rows) in [(true, 2), (true, 33), (false, 7)] {
                let kind = if n == 7 { CriticKind::Projection } else { CriticKind::Standard };
                let c = Config { discriminator_type: kind, discriminator_use_spectral_norm: n == 3, ..config(n) };
                let (networks, w, buffers) = build(isa, &c);
                let (z_real, noise) = (uniform(2, rows * c.summary_dim, -1.0, 1.0), random(3, rows * n));
                let (condition, weight) = (random(4, rows * c.condition_dim), 3.0);
                let run = |w: &Weights<f64>, grads: Option<&mut Gradients<f64>>| {
                    let norms = networks.critic.normalise(&w.params, &mut buffers.clone(), false, 1);
                    let mut trace = GanTrace::default();
                    let score = networks.generator_forward(w, &norms, &noise, &condition, &mut trace);
                    let fm = FeatureMatching::new(&trace.generator.z, &z_real, c.summary_dim, weight);
                    let fm = matching.then_some(fm);
                    if let Some(grads) = grads {
                        networks.generator_backward(w, &norms, &condition, rows, fm.as_ref(), &mut trace, grads);
                    }
                    fm.map_or(0.0, |fm| weight * fm.loss) - score / rows as f64
                };
                let mut grads = Gradients::new(&networks.layout);
                run(&w, Some(&mut grads));
                let case = format!("generator loss {n}, matching {matching}, {rows} rows, {}", isa.name());
                check_params(&case, &networks.layout, &w, "generator.", &grads, |w| run(w, None));
            }
        }
    }
}

/// A batch in shards of rows, as training cuts it, and the gradients of its loss.
struct Autoencoder<'a> {
    networks: &'a Networks,
    buffers: &'a [f64],
    parts: Vec<(Steps, Vec<f64>)>,
    features: usize,
    dropout: bool,
}

impl Autoencoder<'_> {
    fn net(&self) -> &V6 {
        self.networks.v6().unwrap()
    }

    fn total(&self) -> usize {
        self.parts.iter().map(|(steps, _)| steps.total()).sum()
    }

    /// Losses, and gradients for these weights of recon, latent and direct.
    fn run(
        &self,
        w: &Weights<f64>,
        [recon, latent, direct]: [f64; 3],
        mut grads: Option<&mut Gradients<f64>>,
    ) -> v6::Losses {
        let norms = self.net().norms(&w.params, &mut self.buffers.to_vec(), false);
        let weights = LossWeights { recon, latent, direct, steps: self.total() };
        let (mut losses, mut first_row) = (v6::Losses::default(), 0);
        for (steps, x) in &self.parts {
            let dropout = Dropout { seed: 3, step: 8, first_row, batch_rows: 33 };
            let dropout = self.dropout.then_some(&dropout);
            let seq_lens = vec![self.parts[0].0.len(); steps.rows()];
            let shard = v6::Shard { steps, seq_lens: &seq_lens, x };
            let mut trace = v6::Trace::default();
            let grads = grads.as_deref_mut();
            losses += self.net().losses(w, &norms, shard, weights, dropout, &mut trace, grads);
            first_row += steps.rows() as u32;
        }
        losses
    }

    /// The latent loss against a target that does not move: no gradient goes into the encoder from there.
    fn latent(&self, w: &Weights<f64>, target: &Weights<f64>) -> f64 {
        let norms = self.net().norms(&w.params, &mut self.buffers.to_vec(), false);
        let fixed = self.net().norms(&target.params, &mut self.buffers.to_vec(), false);
        let (mut sum, mut values) = (0.0, 0);
        for (steps, x) in &self.parts {
            let (mut h, mut h_fixed) = (SequenceTrace::default(), SequenceTrace::default());
            self.net().encoder.forward(target, &fixed.encoder, steps, x, None, &mut h_fixed);
            self.net().encoder.forward(w, &norms.encoder, steps, x, None, &mut h);
            let (mut z, mut back) = (PoolerTrace::default(), ExpanderTrace::default());
            self.net().pooler.forward(w, steps, &h.y, None, &mut z);
            let seq_lens = vec![self.parts[0].0.len(); steps.rows()];
            self.net().expander.forward(w, steps, &seq_lens, &z.z, None, &mut back);
            sum += back.y.iter().zip(&h_fixed.y).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
            values += back.y.len();
        }
        sum / values as f64
    }
}

#[test]
fn autoencoder_losses() {
    let kinds = [
        (Pool::Attention, Expand::Lstm),
        (Pool::Hybrid, Expand::Mlp),
        (Pool::Mean, Expand::Repeat),
        (Pool::Last, Expand::Lstm),
    ];
    for isa in Isa::available() {
        for (k, n) in SIZES.into_iter().enumerate() {
            for dropout in [false, true] {
                let (pool_type, expand_type) = kinds[(k + usize::from(dropout)) % 4];
                let c = Config { pool_type, expand_type, ..config(n) };
                let (networks, w, buffers) = build(isa, &c);
                let all = random_steps(6, SIZES[3 - k], 6);
                let parts = row_ranges(all.rows(), ROWS).into_iter().map(|rows| {
                    let steps = Steps::new(&all.lengths()[rows.clone()]);
                    let x = uniform(7 + rows.start as u64, steps.total() * n, -1.0, 1.0);
                    (steps, x)
                });
                let parts = parts.collect();
                let batch = Autoencoder { networks: &networks, buffers: &buffers, parts, features: n, dropout };
                let case = format!(
                    "autoencoder {n}, {} {}, dropout {dropout}, {}",
                    pool_type.name(),
                    expand_type.name(),
                    isa.name()
                );
                check_autoencoder(&case, &batch, &w);
            }
        }
    }
}

fn check_autoencoder(case: &str, batch: &Autoencoder, w: &Weights<f64>) {
    let layout = &batch.networks.layout;
    assert_eq!(batch.parts.iter().map(|(_, x)| x.len()).sum::<usize>(), batch.total() * batch.features);
    let gradients = |weights: [f64; 3]| {
        let mut grads = Gradients::new(layout);
        batch.run(w, weights, Some(&mut grads));
        let (inside, outside) = grads.split_at(batch.networks.autoencoder_range.end);
        assert!(outside.iter().all(|&g| g == 0.0) && inside.iter().any(|&g| g != 0.0), "{case}");
        grads
    };
    // The reconstructions, where nothing is held constant.
    let grads = gradients([1.0, 0.0, 0.7]);
    for part in ["encoder.", "decoder.", "pooler.", "expander."] {
        check_params(case, layout, w, part, &only(batch.networks, part, &grads), |w| {
            let losses = batch.run(w, [1.0, 0.0, 0.7], None);
            losses.recon + 0.7 * losses.direct
        });
    }
    let grads = gradients([0.0, 1.0, 0.0]);
    let case = format!("{case}, latent");
    assert!(only(batch.networks, "decoder.", &grads).iter().all(|&g| g == 0.0), "{case}: the decoder has a gradient");
    for part in ["pooler.", "expander."] {
        let grads = only(batch.networks, part, &grads);
        check_params(&case, layout, w, part, &grads, |w| batch.run(w, [0.0, 1.0, 0.0], None).latent);
    }
    if !batch.dropout {
        let grads = only(batch.networks, "encoder.", &grads);
        check_params(&case, layout, w, "encoder.", &grads, |moved| batch.latent(moved, w));
    }
}

/// The gradients of one network; those of the others are 0.
fn only(networks: &Networks, prefix: &str, grads: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; grads.len()];
    for entry in networks.layout.entries.iter().filter(|e| e.name.starts_with(prefix)) {
        out[entry.range()].copy_from_slice(&grads[entry.range()]);
    }
    out
}

/// The likelihood of the closed-loop decoder, through walker, pooler and encoder, with noise on the summaries.
#[test]
fn closed_loop_losses() {
    for isa in Isa::available() {
        for (k, n) in SIZES.into_iter().enumerate() {
            for (&pool_type, dropped) in Pool::ALL.iter().zip([true, false, true, false]) {
                let layers = 1 + (k + usize::from(dropped)) % 3;
                let c = Config {
                    decoder: DecoderKind::ClosedLoop,
                    condition_dim: 1,
                    pool_type,
                    expander_num_layers: layers,
                    step_magnitudes: n.max(2),
                    tick_classes: n.max(2),
                    step_profiles: 1 + k % 3,
                    ..config(n)
                };
                let (networks, mut w, buffers) = build(isa, &c);
                classes::fill_profiles(&networks.layout, &mut w.params);
                let net = networks.closed_loop().unwrap();
                let steps = random_steps(8, SIZES[3 - k], 5);
                let x = random(9, steps.total() * INPUTS);
                let noise: Vec<f64> = random(10, steps.rows() * c.summary_dim).iter().map(|x| 0.3 * x).collect();
                let mut rng = Rng::new(12, Stream::Evaluation, 0);
                let events: Vec<Classes> = (0..steps.total()).map(|_| classes::random(&mut rng, &c)).collect();
                let dropout = dropped.then_some(&DROPOUT);
                let run = |w: &Weights<f64>, grads: Option<&mut Gradients<f64>>| {
                    let norm = net.encoder.head.normalise(&w.params, &mut buffers.clone(), false);
                    let shard =
                        closed_loop::Shard { steps: &steps, x: &x, classes: &events, noise: &noise, batch_rows: None };
                    let mut trace = closed_loop::Trace::default();
                    net.losses(w, &norm, shard, steps.total(), dropout, &mut trace, grads).total()
                };
                let mut grads = Gradients::new(&networks.layout);
                run(&w, Some(&mut grads));
                let case = format!("closed loop {n}, {}, {layers} layers, {}", pool_type.name(), isa.name());
                for part in ["encoder.", "pooler.", "walker."] {
                    let grads = only(&networks, part, &grads);
                    // Mean and last pooling as wide as the summary have no tensor of their own.
                    if networks.layout.entries.iter().any(|e| e.name.starts_with(part)) {
                        check_params(&case, &networks.layout, &w, part, &grads, |w| run(w, None));
                    }
                }
            }
        }
    }
}
