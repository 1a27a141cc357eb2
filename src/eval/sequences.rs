//! The seed's scores over scaled features and over summaries.

use super::kernel::{Rows, mmd};
use super::stats::{mean, std};
use crate::data::{FEATURES, Movement, Scaler, features};
use crate::error::{Error, Result, try_zeroed};
use crate::order;

/// Scaled features of n movements, padded. What lies beyond a row's length does not count.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    /// (n,T,F)
    pub values: &'a [f32],
    /// (n), each 1..=T
    pub lengths: &'a [usize],
    pub steps: usize,
    pub features: usize,
}

impl Sequences<'_> {
    /// Error: the extents do not fit each other, a length is out of 1..=T, or a value that counts is not finite.
    pub fn check(&self, name: &str) -> Result<()> {
        let wanted = self.lengths.len().checked_mul(self.steps).and_then(|v| v.checked_mul(self.features));
        if wanted != Some(self.values.len()) || self.steps == 0 || self.features == 0 {
            let expected = format!("{} x {} x {}", self.lengths.len(), self.steps, self.features);
            return Err(Error::argument(format!("{name}.values"), self.values.len(), expected));
        }
        if let Some(i) = self.lengths.iter().position(|l| !(1..=self.steps).contains(l)) {
            let expected = format!("1 to {}", self.steps);
            return Err(Error::argument(format!("{name}.lengths[{i}]"), self.lengths[i], expected));
        }
        for i in 0..self.lengths.len() {
            if let Some(k) = self.row(i).iter().position(|v| !v.is_finite()) {
                let at = i * self.steps * self.features + k;
                return Err(Error::argument(format!("{name}.values[{at}]"), self.values[at], "a finite number"));
            }
        }
        Ok(())
    }

    /// (lengths[i],F)
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.steps * self.features..][..self.lengths[i] * self.features]
    }

    /// (n,T*F) with zeros beyond each length.
    fn flat(&self, steps: usize) -> Vec<f64> {
        let width = steps * self.features;
        let mut out = vec![0.0; self.lengths.len() * width];
        for (i, row) in out.chunks_exact_mut(width).enumerate() {
            row.iter_mut().zip(self.row(i)).for_each(|(o, v)| *o = f64::from(*v));
        }
        out
    }

    fn column(&self, feature: usize) -> Vec<f64> {
        let steps = (0..self.lengths.len()).flat_map(|i| self.row(i).chunks_exact(self.features));
        steps.map(|s| f64::from(s[feature])).collect()
    }

    fn mean_change(&self) -> f64 {
        let (mut sum, mut count) = (0.0, 0usize);
        for i in 0..self.lengths.len() {
            let row = self.row(i);
            let pairs = row.iter().zip(row.get(self.features..).unwrap_or_default());
            sum += pairs.map(|(a, b)| (f64::from(*b) - f64::from(*a)).abs()).sum::<f64>();
            count += row.len() - self.features;
        }
        if count > 0 { sum / count as f64 } else { 0.0 }
    }
}

/// Differences of scaled features.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct DistributionMetrics {
    /// The seed's MMD of whole movements, laid flat, zeros beyond their ends.
    pub mmd: f64,
    /// Mean over features of |difference of means|.
    pub mean_diff: f64,
    /// Mean over features of |difference of standard deviations|.
    pub std_diff: f64,
    /// |difference of the mean step-to-step change|.
    pub temporal_diff: f64,
}

/// real (n,T,F), fake (m,T',F): over valid steps only. Give both the same lengths ([`equal_lengths`]), or the
/// difference in length is what is measured. Errors: extents, no memory.
pub fn distribution_metrics(real: Sequences, fake: Sequences, threads: usize) -> Result<DistributionMetrics> {
    real.check("real")?;
    fake.check("fake")?;
    if real.features != fake.features {
        return Err(Error::argument("fake.features", fake.features, format!("{} as real", real.features)));
    }
    let steps = real.steps.max(fake.steps);
    let (x, y, width) = (real.flat(steps), fake.flat(steps), steps * real.features);
    let columns: Vec<_> = (0..real.features).map(|f| (real.column(f), fake.column(f))).collect();
    let over_features =
        |f: fn(&[f64]) -> f64| mean(&columns.iter().map(|(r, g)| (f(r) - f(g)).abs()).collect::<Vec<_>>());
    Ok(DistributionMetrics {
        mmd: mmd(Rows { values: &x, width }, Rows { values: &y, width }, threads)?,
        mean_diff: over_features(mean),
        std_diff: over_features(std),
        temporal_diff: (real.mean_change() - fake.mean_change()).abs(),
    })
}

/// Padded features that own their numbers.
#[derive(Clone, Debug, Default)]
pub struct OwnedSequences {
    pub values: Vec<f32>,
    pub lengths: Vec<usize>,
    pub steps: usize,
    pub features: usize,
}

impl OwnedSequences {
    pub fn view(&self) -> Sequences<'_> {
        Sequences { values: &self.values, lengths: &self.lengths, steps: self.steps, features: self.features }
    }

    /// Scaled features of movements, as the networks see them. Error: no memory.
    pub fn of_movements(movements: &[Movement], scaler: &Scaler) -> Result<OwnedSequences> {
        let lengths = movements.iter().map(|m| m.points.len()).collect();
        OwnedSequences::of_rows(lengths, FEATURES.len(), |i| scaler.scale(&features(&movements[i].points)))
    }

    /// Row i is lengths[i] x F numbers. Error: no memory.
    pub fn of_rows<R: AsRef<[f32]>>(
        lengths: Vec<usize>,
        features: usize,
        row: impl Fn(usize) -> R,
    ) -> Result<OwnedSequences> {
        let steps = lengths.iter().copied().max().unwrap_or(0);
        let width = steps * features;
        let mut values = try_zeroed(lengths.len().saturating_mul(width), "scaled features")?;
        for (i, to) in values.chunks_exact_mut(width.max(1)).enumerate() {
            let row = row(i);
            to[..row.as_ref().len()].copy_from_slice(row.as_ref());
        }
        Ok(OwnedSequences { values, lengths, steps, features })
    }

    /// Longer padding: steps of each row, at least as many as now.
    pub(super) fn widen(&mut self, steps: usize) {
        let (old, new) = (self.steps * self.features, steps * self.features);
        let mut values = vec![0.0; self.lengths.len() * new];
        for (to, from) in values.chunks_exact_mut(new.max(1)).zip(self.values.chunks_exact(old.max(1))) {
            to[..old].copy_from_slice(from);
        }
        (self.values, self.steps) = (values, steps);
    }

    /// Rows of `from`, each cut to the length beside it.
    pub fn cut(from: Sequences, rows: &[(usize, usize)]) -> OwnedSequences {
        let steps = rows.iter().map(|r| r.1).max().unwrap_or(0);
        let mut values = vec![0.0; rows.len() * steps * from.features];
        for (out, &(i, length)) in values.chunks_exact_mut((steps * from.features).max(1)).zip(rows) {
            out[..length * from.features].copy_from_slice(&from.row(i)[..length * from.features]);
        }
        OwnedSequences { values, lengths: rows.iter().map(|r| r.1).collect(), steps, features: from.features }
    }
}

/// At most `limit` rows of each side with the same lengths on both: the k-th shortest of one goes with the k-th
/// shortest of the other, and the longer of the two is cut. Of a larger side rows are taken evenly over its lengths.
pub fn equal_lengths(x: Sequences, y: Sequences, limit: usize) -> (OwnedSequences, OwnedSequences) {
    let count = x.lengths.len().min(y.lengths.len()).min(limit);
    let evenly = |lengths: &[usize]| {
        let order = order::indices(lengths.len(), &|a, b| lengths[a].cmp(&lengths[b]));
        (0..count).map(|k| order[(2 * k + 1) * order.len() / (2 * count)]).collect::<Vec<_>>()
    };
    let (a, b) = (evenly(x.lengths), evenly(y.lengths));
    let cut: Vec<usize> = a.iter().zip(&b).map(|(&i, &j)| x.lengths[i].min(y.lengths[j])).collect();
    let with = |rows: Vec<usize>| rows.into_iter().zip(cut.iter().copied()).collect::<Vec<_>>();
    (OwnedSequences::cut(x, &with(a)), OwnedSequences::cut(y, &with(b)))
}

/// Differences of summaries.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct LatentMetrics {
    pub latent_mmd: f64,
    pub latent_mean_diff: f64,
    pub latent_std_diff: f64,
    /// The seed's "latent coverage": mean over dimensions of the share of the real range that the fake range covers.
    pub range_overlap: f64,
}

/// real (n,S), fake (m,S). Errors: width is 0 or does not divide a side, a side is empty, no memory.
pub fn latent_metrics(real: &[f32], fake: &[f32], width: usize, threads: usize) -> Result<LatentMetrics> {
    for (name, side) in [("real summaries", real), ("generated summaries", fake)] {
        if width == 0 || side.is_empty() || side.len() % width != 0 {
            return Err(Error::argument(name, side.len(), format!("one or more rows of {width} numbers")));
        }
    }
    let wide = |x: &[f32]| x.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let (x, y) = (wide(real), wide(fake));
    let column = |x: &[f64], s: usize| x.iter().skip(s).step_by(width).copied().collect::<Vec<f64>>();
    let range = |x: &[f64]| x.iter().fold((f64::MAX, f64::MIN), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
    let (mut means, mut stds, mut overlaps) = (Vec::new(), Vec::new(), Vec::new());
    for s in 0..width {
        let (r, f) = (column(&x, s), column(&y, s));
        means.push((mean(&r) - mean(&f)).abs());
        stds.push((std(&r) - std(&f)).abs());
        let ((r_lo, r_hi), (f_lo, f_hi)) = (range(&r), range(&f));
        overlaps.push((r_hi.min(f_hi) - r_lo.max(f_lo)).max(0.0) / (r_hi - r_lo).max(1e-8));
    }
    Ok(LatentMetrics {
        latent_mmd: mmd(Rows { values: &x, width }, Rows { values: &y, width }, threads)?,
        latent_mean_diff: mean(&means),
        latent_std_diff: mean(&stds),
        range_overlap: mean(&overlaps),
    })
}
