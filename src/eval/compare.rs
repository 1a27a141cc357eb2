//! Everything that two sets of movements can be told apart by. Generated against real and real against real go
//! through the same code with the same number of movements.

use std::collections::HashMap;

use super::cross::{FOLDS, Learner, TwoSample, folds, two_sample};
use super::distances::{ks_tests, unit_of, wasserstein};
use super::forest::Table;
use super::kernel::{Kernel, MmdTest, Rows};
use super::kinematics::{COUNT, END_ERROR, kinematics};
use super::neighbours::{Neighbours, prdc};
use super::resample::Grid;
use super::stats::median;
use super::{EvalOptions, parallel};
use crate::data::Movement;
use crate::error::Result;

/// Features that are compared: all but the last, which real movements do not have.
pub const COMPARED: usize = END_ERROR;

/// Neighbours that make a ball.
const NEIGHBOURS: usize = 5;

/// The kernel matrix has (2n)^2 entries: more movements than this a side would cost more than they tell.
const KERNEL_ROWS: usize = 1000;

/// Standard units beyond which a feature is not followed in kernels and neighbourhoods: one outlier's jerk must not
/// decide who is near whom.
const CLIP: f64 = 5.0;

/// How far two sets are apart.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// (COMPARED): Wasserstein-1 in units of the real side ([`unit_of`]).
    pub wasserstein: Vec<f64>,
    /// (COMPARED): Kolmogorov-Smirnov statistic and permutation p.
    pub ks: Vec<(f64, f64)>,
    /// The seed's MMD, on standardised features.
    pub mmd: f64,
    pub mmd_test: MmdTest,
    pub neighbours: Neighbours,
    /// Forest and boosting, as recorded.
    pub recorded: [TwoSample; 2],
    /// Forest and boosting, both sides on one grid. None if fewer than two folds' worth of movements survive it.
    pub resampled: Option<[TwoSample; 2]>,
}

/// (n,COUNT) features of each movement.
pub fn features(movements: &[&Movement], threads: usize) -> Vec<[f64; COUNT]> {
    parallel::map(movements.len(), threads, |i| kinematics(&movements[i].points, None))
}

/// real and other: as many on either side. `grid` is the common recorder of the second joint test.
pub fn compare(real: &[&Movement], other: &[&Movement], grid: Grid, options: &EvalOptions) -> Result<Comparison> {
    let (seed, threads) = (options.seed, options.threads);
    let (x, y) = (features(real, threads), features(other, threads));
    let column = |rows: &[[f64; COUNT]], k: usize| rows.iter().map(|r| r[k]).collect::<Vec<f64>>();
    let columns = |rows: &[[f64; COUNT]]| (0..COMPARED).map(|k| column(rows, k)).collect::<Vec<_>>();
    let (xs, ys) = (columns(&x), columns(&y));
    let apart = |(x, y): (&Vec<f64>, &Vec<f64>)| wasserstein(x, y) / unit_of(x);
    let rows = |side: &[[f64; COUNT]]| standardise(side, &xs);
    let (sx, sy) = (rows(&x), rows(&y));
    let (wide_x, wide_y) = (Rows { values: &sx, width: COMPARED }, Rows { values: &sy, width: COMPARED });
    let kernel = Kernel::new(first(wide_x), first(wide_y), threads)?;
    let target = targets(real, other);
    let seen = |side: &[&Movement], from: usize| {
        let resampled = side.iter().zip(&target[from..]).filter_map(|(m, t)| Some((grid.resample(m)?, *t)));
        resampled.unzip::<_, _, Vec<_>, Vec<_>>()
    };
    let ((rx, tx), (ry, ty)) = (seen(real, 0), seen(other, real.len()));
    let (rx, ry): (Vec<_>, Vec<_>) = (rx.iter().collect(), ry.iter().collect());
    let enough = rx.len().min(ry.len()) >= 2 * FOLDS;
    Ok(Comparison {
        wasserstein: xs.iter().zip(&ys).map(apart).collect(),
        ks: ks_tests(&xs, &ys, options.permutations(), seed, threads),
        mmd: kernel.biased(),
        mmd_test: kernel.unbiased(options.permutations().min(199), seed, threads),
        neighbours: prdc(wide_x, wide_y, NEIGHBOURS, threads),
        recorded: joint(&x, &y, &target, options),
        resampled: enough.then(|| joint(&features(&rx, threads), &features(&ry, threads), &[tx, ty].concat(), options)),
    })
}

/// A number for each movement, real ones first, that movements with the same way from start to end share.
fn targets(real: &[&Movement], other: &[&Movement]) -> Vec<usize> {
    let mut numbers = HashMap::new();
    let number = |m: &&Movement| {
        let next = numbers.len();
        let target = m.target().map(|x| (x + 0.0).to_bits()); // -0 is 0
        *numbers.entry(target).or_insert(next)
    };
    real.iter().chain(other).map(number).collect()
}

fn first(rows: Rows) -> Rows {
    Rows { values: &rows.values[..rows.len().min(KERNEL_ROWS) * rows.width], ..rows }
}

/// (n*COMPARED): (value - median) / unit of the real side's column.
fn standardise(rows: &[[f64; COUNT]], real: &[Vec<f64>]) -> Vec<f64> {
    let scale: Vec<(f64, f64)> = real.iter().map(|column| (median(column), unit_of(column))).collect();
    let standard = |r: &[f64; COUNT]| {
        scale.iter().zip(r).map(|((m, u), v)| ((v - m) / u).clamp(-CLIP, CLIP)).collect::<Vec<f64>>()
    };
    rows.iter().flat_map(standard).collect()
}

/// Folds are by target: generated movements have those of real ones, and what is known of the one would tell the other, for
/// the wrong side. Not by session: with a handful, whole sessions left out score *below* 0.5, because what marks a
/// session on one side is then missing from that side's training part.
fn joint(x: &[[f64; COUNT]], y: &[[f64; COUNT]], target: &[usize], options: &EvalOptions) -> [TwoSample; 2] {
    let values: Vec<f64> = x.iter().chain(y).flat_map(|r| r[..COMPARED].iter().copied()).collect();
    let table = Table::new(Rows { values: &values, width: COMPARED });
    let other: Vec<bool> = (0..x.len() + y.len()).map(|i| i >= x.len()).collect();
    let fold = folds(&other, target, FOLDS, options.seed);
    [Learner::Forest, Learner::Boost].map(|l| two_sample(&table, &other, &fold, l, options.seed, options.threads))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Point;

    /// Two of one target, wherever they begin and whichever side they are on, fall into one fold.
    #[test]
    fn twins_share_a_number() {
        let to = |x: f64, y: f64, start: f64| {
            let point = |s: f64| Point { x: start + s * x, y: s * y, t_ms: 10.0 * s };
            Movement::new([0.0, 0.5, 1.0].map(point).to_vec()).unwrap()
        };
        let [a, b, c, d] = [to(8.0, 2.0, 0.0), to(2.0, 8.0, 0.0), to(8.0, 2.0, 64.0), to(8.0, 4.0, 0.0)];
        assert_eq!(targets(&[&a, &b], &[&c, &d, &b]), [0, 1, 0, 2, 1]);
    }
}
