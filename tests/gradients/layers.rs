//! Single layers.

use trajgan::backend::cpu::{Buffer, Isa};
use trajgan::nn::lstm::LstmTrace;
use trajgan::nn::norm::NormTrace;
use trajgan::nn::{Dropout, Gradients, Initial, LayerNorm, Layout, Linear, Lstm, SpectralLinear, Weights};

use super::{SIZES, check_input, check_params, dot, random, random_steps, weights};

#[test]
fn linear() {
    for isa in Isa::available() {
        for (k, (inputs, outputs)) in SIZES.iter().flat_map(|&i| SIZES.map(|o| (i, o))).enumerate() {
            let rows = SIZES[k % 4];
            let mut layout = Layout::default();
            let linear = Linear::new(&mut layout, "l", inputs, outputs);
            let (w, _) = weights(isa, &layout, 1);
            let (x, cotangent) = (random(2, rows * inputs), random(3, rows * outputs));
            let loss = |w: &Weights<f64>, x: &[f64]| {
                let mut y = vec![0.0; rows * outputs];
                linear.forward(w, x, &mut y);
                dot(&y, &cotangent)
            };
            let (mut grads, mut dx) = (Gradients::new(&layout), vec![f64::NAN; x.len()]);
            linear.gradient(isa, &cotangent, &x, &mut grads);
            linear.backward(&w, &cotangent, &mut dx);
            let case = format!("linear {rows} x {inputs} -> {outputs}, {}", isa.name());
            check_params(&case, &layout, &w, "l", &grads, |w| loss(w, &x));
            check_input(&case, &x, &dx, |x| loss(&w, x));
        }
    }
}

#[test]
fn spectral_linear() {
    for isa in Isa::available() {
        for (inputs, outputs) in [(1, 1), (3, 7), (7, 3), (33, 7), (1, 33), (33, 33)] {
            let mut layout = Layout::default();
            let fan = Initial::fan(inputs);
            let linear = SpectralLinear::with(&mut layout, "l", inputs, outputs, fan, fan);
            let (w, mut buffers) = weights(isa, &layout, 1);
            linear.normalise(&w.params, &mut buffers, true);
            let rows = 7;
            let (x, cotangent) = (random(2, rows * inputs), random(3, rows * outputs));
            // u and v are constants of the derivative: normalise without training leaves them alone.
            let loss = |w: &Weights<f64>, x: &[f64]| {
                let normed = linear.normalise(&w.params, &mut buffers.clone(), false);
                let mut y = vec![0.0; rows * outputs];
                linear.forward(w, &normed, x, &mut y);
                dot(&y, &cotangent)
            };
            let normed = linear.normalise(&w.params, &mut buffers.clone(), false);
            let (mut grads, mut dx) = (Gradients::new(&layout), vec![f64::NAN; x.len()]);
            linear.gradient(&w, &normed, &cotangent, &x, &mut Buffer::default(), &mut grads);
            linear.backward(&w, &normed, &cotangent, &mut dx);
            let case = format!("spectral {inputs} -> {outputs}, {}", isa.name());
            check_params(&case, &layout, &w, "l", &grads, |w| loss(w, &x));
            check_input(&case, &x, &dx, |x| loss(&w, x));
        }
    }
}

/// Forward, and forward together with its tangent: the second derivative of the gradient penalty.
#[test]
fn layer_norm() {
    for isa in Isa::available() {
        for (width, rows) in SIZES.iter().flat_map(|&w| [1, 7].map(|r| (w, r))) {
            let mut layout = Layout::default();
            let norm = LayerNorm::new(&mut layout, "n", width);
            let (w, _) = weights(isa, &layout, 1);
            let n = rows * width;
            let (x, tx) = (random(2, n), random(3, n));
            let (cy, cty) = (random(4, n), random(5, n));
            let run = |w: &Weights<f64>, x: &[f64], tx: &[f64]| {
                let (mut y, mut ty) = (x.to_vec(), tx.to_vec());
                let (mut trace, mut change) = (NormTrace::default(), Buffer::default());
                norm.forward(w, &mut y, &mut trace);
                norm.tangent(w, &mut ty, trace.all(), &mut change);
                (y, ty, trace, change)
            };
            let first = |w: &Weights<f64>, x: &[f64]| dot(&run(w, x, &tx).0, &cy);
            let both = |w: &Weights<f64>, x: &[f64], tx: &[f64]| {
                let (y, ty, ..) = run(w, x, tx);
                dot(&y, &cy) + dot(&ty, &cty)
            };
            let (_, _, trace, change) = run(&w, &x, &tx);
            let case = format!("norm {rows} x {width}, {}", isa.name());
            let (mut grads, mut dx) = (Gradients::new(&layout), cy.clone());
            norm.gradient(isa, &dx, trace.all(), &mut grads);
            norm.backward(&w, &mut dx, trace.all());
            check_params(&case, &layout, &w, "n", &grads, |w| first(w, &x));
            check_input(&case, &x, &dx, |x| first(&w, x));
            let (mut grads, mut dx, mut dtx) = (Gradients::new(&layout), cy.clone(), cty.clone());
            norm.tangent_backward(&w, &mut dx, &mut dtx, &tx, trace.all(), &change, &mut grads);
            let case = format!("{case}, with tangent");
            check_params(&case, &layout, &w, "n", &grads, |w| both(w, &x, &tx));
            check_input(&case, &x, &dx, |x| both(&w, x, &tx));
            check_input(&case, &tx, &dtx, |tx| both(&w, &x, tx));
        }
    }
}

#[test]
fn lstm() {
    // inputs, constant inputs, hidden, layers, rows
    let cases =
        [(1, 0, 1, 1, 1), (3, 0, 7, 2, 3), (7, 3, 3, 3, 7), (33, 1, 7, 1, 3), (3, 33, 33, 2, 33), (1, 7, 1, 3, 33)];
    for isa in Isa::available() {
        for (k, (inputs, constants, hidden, layers, rows)) in cases.into_iter().enumerate() {
            for p in [0.0, 0.3] {
                let mut layout = Layout::default();
                let lstm = Lstm::new(&mut layout, "l", inputs, constants, hidden, layers, p);
                let (w, _) = weights(isa, &layout, 1);
                let steps = random_steps(k as u64, rows, 5);
                let dropout = Dropout { seed: 5, step: 3, first_row: 16, batch_rows: 64 };
                let dropout = (p > 0.0).then_some((&dropout, 40));
                let (x, constant) = (random(2, steps.total() * inputs), random(3, rows * constants));
                let cotangent = random(4, steps.total() * hidden);
                let loss = |w: &Weights<f64>, x: &[f64], constant: &[f64]| {
                    let mut trace = LstmTrace::default();
                    lstm.forward(w, &steps, x, constant, dropout, &mut trace);
                    dot(trace.output(), &cotangent)
                };
                let mut trace = LstmTrace::default();
                lstm.forward(&w, &steps, &x, &constant, dropout, &mut trace);
                let (mut grads, mut dx, mut dconstant) =
                    (Gradients::new(&layout), Buffer::default(), Buffer::default());
                let into = (&mut dx, &mut dconstant);
                let dropped = dropout.is_some();
                lstm.backward(
                    &w,
                    &steps,
                    &x,
                    &constant,
                    dropped,
                    &cotangent,
                    &mut trace,
                    Some(into.0),
                    Some(into.1),
                    &mut grads,
                );
                let case = format!(
                    "lstm {inputs}+{constants} -> {hidden} x {layers}, {rows} rows, dropout {p}, {}",
                    isa.name()
                );
                check_params(&case, &layout, &w, "l", &grads, |w| loss(w, &x, &constant));
                check_input(&case, &x, &dx, |x| loss(&w, x, &constant));
                if constants > 0 {
                    check_input(&case, &constant, &dconstant, |constant| loss(&w, &x, constant));
                }
            }
        }
    }
}
