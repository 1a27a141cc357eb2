//! Two-sample tests by classifier: can it be told which side a row comes from? Cross-validated, so that the answer
//! holds for rows the classifier has not seen (D. Lopez-Paz and M. Oquab, ICLR 2017).

use std::collections::HashMap;
use std::convert::Infallible;

use super::boost::{Boosted, ROUNDS};
use super::forest::{TREES, Table, Tree};
use super::stats::{Interval, auc};
use super::{parallel, steps};
use crate::order;
use crate::rng::{Rng, Stream};

/// Parts of a cross-validation.
pub const FOLDS: usize = 5;

/// Which classifier judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learner {
    Forest,
    Boost,
}

/// What the classifier could do.
#[derive(Clone, Debug, PartialEq)]
pub struct TwoSample {
    /// Of all out-of-fold scores together, with DeLong's interval.
    pub auc: Interval,
    /// (d): Gini (forest) or gain (boosting), summing to 1.
    pub importance: Vec<f64>,
    /// (n): out-of-fold score of each row for the positive class.
    pub scores: Vec<f64>,
}

/// (n) -> the fold of each row. Rows of one group, of whichever class, stay together; largest groups first, each to the
/// fold that has least of its classes. A group that is more than a fold is spread over all, or nothing would be left to
/// learn from. groups: (n), or empty: every row is its own.
pub fn folds(positive: &[bool], groups: &[usize], count: usize, seed: u64) -> Vec<usize> {
    let mut rng = Rng::new(seed, Stream::Evaluation, steps::FOLDS);
    let (mut parts, mut part_of): (Vec<Vec<usize>>, _) = (Vec::new(), HashMap::new());
    for i in rng.permutation(positive.len()) {
        let group = groups.get(i).copied().unwrap_or(i);
        let part = *part_of.entry(group).or_insert(parts.len());
        if part == parts.len() {
            parts.push(Vec::new());
        }
        parts[part].push(i);
    }
    let (large, mut parts): (Vec<_>, Vec<_>) = parts.into_iter().partition(|rows| rows.len() * count > positive.len());
    parts.extend(large.into_iter().flatten().map(|i| vec![i]));
    let (mut fold, mut filled) = (vec![0; positive.len()], [vec![0usize; count], vec![0; count]]);
    for rows in &order::sorted(&parts, |a, b| b.len().cmp(&a.len())) {
        let has = [false, true].map(|class| rows.iter().any(|&i| positive[i] == class));
        let of = |f: usize| (0..2).filter(|&class| has[class]).map(|class| filled[class][f]).sum::<usize>();
        let smallest = (0..count).min_by_key(|&f| of(f)).unwrap_or(0);
        for &i in rows {
            filled[usize::from(positive[i])][smallest] += 1;
            fold[i] = smallest;
        }
    }
    fold
}

/// Scores every row by a classifier that was fitted without its fold.
pub fn two_sample(
    table: &Table,
    positive: &[bool],
    fold: &[usize],
    learner: Learner,
    seed: u64,
    threads: usize,
) -> TwoSample {
    let count = fold.iter().max().map_or(0, |f| f + 1);
    let outside = |f: usize| (0..fold.len()).filter(|&i| fold[i] != f).collect::<Vec<_>>();
    let inside = |f: usize| (0..fold.len()).filter(|&i| fold[i] == f).collect::<Vec<_>>();
    let (rows, tests): (Vec<_>, Vec<_>) = (0..count).map(|f| (outside(f), inside(f))).unzip();
    let trees = if learner == Learner::Forest { TREES } else { 1 };
    let parts = parallel::map(count * trees, threads, |job| {
        let (rows, test) = (&rows[job / trees], &tests[job / trees]);
        match learner {
            Learner::Forest => {
                let tree = Tree::grow(table, positive, rows, seed, steps::FOREST + job as u64);
                (test.iter().map(|&i| tree.predict(table.row(i))).collect::<Vec<_>>(), tree.importance)
            }
            Learner::Boost => {
                let Ok(model) = Boosted::fit(table, positive, rows, ROUNDS, || Ok::<(), Infallible>(()));
                (test.iter().map(|&i| model.predict(table.row(i))).collect(), model.importance)
            }
        }
    });
    let mut scores = vec![0.0; positive.len()];
    let mut importance = vec![0.0; table.width()];
    for (job, (predicted, gains)) in parts.iter().enumerate() {
        let test = &tests[job / trees];
        test.iter().zip(predicted).for_each(|(&i, p)| scores[i] += p / trees as f64);
        importance.iter_mut().zip(gains).for_each(|(sum, gain)| *sum += gain);
    }
    let total: f64 = importance.iter().sum();
    if total > 0.0 {
        importance.iter_mut().for_each(|v| *v /= total);
    }
    TwoSample { auc: auc(&scores, positive), importance, scores }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::Rows;
    use super::*;

    /// 3 features, only the second differs, by `shift` standard deviations.
    fn toy(n: usize, shift: f64) -> (Vec<f64>, Vec<bool>) {
        let mut rng = Rng::new(9, Stream::Evaluation, 0);
        let positive: Vec<bool> = (0..n).map(|i| i % 2 == 0).collect();
        let row = |p: &bool| [rng.normal(), rng.normal() + if *p { shift } else { 0.0 }, rng.normal()];
        (positive.iter().flat_map(row).collect(), positive)
    }

    #[test]
    fn finds_the_feature_that_differs_and_nothing_where_none_does() {
        for learner in [Learner::Forest, Learner::Boost] {
            for (shift, low, high) in [(0.0, 0.42, 0.58), (1.0, 0.66, 0.80), (8.0, 0.999, 1.0)] {
                let (values, positive) = toy(600, shift);
                let table = Table::new(Rows { values: &values, width: 3 });
                let fold = folds(&positive, &[], FOLDS, 1);
                let got = two_sample(&table, &positive, &fold, learner, 1, 2);
                assert!((low..=high).contains(&got.auc.value), "{learner:?} {shift}: {:?}", got.auc);
                assert!(shift == 0.0 || got.importance[1] > 0.4, "{learner:?} {shift}: {:?}", got.importance);
                assert!((got.importance.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn folds_are_even_and_keep_groups_together() {
        let positive: Vec<bool> = (0..100).map(|i| i < 40).collect();
        let fold = folds(&positive, &[], 5, 3);
        for f in 0..5 {
            let ones = (0..40).filter(|&i| fold[i] == f).count();
            assert_eq!((ones, fold.iter().filter(|&&g| g == f).count()), (8, 20));
        }
        let groups: Vec<usize> = (0..100).map(|i| if i < 40 { i / 8 } else { i }).collect();
        let fold = folds(&positive, &groups, 5, 3);
        assert!((0..40).all(|i| fold[i] == fold[i / 8 * 8]));
        assert!((0..5).all(|f| (0..40).filter(|&i| fold[i] == f).count() == 8));
        // All of one group, as movements that end where they began: it is no group.
        for groups in [vec![7; 100], (0..100).map(|i| i % 3).collect()] {
            let fold = folds(&positive, &groups, 5, 3);
            for f in 0..5 {
                let ones = (0..40).filter(|&i| fold[i] == f).count();
                assert_eq!((ones, fold.iter().filter(|&&g| g == f).count()), (8, 20));
            }
        }
        // Pairs of both classes, and rows of neither's.
        let groups: Vec<usize> = (0..100).map(|i| if i < 80 { i % 40 } else { i }).collect();
        let fold = folds(&positive, &groups, 5, 3);
        assert!((0..40).all(|i| fold[i] == fold[i + 40]));
        for f in 0..5 {
            let ones = (0..40).filter(|&i| fold[i] == f).count();
            assert_eq!((ones, fold.iter().filter(|&&g| g == f).count()), (8, 20));
        }
    }
}
