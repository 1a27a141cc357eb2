//! The two judges: LSTM networks of 2 layers of 64 on the project's own layers.

use super::sequences::Sequences;
use crate::backend::cpu::{Isa, math};
use crate::config::OptimizerKind;
use crate::nn::dropout::{Dropout, dropout_backward};
use crate::nn::lstm::LstmTrace;
use crate::nn::optim::{Moments, Optimizer};
use crate::nn::{Gradients, Layout, Linear, Lstm, Steps, Weights};
use crate::order;
use crate::rng::{Rng, Stream};

const HIDDEN: usize = 64;
const LAYERS: usize = 2;
const DROPOUT: f64 = 0.2;
/// Dropout site of the classifier's head; the layers of the LSTM have those from 0.
const HEAD_SITE: u64 = LAYERS as u64;
const RATE: f64 = 1e-3;
/// Rows of a batch: small, so that 20 epochs over some hundred rows are enough updates to learn from.
const ROWS: usize = 16;

/// What is asked of a network: from whole movements to a label each, or from steps so far to the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Classify,
    Predict,
}

/// A network with its weights.
pub struct Judge {
    task: Task,
    layout: Layout,
    lstm: Lstm,
    /// Classifier: hidden -> hidden / 2 -> 1. Predictor: hidden -> features.
    head: Vec<Linear>,
    weights: Weights<f32>,
    moments: Moments<f32>,
    seed: u64,
    trace: LstmTrace<f32>,
}

/// Some rows, longest first. For the predictor without their last step, which is only a target.
struct Batch {
    steps: Steps,
    /// (N,F)
    x: Vec<f32>,
    /// Classifier (B): 1 or 0. Predictor (N,F): the step after each.
    target: Vec<f32>,
}

/// Sums over a test set, to be divided by `count`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Errors {
    pub absolute: f64,
    pub square: f64,
    /// Labels on the right side of a half.
    pub correct: f64,
    pub count: f64,
}

/// Values between forward and backward of the head.
#[derive(Default)]
struct Head {
    last: Vec<f32>,
    middle: Vec<f32>,
    mask: Vec<f32>,
    out: Vec<f32>,
}

impl Judge {
    /// More than one takes: a batch of rows of so many steps, backwards, and some times its weights.
    pub fn bytes(features: usize, longest: usize) -> usize {
        let layer = 4 * HIDDEN * (2 * HIDDEN + features);
        let step = LAYERS * 9 * HIDDEN + 4 * HIDDEN + 4 * features;
        4 * (ROWS * longest * step + 8 * LAYERS * layer)
    }

    /// Fresh weights, PyTorch's initial values.
    pub fn new(task: Task, features: usize, seed: u64) -> Judge {
        let mut layout = Layout::default();
        let lstm = Lstm::new(&mut layout, "lstm", features, 0, HIDDEN, LAYERS, DROPOUT);
        let head = match task {
            Task::Classify => vec![
                Linear::new(&mut layout, "classifier.0", HIDDEN, HIDDEN / 2),
                Linear::new(&mut layout, "classifier.3", HIDDEN / 2, 1),
            ],
            Task::Predict => vec![Linear::new(&mut layout, "predictor", HIDDEN, features)],
        };
        let weights = Weights::new(Isa::detect(), &layout, layout.initialise(seed).0);
        let (moments, trace) = (Moments::default(), LstmTrace::default());
        Judge { task, layout, lstm, head, weights, moments, seed, trace }
    }

    /// Adam over `epochs` passes through `rows` in batches of 16. labels (n): for the classifier.
    pub fn train(&mut self, x: Sequences, labels: &[bool], rows: &[usize], epochs: usize) {
        let mut order = rows.to_vec();
        let (mut grads, all) = (Gradients::new(&self.layout), 0..self.layout.len());
        let optimizer = Optimizer { kind: OptimizerKind::Adam, beta1: 0.9, beta2: 0.999, weight_decay: 0.0 };
        for epoch in 0..epochs {
            Rng::new(self.seed, Stream::Evaluation, super::steps::JUDGE + epoch as u64).shuffle(&mut order);
            for rows in order.chunks(ROWS) {
                let Some(batch) = self.batch(x, labels, rows) else { continue };
                grads.start(&self.layout, &all);
                self.gradient(&batch, &mut grads);
                grads.finish(&all);
                let isa = self.weights.isa;
                optimizer.step(isa, &mut self.weights.params, &grads, &mut self.moments, RATE, 1.0);
                self.weights.pack(all.clone());
            }
        }
    }

    /// Errors on `rows`, without dropout.
    pub fn test(&mut self, x: Sequences, labels: &[bool], rows: &[usize]) -> Errors {
        let mut errors = Errors::default();
        for rows in rows.chunks(ROWS) {
            let Some(batch) = self.batch(x, labels, rows) else { continue };
            let head = self.forward(&batch, None);
            for (y, target) in head.out.iter().zip(&batch.target) {
                let error = f64::from(*y) - f64::from(*target);
                errors.absolute += error.abs();
                errors.square += error * error;
                errors.correct += f64::from(u8::from((*y >= 0.5) == (*target >= 0.5)));
                errors.count += 1.0;
            }
        }
        errors
    }

    /// None if no row is long enough.
    fn batch(&self, x: Sequences, labels: &[bool], rows: &[usize]) -> Option<Batch> {
        let ahead = usize::from(self.task == Task::Predict);
        let rows: Vec<usize> = rows.iter().copied().filter(|&i| x.lengths[i] > ahead).collect();
        let rows = order::sorted(&rows, |&a, &b| x.lengths[b].cmp(&x.lengths[a]));
        let lengths: Vec<usize> = rows.iter().map(|&i| x.lengths[i] - ahead).collect();
        let steps = (!rows.is_empty()).then(|| Steps::new(&lengths))?;
        let pack = |shift: usize| {
            let place = |t: usize| rows[..steps.running(t)].iter().map(move |&i| (i, t + shift));
            let values = |(i, t)| &x.row(i)[t * x.features..(t + 1) * x.features];
            (0..steps.len()).flat_map(place).flat_map(values).copied().collect::<Vec<f32>>()
        };
        let target = match self.task {
            Task::Classify => rows.iter().map(|&i| f32::from(u8::from(labels[i]))).collect(),
            Task::Predict => pack(1),
        };
        Some(Batch { x: pack(0), target, steps })
    }

    fn forward(&mut self, batch: &Batch, dropout: Option<&Dropout>) -> Head {
        let Judge { lstm, weights: w, trace, head, .. } = self;
        lstm.forward(w, &batch.steps, &batch.x, &[], dropout.map(|d| (d, 0)), trace);
        let mut values = Head { out: vec![0.0; batch.target.len()], ..Head::default() };
        if self.task == Task::Predict {
            head[0].forward(w, trace.output(), &mut values.out);
            return values;
        }
        let rows = batch.steps.rows();
        for (row, length) in batch.steps.lengths().iter().enumerate() {
            let at = batch.steps.at(row, length - 1) * HIDDEN;
            values.last.extend_from_slice(&trace.output()[at..at + HIDDEN]);
        }
        values.middle = vec![0.0; rows * HIDDEN / 2];
        head[0].forward(w, &values.last, &mut values.middle);
        values.middle.iter_mut().for_each(|v| *v = v.max(0.0));
        if let Some(dropout) = dropout {
            let x = values.middle.clone();
            values.mask = vec![0.0; x.len()];
            dropout.apply(w.isa, (HEAD_SITE, DROPOUT), 0, HIDDEN / 2, &x, &mut values.middle, &mut values.mask);
        }
        head[1].forward(w, &values.middle, &mut values.out);
        math::sigmoid(w.isa, &mut values.out);
        values
    }

    /// Adds the gradient of the mean binary cross-entropy, or of the mean squared error.
    fn gradient(&mut self, batch: &Batch, grads: &mut Gradients<f32>) {
        let batch_rows = batch.steps.rows() as u32;
        let dropout = Dropout { seed: self.seed, step: self.moments.steps, first_row: 0, batch_rows };
        let values = self.forward(batch, Some(&dropout));
        let factor = if self.task == Task::Classify { 1.0 } else { 2.0 } / values.out.len() as f32;
        // Of the logit for the classifier: sigmoid and cross-entropy together.
        let dy: Vec<f32> = values.out.iter().zip(&batch.target).map(|(y, target)| factor * (y - target)).collect();
        let Judge { lstm, weights: w, trace, head, .. } = self;
        let mut dh = vec![0.0; batch.steps.total() * HIDDEN];
        if self.task == Task::Predict {
            head[0].gradient(w.isa, &dy, trace.output(), grads);
            head[0].backward(w, &dy, &mut dh);
        } else {
            head[1].gradient(w.isa, &dy, &values.middle, grads);
            let mut dmiddle = vec![0.0; values.middle.len()];
            head[1].backward(w, &dy, &mut dmiddle);
            dropout_backward(w.isa, &values.mask, &mut dmiddle);
            // Dropout keeps zeros, so a positive output is one that the rectifier let through.
            dmiddle.iter_mut().zip(&values.middle).for_each(|(d, y)| *d = if *y > 0.0 { *d } else { 0.0 });
            head[0].gradient(w.isa, &dmiddle, &values.last, grads);
            let mut dlast = vec![0.0; values.last.len()];
            head[0].backward(w, &dmiddle, &mut dlast);
            for (row, length) in batch.steps.lengths().iter().enumerate() {
                let at = batch.steps.at(row, length - 1) * HIDDEN;
                dh[at..at + HIDDEN].copy_from_slice(&dlast[row * HIDDEN..(row + 1) * HIDDEN]);
            }
        }
        lstm.backward(w, &batch.steps, &batch.x, &[], true, &dh, trace, None, None, grads);
    }

    /// Loss whose gradient [`Judge::gradient`] gives, with the same dropout.
    #[cfg(test)]
    fn loss(&mut self, batch: &Batch) -> f64 {
        let batch_rows = batch.steps.rows() as u32;
        let dropout = Dropout { seed: self.seed, step: self.moments.steps, first_row: 0, batch_rows };
        let values = self.forward(batch, Some(&dropout));
        let one = |(y, t): (&f32, &f32)| match (self.task, f64::from(*y), f64::from(*t)) {
            (Task::Classify, y, t) => -(t * y.ln() + (1.0 - t) * (1.0 - y).ln()),
            (Task::Predict, y, t) => (y - t) * (y - t),
        };
        values.out.iter().zip(&batch.target).map(one).sum::<f64>() / values.out.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_match_differences() {
        let (lengths, features, steps) = ([5, 2, 7, 3], 3, 7);
        let values: Vec<f32> = (0..4 * steps * features).map(|i| (i as f32 * 1.3).sin()).collect();
        let x = Sequences { values: &values, lengths: &lengths, steps, features };
        for task in [Task::Classify, Task::Predict] {
            let mut judge = Judge::new(task, features, 4);
            let batch = judge.batch(x, &[true, false, false, true], &[0, 1, 2, 3]).unwrap();
            let mut grads = Gradients::new(&judge.layout);
            judge.gradient(&batch, &mut grads);
            let all = 0..grads.len();
            for i in all.clone().step_by(997).chain([grads.len() - 1]) {
                let here = judge.weights.params[i];
                let mut at = |v: f32| {
                    judge.weights.params[i] = v;
                    judge.weights.pack(all.clone());
                    judge.loss(&batch)
                };
                let slope = (at(here + 1e-2) - at(here - 1e-2)) / 2e-2;
                at(here);
                let got = f64::from(grads[i]);
                assert!((got - slope).abs() < 2e-4 + 0.02 * slope.abs(), "{task:?} {i}: {got} {slope}");
            }
        }
    }
}
