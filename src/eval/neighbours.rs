//! Precision, recall, density and coverage from nearest neighbours.
//!
//! M. F. Naeem et al., "Reliable fidelity and diversity metrics for generative models", ICML 2020; precision and
//! recall as T. Kynkaanniemi et al., NeurIPS 2019.

use super::kernel::{Rows, squared_distance};
use super::parallel;

/// All in [0,1] but density, which is about 1 where both samples have one distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Neighbours {
    /// Share of generated ones inside some real one's ball.
    pub precision: f64,
    /// Share of real ones inside some generated one's ball.
    pub recall: f64,
    /// Real balls around a generated one, over k.
    pub density: f64,
    /// Share of real ones with a generated one inside their ball.
    pub coverage: f64,
}

/// real (m,d), fake (n,d). A ball reaches to the k-th nearest of the same side, itself not counted, and has its edge: where
/// rows are all alike it is a point. Zeros if a
/// side has not more than k rows.
pub fn prdc(real: Rows, fake: Rows, k: usize, threads: usize) -> Neighbours {
    if k == 0 || real.len() <= k || fake.len() <= k {
        return Neighbours::default();
    }
    let real_radius = radii(real, k, threads);
    let fake_radius = radii(fake, k, threads);
    // For each real one: how many fakes lie in its ball, is it in a fake's, which fakes did it catch.
    let seen = parallel::map(real.len(), threads, |i| {
        let squares = (0..fake.len()).map(|j| squared_distance(real.row(i), fake.row(j)));
        let (mut caught, mut inside) = (Vec::new(), false);
        for (j, square) in squares.enumerate() {
            inside |= square <= fake_radius[j];
            if square <= real_radius[i] {
                caught.push(j);
            }
        }
        (caught, inside)
    });
    let mut hit = vec![false; fake.len()];
    seen.iter().for_each(|(caught, _)| caught.iter().for_each(|&j| hit[j] = true));
    let share = |count: usize, of: usize| count as f64 / of as f64;
    let pairs: usize = seen.iter().map(|(caught, _)| caught.len()).sum();
    Neighbours {
        precision: share(hit.iter().filter(|h| **h).count(), fake.len()),
        recall: share(seen.iter().filter(|(_, inside)| *inside).count(), real.len()),
        density: share(pairs, k * fake.len()),
        coverage: share(seen.iter().filter(|(caught, _)| !caught.is_empty()).count(), real.len()),
    }
}

/// Squared distance to the k-th nearest other row.
fn radii(rows: Rows, k: usize, threads: usize) -> Vec<f64> {
    parallel::map(rows.len(), threads, |i| {
        let others = (0..rows.len()).filter(|j| *j != i);
        let mut squares: Vec<f64> = others.map(|j| squared_distance(rows.row(i), rows.row(j))).collect();
        *squares.select_nth_unstable_by(k - 1, f64::total_cmp).1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, on a line. Balls of real rows reach 2, 1, 1, 8, 1 and 1 far, those of generated ones 2 and 1/2.
    #[test]
    fn balls_include_their_edge() {
        let (real, fake) = ([-1.0, 1.0, 2.0, 10.0, 100.0, 101.0], [1.0, 3.0, 3.5, 40.0, 40.5]);
        let got = prdc(Rows { values: &real, width: 1 }, Rows { values: &fake, width: 1 }, 1, 2);
        // In three, two and one of the real balls, and two in none; of the real ones -1, 1 and 2 are in the ball of 1.
        let expected = Neighbours { precision: 3.0 / 5.0, recall: 3.0 / 6.0, density: 6.0 / 5.0, coverage: 4.0 / 6.0 };
        assert_eq!(got, expected);
        let few = Rows { values: &fake[..2], width: 1 };
        assert_eq!(prdc(Rows { values: &real, width: 1 }, few, 2, 1), Neighbours::default());
    }
}
