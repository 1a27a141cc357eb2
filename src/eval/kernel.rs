//! Maximum mean discrepancy: the seed's estimate, and the unbiased one with a permutation test.
//!
//! A. Gretton et al., "A kernel two-sample test", JMLR 2012.

use super::parallel;
use crate::error::{Result, try_zeroed};
use crate::rng::{Rng, Stream};

/// A sample: values (n,d), row-major.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub values: &'a [f64],
    pub width: usize,
}

impl<'a> Rows<'a> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn row(&self, i: usize) -> &'a [f64] {
        &self.values[i * self.width..(i + 1) * self.width]
    }
}

/// Squared Euclidean distance.
pub fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Unbiased estimate of MMD^2 and how surprising it is.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct MmdTest {
    pub squared: f64,
    pub p: f64,
}

/// The kernel matrix of two samples together.
pub struct Kernel {
    /// (m+n, m+n)
    values: Vec<f64>,
    first: usize,
    count: usize,
}

impl Kernel {
    /// x (m,d), y (n,d): exp(-|a-b|^2 gamma), gamma = 1 / (2 median^2 + 1e-8), the median over all pairwise distances of
    /// x and y together, the zeros of the diagonal included, the lower of two middle ones: the seed's.
    /// Error: no memory for 2 (m+n)^2 numbers.
    pub fn new(x: Rows, y: Rows, threads: usize) -> Result<Kernel> {
        let (first, count) = (x.len(), x.len() + y.len());
        let row = |i: usize| if i < first { x.row(i) } else { y.row(i - first) };
        let mut values: Vec<f64> = try_zeroed(count * count, "a kernel matrix")?;
        let upper = parallel::map(count, threads, |i| {
            (i + 1..count).map(|j| squared_distance(row(i), row(j))).collect::<Vec<f64>>()
        });
        for (i, squares) in upper.iter().enumerate() {
            for (k, &square) in squares.iter().enumerate() {
                let j = i + 1 + k;
                values[i * count + j] = square;
                values[j * count + i] = square;
            }
        }
        if count > 0 {
            let mut all: Vec<f64> = try_zeroed(count * count, "a median")?;
            all.copy_from_slice(&values);
            let (_, median, _) = all.select_nth_unstable_by((count * count - 1) / 2, f64::total_cmp);
            let gamma = 1.0 / (2.0 * *median + 1e-8);
            values.iter_mut().for_each(|v| *v = (-gamma * *v).exp());
        }
        Ok(Kernel { values, first, count })
    }

    /// sqrt(mean k(x,x) + mean k(y,y) - 2 mean k(x,y)), never below 0: biased, the diagonal counts.
    pub fn biased(&self) -> f64 {
        let (m, n) = (self.first as f64, (self.count - self.first) as f64);
        if m * n == 0.0 {
            return 0.0;
        }
        let weight: Vec<f64> = (0..self.count).map(|i| if i < self.first { 1.0 / m } else { -1.0 / n }).collect();
        let rows = self.values.chunks_exact(self.count).zip(&weight);
        let sum: f64 = rows.map(|(row, w)| w * row.iter().zip(&weight).map(|(k, v)| k * v).sum::<f64>()).sum();
        sum.max(0.0).sqrt()
    }

    /// MMD^2 without the diagonal, and p = (1 + permutations at least as large) / (1 + permutations).
    pub fn unbiased(&self, permutations: usize, seed: u64, threads: usize) -> MmdTest {
        if self.first < 2 || self.count - self.first < 2 {
            return MmdTest { squared: 0.0, p: 1.0 };
        }
        let total: f64 = self.values.iter().sum::<f64>() - self.count as f64;
        let squared = self.without_diagonal(&(0..self.count).collect::<Vec<_>>(), total);
        let larger = parallel::map(permutations, threads, |i| {
            let order = Rng::new(seed, Stream::Evaluation, super::steps::MMD + i as u64).permutation(self.count);
            self.without_diagonal(&order, total) >= squared
        });
        let p = (1 + larger.iter().filter(|l| **l).count()) as f64 / (1 + permutations) as f64;
        MmdTest { squared, p }
    }

    /// The first `self.first` of `order` are x. One sum over x's columns gives k(x,x) and k(x,y); the rest is the total's.
    fn without_diagonal(&self, order: &[usize], total: f64) -> f64 {
        let x = &order[..self.first];
        let (mut xx, mut x_all) = (0.0, 0.0);
        for &i in x {
            let row = &self.values[i * self.count..(i + 1) * self.count];
            xx += x.iter().map(|&j| row[j]).sum::<f64>() - 1.0;
            x_all += row.iter().sum::<f64>() - 1.0;
        }
        let xy = x_all - xx;
        let yy = total - x_all - xy;
        let (m, n) = (self.first as f64, (self.count - self.first) as f64);
        xx / (m * (m - 1.0)) + yy / (n * (n - 1.0)) - 2.0 * xy / (m * n)
    }
}

/// The seed's MMD of x (m,d) and y (n,d); 0 if a side is empty. Error: no memory.
pub fn mmd(x: Rows, y: Rows, threads: usize) -> Result<f64> {
    Ok(Kernel::new(x, y, threads)?.biased())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: means of the kernel over pairs, of one side only those of two different rows.
    #[test]
    fn unbiased_is_the_mean_over_different_rows() {
        let (x, y) = ([0.0, 0.0, 1.0, 2.0, -1.0, 0.5, 3.0, 1.0], [2.0, 2.0, 0.0, 4.0, 1.0, 1.0]);
        let (x, y) = (Rows { values: &x, width: 2 }, Rows { values: &y, width: 2 });
        let all: Vec<&[f64]> = (0..4).map(|i| x.row(i)).chain((0..3).map(|j| y.row(j))).collect();
        let mut squares: Vec<f64> = all.iter().flat_map(|a| all.iter().map(|b| squared_distance(a, b))).collect();
        squares.sort_by(f64::total_cmp);
        let gamma = 1.0 / (2.0 * squares[24] + 1e-8); // of 49 the middle one
        let k = |a: &[f64], b: &[f64]| (-gamma * squared_distance(a, b)).exp();
        let mean = |pairs: Vec<(&[f64], &[f64])>| pairs.iter().map(|(a, b)| k(a, b)).sum::<f64>() / pairs.len() as f64;
        let within = |n: usize, row: &dyn Fn(usize) -> usize| {
            let pairs = (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).filter(|(i, j)| i != j);
            mean(pairs.map(|(i, j)| (all[row(i)], all[row(j)])).collect())
        };
        let between = mean((0..4).flat_map(|i| (4..7).map(move |j| (i, j))).map(|(i, j)| (all[i], all[j])).collect());
        let expected = within(4, &|i| i) + within(3, &|i| i + 4) - 2.0 * between;
        let got = Kernel::new(x, y, 1).unwrap().unbiased(19, 1, 1);
        assert!((got.squared - expected).abs() < 1e-12, "{} {expected}", got.squared);
        assert!((0.05..=1.0).contains(&got.p), "{}", got.p);
    }

    /// Where permutations hardly ever get as far, p is as small as their number allows; of one distribution it is not.
    #[test]
    fn p_is_small_where_the_sides_differ() {
        let mut rng = Rng::new(1, Stream::Evaluation, 0);
        let mut draw = |shift: f64| (0..120).map(|_| rng.normal() + shift).collect::<Vec<_>>();
        let (a, b, far) = (draw(0.0), draw(0.0), draw(2.0));
        let p = |y: &[f64]| {
            let kernel = Kernel::new(Rows { values: &a, width: 2 }, Rows { values: y, width: 2 }, 1).unwrap();
            kernel.unbiased(99, 5, 2).p
        };
        assert!(p(&far) == 0.01 && p(&b) > 0.05, "{} {}", p(&far), p(&b));
    }
}
