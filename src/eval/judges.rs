//! The seed's discriminative and predictive scores: can an LSTM tell generated from real, and does what it learns from
//! one hold for the other? Equal lengths on both sides, several runs, beside the same for two halves of the real rows.
//!
//! J. Yoon et al., "Time-series generative adversarial networks", NeurIPS 2019, with the seed's networks.

use super::evaluate::{EvalOptions, score};
use super::networks::{Judge, Task};
use super::report::{Scale, Score};
use super::sequences::{OwnedSequences, Sequences};
use super::stats::{Interval, mean, mean_interval};
use super::{parallel, steps};
use crate::rng::{Rng, Stream};

const EPOCHS: usize = 20;

/// Share of the rows that the judges do not train on.
const TEST: f64 = 0.2;

/// Two sets that are told apart, or not.
pub(super) type Pair = (OwnedSequences, OwnedSequences);

/// One number of several runs.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Runs {
    pub values: Vec<f64>,
    /// Mean and its 95 % interval (Student's t).
    pub mean: Interval,
}

impl Runs {
    /// The numbers lie in 0..=most, and so does the interval.
    fn new(values: Vec<f64>, most: f64) -> Runs {
        let (value, half) = (mean(&values), mean_interval(&values));
        Runs { mean: Interval { value, low: (value - half).max(0.0), high: (value + half).min(most) }, values }
    }
}

/// What the judges say of one pair of sets.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Verdict {
    /// Accuracy of real against other on held-out rows, chance 0.5. A row that is held out may have been generated for the target of
    /// one that is not, or the other way round, which speaks for the wrong side: few are both among the judged.
    pub accuracy: Runs,
    /// |accuracy - 0.5| of each run: TimeGAN's form.
    pub discriminative: Runs,
    /// |error on other - error on real| / error on real, squared errors of a predictor that real rows taught.
    pub predictive_ratio: Runs,
    /// Mean absolute error on real rows of a predictor that the other side taught: TimeGAN's form.
    pub other_teaches: Runs,
    /// The same of a predictor that real rows taught: the best to hope for.
    pub real_teaches: Runs,
}

/// Judges of generated against real, and of real against real.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Judges {
    /// Rows on either side.
    pub rows: usize,
    pub epochs: usize,
    pub verdict: Verdict,
    pub floor: Verdict,
}

impl EvalOptions {
    pub(super) fn judge_runs(&self) -> usize {
        if self.quick { 3 } else { 10 }
    }

    /// Most rows on either side.
    pub(super) fn judge_rows(&self) -> usize {
        if self.quick { 100 } else { 250 }
    }
}

/// (real, generated) and halves of the real rows, each pair of equal lengths and all of one size. Each run has the next of the halves:
/// what one of them happens to differ in, a judge learns in every run.
pub(super) fn judges(pair: &Pair, halves: &[Pair], options: &EvalOptions) -> Judges {
    let runs = options.judge_runs();
    // Three trainings a run and pair, each on its own: any thread may take any of them.
    let results = parallel::map(2 * runs * 3, options.threads, |job| {
        let run = job / 3 % runs;
        let (x, y) = if job < 3 * runs { pair } else { &halves[run % halves.len()] };
        one(x.view(), y.view(), job % 3, run, options.seed)
    });
    let verdict = |which: usize| {
        let of = |job: usize, most: f64, value: &dyn Fn(&[f64; 2]) -> f64| {
            Runs::new((0..runs).map(|run| value(&results[(which * runs + run) * 3 + job])).collect(), most)
        };
        Verdict {
            accuracy: of(0, 1.0, &|r| r[0]),
            discriminative: of(0, 0.5, &|r| (r[0] - 0.5).abs()),
            predictive_ratio: of(1, f64::MAX, &|r| r[1]),
            real_teaches: of(1, f64::MAX, &|r| r[0]),
            other_teaches: of(2, f64::MAX, &|r| r[0]),
        }
    };
    Judges { rows: pair.0.lengths.len(), epochs: EPOCHS, verdict: verdict(0), floor: verdict(1) }
}

/// Job 0: [accuracy, -]. Job 1, a predictor that x taught: [error on x, ratio]. Job 2, one that y taught: [error on x, -].
fn one(x: Sequences, y: Sequences, job: usize, run: usize, seed: u64) -> [f64; 2] {
    // Both predictors of a run have the same rows and first weights: it is their difference that is judged.
    let mut rng = Rng::new(seed, Stream::Evaluation, steps::JUDGE + (1 << 16) + (run * 3 + job.min(1)) as u64);
    let own_seed = u64::from(rng.word()) << 32 | u64::from(rng.word());
    let split = |count: usize, rng: &mut Rng| {
        let mut order = rng.permutation(count);
        let train = order.split_off((count as f64 * TEST).ceil() as usize);
        (train, order)
    };
    let (train, test) = split(x.lengths.len(), &mut rng);
    if job == 0 {
        let both = join(x, y);
        let count = x.lengths.len();
        let labels: Vec<bool> = (0..both.lengths.len()).map(|i| i < count).collect();
        let (more, other) = split(y.lengths.len(), &mut rng);
        let shifted = |rows: Vec<usize>| rows.into_iter().map(|i| i + count).collect::<Vec<_>>();
        let mut judge = Judge::new(Task::Classify, x.features, own_seed);
        judge.train(both.view(), &labels, &[train, shifted(more)].concat(), EPOCHS);
        let errors = judge.test(both.view(), &labels, &[test, shifted(other)].concat());
        return [errors.correct / errors.count.max(1.0), 0.0];
    }
    let mut judge = Judge::new(Task::Predict, x.features, own_seed);
    let teacher = if job == 1 { x } else { y };
    judge.train(teacher, &[], &train, EPOCHS);
    let (on_x, on_y) = (judge.test(x, &[], &test), judge.test(y, &[], &test));
    let (real, other) = (on_x.square / on_x.count.max(1.0), on_y.square / on_y.count.max(1.0));
    [on_x.absolute / on_x.count.max(1.0), (other - real).abs() / real.max(1e-12)]
}

/// The rows of both, one after the other.
fn join(x: Sequences, y: Sequences) -> OwnedSequences {
    let whole = |s: Sequences, steps: usize| {
        let rows: Vec<_> = s.lengths.iter().copied().enumerate().collect();
        let mut cut = OwnedSequences::cut(s, &rows);
        cut.widen(steps);
        cut
    };
    let steps = x.lengths.iter().chain(y.lengths).copied().max().unwrap_or(0);
    let (mut both, more) = (whole(x, steps), whole(y, steps));
    both.values.extend(more.values);
    both.lengths.extend(more.lengths);
    both
}

impl Judges {
    /// What counts as no difference at all: 0.02 in an accuracy and no less than half its interval, 5 % of a ratio, 2 % of an error.
    pub(super) fn scores(&self) -> Vec<Score> {
        let (v, f) = (&self.verdict, &self.floor);
        let one = |name, meaning, (scale, resolution): (Scale, f64), runs: &Runs, floor: &Runs| {
            let numbers = (runs.mean.value, scale, resolution);
            score(name, meaning, numbers, Some(runs.mean), vec![floor.mean.value])
        };
        let real = v.real_teaches.mean.value;
        let (half, zero, taught) = (Scale::Odds(0.5), Scale::Odds(0.0), Scale::Plain(real));
        let accuracy = v.accuracy.mean;
        let chance = f64::max(0.02, (accuracy.high - accuracy.low) / 2.0);
        let (ratio, mae) = (&v.predictive_ratio, &v.other_teaches);
        vec![
            one("discriminative_accuracy", "LSTM tells generated from real", (half, chance), &v.accuracy, &f.accuracy),
            one("discriminative_score", "|accuracy - 0.5|", (zero, chance), &v.discriminative, &f.discriminative),
            one(
                "predictive_ratio",
                "difference of prediction errors",
                (Scale::Plain(0.0), 0.05),
                ratio,
                &f.predictive_ratio,
            ),
            // Each pair has rows, and so errors, of its own: the floor's is how much worse its other half teaches.
            score(
                "predictive_mae",
                "train on generated, test on real",
                (mae.mean.value, taught, 0.02 * real),
                Some(mae.mean),
                vec![real + f.other_teaches.mean.value - f.real_teaches.mean.value],
            ),
        ]
    }
}
