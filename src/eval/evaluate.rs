//! The whole evaluation: generated against held-out, and the same for real against real.

use super::compare::{COMPARED, Comparison, compare, features};
use super::fitts::fitts;
use super::floor::{halves, pick};
use super::kinematics::{FORMULAS, NAMES};
use super::memorisation::memorisation;
use super::networks::Judge;
use super::obedience::{Asked, median_end_error, obedience};
use super::pictures::Pictures;
use super::report::{FeatureRow, Rating, Report, Scale, Score, Sizes};
use super::resample::Grid;
use super::seed_scores::{FLOORS, seed_scores};
use super::sequences::Sequences;
use super::stats::{Interval, mean, median, quantile, sorted};
use super::{cross::TwoSample, steps};
use crate::backend::cpu::thread_count;
use crate::data::{Movement, Point};
use crate::error::{Error, Result, afford};
use crate::order;
use crate::rng::{Rng, Stream};

/// Fewest movements on a side: below, five folds and five neighbours say nothing.
pub const FEWEST: usize = 20;

/// What is judged. `train` is what the model learnt from; it may be empty, then nothing is said about memorisation.
#[derive(Clone, Copy, Default)]
pub struct Inputs<'a> {
    pub train: &'a [Movement],
    /// Real movements that the model has not seen.
    pub held_out: &'a [Movement],
    pub generated: &'a [Movement],
    /// What each generated movement was asked to be.
    pub asked: Option<&'a [Asked]>,
    /// Whether the model has learnt from mirror images too, whose copies are copies.
    pub mirrored: bool,
    /// Scaled features for the seed's scores and the judges.
    pub features: Option<FeatureSets<'a>>,
    /// Summaries for the latent scores.
    pub summaries: Option<SummarySets<'a>>,
}

impl Inputs<'_> {
    /// More than copies of it take: points for measuring and on a grid, features as halves, cut, and as f64; and a judge a thread.
    fn bytes(&self, threads: usize) -> usize {
        let points = |side: &[Movement]| side.iter().map(|m| m.points.len()).sum::<usize>();
        let values = self.features.map_or(0, |sets| sets.real.values.len() + sets.generated.values.len());
        // What memorisation sees of a training movement.
        let shapes = 600 * self.train.len();
        let judge = |x: Sequences| Judge::bytes(x.features, x.lengths.iter().copied().max().unwrap_or(0));
        let judge = self.features.map_or(0, |sets| judge(sets.real).max(judge(sets.generated)));
        let judges = thread_count(threads) * judge;
        8 * size_of::<Point>() * (points(self.held_out) + points(self.generated)) + 32 * values + shapes + judges
    }
}

/// Scaled features: row i of `real` is held-out movement i, or any real rows if there are more or fewer.
#[derive(Clone, Copy)]
pub struct FeatureSets<'a> {
    pub real: Sequences<'a>,
    pub generated: Sequences<'a>,
}

/// Summaries, (n,S) each.
#[derive(Clone, Copy)]
pub struct SummarySets<'a> {
    pub real: &'a [f32],
    pub generated: &'a [f32],
    /// S
    pub width: usize,
}

/// How hard to look. The result does not depend on `threads`; 0 means all.
#[derive(Clone, Copy, Debug, Default)]
pub struct EvalOptions {
    pub seed: u64,
    pub threads: usize,
    /// Fewer movements, permutations and runs: half a minute for 500 movements on two cores.
    pub quick: bool,
}

impl EvalOptions {
    pub(super) fn permutations(&self) -> usize {
        if self.quick { 199 } else { 999 }
    }

    /// Most movements on either side of a comparison.
    pub(super) fn limit(&self) -> usize {
        if self.quick { 500 } else { 2000 }
    }

    /// Rows on either side of the seed's comparisons, which have a half of the real rows.
    pub(super) fn half_rows(&self, half: usize, generated: usize) -> usize {
        half.min(generated).min(self.limit() / 2)
    }

    fn floor_rounds(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }
}

/// Two real sides of one size.
type Round<'a> = (Vec<&'a Movement>, Vec<&'a Movement>);

/// Judges generated movements; features alone where there are no movements. Errors: fewer than [`FEWEST`] held-out or
/// generated movements, arrays that do not fit each other, no memory.
pub fn evaluate(inputs: &Inputs, options: &EvalOptions) -> Result<Report> {
    afford(inputs.bytes(options.threads), "an evaluation")?;
    let mut rng = Rng::new(options.seed, Stream::Evaluation, steps::PICK + 1);
    let mut report = match inputs.features {
        Some(sets) if inputs.held_out.is_empty() && inputs.generated.is_empty() => Report {
            sizes: Sizes {
                held_out: sets.real.lengths.len(),
                generated: sets.generated.lengths.len(),
                compared: options.half_rows(sets.real.lengths.len() / 2, sets.generated.lengths.len()),
                floor_rounds: FLOORS as usize,
                ..Sizes::default()
            },
            ..Report::default()
        },
        _ => movement_report(inputs, options, &mut rng)?,
    };
    let (scores, judges) = seed_scores(inputs, options, &mut rng)?;
    report.scores.extend(scores);
    Ok(Report { version: env!("CARGO_PKG_VERSION"), seed: options.seed, quick: options.quick, judges, ..report })
}

/// What is said of movements in pixels.
fn movement_report(inputs: &Inputs, options: &EvalOptions, rng: &mut Rng) -> Result<Report> {
    for (name, side) in [("held_out", inputs.held_out), ("generated", inputs.generated)] {
        if side.len() < FEWEST {
            return Err(Error::argument(format!("{name}.len()"), side.len(), format!("{FEWEST} or more")));
        }
    }
    if let Some(asked) = inputs.asked.filter(|a| a.len() != inputs.generated.len()) {
        let expected = format!("{}, one for each generated movement", inputs.generated.len());
        return Err(Error::argument("asked.len()", asked.len(), expected));
    }
    let real = pick(inputs.held_out.iter().collect(), usize::MAX, rng);
    let made = pick(inputs.generated.iter().collect(), usize::MAX, rng);
    let rounds = floor_rounds(inputs, options, rng);
    let smallest = rounds.iter().map(|r| r.0.len()).fold(real.len().min(made.len()), usize::min);
    let count = smallest.min(options.limit());
    let (x, y) = (&real[..count], &made[..count]);
    let grid = Grid::common(x, y);
    let judged = compare(x, y, grid, options)?;
    let floors: Vec<Comparison> =
        rounds.iter().map(|(a, b)| compare(&a[..count], &b[..count], grid, options)).collect::<Result<_>>()?;
    let train: Vec<&Movement> = inputs.train.iter().collect();
    let all_made: Vec<&Movement> = inputs.generated.iter().collect();
    let (obedience, median_end_error_px) =
        inputs.asked.map_or((Vec::new(), None), |a| (obedience(a, &all_made), median_end_error(a, &all_made)));
    Ok(Report {
        sizes: Sizes {
            train: inputs.train.len(),
            held_out: inputs.held_out.len(),
            generated: inputs.generated.len(),
            compared: count,
            floor_rounds: floors.len(),
            sessions: sessions(inputs, &rounds),
        },
        scores: movement_scores(&judged, &floors, count),
        features: feature_rows(x, y, &judged, &floors, options),
        resampled_importance: resampled_importance(&judged),
        grid: Some(grid),
        fitts_real: Some(fitts(&real)),
        fitts_generated: Some(fitts(&all_made)),
        memorisation: Some(memorisation(&train, inputs.mirrored, &real, &made, options)),
        obedience,
        median_end_error_px,
        pictures: Some(Pictures::new(x, y, options.threads)),
        ..Report::default()
    })
}

/// How many sessions there are, if each is in one half of the floor alone; else 0.
fn sessions(inputs: &Inputs, rounds: &[Round]) -> usize {
    let shared = |(a, b): &Round| {
        let (a, b) = (distinct(a.iter().copied()), distinct(b.iter().copied()));
        a.iter().any(|session| b.contains(session))
    };
    if rounds.iter().any(shared) {
        return 0;
    }
    distinct(inputs.train.iter().chain(inputs.held_out)).into_iter().flatten().count()
}

/// Users and sessions, each once; None for those that are not known.
fn distinct<'a>(movements: impl Iterator<Item = &'a Movement>) -> Vec<Option<(&'a Option<String>, &'a String)>> {
    let known: Vec<_> = movements.map(|m| m.session.as_ref().map(|session| (&m.user, session))).collect();
    let mut all = order::sorted(&known, Ord::cmp);
    all.dedup();
    all
}

/// Held-out against training, where there is enough of it, then halves of all that is real. Each side in random order.
fn floor_rounds<'a>(inputs: &Inputs<'a>, options: &EvalOptions, rng: &mut Rng) -> Vec<Round<'a>> {
    let all: Vec<&Movement> = inputs.train.iter().chain(inputs.held_out).collect();
    let mut rounds = Vec::new();
    if inputs.train.len() >= inputs.held_out.len() {
        let held_out = pick(inputs.held_out.iter().collect(), usize::MAX, rng);
        rounds.push((held_out, pick(inputs.train.iter().collect(), inputs.held_out.len(), rng)));
    }
    for round in 0..options.floor_rounds() {
        let (a, b) = halves(&all, options.seed, round as u64);
        let side = |half: Vec<usize>, rng: &mut Rng| {
            let half = half.into_iter().map(|i| all[i]).collect::<Vec<_>>();
            pick(half, usize::MAX, rng)
        };
        let pair = (side(a, rng), side(b, rng));
        // One session per user and few movements: no half that says anything.
        if pair.0.len() >= FEWEST / 2 {
            rounds.push(pair);
        }
    }
    rounds
}

/// One rated score. `resolution` as in [`Rating::of`].
pub(super) fn score(
    name: &'static str,
    meaning: &'static str,
    (value, scale, resolution): (f64, Scale, f64),
    interval: Option<Interval>,
    floors: Vec<f64>,
) -> Score {
    let rating = Rating::of(value, scale, &floors, resolution);
    Score { name, meaning, value, interval, p: None, p_floor: None, ideal: scale.ideal(), floors, rating }
}

/// Of comparisons of so many movements a side.
fn movement_scores(judged: &Comparison, floors: &[Comparison], count: usize) -> Vec<Score> {
    let over = |f: &dyn Fn(&Comparison) -> f64| floors.iter().map(f).collect::<Vec<f64>>();
    let fine = |name, meaning, scale: Scale, resolution, f: &dyn Fn(&Comparison) -> f64| {
        score(name, meaning, (f(judged), scale, f64::max(0.01, resolution)), None, over(f))
    };
    let rated = |name, meaning, scale, f: &dyn Fn(&Comparison) -> f64| fine(name, meaning, scale, 0.0, f);
    // Shares cannot be told more finely than by one of those that they are shares of.
    let (row, feature) = (1.0 / count as f64, 1.0 / COMPARED as f64);
    let (none, no_share, all) = (Scale::Plain(0.0), Scale::Share(0.0), Scale::Share(1.0));
    let area = |name, meaning, f: &dyn Fn(&Comparison) -> Option<&TwoSample>| {
        let auc = f(judged)?.auc;
        let floors = floors.iter().filter_map(|c| Some(f(c)?.auc.value)).collect();
        Some(score(name, meaning, (auc.value, Scale::Odds(0.5), (auc.high - auc.low) / 2.0), Some(auc), floors))
    };
    let areas = [
        area("forest_auc", "random forest on kinematics, as recorded (0.5 cannot tell)", &|c| Some(&c.recorded[0])),
        area("boost_auc", "boosted trees on kinematics, as recorded", &|c| Some(&c.recorded[1])),
        area("forest_auc_resampled", "random forest, both sides on one grid", &|c| Some(&c.resampled.as_ref()?[0])),
        area("boost_auc_resampled", "boosted trees, both sides on one grid", &|c| Some(&c.resampled.as_ref()?[1])),
    ];
    let mut scores: Vec<Score> = areas.into_iter().flatten().collect();
    let differing = |c: &Comparison| c.ks.iter().filter(|(_, p)| *p < 0.01).count() as f64 / COMPARED as f64;
    scores.extend([
        rated("kinematic_w1", "mean Wasserstein-1 over features, real interquartile ranges", none, &|c| {
            mean(&c.wasserstein)
        }),
        rated("kinematic_ks", "mean Kolmogorov-Smirnov statistic over features", no_share, &|c| {
            mean(&c.ks.iter().map(|k| k.0).collect::<Vec<_>>())
        }),
        fine("features_differing", "share of features with KS p < 0.01", no_share, feature, &differing),
        rated("kinematic_mmd", "the seed's MMD on standardised kinematics", none, &|c| c.mmd),
        Score {
            p: Some(judged.mmd_test.p),
            p_floor: Some(median(&over(&|c| c.mmd_test.p))),
            ..rated("kinematic_mmd2_unbiased", "unbiased squared MMD of the same, p by permutation", none, &|c| {
                c.mmd_test.squared
            })
        },
        fine("precision", "generated movements among real ones (k-NN, k = 5)", all, row, &|c| c.neighbours.precision),
        fine("recall", "real movements among generated ones", all, row, &|c| c.neighbours.recall),
        rated("density", "real neighbourhoods around a generated movement", Scale::Ratio(1.0), &|c| {
            c.neighbours.density
        }),
        fine("coverage", "real neighbourhoods with a generated movement", all, row, &|c| c.neighbours.coverage),
    ]);
    scores
}

fn resampled_importance(judged: &Comparison) -> Vec<(&'static str, f64)> {
    let Some([forest, _]) = &judged.resampled else { return Vec::new() };
    let named: Vec<_> = NAMES.iter().copied().zip(forest.importance.iter().copied()).collect();
    order::sorted(&named, |a, b| b.1.total_cmp(&a.1))
}

fn feature_rows(
    x: &[&Movement],
    y: &[&Movement],
    judged: &Comparison,
    floors: &[Comparison],
    options: &EvalOptions,
) -> Vec<FeatureRow> {
    let (x, y) = (features(x, options.threads), features(y, options.threads));
    let row = |k: usize| {
        let column = |side: &[[f64; super::kinematics::COUNT]]| side.iter().map(|r| r[k]).collect::<Vec<f64>>();
        let five = |v: &[f64]| [0.05, 0.25, 0.5, 0.75, 0.95].map(|q| quantile(&sorted(v), q));
        let over = |f: &dyn Fn(&Comparison) -> f64| floors.iter().map(f).collect::<Vec<f64>>();
        FeatureRow {
            name: NAMES[k],
            formula: FORMULAS[k],
            wasserstein: judged.wasserstein[k],
            wasserstein_floor: mean(&over(&|c| c.wasserstein[k])),
            ks: judged.ks[k].0,
            ks_p: judged.ks[k].1,
            ks_floor: mean(&over(&|c| c.ks[k].0)),
            ks_p_floor: median(&over(&|c| c.ks[k].1)),
            real: five(&column(&x)),
            generated: five(&column(&y)),
            importance: judged.recorded[0].importance[k],
        }
    };
    let rows: Vec<FeatureRow> = (0..COMPARED).map(row).collect();
    order::sorted(&rows, |a, b| beyond(b).total_cmp(&beyond(a)))
}

/// How far a feature is beyond its floor. KS decides: it has one scale for all, whatever their tails.
fn beyond(row: &FeatureRow) -> f64 {
    row.ks - row.ks_floor
}
