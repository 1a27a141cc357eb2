//! A small random forest for two classes (L. Breiman, "Random forests", 2001): bootstrap, Gini, the square root of the
//! features at each split, grown until pure or too small.

use super::kernel::Rows;
use crate::rng::{Rng, Stream};

/// Rows (n,d) with what growing trees needs: the rank of each value in its column.
pub struct Table {
    /// (n,d)
    values: Vec<f64>,
    /// (d,n): which of the column's `levels`.
    ranks: Vec<Vec<u32>>,
    /// (d,·): the column's distinct values, rising.
    levels: Vec<Vec<f64>>,
}

impl Table {
    pub fn new(rows: Rows) -> Table {
        let column = |f: usize| (0..rows.len()).map(move |i| rows.row(i)[f]).collect::<Vec<f64>>();
        let mut table = Table { values: rows.values.to_vec(), ranks: Vec::new(), levels: Vec::new() };
        for f in 0..rows.width {
            let column = column(f);
            let mut levels = super::stats::sorted(&column);
            levels.dedup();
            let rank = |v: &f64| levels.partition_point(|l| l < v) as u32;
            table.ranks.push(column.iter().map(rank).collect());
            table.levels.push(levels);
        }
        table
    }

    /// Number of features.
    pub fn width(&self) -> usize {
        self.levels.len()
    }

    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.width()..(i + 1) * self.width()]
    }

    pub(super) fn ranks(&self, feature: usize) -> &[u32] {
        &self.ranks[feature]
    }

    /// A value between two neighbouring ranks of a sample: at most the lower one's goes left.
    pub(super) fn threshold(&self, feature: usize, low: u32, high: u32) -> f64 {
        let (a, b) = (self.levels[feature][low as usize], self.levels[feature][high as usize]);
        let middle = a / 2.0 + b / 2.0;
        if middle >= a && middle < b { middle } else { a }
    }
}

/// Fewest samples in a leaf.
pub const MIN_LEAF: usize = 2;

/// Trees in a forest.
pub const TREES: usize = 200;

enum Node {
    Leaf { share: f64 },
    Split { feature: usize, threshold: f64, left: usize, right: usize },
}

/// One tree.
pub struct Tree {
    nodes: Vec<Node>,
    /// (d): how much impurity each feature took away, weighted with the samples it took it from.
    pub importance: Vec<f64>,
}

struct Split {
    feature: usize,
    low: u32,
    high: u32,
    gain: f64,
}

impl Tree {
    /// Grows on a bootstrap sample of `rows`. `step` picks the random numbers: each tree its own.
    pub fn grow(table: &Table, positive: &[bool], rows: &[usize], seed: u64, step: u64) -> Tree {
        let mut rng = Rng::new(seed, Stream::Evaluation, step);
        let mut tree = Tree { nodes: Vec::new(), importance: vec![0.0; table.width()] };
        let mut sample: Vec<usize> = (0..rows.len()).map(|_| rows[rng.below(rows.len())]).collect();
        let mut features: Vec<usize> = (0..table.width()).collect();
        let mut keys = Vec::with_capacity(sample.len());
        tree.nodes.push(Node::Leaf { share: 0.5 });
        let mut open = vec![(0, 0, sample.len())];
        while let Some((node, start, end)) = open.pop() {
            let part = &mut sample[start..end];
            let ones = part.iter().filter(|&&i| positive[i]).count();
            let split = if ones == 0 || ones == part.len() || part.len() < 2 * MIN_LEAF {
                None
            } else {
                best_split(table, positive, part, &mut features, &mut keys, &mut rng)
            };
            let Some(split) = split else {
                tree.nodes[node] =
                    Node::Leaf { share: if end > start { ones as f64 / (end - start) as f64 } else { 0.5 } };
                continue;
            };
            tree.importance[split.feature] += split.gain;
            let ranks = table.ranks(split.feature);
            let middle = start + partition(part, |i| ranks[i] <= split.low);
            let threshold = table.threshold(split.feature, split.low, split.high);
            let (left, right) = (tree.nodes.len(), tree.nodes.len() + 1);
            tree.nodes[node] = Node::Split { feature: split.feature, threshold, left, right };
            tree.nodes.push(Node::Leaf { share: 0.5 });
            tree.nodes.push(Node::Leaf { share: 0.5 });
            open.push((right, middle, end));
            open.push((left, start, middle));
        }
        tree
    }

    /// x (d) -> share of positives in its leaf.
    pub fn predict(&self, x: &[f64]) -> f64 {
        let mut node = 0;
        loop {
            match &self.nodes[node] {
                Node::Leaf { share } => return *share,
                Node::Split { feature, threshold, left, right } => {
                    node = if x[*feature] <= *threshold { *left } else { *right };
                }
            }
        }
    }
}

/// Puts those that go left first; their number.
fn partition(part: &mut [usize], left: impl Fn(usize) -> bool) -> usize {
    let mut middle = 0;
    for k in 0..part.len() {
        if left(part[k]) {
            part.swap(k, middle);
            middle += 1;
        }
    }
    middle
}

/// Looks at sqrt(d) features drawn without replacement, and at more until one varies.
fn best_split(
    table: &Table,
    positive: &[bool],
    part: &[usize],
    features: &mut [usize],
    keys: &mut Vec<u64>,
    rng: &mut Rng,
) -> Option<Split> {
    let wanted = (table.width() as f64).sqrt() as usize;
    let (mut best, mut varied) = (None, false);
    for visited in 0..features.len() {
        if visited >= wanted.max(1) && varied {
            break;
        }
        let pick = visited + rng.below(features.len() - visited);
        features.swap(visited, pick);
        let feature = features[visited];
        let ranks = table.ranks(feature);
        keys.clear();
        keys.extend(part.iter().map(|&i| u64::from(ranks[i]) << 1 | u64::from(positive[i])));
        keys.sort_unstable();
        varied |= keys.first().map(|k| k >> 1) != keys.last().map(|k| k >> 1);
        let floor = best.as_ref().map_or(1e-12, |b: &Split| b.gain);
        if let Some((low, high, gain)) = scan(keys, floor) {
            best = Some(Split { feature, low, high, gain });
        }
    }
    best
}

/// keys: rank and class of each sample, sorted -> the two ranks around the best cut and the decrease in impurity
/// (samples x Gini), if it is more than `floor`.
fn scan(keys: &[u64], floor: f64) -> Option<(u32, u32, f64)> {
    let purity = |ones: f64, count: f64| (ones * ones + (count - ones) * (count - ones)) / count;
    let count = keys.len() as f64;
    let ones = keys.iter().map(|k| k & 1).sum::<u64>() as f64;
    let (whole, mut left_ones, mut best, mut most) = (purity(ones, count), 0.0, None, floor);
    for (i, pair) in keys.windows(2).enumerate() {
        left_ones += (pair[0] & 1) as f64;
        let left = i + 1;
        if pair[0] >> 1 == pair[1] >> 1 || left < MIN_LEAF || keys.len() - left < MIN_LEAF {
            continue;
        }
        let left = left as f64;
        let gain = purity(left_ones, left) + purity(ones - left_ones, count - left) - whole;
        if gain > most {
            most = gain;
            best = Some(((pair[0] >> 1) as u32, (pair[1] >> 1) as u32, gain));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where nothing tells them apart a forest says how many there are, wherever among the rows they stand.
    #[test]
    fn trees_grow_on_samples_of_all_rows() {
        let table = Table::new(Rows { values: &[1.0; 60], width: 1 });
        let positive: Vec<bool> = (0..60).map(|i| i >= 40).collect();
        let rows: Vec<usize> = (0..60).collect();
        let shares: Vec<f64> =
            (0..400).map(|step| Tree::grow(&table, &positive, &rows, 1, step).predict(&[1.0])).collect();
        let mean = shares.iter().sum::<f64>() / 400.0;
        assert!((mean - 1.0 / 3.0).abs() < 0.02, "{mean}");
        assert!(shares.iter().any(|s| s != &shares[0]), "each has a sample of its own");
    }

    /// Of many features that are the same for all, the one that is not is found.
    #[test]
    fn trees_look_on_until_a_feature_varies() {
        let values: Vec<f64> =
            (0..40).flat_map(|i| (0..25).map(move |k| f64::from(u8::from(k == 17 && i >= 20)))).collect();
        let table = Table::new(Rows { values: &values, width: 25 });
        let positive: Vec<bool> = (0..40).map(|i| i >= 20).collect();
        let rows: Vec<usize> = (0..40).collect();
        for step in 0..50 {
            let tree = Tree::grow(&table, &positive, &rows, 1, step);
            assert_eq!((tree.predict(table.row(0)), tree.predict(table.row(39))), (0.0, 1.0), "{step}");
        }
    }

    /// A cut between two values leaves two rows at least on either side, and values equal to it go left.
    #[test]
    fn a_tree_cuts_where_classes_part() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let table = Table::new(Rows { values: &values, width: 1 });
        let positive = values.map(|v| v > 4.0);
        for step in 0..50 {
            let rows: Vec<usize> = (0..8).collect();
            let tree = Tree::grow(&table, &positive, &rows, 1, step);
            assert!(tree.predict(&[1.0]) <= tree.predict(&[8.0]), "{step}");
            assert!(tree.nodes.len() < 2 * (8 / MIN_LEAF), "{step}");
        }
        assert_eq!(table.threshold(0, 3, 4), 4.5);
        // Twice the rank, and one more for a positive.
        assert_eq!(scan(&[0, 2, 4, 7, 9], 0.0).map(|s| (s.0, s.1)), Some((2, 3)));
        assert_eq!(scan(&[0, 3, 5, 7, 9], 0.0).map(|s| (s.0, s.1)), Some((1, 2)), "two rows at least");
        assert_eq!(scan(&[0, 0, 0, 1], 0.0), None, "nothing to part");
    }
}
