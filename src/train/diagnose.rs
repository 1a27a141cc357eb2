//! What the losses say when training goes wrong: the original's troubleshooting guide as rules, each with the cause and
//! the fix in words. A rule looks at averages over 100 iterations as the history keeps them, and stays silent where it
//! cannot tell: a short or missing history has no diagnosis.

use std::fmt;

use serde::Serialize;

use super::Stage;
use crate::config::{Config, DecoderKind};
use crate::error::Error;
use crate::model::{Model, Record, StageState};

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Stage 1 does not get better, far from its goal.
    Stage1Flat,
    /// Stage 1 learns its recordings by heart: others get worse.
    Overfitting,
    /// The expander copies what the encoder says before the encoder says anything.
    ExpanderAhead,
    /// The Wasserstein distance does not fall: the critic is too strong.
    CriticTooStrong,
    /// The critic tells nothing apart any more and the generator makes one thing.
    ModeCollapse,
    /// The generator's loss rises and rises.
    GeneratorDiverging,
    /// A loss is not finite, or far above what it has been.
    Diverged,
    /// Summaries of all movements are the same, or as good as the same beside the noise on them: the decoder learns without.
    SummaryDead,
    /// Stage 1 has gone on since stage 2 learnt in its latent space.
    LatentSpaceMoved,
    /// Few iterations a second.
    Slow,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    pub trouble: Trouble,
    pub stage: u32,
    /// What was seen, with its numbers.
    pub finding: String,
    pub cause: &'static str,
    /// Settings to change, by name.
    pub fix: String,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Diagnosis, stage {}: {}. Likely cause: {}. Try: {}", self.stage, self.finding, self.cause, self.fix)
    }
}

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    pub config: &'a Config,
    /// Stage 1 and stage 2.
    pub stages: &'a [StageState; 2],
    /// Stage and iterations a second, where known: a model does not know how fast it was trained.
    pub speed: Option<(Stage, f64)>,
}

/// Iterations before which a loss may stand still.
const STAGE1_PATIENCE: u64 = 1000;
/// The expander has won long before that, if it does.
const EXPANDER_PATIENCE: u64 = 300;
const STAGE2_PATIENCE: u64 = 5000;
const COLLAPSE_PATIENCE: u64 = 500;
/// Less than this share of improvement over the second half of the training is none.
const PROGRESS: f64 = 0.05;
/// The original trains 2 to 5 iterations a second on a CPU.
const SLOW: f64 = 2.0;

impl Model {
    /// What is wrong with the training, as far as the losses tell. Nothing, if all is well or it is too early to say.
    pub fn diagnose(&self) -> Vec<Diagnosis> {
        diagnose(&Evidence { config: self.config(), stages: self.stages(), speed: None })
    }
}

/// All rules that apply.
pub fn diagnose(evidence: &Evidence) -> Vec<Diagnosis> {
    let Evidence { config, stages: [first, second], speed } = *evidence;
    let (h1, h2) = (first.history.as_slice(), second.history.as_slice());
    // One trouble has one name: what has exploded stands still or runs away, too.
    let first_stage = match config.decoder {
        DecoderKind::V6 => {
            v6_diverged(h1, config).or_else(|| expander_ahead(h1, config)).or_else(|| stage1_flat(h1, config))
        }
        DecoderKind::ClosedLoop => likelihood_diverged(h1, config).or_else(|| nats_flat(h1, config)),
    };
    let second_stage = [mode_collapse(h2, config), critic_too_strong(h2, config), generator_diverging(h2, config)];
    let not_finite = [(Stage::Autoencoder, h1), (Stage::Gan, h2)].map(|(stage, h)| not_finite(stage, h, config));
    let speed = speed.and_then(|(stage, rate)| slow(stage, rate, evidence));
    let all = second_stage.into_iter().chain(not_finite).chain([
        first_stage,
        overfitting(h1, config),
        dead(first, second, config),
        moved(first, second),
        speed,
    ]);
    all.flatten().collect()
}

/// What an error of [`Model::train`] says about the training: `Diverged` has a diagnosis, other errors have none.
pub fn diagnose_error(error: &Error, config: &Config) -> Option<Diagnosis> {
    let Error::Diverged { stage, iteration, what } = error else { return None };
    let stage = if *stage == 1 { Stage::Autoencoder } else { Stage::Gan };
    Some(exploded(stage, format!("{what} is not finite at iteration {iteration}"), config))
}

/// The latest record, and the one of half as many iterations: what there was between them is the second half.
fn halves(history: &[Record], patience: u64) -> Option<(&Record, &Record)> {
    let now = history.last().filter(|now| now.iteration >= patience)?;
    let half = history.iter().rfind(|record| record.iteration <= now.iteration / 2)?;
    Some((half, now))
}

fn stands_still(before: f64, now: f64) -> bool {
    now > (1.0 - PROGRESS) * before
}

/// Loss k at two records, in words.
fn story(name: &str, k: usize, before: &Record, now: &Record) -> String {
    let (from, to) = (before.losses[k], now.losses[k]);
    format!("{name} is {to:.4} at iteration {} and was {from:.4} at {}", now.iteration, before.iteration)
}

/// A loss of v6 that is no success. A threshold of 0, which is never to stop early, does not say what is good.
fn bad(c: &Config) -> f64 {
    2.0 * if c.stage1_threshold > 0.0 { c.stage1_threshold } else { Config::default().stage1_threshold }
}

/// Stuck where it is bad.
fn stage1_flat(history: &[Record], c: &Config) -> Option<Diagnosis> {
    let (half, now) = halves(history, STAGE1_PATIENCE)?;
    let stuck = now.losses[0] > bad(c) && stands_still(half.losses[0], now.losses[0]);
    stuck.then(|| flat(story("the direct loss", 0, half, now), c))
}

/// A likelihood has no threshold: stuck is what is not much better than guessing all classes alike.
fn nats_flat(history: &[Record], c: &Config) -> Option<Diagnosis> {
    let (half, now) = halves(history, STAGE1_PATIENCE)?;
    let stuck = now.losses[3] > 0.75 * guessing(c) && stands_still(half.losses[3], now.losses[3]);
    stuck.then(|| flat(story("nats a point", 3, half, now), c))
}

/// Nats an event, the least a point can have, of a walker that knows nothing: x and y step, tick, stop.
fn guessing(c: &Config) -> f64 {
    let steps = (2 * c.step_magnitudes - 1) as f64;
    2.0 * steps.ln() + (c.tick_classes as f64).ln() + 2f64.ln()
}

fn flat(finding: String, c: &Config) -> Diagnosis {
    let rate = c.lr_autoencoder;
    let (cause, fix) = if rate < 1e-3 {
        (TOO_LOW, format!("raise lr_autoencoder from {rate} to 0.001"))
    } else if rate < 5e-3 {
        (TOO_LOW, format!("raise lr_autoencoder from {rate} to 0.005; if that does not help, trajgan validate"))
    } else {
        let cause = "the learning rate is high already: it may be too high, or the data is not what it should be";
        (cause, format!("lower lr_autoencoder from {rate} to 0.001; if that does not help, trajgan validate"))
    };
    Diagnosis { trouble: Trouble::Stage1Flat, stage: 1, finding, cause, fix }
}

const TOO_LOW: &str = "the learning rate is too low, or the data is not what it should be";

/// The latent loss all but vanishes while the reconstruction stays bad. v6 only: the other decoder has no expander.
fn expander_ahead(history: &[Record], c: &Config) -> Option<Diagnosis> {
    let (half, now) = halves(history, EXPANDER_PATIENCE)?;
    let [_, recon, latent, _] = now.losses;
    let bad = recon > bad(c) && stands_still(half.losses[1], recon);
    let ahead = latent < 0.02 * recon;
    (bad && ahead).then(|| Diagnosis {
        trouble: Trouble::ExpanderAhead,
        stage: 1,
        finding: format!("the latent loss is only {latent:.4}, yet {}", story("recon", 1, half, now)),
        cause: "the expander learns faster than the encoder and copies what means nothing yet",
        fix: format!(
            "lower lr_autoencoder from {} to {}; raise latent_dim and summary_dim; pool_type = \"hybrid\"",
            c.lr_autoencoder,
            0.5 * c.lr_autoencoder
        ),
    })
}

/// Still half of the largest distance there has been, and no better than half-way.
fn critic_too_strong(history: &[Record], c: &Config) -> Option<Diagnosis> {
    const W: usize = 2;
    /// A distance this small in a space of [-1,1] is an arrival.
    const NEAR: f64 = 0.1;
    let (half, now) = halves(history, STAGE2_PATIENCE)?;
    let highest = history.iter().map(|record| record.losses[W]).fold(0.0, f64::max);
    let w = now.losses[W];
    let stuck = w > NEAR && w > 0.5 * highest && stands_still(half.losses[W], w);
    stuck.then(|| Diagnosis {
        trouble: Trouble::CriticTooStrong,
        stage: 2,
        finding: story("the Wasserstein distance", W, half, now),
        cause: "the critic is too strong for the generator to learn from",
        fix: {
            let fewer = match c.n_critic {
                0 | 1 => String::new(),
                n => format!("lower n_critic from {n} to {}, or ", (n * 3 / 5).max(1)),
            };
            format!("{fewer}raise lr_generator from {} to {}", c.lr_generator, 2.0 * c.lr_generator)
        },
    })
}

/// The critic's loss and the distance are nothing, and the generator's loss is not.
fn mode_collapse(history: &[Record], c: &Config) -> Option<Diagnosis> {
    const NOTHING: f64 = 1e-3;
    let now = history.last().filter(|now| now.iteration >= COLLAPSE_PATIENCE)?;
    let [critic, generator, wasserstein, _] = now.losses;
    let collapsed = critic.abs() < NOTHING && wasserstein.abs() < NOTHING && generator.abs() > 1.0;
    collapsed.then(|| Diagnosis {
        trouble: Trouble::ModeCollapse,
        stage: 2,
        finding: format!(
            "critic {critic:.4} and Wasserstein distance {wasserstein:.4} with a generator loss of {generator:.3} at iteration {}",
            now.iteration
        ),
        cause: "the generator has collapsed and makes the same movement again and again",
        fix: {
            let matching = if c.use_feature_matching { "" } else { ", set use_feature_matching = true" };
            let fewer = if c.n_critic > 1 { ", lower n_critic" } else { "" };
            format!("raise lambda_gp{matching}{fewer}")
        },
    })
}

/// Up at each of the last records, by far, and the distance with it. Alone it means nothing: a critic may add any constant.
fn generator_diverging(history: &[Record], c: &Config) -> Option<Diagnosis> {
    const RISES: usize = 10;
    let tail = &history[history.len().checked_sub(RISES + 1)?..];
    let (first, last) = (tail.first()?, tail.last()?);
    let rises = tail.windows(2).all(|pair| pair[1].losses[1] > pair[0].losses[1]);
    let rise = |k: usize| last.losses[k] - first.losses[k];
    let far = rise(1) > 10.0 && rise(2) > 0.5 * rise(1);
    (rises && far && last.losses.iter().all(|loss| loss.is_finite())).then(|| Diagnosis {
        trouble: Trouble::GeneratorDiverging,
        stage: 2,
        finding: story("the generator's loss", 1, first, last),
        cause: "the generator runs away from the critic",
        fix: {
            let more = if c.n_critic < 10 { ", raise n_critic to 10" } else { "" };
            format!("lower lr_generator from {} to {}{more}", c.lr_generator, 0.5 * c.lr_generator)
        },
    })
}

/// Three times as bad as it has been, and out of reach of the threshold.
fn v6_diverged(history: &[Record], c: &Config) -> Option<Diagnosis> {
    far_above(history, 0, "the direct loss", bad(c), c)
}

/// Worse than guessing after having been much better.
fn likelihood_diverged(history: &[Record], c: &Config) -> Option<Diagnosis> {
    far_above(history, 3, "nats a point", guessing(c), c)
}

fn far_above(history: &[Record], k: usize, name: &str, bad: f64, c: &Config) -> Option<Diagnosis> {
    let now = history.last()?;
    let best = history.iter().min_by(|a, b| a.losses[k].total_cmp(&b.losses[k]))?;
    let far = now.losses[k].is_finite() && now.losses[k] > bad && now.losses[k] > 3.0 * best.losses[k];
    far.then(|| exploded(Stage::Autoencoder, story(name, k, best, now), c))
}

fn not_finite(stage: Stage, history: &[Record], c: &Config) -> Option<Diagnosis> {
    let record = history.iter().find(|record| record.losses.iter().any(|loss| !loss.is_finite()))?;
    Some(exploded(stage, format!("a loss is not finite at iteration {}", record.iteration), c))
}

fn exploded(stage: Stage, finding: String, c: &Config) -> Diagnosis {
    let fix = match stage {
        Stage::Autoencoder => format!(
            "lower lr_autoencoder from {} to {}, lower stage1_grad_clip from {}, look at the data with trajgan validate",
            c.lr_autoencoder,
            0.2 * c.lr_autoencoder,
            c.stage1_grad_clip
        ),
        Stage::Gan => format!(
            "lower lr_generator from {} and lr_discriminator from {}, lower stage2_grad_clip from {}, raise lambda_gp",
            c.lr_generator, c.lr_discriminator, c.stage2_grad_clip
        ),
    };
    Diagnosis { trouble: Trouble::Diverged, stage: stage as u32, finding, cause: "training has exploded", fix }
}

/// Twice, so that it is not the chance of one validation.
fn overfitting(history: &[Record], c: &Config) -> Option<Diagnosis> {
    /// Of the least loss.
    const WORSE: f64 = 1.1;
    let which = if c.decoder == DecoderKind::V6 { 0 } else { 3 };
    let seen: Vec<(u64, f64)> = history.iter().filter_map(|r| Some((r.iteration, r.validation?[which]))).collect();
    let &(best, least) = seen.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let [.., before, (now, loss)] = seen[..] else { return None };
    let (dropout, rate) = match c.decoder {
        DecoderKind::V6 => ("lstm_dropout", c.lstm_dropout),
        DecoderKind::ClosedLoop => ("expander_dropout", c.expander_dropout),
    };
    (before.1.min(loss) > WORSE * least).then(|| Diagnosis {
        trouble: Trouble::Overfitting,
        stage: 1,
        finding: format!("the validation loss is {loss:.4} at iteration {now} and was {least:.4} at {best}"),
        cause: "too few recordings for so many iterations: they are learnt by heart",
        fix: format!(
            "record more; or try {dropout} raised from {rate} and stage1_iterations lowered from {} to {best}, and let \
             trajgan evaluate say which is better",
            c.stage1_iterations
        ),
    })
}

/// Not after few iterations: at first summaries are the same, and most trainings get over it.
fn dead(first: &StageState, second: &StageState, c: &Config) -> Option<Diagnosis> {
    const SPREAD: f64 = 0.01;
    /// Noise that is so many times the spread leaves nothing to read.
    const DROWNED: f64 = 5.0;
    let spread = second.spread.filter(|_| first.iteration >= STAGE1_PATIENCE)?;
    let noise = if c.decoder == DecoderKind::ClosedLoop { c.summary_noise } else { 0.0 };
    let anew =
        format!("lr_autoencoder lowered from {} to {}, or with another seed", c.lr_autoencoder, 0.5 * c.lr_autoencoder);
    let finding = format!("summaries of training movements, in [-1,1], are only {spread:.1e} from each other");
    let (finding, cause, fix) = if spread < SPREAD {
        let cause =
            "the decoder took the summary for a constant before the encoder said anything, and its tanh is saturated";
        (finding, cause, format!("train stage 1 anew with {anew}"))
    } else if spread < noise / DROWNED {
        let finding = format!("{finding}, and the noise on them is {noise}");
        let fix = format!(
            "train stage 1 further, or anew with summary_noise lowered from {noise} to {}, or with {anew}",
            0.5 * noise
        );
        (finding, "the decoder has learnt to do without what noise drowns", fix)
    } else {
        return None;
    };
    Some(Diagnosis { trouble: Trouble::SummaryDead, stage: 1, finding, cause, fix })
}

fn moved(first: &StageState, second: &StageState) -> Option<Diagnosis> {
    let after = second.after.filter(|&after| second.iteration > 0 && after != first.iteration)?;
    Some(Diagnosis {
        trouble: Trouble::LatentSpaceMoved,
        stage: 2,
        finding: format!("stage 1 has done {} iterations, {after} when stage 2 last trained", first.iteration),
        cause: "the generator makes summaries as the encoder made them then",
        fix: format!("train stage 2 further: more than {} for stage2_iterations", second.iteration),
    })
}

fn slow(stage: Stage, rate: f64, evidence: &Evidence) -> Option<Diagnosis> {
    let c = evidence.config;
    let on_gpu = evidence.stages[stage as usize - 1].device.as_ref().is_some_and(|device| device != "cpu");
    let (rows, smaller) = match stage {
        Stage::Gan => (c.stage2_batch(), if c.stage2_batch_size > 0 { "stage2_batch_size" } else { "batch_size" }),
        Stage::Autoencoder => (c.batch_size, "batch_size or max_seq_len"),
    };
    (rate > 0.0 && rate < SLOW).then(|| Diagnosis {
        trouble: Trouble::Slow,
        stage: stage as u32,
        finding: format!("{rate:.2} iterations a second with {rows} movements a batch"),
        cause: if on_gpu { "a device that is busy" } else { "few or busy cores for batches and layers of this size" },
        fix: match on_gpu {
            true => "see what else uses the device, or train on the CPU".into(),
            false => format!("use all cores (threads 0), a smaller {smaller}, or the preset fast"),
        },
    })
}
