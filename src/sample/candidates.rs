//! Several walks for one movement, of which a lottery keeps one (D. B. Rubin, "Using the SIR algorithm to simulate posterior
//! distributions", 1988): the more of them there are, the closer what is kept comes to the recordings' distribution.
//!
//! A decoder that draws step by step is right at every step and yet not for the whole, where small errors add up. The
//! density ratio sees the whole.

use super::SampleOptions;
use super::walk::Walking;
use crate::config::{DecoderKind, MAX_CANDIDATES};
use crate::data::steps::StepCodec;
use crate::data::{Movement, Prepared, evenly};
use crate::error::{Error, Result};
use crate::eval::density_ratio::{DensityRatio, WIDTH};
use crate::eval::parallel;
use crate::model::Model;
use crate::rng::{Rng, Stream};

/// Recordings that the ratio is fitted to. Fewer would be learnt by heart, more cost more than they tell.
const FEWEST_RECORDINGS: usize = 200;
const MOST_RECORDINGS: usize = 4096;

/// Walks for each of them.
const WALKS_EACH: usize = 4;
/// Walks between two questions whether to go on: about a tenth of a second of one core.
const WALKS_AT_ONCE: usize = 512;

/// The first sample of those walks, far from what anybody asks for.
const FIRST_WALK: u64 = 1 << 62;

/// The sample index of a candidate, and of a try to draw it again: ranges of their own, far from each other.
pub(super) fn sample_of(sample: u64, attempt: u64, candidate: u64) -> u64 {
    sample.wrapping_add((attempt * u64::from(MAX_CANDIDATES) + candidate) << 40)
}

/// A walk and the sample that it is.
pub(super) type Walked = (Movement, u64);

/// Walks that are kept at a time to choose among.
const AT_ONCE: usize = 16_384;

/// How walks are chosen.
#[derive(Clone, Copy)]
pub(super) struct Lottery<'a> {
    /// None: there is one candidate, which is taken.
    ratio: Option<&'a DensityRatio>,
    pub candidates: u64,
}

impl Lottery<'_> {
    /// Of so many targets, those whose candidates are drawn at a time: 1 or more.
    pub fn targets(self, all: usize) -> usize {
        let most = if self.ratio.is_none() { all } else { AT_ONCE / self.candidates as usize };
        most.clamp(1, all.max(1))
    }

    /// Walks that wait for the lottery at a time.
    pub fn rows(self, targets: usize) -> usize {
        if self.ratio.is_none() { 0 } else { self.targets(targets) * self.candidates as usize }
    }

    /// Walks (candidates,n) -> (n), each with probability proportional to its ratio: the largest logarithm plus a Gumbel
    /// number (the "Gumbel-max trick"), which belongs to the sample.
    pub fn choose(self, walks: Vec<Walked>, options: &SampleOptions) -> Vec<Walked> {
        let Some(ratio) = self.ratio else { return walks };
        let n = walks.len() / self.candidates as usize;
        let scores = parallel::map(walks.len(), options.threads, |i| {
            let (walk, sample) = &walks[i];
            let unit = Rng::new(options.seed, Stream::PathLottery, *sample).unit();
            ratio.log(&walk.points) - (-unit.ln()).ln()
        });
        let mut walks: Vec<Option<Walked>> = walks.into_iter().map(Some).collect();
        let winner = |i: usize| (i..scores.len()).step_by(n).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        (0..n).filter_map(|i| walks[winner(i)?].take()).collect()
    }
}

impl Model {
    /// Of how many walks one is kept in a batch, if nothing else is asked for: 1 of a model that cannot choose.
    pub fn candidates(&self) -> u32 {
        if self.ratio.is_some() { self.config.candidates } else { 1 }
    }

    /// How walks are chosen of so many candidates; 0: of the model's own number.
    pub(super) fn lottery(&self, asked: u32) -> Result<Lottery<'_>> {
        check_candidates(asked)?;
        let candidates = if asked == 0 { self.candidates() } else { asked };
        if candidates == 1 {
            return Ok(Lottery { ratio: None, candidates: 1 });
        }
        if self.config.decoder == DecoderKind::V6 {
            return Err(Error::argument("candidates", asked, "0 or 1: the v6 decoder has no walks to choose among"));
        }
        let Some(ratio) = &self.ratio else {
            let problem = format!(
                "the model cannot choose among {asked} candidates: that is learnt at the end of stage 2, from \
                 {FEWEST_RECORDINGS} training movements or more, with candidates above 1 in the settings"
            );
            return Err(Error::State { call: "walk", problem });
        };
        Ok(Lottery { ratio: Some(ratio), candidates: candidates.into() })
    }

    /// Fits the ratio to training movements and the model's walks to their targets; none for too few movements. `ask` is called
    /// every tenth of a second or so; its error ends this.
    pub(crate) fn fit_ratio(
        &self,
        data: &Prepared,
        seed: u64,
        threads: usize,
        ask: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Option<DensityRatio>> {
        let Some(codec) = self.data.as_ref().and_then(|d| d.codec.clone()) else { return Ok(None) };
        if self.config.candidates <= 1 || data.train.len() < FEWEST_RECORDINGS {
            return Ok(None);
        }
        let chosen = evenly(data.train.len(), MOST_RECORDINGS).filter_map(|i| data.train.movement(i));
        let recorded: Vec<Movement> = chosen.zip(FIRST_WALK..).map(|(m, i)| on_grid(m, &codec, seed, i)).collect();
        let targets: Vec<[i32; 2]> = recorded.iter().map(|m| m.target().map(|x| x as i32)).collect();
        let mut options = SampleOptions { seed, first: FIRST_WALK, candidates: 1, threads, ..SampleOptions::default() };
        let mut walked = Vec::with_capacity(targets.len() * WALKS_EACH);
        for some in targets.repeat(WALKS_EACH).chunks(WALKS_AT_ONCE) {
            ask()?;
            walked.extend(self.walk(some, &options)?);
            options.first += some.len() as u64;
        }
        DensityRatio::fit(&recorded, &walked, threads, ask).map(Some)
    }
}

/// More than fitting the ratio takes: features twice, their levels, ranks and orders, derivatives, and walks of so many points.
pub(crate) fn fit_bytes(recordings: usize, points: usize) -> usize {
    let rows = recordings.min(MOST_RECORDINGS) * (1 + WALKS_EACH);
    rows * (48 * WIDTH + 24 * points + 256)
}

pub(super) fn check_candidates(candidates: u32) -> Result<()> {
    if candidates > MAX_CANDIDATES {
        return Err(Error::argument("candidates", candidates, format!("0 to {MAX_CANDIDATES}")));
    }
    Ok(())
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
    use std::convert::Infallible;

    use super::*;
    use crate::data::Point;

    /// Ten steps, of which the first is of this length.
    fn walk(first: f64, i: usize) -> Movement {
        let x = |k: usize| if k == 0 { 0.0 } else { first + (2 + i % 3) as f64 * (k - 1) as f64 };
        let point = |k: usize| Point { x: x(k), y: k as f64, t_ms: 10.0 * k as f64 };
        Movement { points: (0..11).map(point).collect(), ..Movement::default() }
    }

    /// Of one likely walk and two that are not it is chosen as often as its share of their ratios says.
    #[test]
    fn a_walk_is_kept_in_proportion_to_its_ratio() {
        let of = |slow: usize| (0..400).map(|i| walk(if i % 4 < slow { 1.0 } else { 5.0 }, i / 4)).collect::<Vec<_>>();
        let Ok(ratio) = DensityRatio::fit(&of(3), &of(1), 1, || Ok::<(), Infallible>(()));
        let (slow, fast) = (walk(1.0, 0), walk(5.0, 0));
        let [r, other] = [&slow, &fast].map(|m| ratio.log(&m.points).exp());
        assert!(r > 3.0 * other, "{r} {other}");
        let lottery = Lottery { ratio: Some(&ratio), candidates: 3 };
        let n = 3000;
        let walks = (0..3 * n).map(|i| (if i < n { &slow } else { &fast }).clone()).zip(0..).collect();
        let chosen = lottery.choose(walks, &SampleOptions::default());
        assert!(chosen.iter().zip(0..).all(|((_, sample), i)| sample % n as u64 == i), "each for its own target");
        let share = chosen.iter().filter(|(m, _)| *m == slow).count() as f64 / n as f64;
        assert!((share - r / (r + 2.0 * other)).abs() < 0.025, "{share}, expected {}", r / (r + 2.0 * other));
    }

    #[test]
    fn as_many_candidates_as_there_are_numbers_for() {
        assert!(check_candidates(4096).is_ok() && check_candidates(0).is_ok() && check_candidates(4097).is_err());
    }

    #[test]
    fn samples_of_candidates_are_apart() {
        assert_eq!(sample_of(7, 0, 0), 7);
        let all = [(0, 0), (0, 1), (0, 4095), (1, 0), (8, 4095)].map(|(attempt, k)| sample_of(u64::MAX, attempt, k));
        let mut sorted = all.to_vec();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 1 << 40), "{all:?}");
    }
}
