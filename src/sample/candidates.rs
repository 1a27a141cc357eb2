//! Several walks for one movement, of which a lottery keeps one (D. B. Rubin, "Using the SIR algorithm to simulate posterior
//! distributions", 1988): the more of them there are, the closer what is kept comes to the recordings' distribution.
//!
//! A decoder that draws step by step is right at every step and yet not for the whole, where small errors add up. The
//! density ratio sees the whole.

use super::SampleOptions;
use super::targets::check_targets;
use super::walk::Walking;
use crate::config::DecoderKind;
use crate::data::steps::StepCodec;
use crate::data::{Movement, Prepared, evenly};
use crate::error::{Error, Result};
use crate::eval::density_ratio::{DensityRatio, WIDTH};
use crate::eval::parallel;
use crate::model::Model;
use crate::rng::{Rng, Stream};

/// Most candidates of one movement: what the ranges of their sample indices have room for.
pub(crate) const MOST_CANDIDATES: u32 = 4096;

/// Recordings that the ratio is fitted to. Fewer would be learnt by heart, more cost more than they tell.
const FEWEST_RECORDINGS: usize = 200;
const MOST_RECORDINGS: usize = 4096;

/// Walks for each of them.
const WALKS_EACH: usize = 4;

/// The first sample of those walks, far from what anybody asks for.
const FIRST_WALK: u64 = 1 << 62;

pub(super) fn check(candidates: u32) -> Result<()> {
    if candidates > MOST_CANDIDATES {
        return Err(Error::argument("candidates", candidates, format!("0 to {MOST_CANDIDATES}")));
    }
    Ok(())
}

/// The sample index of a candidate, and of a try to draw it again: ranges of their own, far from each other.
pub(super) fn sample_of(sample: u64, attempt: u64, candidate: u64) -> u64 {
    sample.wrapping_add((attempt * u64::from(MOST_CANDIDATES) + candidate) << 40)
}

/// A walk and the sample that it is.
pub(super) type Drawn = (Movement, u64);

/// How one of several walks is chosen.
#[derive(Clone, Copy)]
pub(super) struct Lottery<'a> {
    ratio: &'a DensityRatio,
    pub candidates: u64,
}

impl Lottery<'_> {
    /// Walks (candidates,n) -> (n), each with probability proportional to its ratio: the largest logarithm plus a Gumbel
    /// number (the "Gumbel-max trick"), which belongs to the sample.
    pub fn choose(self, walks: Vec<Drawn>, options: &SampleOptions) -> Vec<Drawn> {
        let n = walks.len() / self.candidates as usize;
        let scores = parallel::map(walks.len(), options.threads, |i| {
            let (walk, sample) = &walks[i];
            let unit = Rng::new(options.seed, Stream::PathLottery, *sample).unit();
            self.ratio.log(&walk.points) - (-unit.ln()).ln()
        });
        let mut walks: Vec<Option<Drawn>> = walks.into_iter().map(Some).collect();
        let winner = |i: usize| (i..scores.len()).step_by(n).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        (0..n).filter_map(|i| walks[winner(i)?].take()).collect()
    }
}

impl Model {
    /// How walks are chosen for so many candidates as are asked for; None: there is one, which is taken. 0: the
    /// config's number, where the ratio is known.
    pub(super) fn walk_lottery(&self, asked: u32) -> Result<Option<Lottery<'_>>> {
        check(asked)?;
        if self.config.decoder == DecoderKind::V6 {
            let expected = "0 or 1: the v6 decoder has no walks to choose among";
            return if asked > 1 { Err(Error::argument("candidates", asked, expected)) } else { Ok(None) };
        }
        let candidates = if asked == 0 { self.config.candidates } else { asked };
        match (&self.ratio, asked) {
            (Some(ratio), _) if candidates > 1 => Ok(Some(Lottery { ratio, candidates: candidates.into() })),
            (None, 2..) => {
                let problem = format!(
                    "it cannot choose among {asked} candidates: that is learnt at the end of stage 2, with candidates \
                     above 1 in the settings and from {FEWEST_RECORDINGS} recordings or more"
                );
                Err(Error::State { call: "walk", problem })
            }
            _ => Ok(None),
        }
    }

    /// Fits the ratio to training movements and the model's walks to their targets; none for too few movements.
    pub(crate) fn fit_ratio(&mut self, data: &Prepared, seed: u64, threads: usize) -> Result<()> {
        let Some(codec) = self.data.as_ref().and_then(|d| d.codec.clone()) else { return Ok(()) };
        if self.config.candidates <= 1 || data.train.len() < FEWEST_RECORDINGS {
            return Ok(());
        }
        let chosen: Vec<&Movement> =
            evenly(data.train.len(), MOST_RECORDINGS).filter_map(|i| data.train.movement(i)).collect();
        let recorded: Vec<Movement> =
            chosen.iter().zip(FIRST_WALK..).map(|(m, i)| on_grid(m, &codec, seed, i)).collect();
        let targets: Vec<[i32; 2]> = recorded.iter().map(|m| m.target().map(|x| x as i32)).collect();
        if check_targets(&targets).is_err() {
            return Ok(()); // recordings on a scale that no walk goes
        }
        let options = SampleOptions { seed, first: FIRST_WALK, candidates: 1, threads, ..SampleOptions::default() };
        let walked = self.walk(&targets.repeat(WALKS_EACH), &options)?;
        self.ratio = Some(DensityRatio::fit(&recorded, &walked, threads));
        Ok(())
    }
}

/// More than fitting the ratio takes: features with their ranks and orders, and walks of so many points.
pub(crate) fn fit_bytes(recordings: usize, points: usize) -> usize {
    let rows = recordings.min(MOST_RECORDINGS) * (1 + WALKS_EACH);
    rows * (32 * WIDTH + 24 * points)
}

/// A recording as a walk would say it, in whole pixels and ticks: neither shall be told by its recorder's resolution.
fn on_grid(recorded: &Movement, codec: &StepCodec, seed: u64, sample: u64) -> Movement {
    let target = recorded.target().map(|x| x as i32);
    let mut walk = Walking::new(target, seed, sample, recorded.points.len());
    codec.events(&recorded.points).for_each(|event| walk.go(event, codec));
    walk.movement()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_candidates_are_apart() {
        assert_eq!(sample_of(7, 0, 0), 7);
        let all = [(0, 0), (0, 1), (0, 4095), (1, 0), (8, 4095)].map(|(attempt, k)| sample_of(u64::MAX, attempt, k));
        let mut sorted = all.to_vec();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 1 << 40), "{all:?}");
    }
}
