//! The seed's scores over scaled features and summaries, with their floor.

use super::evaluate::{EvalOptions, FEWEST, FeatureSets, Inputs, SummarySets, score};
use super::floor::{halves, pick};
use super::judges::{Judges, judges};
use super::kernel::Rows;
use super::neighbours::prdc;
use super::report::{Scale, Score};
use super::sequences::{OwnedSequences, distribution_metrics, equal_lengths, latent_metrics};
use crate::error::{Error, Result, all_finite};
use crate::rng::Rng;

/// Neighbours that make a ball.
const NEIGHBOURS: usize = 5;

/// Scores of what `inputs` has. The floor is two halves of the real rows, and the judged comparison has as many rows: the
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
fn real_halves(inputs: &Inputs, count: usize, options: &EvalOptions, rng: &mut Rng) -> (Vec<usize>, Vec<usize>) {
    if count == inputs.held_out.len() {
        let by_session = halves(&inputs.held_out.iter().collect::<Vec<_>>(), options.seed, 0);
        if by_session.0.len() >= FEWEST / 2 {
            // They come user by user; the first of them must not be one user's.
            return (pick(by_session.0, count, rng), pick(by_session.1, count, rng));
        }
    }
    let order = rng.permutation(count);
    (order[..count / 2].to_vec(), order[count / 2..count / 2 * 2].to_vec())
}

/// (real, generated) and two halves of the real rows, all of one size, each pair of equal lengths.
struct Pairs {
    judged: (OwnedSequences, OwnedSequences),
    floor: (OwnedSequences, OwnedSequences),
}

impl Pairs {
    fn new(inputs: &Inputs, sets: FeatureSets, options: &EvalOptions, rng: &mut Rng) -> Result<Pairs> {
        sets.real.check("features.real")?;
        sets.generated.check("features.generated")?;
        if sets.real.features != sets.generated.features {
            let expected = format!("{} as features.real", sets.real.features);
            return Err(Error::argument("features.generated.features", sets.generated.features, expected));
        }
        let (a, b) = real_halves(inputs, sets.real.lengths.len(), options, rng);
        let limit = options.half_rows(a.len(), sets.generated.lengths.len());
        if limit < FEWEST / 2 {
            let expected = format!("{FEWEST} or more real rows and {} or more generated", FEWEST / 2);
            return Err(Error::argument("features.lengths.len()", limit, expected));
        }
        let side = |rows: &[usize]| {
            let whole: Vec<_> = rows.iter().map(|&i| (i, sets.real.lengths[i])).collect();
            OwnedSequences::cut(sets.real, &whole)
        };
        let (a, b) = (side(&a), side(&b));
        let judged = equal_lengths(sets.real, sets.generated, limit);
        Ok(Pairs { judged, floor: equal_lengths(a.view(), b.view(), limit) })
    }

    fn scores(&self, options: &EvalOptions) -> Result<Vec<Score>> {
        let apart = |pair: &(OwnedSequences, OwnedSequences)| {
            distribution_metrics(pair.0.view(), pair.1.view(), options.threads)
        };
        let (got, floor) = (apart(&self.judged)?, apart(&self.floor)?);
        let one =
            |name, meaning, value, floor| score(name, meaning, (value, Scale::Plain(0.0), 1e-3), None, vec![floor]);
        Ok(vec![
            one("mmd", "the seed's MMD of whole movements, equal lengths", got.mmd, floor.mmd),
            one("mean_diff", "difference of feature means", got.mean_diff, floor.mean_diff),
            one("std_diff", "difference of feature deviations", got.std_diff, floor.std_diff),
            one("temporal_diff", "difference of step-to-step change", got.temporal_diff, floor.temporal_diff),
        ])
    }

    fn judges(&self, options: &EvalOptions) -> Judges {
        let some =
            |pair: &(OwnedSequences, OwnedSequences)| equal_lengths(pair.0.view(), pair.1.view(), options.judge_rows());
        judges(&some(&self.judged), &some(&self.floor), options)
    }
}

fn latent_scores(inputs: &Inputs, sets: SummarySets, options: &EvalOptions, rng: &mut Rng) -> Result<Vec<Score>> {
    let width = sets.width;
    for (name, values) in [("summaries.real", sets.real), ("summaries.generated", sets.generated)] {
        if width == 0 || values.len() < 4 * width || values.len() % width != 0 {
            return Err(Error::argument(name, values.len(), format!("4 or more rows of {width} numbers")));
        }
        all_finite(name, values)?;
    }
    let (a, b) = real_halves(inputs, sets.real.len() / width, options, rng);
    let (real, made) = (rng.permutation(sets.real.len() / width), rng.permutation(sets.generated.len() / width));
    let count = options.half_rows(a.len(), made.len());
    let rows = |x: &[f32], rows: &[usize]| -> Vec<f32> {
        rows[..count].iter().flat_map(|&i| x[i * width..(i + 1) * width].iter().copied()).collect()
    };
    let apart = |x: Vec<f32>, y: Vec<f32>| {
        let metrics = latent_metrics(&x, &y, width, options.threads)?;
        let [x, y] = [x, y].map(|side| side.into_iter().map(f64::from).collect::<Vec<f64>>());
        let near = prdc(Rows { values: &x, width }, Rows { values: &y, width }, NEIGHBOURS, options.threads);
        Result::Ok((metrics, near))
    };
    let (got, n) = apart(rows(sets.real, &real), rows(sets.generated, &made))?;
    let (floor, f) = apart(rows(sets.real, &a), rows(sets.real, &b))?;
    let one = |name, meaning, value, ideal, floor| {
        score(name, meaning, (value, Scale::Plain(ideal), 1e-3), None, vec![floor])
    };
    let share = |name, meaning, value, floor| score(name, meaning, (value, Scale::Share(1.0), 1e-3), None, vec![floor]);
    Ok(vec![
        one("latent_mmd", "the seed's MMD of summaries", got.latent_mmd, 0.0, floor.latent_mmd),
        one("latent_mean_diff", "difference of summary means", got.latent_mean_diff, 0.0, floor.latent_mean_diff),
        one("latent_std_diff", "difference of summary deviations", got.latent_std_diff, 0.0, floor.latent_std_diff),
        share("range_overlap", "the seed's latent coverage", got.range_overlap, floor.range_overlap),
        share("latent_precision", "k-NN precision of summaries", n.precision, f.precision),
        share("latent_recall", "k-NN recall of summaries", n.recall, f.recall),
        score(
            "latent_density",
            "k-NN density of summaries",
            (n.density, Scale::Ratio(1.0), 1e-3),
            None,
            vec![f.density],
        ),
        share("latent_coverage", "k-NN coverage of summaries", n.coverage, f.coverage),
    ])
}
