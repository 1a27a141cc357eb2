//! Percentiles and quantile bins, as NumPy has them.

use crate::order;

/// NumPy's percentile (linear interpolation) of sorted values, each of which stands `copies` times. Not empty.
pub(crate) fn percentile(sorted: &[f64], copies: usize, percent: f64) -> f64 {
    let last = sorted.len() * copies - 1;
    let position = percent / 100.0 * last as f64;
    let below = (position.floor() as usize).min(last);
    let (a, b) = (sorted[below / copies], sorted[(below + 1).min(last) / copies]);
    let part = position - below as f64;
    if part < 0.5 { a + (b - a) * part } else { b - (b - a) * (1.0 - part) }
}

/// Inner edges of n quantile bins and the bin of each value, as numpy.digitize has them: values equal to an
/// edge are in the bin above it. Bins may be empty where values repeat.
pub(crate) fn quantile_bins(values: &[f64], n: usize) -> (Vec<f64>, Vec<usize>) {
    if values.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let mut sorted = values.to_vec();
    order::rise(&mut sorted);
    if sorted[0] == sorted[sorted.len() - 1] {
        return (Vec::new(), vec![0; values.len()]);
    }
    let edges: Vec<f64> = (1..n).map(|k| percentile(&sorted, 1, 100.0 * k as f64 / n as f64)).collect();
    let bins = values.iter().map(|v| edges.partition_point(|e| e <= v)).collect();
    (edges, bins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numpys() {
        // numpy.percentile([1, 2, 4, 8, 16], [1, 30, 50, 99])
        let v = [1.0, 2.0, 4.0, 8.0, 16.0];
        let got: Vec<f64> = [1.0, 30.0, 50.0, 99.0].iter().map(|&p| percentile(&v, 1, p)).collect();
        for (a, b) in got.iter().zip([1.04, 2.4, 4.0, 15.68]) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
        // numpy.percentile([1, 1, 2, 2, 4, 4], 30)
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 2, 30.0), 1.5);
    }

    #[test]
    fn bins_are_numpys() {
        let (edges, bins) = quantile_bins(&[5.0, 1.0, 1.0, 2.0, 9.0], 2);
        assert_eq!((edges, bins), (vec![2.0], vec![1, 0, 0, 1, 1]));
        assert_eq!(quantile_bins(&[3.0; 4], 5).1, [0; 4]);
    }
}
