//! Which movements make up a batch: a function of (seed, iteration), so that going on from a checkpoint needs
//! no sampler state.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::quantiles::quantile_bins;
use crate::rng::{Rng, Stream};

const LENGTH_BINS: usize = 5;
const CONDITION_BINS: usize = 10;

/// Batches of movements of similar length: 5 quantile bins, shuffled within each, cut into batches, which come
/// in random order. Each epoch leaves out the few that do not fill a batch, others each time, of any length.
#[derive(Clone, Debug)]
pub struct LengthAware {
    bins: Vec<Vec<usize>>,
    batch_size: usize,
    seed: u64,
    epoch: Option<u64>,
    /// The epoch's movements, batch after batch.
    order: Vec<usize>,
}

impl LengthAware {
    /// lengths (N) in points, N >= 1; batch_size >= 1.
    pub fn new(lengths: &[usize], batch_size: usize, seed: u64) -> LengthAware {
        let values: Vec<f64> = lengths.iter().map(|&l| l as f64).collect();
        let bins = group(&values, LENGTH_BINS);
        LengthAware { bins, batch_size: batch_size.max(1), seed, epoch: None, order: Vec::new() }
    }

    fn len(&self) -> usize {
        self.bins.iter().map(Vec::len).sum()
    }

    pub fn batches_per_epoch(&self) -> u64 {
        (self.len() / self.batch_size).max(1) as u64
    }

    /// batch_size indices, or all N where there are fewer. The order of one epoch is kept between calls.
    pub fn batch(&mut self, iteration: u64) -> Vec<usize> {
        let (epoch, place) = (iteration / self.batches_per_epoch(), iteration % self.batches_per_epoch());
        if self.epoch != Some(epoch) {
            self.order = self.shuffled(epoch);
            self.epoch = Some(epoch);
        }
        let size = self.batch_size.min(self.order.len());
        self.order[place as usize * size..][..size].to_vec()
    }

    fn shuffled(&self, epoch: u64) -> Vec<usize> {
        let mut rng = Rng::new(self.seed, Stream::Stage1Batch, epoch);
        let mut order = Vec::with_capacity(self.len());
        for bin in &self.bins {
            let start = order.len();
            order.extend_from_slice(bin);
            rng.shuffle(&mut order[start..]);
        }
        if order.len() < self.batch_size {
            return order;
        }
        // Not the end of the order: those are the longest, of which a small set would never see any.
        let mut left_out = Vec::new();
        choose(&(0..order.len()).collect::<Vec<_>>(), order.len() % self.batch_size, &mut rng, &mut left_out);
        left_out.sort_unstable();
        left_out.into_iter().rev().for_each(|place| _ = order.remove(place));
        let mut batches: Vec<&[usize]> = order.chunks_exact(self.batch_size).collect();
        rng.shuffle(&mut batches);
        batches.concat()
    }
}

/// Batches with an equal share of each of 10 quantile bins of the condition.
#[derive(Clone, Debug)]
pub struct Stratified {
    bins: Vec<Vec<usize>>,
    batch_size: usize,
    seed: u64,
}

impl Stratified {
    /// conditions_first (N): the first condition number of each movement, N >= 1; batch_size >= 1.
    pub fn new(conditions_first: &[f32], batch_size: usize, seed: u64) -> Stratified {
        let values: Vec<f64> = conditions_first.iter().map(|&c| f64::from(c)).collect();
        Stratified { bins: group(&values, CONDITION_BINS), batch_size: batch_size.max(1), seed }
    }

    /// The indices of each bin.
    #[cfg(feature = "cuda")]
    pub(crate) fn bins(&self) -> &[Vec<usize>] {
        &self.bins
    }

    /// Exactly batch_size indices. `draw` (below 65536) tells the batches of one iteration apart. What does not
    /// divide evenly goes to other bins each time; a bin with fewer movements than its share repeats some.
    pub fn batch(&mut self, iteration: u64, draw: u32) -> Vec<usize> {
        let step = iteration << 16 | u64::from(draw & 0xffff);
        let mut rng = Rng::new(self.seed, Stream::Stage2Batch, step);
        let bins = self.bins.len();
        let mut batch = Vec::with_capacity(self.batch_size);
        if bins == 0 {
            return batch;
        }
        let (share, rest) = (self.batch_size / bins, self.batch_size % bins);
        let first = ((iteration.wrapping_add(u64::from(draw))).wrapping_mul(rest as u64) % bins as u64) as usize;
        for (k, bin) in self.bins.iter().enumerate() {
            let extra = (k + bins - first) % bins < rest;
            choose(bin, share + usize::from(extra), &mut rng, &mut batch);
        }
        batch
    }
}

/// Adds `count` of the items to `out`: each at most once where there are enough (Floyd's method).
fn choose(items: &[usize], count: usize, rng: &mut Rng, out: &mut Vec<usize>) {
    if items.len() < count {
        out.extend((0..count).map(|_| items[rng.below(items.len())]));
        return;
    }
    let mut chosen = BTreeSet::new();
    for last in items.len() - count..items.len() {
        let pick = rng.below(last + 1);
        let pick = if chosen.insert(pick) { pick } else { last };
        chosen.insert(pick);
        out.push(items[pick]);
    }
}

/// The indices of each quantile bin that is not empty.
fn group(values: &[f64], bins: usize) -> Vec<Vec<usize>> {
    let (edges, bin_of) = quantile_bins(values, bins);
    let mut groups = vec![Vec::new(); edges.len() + 1];
    for (i, bin) in bin_of.into_iter().enumerate() {
        groups[bin].push(i);
    }
    groups.retain(|g| !g.is_empty());
    groups
}

/// What batches would have cost had they been padded to their longest movement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waste {
    /// Steps of movements.
    pub valid_steps: u64,
    /// Steps of padding that were not computed.
    pub padded_steps: u64,
}

impl Waste {
    /// Counts one batch, by the lengths of its movements.
    pub fn add(&mut self, lengths: &[usize]) {
        let longest = lengths.iter().copied().max().unwrap_or(0) as u64;
        let valid: u64 = lengths.iter().map(|&l| l as u64).sum();
        self.valid_steps += valid;
        self.padded_steps += longest * lengths.len() as u64 - valid;
    }

    /// Padding as a share of all steps: 0 to 1.
    pub fn share(&self) -> f64 {
        let all = self.valid_steps + self.padded_steps;
        if all == 0 { 0.0 } else { self.padded_steps as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_each_movement_once_in_batches_of_like_length() {
        let lengths: Vec<usize> = (0..1000).map(|i| 10 + (i * 7919) % 100).collect();
        let mut sampler = LengthAware::new(&lengths, 64, 3);
        assert_eq!(sampler.batches_per_epoch(), 15);
        let (mut seen, mut waste, mut random) = (BTreeSet::new(), Waste::default(), Waste::default());
        for iteration in 15..30 {
            let batch = sampler.batch(iteration);
            assert_eq!(batch.len(), 64);
            assert!(batch.iter().all(|&i| seen.insert(i)));
            waste.add(&batch.iter().map(|&i| lengths[i]).collect::<Vec<_>>());
            random.add(&lengths[(iteration as usize - 15) * 64..][..64]);
        }
        assert!(waste.share() < 0.2 && random.share() > 0.4, "{} {}", waste.share(), random.share());
        let later = sampler.batch(100);
        assert_eq!(LengthAware::new(&lengths, 64, 3).batch(100), later);
        assert_ne!(LengthAware::new(&lengths, 64, 4).batch(100), later);
        assert_ne!(sampler.batch(115), later);
    }

    #[test]
    fn what_does_not_fill_a_batch_is_of_any_length() {
        let lengths: Vec<usize> = (0..100).map(|i| 3 + i).collect();
        let mut sampler = LengthAware::new(&lengths, 64, 1);
        let mut seen = [0; 100];
        (0..300).for_each(|epoch| sampler.batch(epoch).into_iter().for_each(|i| seen[i] += 1));
        assert!(seen.iter().all(|n| (150..235).contains(n)), "64 of 100 in 300 epochs: {seen:?}");
    }

    #[test]
    fn few_movements_are_one_batch() {
        let mut sampler = LengthAware::new(&[5, 6, 7], 64, 0);
        let mut batch = sampler.batch(9);
        batch.sort_unstable();
        assert_eq!((batch, sampler.batches_per_epoch()), (vec![0, 1, 2], 1));
    }

    #[test]
    fn strata_have_equal_shares_and_the_batch_its_size() {
        let conditions: Vec<f32> = (0..1000).map(|i| (i as f32 / 1000.0).powi(3)).collect();
        let mut sampler = Stratified::new(&conditions, 64, 1);
        let mut per_bin = [0; 10];
        for iteration in 0..50 {
            let batch = sampler.batch(iteration, 0);
            assert_eq!(batch.iter().collect::<BTreeSet<_>>().len(), 64);
            let mut counts = [0; 10];
            batch.iter().for_each(|i| counts[i / 100] += 1);
            assert!(counts.iter().all(|&n| n == 6 || n == 7), "{counts:?}");
            (0..10).for_each(|k| per_bin[k] += counts[k]);
        }
        assert!(per_bin.iter().all(|&n| n == 320), "{per_bin:?}");
        assert_ne!(sampler.batch(5, 0), sampler.batch(5, 1));
        assert_eq!(sampler.batch(5, 1), Stratified::new(&conditions, 64, 1).batch(5, 1));
    }

    /// Floyd's method: any two of five, each as often as any other.
    #[test]
    fn every_choice_is_as_likely() {
        let (mut rng, mut pairs) = (Rng::new(1, Stream::Stage2Batch, 0), std::collections::BTreeMap::new());
        for _ in 0..10_000 {
            let mut two = Vec::new();
            choose(&[0, 1, 2, 3, 4], 2, &mut rng, &mut two);
            two.sort_unstable();
            *pairs.entry(two).or_insert(0) += 1;
        }
        assert!(pairs.len() == 10 && pairs.values().all(|n| (850..1150).contains(n)), "{pairs:?}");
    }

    #[test]
    fn small_and_equal_strata_still_fill_the_batch() {
        assert_eq!(Stratified::new(&[0.5; 3], 64, 1).batch(0, 0).len(), 64);
        assert_eq!(Stratified::new(&[0.1, 0.2, 0.3, 0.4], 7, 1).batch(0, 0).len(), 7);
        let conditions: Vec<f32> = (0..100).map(|i| i as f32).collect();
        let mut sampler = Stratified::new(&conditions, 3, 1);
        let seen: BTreeSet<usize> = (0..40).flat_map(|i| sampler.batch(i, 0)).map(|i| i / 10).collect();
        assert_eq!(seen.len(), 10);
    }
}
