//! Small statistics that the other files share. All in f64, all with a fixed order of summation.
//! Not inlined: there are many uses, and none is hot.

use crate::order;

/// Arithmetic mean; 0 of nothing.
#[inline(never)]
pub fn mean(x: &[f64]) -> f64 {
    if x.is_empty() { 0.0 } else { x.iter().sum::<f64>() / x.len() as f64 }
}

/// Standard deviation with n - 1; 0 of fewer than two.
#[inline(never)]
pub fn std(x: &[f64]) -> f64 {
    if x.len() < 2 {
        return 0.0;
    }
    let m = mean(x);
    (x.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (x.len() - 1) as f64).sqrt()
}

/// The numbers in rising order.
#[inline(never)]
pub fn sorted(x: &[f64]) -> Vec<f64> {
    let mut y = x.to_vec();
    order::rise(&mut y);
    y
}

/// q in [0,1] of sorted numbers, linear between neighbours (numpy's default); 0 of nothing.
#[inline(never)]
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let low = at.floor() as usize;
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

/// The middle one, or the mean of the two in the middle; 0 of nothing.
pub fn median(x: &[f64]) -> f64 {
    quantile(&sorted(x), 0.5)
}

/// Distance from the first to the third quartile.
pub fn interquartile_range(x: &[f64]) -> f64 {
    let s = sorted(x);
    quantile(&s, 0.75) - quantile(&s, 0.25)
}

/// Half the width of the 95 % confidence interval of the mean (Student's t).
#[inline(never)]
pub fn mean_interval(x: &[f64]) -> f64 {
    // 97.5 % points of t for 1..=20 degrees of freedom; beyond, the normal's with the first correction.
    const T: [f64; 20] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086,
    ];
    if x.len() < 2 {
        return 0.0;
    }
    let freedom = x.len() - 1;
    let t = T.get(freedom - 1).copied().unwrap_or(1.96 + 2.4 / freedom as f64);
    t * std(x) / (x.len() as f64).sqrt()
}

/// Whether numbers are the same but for rounding, of this mean and with this sum of squared differences from it.
pub fn one_number(mean: f64, squares: f64, count: usize) -> bool {
    squares <= count as f64 * (1e-12 * mean).powi(2)
}

/// Pearson's correlation; 0 where either side does not vary.
#[inline(never)]
pub fn correlation(x: &[f64], y: &[f64]) -> f64 {
    let (mx, my) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        xy += (a - mx) * (b - my);
        xx += (a - mx).powi(2);
        yy += (b - my).powi(2);
    }
    if !one_number(mx, xx, x.len()) && !one_number(my, yy, y.len()) && xx * yy > 0.0 {
        xy / (xx * yy).sqrt()
    } else {
        0.0
    }
}

/// Where the smallest is, the next larger, and so on; of equal ones the first comes first.
pub fn rising(x: &[f64]) -> Vec<usize> {
    order::indices(x.len(), &|a, b| x[a].total_cmp(&x[b]))
}

/// Ranks from 1, ties sharing the mean of theirs.
pub fn midranks(x: &[f64]) -> Vec<f64> {
    let order = rising(x);
    let mut ranks = vec![0.0; x.len()];
    let mut start = 0;
    while start < order.len() {
        let mut end = start + 1;
        while end < order.len() && x[order[end]] == x[order[start]] {
            end += 1;
        }
        let shared = (start + end + 1) as f64 / 2.0;
        order[start..end].iter().for_each(|&i| ranks[i] = shared);
        start = end;
    }
    ranks
}

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// Area under the ROC curve of `scores` for `positive`, with the 95 % interval of DeLong, DeLong and
/// Clarke-Pearson (Biometrics 1988) by the midranks of Sun and Xu (IEEE SPL 2014). 0.5 if a class is missing.
pub fn auc(scores: &[f64], positive: &[bool]) -> Interval {
    let pick = |class: bool| -> Vec<f64> {
        scores.iter().zip(positive).filter(|(_, p)| **p == class).map(|(s, _)| *s).collect()
    };
    let (pos, neg) = (pick(true), pick(false));
    if pos.is_empty() || neg.is_empty() {
        return Interval { value: 0.5, low: 0.0, high: 1.0 };
    }
    let (m, n) = (pos.len() as f64, neg.len() as f64);
    let both: Vec<f64> = pos.iter().chain(&neg).copied().collect();
    let (all, of_pos, of_neg) = (midranks(&both), midranks(&pos), midranks(&neg));
    // Placements: the share of the other class that each one beats.
    let v_pos: Vec<f64> = (0..pos.len()).map(|i| (all[i] - of_pos[i]) / n).collect();
    let v_neg: Vec<f64> = (0..neg.len()).map(|j| 1.0 - (all[pos.len() + j] - of_neg[j]) / m).collect();
    let value = mean(&v_pos);
    let half = 1.96 * (std(&v_pos).powi(2) / m + std(&v_neg).powi(2) / n).sqrt();
    Interval { value, low: (value - half).max(0.0), high: (value + half).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_as_numpy() {
        let x = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(quantile(&x, 0.5), 3.0);
        assert_eq!(quantile(&x, 0.25), 1.75);
        assert_eq!(interquartile_range(&[8.0, 1.0, 4.0, 2.0]), 3.25);
        assert_eq!((median(&[]), std(&[3.0])), (0.0, 0.0));
    }

    #[test]
    fn auc_counts_pairs_and_half_ties() {
        // Pairs (positive, negative): 3>1, 3>2, 2>1, 2=2.
        let a = auc(&[3.0, 2.0, 1.0, 2.0], &[true, true, false, false]);
        assert_eq!(a.value, 3.5 / 4.0);
        assert!(a.low < a.value && a.high <= 1.0);
        assert_eq!(auc(&[1.0, 2.0], &[true, true]).value, 0.5);
    }

    #[test]
    fn interval_of_the_mean() {
        // n = 4, std 1.2910, t 3.182.
        let half = mean_interval(&[1.0, 2.0, 3.0, 4.0]);
        assert!((half - 3.182 * (5.0f64 / 3.0).sqrt() / 2.0).abs() < 1e-12, "{half}");
    }

    /// Student's t at 97.5 %, of n numbers at +-1: of 2, 21, 22 and 401.
    #[test]
    fn intervals_of_few_and_of_many() {
        for (n, t) in [(2, 12.706), (21, 2.086), (22, 2.080), (401, 1.966)] {
            let x: Vec<f64> = (0..n).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
            let got = mean_interval(&x) * (n as f64).sqrt() / std(&x);
            assert!((got - t).abs() < 0.007, "{n}: {got}");
        }
    }

    /// By hand: of positives 1, 3/4 and all of the negatives are beaten, negatives by all and by 5/6 of the positives.
    #[test]
    fn the_interval_of_an_auc_is_delongs() {
        let a = auc(&[3.0, 2.0, 5.0, 1.0, 2.0], &[true, true, true, false, false]);
        let half = 1.96 * (1.0f64 / 48.0 / 3.0 + 1.0 / 72.0 / 2.0).sqrt();
        assert!((a.value - 11.0 / 12.0).abs() < 1e-12 && (a.low - (a.value - half)).abs() < 1e-12, "{a:?}");
        assert_eq!(a.high, 1.0);
    }

    #[test]
    fn a_correlation_has_a_sign_and_no_unit() {
        let (x, y) = ([1.0, 2.0, 3.0, 5.0], [2.0, 1.0, 7.0, 8.0]);
        // Sums of products about the means: 19.5, 8.75 and 37.
        let expected = 15.5 / (8.75f64 * 37.0).sqrt();
        assert!((correlation(&x, &y) - expected).abs() < 1e-12, "{}", correlation(&x, &y));
        assert!((correlation(&x, &y.map(|v| 7.0 - 100.0 * v)) + expected).abs() < 1e-12);
        assert_eq!(correlation(&x, &[3.0; 4]), 0.0);
        // The mean of equal numbers need not be that number.
        assert_eq!(correlation(&[141.42; 29], &[141.42; 29]), 0.0);
    }
}
