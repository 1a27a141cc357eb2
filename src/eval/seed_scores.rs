//! The seed's scores over scaled features and summaries, with their floor.

use super::evaluate::{EvalOptions, FEWEST, FeatureSets, Inputs, SummarySets, score};
use super::floor::{halves, pick};
use super::judges::{Judges, Pair, judges};
use super::kernel::Rows;
use super::neighbours::{Neighbours, prdc};
use super::report::{Scale, Score};
use super::sequences::{
    DistributionMetrics, LatentMetrics, OwnedSequences, distribution_metrics, equal_lengths, latent_metrics,
};
use crate::error::{Error, Result, all_finite};
use crate::rng::Rng;

/// Neighbours that make a ball.
const NEIGHBOURS: usize = 5;

/// How often real rows are halved for the floors of what is cheap: of a single difference another of the same size is often a small
/// part.
pub(super) const FLOORS: u64 = 5;

/// Scores of what `inputs` has. The floors are of halves of the real rows, and the judged comparison has as many rows: the
/// seed's MMD is biased by an amount that depends on their number.
pub(super) fn seed_scores(
    inputs: &Inputs,
    options: &EvalOptions,
    rng: &mut Rng,
) -> Result<(Vec<Score>, Option<Judges>)> {
    let (mut scores, mut judged) = (Vec::new(), None);
    if let Some(sets) = inputs.features {
        let pairs = Pairs::new(inputs, sets, options, rng)?;
        scores.extend(pairs.scores(options)?);
        let judges = pairs.judges(options);
        scores.extend(judges.scores());
        judged = Some(judges);
    }
    if let Some(sets) = inputs.summaries {
        scores.extend(latent_scores(inputs, sets, options, rng)?);
    }
    Ok((scores, judged))
}

/// Halves of real rows: as the movements' where row i is held-out movement i and both have enough, else at random.
fn real_halves(inputs: &Inputs, count: usize, options: &EvalOptions, round: u64, rng: &mut Rng) -> [Vec<usize>; 2] {
    if count == inputs.held_out.len() {
        let by_session = halves(&inputs.held_out.iter().collect::<Vec<_>>(), options.seed, round);
        if by_session.0.len() >= FEWEST / 2 {
            // They come user by user; the first of them must not be one user's.
            return [pick(by_session.0, count, rng), pick(by_session.1, count, rng)];
        }
    }
    let order = rng.permutation(count);
    [order[..count / 2].to_vec(), order[count / 2..count / 2 * 2].to_vec()]
}

/// (real, generated), and halves of the real rows, all of one size, each pair of equal lengths.
struct Pairs {
    judged: Pair,
    floors: Vec<Pair>,
}

impl Pairs {
    fn new(inputs: &Inputs, sets: FeatureSets, options: &EvalOptions, rng: &mut Rng) -> Result<Pairs> {
        sets.real.check("features.real")?;
        sets.generated.check("features.generated")?;
        if sets.real.features != sets.generated.features {
            let expected = format!("{} as features.real", sets.real.features);
            return Err(Error::argument("features.generated.features", sets.generated.features, expected));
        }
        let rounds: Vec<_> =
            (0..FLOORS).map(|round| real_halves(inputs, sets.real.lengths.len(), options, round, rng)).collect();
        let smallest = rounds.iter().map(|[a, _]| a.len()).fold(usize::MAX, usize::min);
        let limit = options.half_rows(smallest, sets.generated.lengths.len());
        if limit < FEWEST / 2 {
            let expected = format!("{FEWEST} or more real rows and {} or more generated", FEWEST / 2);
            return Err(Error::argument("features.lengths.len()", limit, expected));
        }
        let side = |rows: &[usize]| {
            let whole: Vec<_> = rows.iter().map(|&i| (i, sets.real.lengths[i])).collect();
            OwnedSequences::cut(sets.real, &whole)
        };
        let floor = |[a, b]: &[Vec<usize>; 2]| equal_lengths(side(a).view(), side(b).view(), limit);
        let judged = equal_lengths(sets.real, sets.generated, limit);
        Ok(Pairs { judged, floors: rounds.iter().map(floor).collect() })
    }

    fn scores(&self, options: &EvalOptions) -> Result<Vec<Score>> {
        let apart = |pair: &Pair| distribution_metrics(pair.0.view(), pair.1.view(), options.threads);
        let (got, floors) = (apart(&self.judged)?, self.floors.iter().map(apart).collect::<Result<Vec<_>>>()?);
        let one = |name, meaning, of: &dyn Fn(&DistributionMetrics) -> f64| {
            score(name, meaning, (of(&got), Scale::Plain(0.0), 1e-3), None, floors.iter().map(of).collect())
        };
        Ok(vec![
            one("mmd", "the seed's MMD of whole movements, equal lengths", &|m| m.mmd),
            one("mean_diff", "difference of feature means", &|m| m.mean_diff),
            one("std_diff", "difference of feature deviations", &|m| m.std_diff),
            one("temporal_diff", "difference of step-to-step change", &|m| m.temporal_diff),
        ])
    }

    fn judges(&self, options: &EvalOptions) -> Judges {
        let some = |pair: &Pair| equal_lengths(pair.0.view(), pair.1.view(), options.judge_rows());
        judges(&some(&self.judged), &self.floors.iter().map(some).collect::<Vec<_>>(), options)
    }
}

fn latent_scores(inputs: &Inputs, sets: SummarySets, options: &EvalOptions, rng: &mut Rng) -> Result<Vec<Score>> {
    let width = sets.width;
    for (name, values) in [("summaries.real", sets.real), ("summaries.generated", sets.generated)] {
        if width == 0 || values.is_empty() || values.len() % width != 0 {
            return Err(Error::argument(name, values.len(), format!("rows of {width} numbers")));
        }
        all_finite(name, values)?;
    }
    let rounds: Vec<_> =
        (0..FLOORS).map(|round| real_halves(inputs, sets.real.len() / width, options, round, rng)).collect();
    let smallest = rounds.iter().map(|[a, _]| a.len()).fold(usize::MAX, usize::min);
    let (real, made) = (rng.permutation(sets.real.len() / width), rng.permutation(sets.generated.len() / width));
    let count = options.half_rows(smallest, made.len());
    if count <= NEIGHBOURS {
        let expected = format!("{} or more of real ones and {} of generated ones", 2 * NEIGHBOURS + 2, NEIGHBOURS + 1);
        return Err(Error::argument("rows of summaries", format!("{} and {}", real.len(), made.len()), expected));
    }
    let rows = |x: &[f32], rows: &[usize]| -> Vec<f32> {
        rows[..count].iter().flat_map(|&i| x[i * width..(i + 1) * width].iter().copied()).collect()
    };
    let apart = |x: Vec<f32>, y: Vec<f32>| {
        let metrics = latent_metrics(&x, &y, width, options.threads)?;
        let [x, y] = [x, y].map(|side| side.into_iter().map(f64::from).collect::<Vec<f64>>());
        let near = prdc(Rows { values: &x, width }, Rows { values: &y, width }, NEIGHBOURS, options.threads);
        Result::Ok((metrics, near))
    };
    let judged = apart(rows(sets.real, &real), rows(sets.generated, &made))?;
    let floors = rounds.iter().map(|[a, b]| apart(rows(sets.real, a), rows(sets.real, b)));
    let floors = floors.collect::<Result<Vec<_>>>()?;
    let one = |name, meaning, scale, resolution, of: &dyn Fn(&(LatentMetrics, Neighbours)) -> f64| {
        score(name, meaning, (of(&judged), scale, resolution), None, floors.iter().map(of).collect())
    };
    // Shares of rows cannot be told more finely than by one of them.
    let (fine, row) = (1e-3, 1.0 / count as f64);
    let (zero, all) = (Scale::Plain(0.0), Scale::Share(1.0));
    Ok(vec![
        one("latent_mmd", "the seed's MMD of summaries", zero, fine, &|(m, _)| m.latent_mmd),
        one("latent_mean_diff", "difference of summary means", zero, fine, &|(m, _)| m.latent_mean_diff),
        one("latent_std_diff", "difference of summary deviations", zero, fine, &|(m, _)| m.latent_std_diff),
        one("range_overlap", "the seed's latent coverage", all, fine, &|(m, _)| m.range_overlap),
        one("latent_precision", "k-NN precision of summaries", all, row, &|(_, n)| n.precision),
        one("latent_recall", "k-NN recall of summaries", all, row, &|(_, n)| n.recall),
        one("latent_density", "k-NN density of summaries", Scale::Ratio(1.0), fine, &|(_, n)| n.density),
        one("latent_coverage", "k-NN coverage of summaries", all, row, &|(_, n)| n.coverage),
    ])
}
