//! Each of the six networks, in all its kinds.

use trajgan::backend::cpu::{Buffer, Isa};
use trajgan::config::{Config, Expand, GeneratorKind, Pool};
use trajgan::model::critic::CriticTrace;
use trajgan::model::expander::ExpanderTrace;
use trajgan::model::generator::GeneratorTrace;
use trajgan::model::pooler::PoolerTrace;
use trajgan::model::sequence::SequenceTrace;
use trajgan::nn::{Gradients, Weights};

use super::{DROPOUT, SIZES, build, check_input, check_params, config, critics, dot, random, random_steps};

#[test]
fn encoder_and_decoder() {
    for isa in Isa::available() {
        for (k, n) in SIZES.into_iter().enumerate() {
            let (networks, w, buffers) = build(isa, &config(n));
            let net = networks.v6().unwrap();
            for (map, name) in [(&net.encoder, "encoder."), (&net.decoder, "decoder.")] {
                let steps = random_steps(1, SIZES[3 - k], 6);
                let inputs = map.lstm.layers[0].input.inputs;
                let (x, cotangent) =
                    (random(2, steps.total() * inputs), random(3, steps.total() * map.head.weight.outputs));
                let dropout = Some((&DROPOUT, 0));
                let run = |w: &Weights<f64>, x: &[f64], trace: &mut SequenceTrace<f64>| {
                    let norm = map.head.normalise(&w.params, &mut buffers.clone(), false);
                    map.forward(w, &norm, &steps, x, dropout, trace);
                    (dot(&trace.y, &cotangent), norm)
                };
                let mut trace = SequenceTrace::default();
                let (_, norm) = run(&w, &x, &mut trace);
                let (mut grads, mut dx) = (Gradients::new(&networks.layout), Buffer::default());
                map.backward(
                    &w,
                    &norm,
                    &steps,
                    &x,
                    true,
                    &mut cotangent.clone(),
                    &mut trace,
                    Some(&mut dx),
                    &mut grads,
                );
                let case = format!("{name} {n}, {}", isa.name());
                check_params(&case, &networks.layout, &w, name, &grads, |w| {
                    run(w, &x, &mut SequenceTrace::default()).0
                });
                check_input(&case, &x, &dx, |x| run(&w, x, &mut SequenceTrace::default()).0);
            }
        }
    }
}

#[test]
fn poolers() {
    for isa in Isa::available() {
        for (k, n) in SIZES.into_iter().enumerate() {
            for kind in Pool::ALL.iter().copied().chain([Pool::Mean, Pool::Last]).enumerate() {
                let same = kind.0 >= Pool::ALL.len(); // as wide as the latent: no projection
                let base = config(n);
                let summary_dim = if same { base.latent_dim } else { base.summary_dim };
                let c = Config { pool_type: kind.1, summary_dim, ..base };
                let (networks, w, _) = build(isa, &c);
                let net = networks.v6().unwrap();
                let steps = random_steps(2, SIZES[3 - k], 6);
                let (h, cotangent) = (random(3, steps.total() * c.latent_dim), random(4, steps.rows() * summary_dim));
                let run = |w: &Weights<f64>, h: &[f64], trace: &mut PoolerTrace<f64>| {
                    net.pooler.forward(w, &steps, h, Some((&DROPOUT, 256)), trace);
                    dot(&trace.z, &cotangent)
                };
                let mut trace = PoolerTrace::default();
                run(&w, &h, &mut trace);
                let (mut grads, mut dh) = (Gradients::new(&networks.layout), Buffer::default());
                net.pooler.backward(&w, &steps, &h, true, &mut cotangent.clone(), 0.0, &mut trace, &mut dh, &mut grads);
                let case = format!("pooler {} {n}, identity {same}, {}", kind.1.name(), isa.name());
                if !same {
                    check_params(&case, &networks.layout, &w, "pooler.", &grads, |w| {
                        run(w, &h, &mut PoolerTrace::default())
                    });
                }
                check_input(&case, &h, &dh, |h| run(&w, h, &mut PoolerTrace::default()));
            }
        }
    }
}

#[test]
fn expanders() {
    for isa in Isa::available() {
        for (k, n) in SIZES.into_iter().enumerate() {
            for &kind in Expand::ALL {
                let c = Config { expand_type: kind, expander_num_layers: 1 + k % 3, ..config(n) };
                let (networks, w, _) = build(isa, &c);
                let net = networks.v6().unwrap();
                let steps = random_steps(3, SIZES[3 - k], 5);
                let seq_lens: Vec<usize> = (0..steps.rows()).map(|b| 5 + b % 3).collect();
                let (z, cotangent) = (random(4, steps.rows() * c.summary_dim), random(5, steps.total() * c.latent_dim));
                let run = |w: &Weights<f64>, z: &[f64], trace: &mut ExpanderTrace<f64>| {
                    net.expander.forward(w, &steps, &seq_lens, z, Some((&DROPOUT, 512)), trace);
                    dot(&trace.y, &cotangent)
                };
                let mut trace = ExpanderTrace::default();
                run(&w, &z, &mut trace);
                let (mut grads, mut dz) = (Gradients::new(&networks.layout), Buffer::default());
                net.expander.backward(&w, &steps, &z, true, &mut cotangent.clone(), &mut trace, &mut dz, &mut grads);
                let case = format!("expander {} {n}, {}", kind.name(), isa.name());
                check_params(&case, &networks.layout, &w, "expander.", &grads, |w| {
                    run(w, &z, &mut ExpanderTrace::default())
                });
                check_input(&case, &z, &dz, |z| run(&w, z, &mut ExpanderTrace::default()));
            }
        }
    }
}

#[test]
fn generators() {
    let kinds = [(GeneratorKind::Standard, true), (GeneratorKind::Standard, false), (GeneratorKind::Film, true)];
    for isa in Isa::available() {
        for (k, n) in SIZES.into_iter().enumerate() {
            for (kind, residual) in kinds {
                let c = Config { generator_type: kind, generator_use_residual: residual, ..config(n) };
                let (networks, w, _) = build(isa, &c);
                let rows = SIZES[3 - k];
                let (noise, condition) = (random(2, rows * n), random(3, rows * c.condition_dim));
                let cotangent = random(4, rows * c.summary_dim);
                let run = |w: &Weights<f64>, noise: &[f64], condition: &[f64], trace: &mut GeneratorTrace<f64>| {
                    networks.generator.forward(w, noise, condition, trace);
                    dot(&trace.z, &cotangent)
                };
                let new = GeneratorTrace::default;
                let (mut trace, mut grads) = (new(), Gradients::new(&networks.layout));
                run(&w, &noise, &condition, &mut trace);
                networks.generator.backward(&w, &condition, &mut cotangent.clone(), &mut trace, &mut grads);
                let case = format!("generator {} {n}, residual {residual}, {}", kind.name(), isa.name());
                check_params(&case, &networks.layout, &w, "generator.", &grads, |w| {
                    run(w, &noise, &condition, &mut new())
                });
                check_input(&case, &noise, &trace.dnoise, |noise| run(&w, noise, &condition, &mut new()));
                check_input(&case, &condition, trace.dcondition(), |condition| run(&w, &noise, condition, &mut new()));
            }
        }
    }
}

#[test]
fn critic_scores() {
    for isa in Isa::available() {
        for (k, n) in SIZES.into_iter().enumerate() {
            for (case, c) in critics(n) {
                let (networks, w, buffers) = build(isa, &c);
                let rows = SIZES[3 - k];
                let (z, condition) = (random(2, rows * c.summary_dim), random(3, rows * c.condition_dim));
                let cotangent = random(4, rows);
                let run = |w: &Weights<f64>, z: &[f64], condition: &[f64], trace: &mut CriticTrace<f64>| {
                    let norms = networks.critic.normalise(&w.params, &mut buffers.clone(), false, 1);
                    networks.critic.forward(w, &norms, z, condition, trace);
                    (dot(&trace.score, &cotangent), norms)
                };
                let new = CriticTrace::default;
                let (mut trace, mut grads) = (new(), Gradients::new(&networks.layout));
                let (_, norms) = run(&w, &z, &condition, &mut trace);
                networks.critic.backward_to_z(&w, &norms, &cotangent, &mut trace);
                networks.critic.backward(&w, &norms, (&condition, &cotangent), &mut trace, &mut grads);
                let mut dcondition = vec![0.0; condition.len()];
                trace.dconditions().for_each(|d| dcondition.iter_mut().zip(d).for_each(|(sum, d)| *sum += d));
                let case = format!("{case}, {}", isa.name());
                check_params(&case, &networks.layout, &w, "discriminator.", &grads, |w| {
                    run(w, &z, &condition, &mut new()).0
                });
                check_input(&case, &z, &trace.dz, |z| run(&w, z, &condition, &mut new()).0);
                check_input(&case, &condition, &dcondition, |condition| run(&w, &z, condition, &mut new()).0);
            }
        }
    }
}
