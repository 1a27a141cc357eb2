//! Gradient-boosted trees for two classes: logistic loss, exact splits, Newton steps (T. Chen and C. Guestrin,
//! "XGBoost", KDD 2016, without its sampling). Nothing in it is random.

use serde::{Deserialize, Serialize};

use super::forest::Table;
use crate::error::{Error, Result};
use crate::order;

/// Rounds of boosting.
pub const ROUNDS: usize = 200;

const DEPTH: usize = 3;
const RATE: f64 = 0.1;
/// Added to each sum of second derivatives.
const RIDGE: f64 = 1.0;
/// Fewest rows on either side of a split.
const MIN_LEAF: usize = 5;
const INNER: usize = (1 << DEPTH) - 1;

/// A full binary tree of three levels. A node that found no split sends everything left.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Tree {
    splits: [Option<(usize, f64)>; INNER],
    leaves: [f64; INNER + 1],
}

impl Tree {
    fn predict(&self, x: &[f64]) -> f64 {
        let mut node = 0;
        for _ in 0..DEPTH {
            node = 2 * node + 1 + usize::from(self.splits[node].is_some_and(|(f, threshold)| x[f] > threshold));
        }
        self.leaves[node - INNER]
    }
}

/// A fitted classifier.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Boosted {
    trees: Vec<Tree>,
    prior: f64,
    /// (d): sum of the gains of each feature's splits.
    #[serde(skip)]
    pub importance: Vec<f64>,
}

/// Sums of first and second derivatives, and rows.
#[derive(Clone, Copy, Default)]
struct Sums {
    g: f64,
    h: f64,
    count: usize,
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.g += other.g;
        self.h += other.h;
        self.count += other.count;
    }

    fn score(self) -> f64 {
        self.g * self.g / (self.h + RIDGE)
    }
}

#[derive(Clone, Copy)]
struct Best {
    gain: f64,
    feature: usize,
    low: u32,
    high: u32,
}

impl Boosted {
    /// Fits on `rows` of the table; both classes must be among them for it to learn anything.
    pub fn fit<E>(
        table: &Table,
        positive: &[bool],
        rows: &[usize],
        rounds: usize,
        mut ask: impl FnMut() -> std::result::Result<(), E>,
    ) -> std::result::Result<Boosted, E> {
        let ones = rows.iter().filter(|&&i| positive[i]).count() as f64;
        let share = (ones / rows.len().max(1) as f64).clamp(1e-6, 1.0 - 1e-6);
        let prior = (share / (1.0 - share)).ln();
        let mut model = Boosted { trees: Vec::with_capacity(rounds), prior, importance: vec![0.0; table.width()] };
        let orders: Vec<Vec<usize>> = (0..table.width()).map(|f| sorted_rows(table.ranks(f), rows)).collect();
        let mut margin = vec![prior; positive.len()];
        let mut derivative = vec![Sums::default(); positive.len()];
        for _ in 0..rounds {
            ask()?;
            for &i in rows {
                let p = 1.0 / (1.0 + (-margin[i]).exp());
                derivative[i] = Sums { g: p - f64::from(u8::from(positive[i])), h: p * (1.0 - p), count: 1 };
            }
            let tree = grow(table, &orders, rows, &derivative, &mut model.importance);
            rows.iter().for_each(|&i| margin[i] += tree.predict(table.row(i)));
            model.trees.push(tree);
        }
        Ok(model)
    }

    /// Refuses more than so many rounds, and trees that look at more than `width` features: for trees from a file, whose
    /// JSON has only finite numbers.
    pub fn check(&self, rounds: usize, width: usize) -> Result<()> {
        if self.trees.len() > rounds {
            return Err(Error::argument("trees", self.trees.len(), format!("up to {rounds}")));
        }
        let features = self.trees.iter().flat_map(|t| t.splits.iter().flatten().map(|(feature, _)| *feature));
        match features.max() {
            Some(most) if most >= width => Err(Error::argument("feature of a tree", most, format!("below {width}"))),
            _ => Ok(()),
        }
    }

    /// x (d) -> log odds of positive.
    pub fn predict(&self, x: &[f64]) -> f64 {
        self.prior + self.trees.iter().map(|t| t.predict(x)).sum::<f64>()
    }
}

fn sorted_rows(ranks: &[u32], rows: &[usize]) -> Vec<usize> {
    order::sorted(rows, |&a, &b| (ranks[a], a).cmp(&(ranks[b], b)))
}

fn grow(table: &Table, orders: &[Vec<usize>], rows: &[usize], derivative: &[Sums], importance: &mut [f64]) -> Tree {
    let mut tree = Tree { splits: [None; INNER], leaves: [0.0; INNER + 1] };
    let mut node_of = vec![0usize; derivative.len()];
    for depth in 0..DEPTH {
        let (first, width) = ((1 << depth) - 1, 1 << depth);
        let totals = totals(rows, derivative, &node_of, first, width);
        let mut best: Vec<Option<Best>> = vec![None; width];
        for (feature, order) in orders.iter().enumerate() {
            let ranks = table.ranks(feature);
            scan(
                order,
                ranks,
                derivative,
                |i| node_of[i] - first,
                &totals,
                |node, low, high, gain| {
                    if gain > best[node].map_or(1e-9, |b| b.gain) {
                        best[node] = Some(Best { gain, feature, low, high });
                    }
                },
            );
        }
        for (node, best) in best.iter().enumerate() {
            if let Some(b) = best {
                importance[b.feature] += b.gain;
                tree.splits[first + node] = Some((b.feature, table.threshold(b.feature, b.low, b.high)));
            }
        }
        for &i in rows {
            let goes_right = best[node_of[i] - first].is_some_and(|b| table.ranks(b.feature)[i] > b.low);
            node_of[i] = 2 * node_of[i] + 1 + usize::from(goes_right);
        }
    }
    let leaves = totals(rows, derivative, &node_of, INNER, INNER + 1);
    tree.leaves.iter_mut().zip(leaves).for_each(|(leaf, s)| *leaf = -RATE * s.g / (s.h + RIDGE));
    tree
}

fn totals(rows: &[usize], derivative: &[Sums], node_of: &[usize], first: usize, width: usize) -> Vec<Sums> {
    let mut totals = vec![Sums::default(); width];
    rows.iter().for_each(|&i| totals[node_of[i] - first].add(derivative[i]));
    totals
}

/// Walks one column upwards and offers every cut between different values: (node, rank below, rank above, gain).
fn scan(
    order: &[usize],
    ranks: &[u32],
    derivative: &[Sums],
    node: impl Fn(usize) -> usize,
    totals: &[Sums],
    mut offer: impl FnMut(usize, u32, u32, f64),
) {
    let mut left = vec![Sums::default(); totals.len()];
    let mut last = vec![0u32; totals.len()];
    for &i in order {
        let (k, rank) = (node(i), ranks[i]);
        let (l, t) = (left[k], totals[k]);
        if l.count >= MIN_LEAF && t.count - l.count >= MIN_LEAF && rank != last[k] {
            let right = Sums { g: t.g - l.g, h: t.h - l.h, count: t.count - l.count };
            offer(k, last[k], rank, l.score() + right.score() - t.score());
        }
        left[k].add(derivative[i]);
        last[k] = rank;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    use crate::eval::kernel::Rows;

    fn fit(values: &[f64], positive: &[bool], rounds: usize) -> Boosted {
        let rows: Vec<usize> = (0..positive.len()).collect();
        let table = Table::new(Rows { values, width: 1 });
        let Ok(model) = Boosted::fit(&table, positive, &rows, rounds, || Ok::<(), Infallible>(()));
        model
    }

    /// What nothing tells apart has the odds of the classes, however many rounds there are.
    #[test]
    fn the_prior_is_the_log_odds() {
        let positive: Vec<bool> = (0..40).map(|i| i < 10).collect();
        assert!(
            [1, 30].iter().all(|&rounds| (fit(&[7.0; 40], &positive, rounds).predict(&[7.0]) + 3f64.ln()).abs() < 1e-9)
        );
    }

    /// A tenth of a Newton step with a ridge of 1: ten rows, each a half too low and of curvature 1/4.
    #[test]
    fn a_leaf_is_a_newton_step() {
        let positive: Vec<bool> = (0..20).map(|i| i >= 10).collect();
        let values: Vec<f64> = positive.iter().map(|&p| if p { 3.0 } else { 1.0 }).collect();
        let model = fit(&values, &positive, 1);
        let step = 0.1 * 5.0 / (2.5 + 1.0);
        assert!((model.predict(&[3.0]) - step).abs() < 1e-12 && (model.predict(&[1.0]) + step).abs() < 1e-12);
        assert!(model.predict(&[1.99]) < 0.0 && model.predict(&[2.01]) > 0.0, "it parts them in the middle");
        // Four alone are too few for a leaf.
        let few: Vec<bool> = (0..20).map(|i| i >= 16).collect();
        let values: Vec<f64> = few.iter().map(|&p| f64::from(u8::from(p))).collect();
        assert_eq!(fit(&values, &few, 1).predict(&[0.0]), fit(&values, &few, 1).predict(&[1.0]));
    }
}
