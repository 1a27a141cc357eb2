//! Distances between two samples of one number: Wasserstein-1 and Kolmogorov-Smirnov.

use super::parallel;
use super::stats::{interquartile_range, rising, sorted, std};
use crate::rng::{Rng, Stream};

/// Area between the two distribution functions: how far, on average, mass must move. 0 if a side is empty.
pub fn wasserstein(x: &[f64], y: &[f64]) -> f64 {
    if x.is_empty() || y.is_empty() {
        return 0.0;
    }
    let (x, y) = (sorted(x), sorted(y));
    let all = sorted(&[&x[..], &y[..]].concat());
    let (mut i, mut j, mut area) = (0, 0, 0.0);
    for pair in all.windows(2) {
        while i < x.len() && x[i] <= pair[0] {
            i += 1;
        }
        while j < y.len() && y[j] <= pair[0] {
            j += 1;
        }
        area += (i as f64 / x.len() as f64 - j as f64 / y.len() as f64).abs() * (pair[1] - pair[0]);
    }
    area
}

/// The unit of Wasserstein distances: the real side's interquartile range. Where most values are one and that range is
/// next to nothing (less than a tenth of the standard deviation) it is the standard deviation, and for what is constant but
/// for rounding 1.
pub fn unit_of(real: &[f64]) -> f64 {
    let (range, deviation) = (interquartile_range(real), std(real));
    let unit = if range < 0.1 * deviation { deviation } else { range };
    let largest = real.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    if unit > 1e-9 * largest { unit } else { 1.0 }
}

/// Largest distance between the two distribution functions, in [0,1]. 0 if a side is empty.
pub fn kolmogorov_smirnov(x: &[f64], y: &[f64]) -> f64 {
    Pooled::new(x, y).statistic(&labels(x.len(), y.len()))
}

/// Both samples in one rising order; which is whose is a matter of labels, so that they can be permuted.
struct Pooled {
    order: Vec<usize>,
    /// True where the next value differs: only there a distribution function may be read.
    step_ends: Vec<bool>,
    first: usize,
}

impl Pooled {
    fn new(x: &[f64], y: &[f64]) -> Pooled {
        let all = [x, y].concat();
        let order = rising(&all);
        let value = |i: usize| order.get(i).map(|&o| all[o]);
        let step_ends = (0..order.len()).map(|i| value(i) != value(i + 1)).collect();
        Pooled { order, step_ends, first: x.len() }
    }

    fn statistic(&self, is_first: &[bool]) -> f64 {
        let (m, n) = (self.first as i64, (self.order.len() - self.first) as i64);
        if m == 0 || n == 0 {
            return 0.0;
        }
        let (mut difference, mut largest) = (0i64, 0i64);
        for (&o, &ends) in self.order.iter().zip(&self.step_ends) {
            difference += if is_first[o] { n } else { -m };
            if ends {
                largest = largest.max(difference.abs());
            }
        }
        largest as f64 / (m * n) as f64
    }
}

fn labels(first: usize, second: usize) -> Vec<bool> {
    (0..first + second).map(|i| i < first).collect()
}

/// Statistic and permutation p value of several numbers at once: x (K,m) and y (K,n), one row a number.
/// p = (1 + permutations at least as far apart) / (1 + permutations); the same permutations serve all rows.
pub fn ks_tests(x: &[Vec<f64>], y: &[Vec<f64>], permutations: usize, seed: u64, threads: usize) -> Vec<(f64, f64)> {
    let (Some(m), Some(n)) = (x.first().map(Vec::len), y.first().map(Vec::len)) else { return Vec::new() };
    let pooled: Vec<Pooled> = x.iter().zip(y).map(|(x, y)| Pooled::new(x, y)).collect();
    let observed: Vec<f64> = pooled.iter().map(|p| p.statistic(&labels(m, n))).collect();
    let at_least = parallel::map(permutations, threads, |i| {
        let mut shuffled = labels(m, n);
        Rng::new(seed, Stream::Evaluation, super::steps::KS + i as u64).shuffle(&mut shuffled);
        pooled.iter().zip(&observed).map(|(p, o)| p.statistic(&shuffled) >= *o).collect::<Vec<_>>()
    });
    let p = |k: usize| (1 + at_least.iter().filter(|row| row[k]).count()) as f64 / (1 + permutations) as f64;
    observed.iter().enumerate().map(|(k, &o)| (o, p(k))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_distances() {
        assert_eq!(wasserstein(&[0.0, 1.0, 3.0], &[5.0, 6.0, 8.0]), 5.0);
        assert_eq!(wasserstein(&[1.0, 1.0], &[1.0]), 0.0);
        assert_eq!(kolmogorov_smirnov(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
        assert_eq!(kolmogorov_smirnov(&[1.0, 2.0, 2.0, 3.0], &[2.0, 3.0]), 0.25);
        assert_eq!(unit_of(&[2.0; 5]), 1.0);
        assert_eq!(unit_of(&[1e9, 1e9 + 1e-6, 1e9 + 2e-6, 1e9 + 3e-6]), 1.0, "rounding is no spread");
        assert_eq!(unit_of(&[1.0, 2.0, 3.0, 4.0, 5.0]), 2.0);
        let mostly_zero = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0];
        assert_eq!(unit_of(&mostly_zero), std(&mostly_zero));
    }

    #[test]
    fn permutation_p_tells_same_from_shifted() {
        let mut rng = Rng::new(1, Stream::Evaluation, 0);
        let mut draw = |shift: f64| (0..150).map(|_| rng.normal() + shift).collect::<Vec<_>>();
        let (x, y, z) = (draw(0.0), draw(0.0), draw(0.8));
        let tests = ks_tests(&[x.clone(), x], &[y, z], 199, 5, 2);
        assert!(tests[0].1 > 0.05, "{tests:?}");
        assert_eq!(tests[1].1, 1.0 / 200.0, "{tests:?}");
    }

    /// A permutation that is exactly as far apart counts: of samples that are the same all are.
    #[test]
    fn equal_samples_have_a_p_of_one() {
        assert_eq!(ks_tests(&[vec![1.0; 6]], &[vec![1.0; 6]], 99, 5, 1), [(0.0, 1.0)]);
    }
}
