//! Losses of stage 2 for one shard of rows, and their gradients.
//!
//! I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017.

use super::Networks;
use super::critic::{CallNorms, CriticTrace};
use super::generator::GeneratorTrace;
use crate::backend::cpu::{Buffer, Real};
use crate::nn::{Gradients, Weights};

/// Sums over a shard, already divided by the batch size; shards add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CriticLosses {
    pub d_real: f64,
    pub d_fake: f64,
    pub gp: f64,
}

impl std::ops::AddAssign for CriticLosses {
    fn add_assign(&mut self, other: Self) {
        self.d_real += other.d_real;
        self.d_fake += other.d_fake;
        self.gp += other.gp;
    }
}

impl CriticLosses {
    pub fn wasserstein(&self) -> f64 {
        self.d_real - self.d_fake
    }

    pub fn total(&self, lambda_gp: f64) -> f64 {
        self.d_fake - self.d_real + lambda_gp * self.gp
    }
}

/// One shard of a critic step: z_real (M,S), condition (M,C), noise (M,N), alpha (M) in [0,1).
#[derive(Clone, Copy)]
pub struct CriticShard<'a, R> {
    pub z_real: &'a [R],
    pub condition: &'a [R],
    pub noise: &'a [R],
    pub alpha: &'a [R],
}

/// Buffers of one shard.
#[derive(Clone, Debug, Default)]
pub struct GanTrace<R> {
    pub generator: GeneratorTrace<R>,
    pub critic: CriticTrace<R>,
    /// What the critic's calls see: real, fake, interpolate.
    z: Buffer<R>,
    dscore: Buffer<R>,
}

impl Networks {
    /// Losses and gradients of the critic, for rows of a batch of `batch` rows. The generator gets none. norms: of three
    /// calls, for real, fake and interpolated summaries.
    pub fn critic_losses<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[CallNorms<R>],
        shard: CriticShard<R>,
        batch: usize,
        lambda_gp: f64,
        trace: &mut GanTrace<R>,
        grads: &mut Gradients<R>,
    ) -> CriticLosses {
        let CriticShard { z_real, condition, noise, alpha } = shard;
        let GanTrace { generator, critic, z, dscore } = trace;
        let (rows, share) = (alpha.len(), 1.0 / batch as f64);
        let width = z_real.len() / rows;
        self.generator.forward(w, noise, condition, generator);
        z.clear();
        z.extend_from_slice(z_real);
        z.extend_from_slice(&generator.z);
        let (seen, z_hat) = z.fit(3 * z_real.len()).split_at_mut(2 * z_real.len());
        let (z_real, z_fake) = seen.split_at(z_real.len());
        let pairs = z_real.chunks_exact(width).zip(z_fake.chunks_exact(width)).zip(alpha);
        for (((real, fake), &alpha), z_hat) in pairs.zip(z_hat.chunks_exact_mut(width)) {
            for ((z_hat, &real), &fake) in z_hat.iter_mut().zip(real).zip(fake) {
                *z_hat = alpha * real + (R::ONE - alpha) * fake;
            }
        }
        self.critic.forward(w, norms, z, condition, critic);
        let mean = |scores: &[R]| scores.iter().map(|s| s.to_f64()).sum::<f64>() * share;
        let (d_real, d_fake) = (mean(&critic.score[..rows]), mean(&critic.score[rows..2 * rows]));

        let (of_scores, of_last) = dscore.fit(3 * rows).split_at_mut(2 * rows);
        of_scores[..rows].fill(R::from_f64(-share));
        of_scores[rows..].fill(R::from_f64(share));
        of_last.fill(R::ONE);
        self.critic.backward_to_z(w, norms, of_last, critic);
        // v = 2 lambda (|g| - 1) g / |g| / B, where g = dscore / dz at the interpolate
        let mut gp = 0.0;
        for g in critic.dz.chunks_exact_mut(width) {
            let norm = g.iter().map(|g| g.to_f64() * g.to_f64()).sum::<f64>().sqrt();
            gp += (norm - 1.0) * (norm - 1.0) * share;
            let slope = R::from_f64(if norm > 0.0 { 2.0 * lambda_gp * (norm - 1.0) / norm * share } else { 0.0 });
            g.iter_mut().for_each(|g| *g *= slope);
        }
        let v = std::mem::take(&mut critic.dz);
        self.critic.tangent(w, norms, &v, critic);
        critic.dz = v;
        of_last.fill(R::ZERO);
        self.critic.backward(w, norms, (condition, dscore), critic, grads);
        CriticLosses { d_real, d_fake, gp }
    }

    /// noise (M,N), condition (M,C) -> trace.generator.z (M,S); returns the sum of the critic's scores.
    pub fn generator_forward<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[CallNorms<R>],
        noise: &[R],
        condition: &[R],
        trace: &mut GanTrace<R>,
    ) -> f64 {
        self.generator.forward(w, noise, condition, &mut trace.generator);
        self.critic.forward(w, norms, &trace.generator.z, condition, &mut trace.critic);
        trace.critic.score.iter().map(|s| s.to_f64()).sum()
    }

    /// After [`Networks::generator_forward`]: gradients of -mean(score) plus those of feature matching, which
    /// come as dz = offset + slope * z for every dimension (S) of the summary.
    pub fn generator_backward<R: Real>(
        &self,
        w: &Weights<R>,
        norms: &[CallNorms<R>],
        condition: &[R],
        batch: usize,
        matching: Option<&FeatureMatching>,
        trace: &mut GanTrace<R>,
        grads: &mut Gradients<R>,
    ) {
        let GanTrace { generator, critic, dscore, .. } = trace;
        dscore.fit(critic.score.len()).fill(R::from_f64(-1.0 / batch as f64));
        self.critic.backward_to_z(w, norms, dscore, critic);
        if let Some(matching) = matching {
            let width = matching.offset.len();
            for (dz, z) in critic.dz.chunks_exact_mut(width).zip(generator.z.chunks_exact(width)) {
                for (j, (dz, z)) in dz.iter_mut().zip(z).enumerate() {
                    *dz += R::from_f64(matching.offset[j] + matching.slope[j] * z.to_f64());
                }
            }
        }
        self.generator.backward(w, condition, &mut critic.dz, generator, grads);
    }
}

/// Mean squared difference of the means and of the (unbiased) standard deviations over a batch:
/// the one loss that couples the rows. A single row has no deviation: 0.
#[derive(Clone, Debug)]
pub struct FeatureMatching {
    pub loss: f64,
    offset: Vec<f64>,
    slope: Vec<f64>,
}

impl FeatureMatching {
    /// fake and real (B,S). weight: factor of the loss in the total.
    pub fn new<R: Real>(fake: &[R], real: &[R], width: usize, weight: f64) -> FeatureMatching {
        let n = (fake.len() / width) as f64;
        let ((fake_mean, fake_std), (real_mean, real_std)) = (moments(fake, width), moments(real, width));
        let s = width as f64;
        let mut matching = FeatureMatching { loss: 0.0, offset: vec![0.0; width], slope: vec![0.0; width] };
        for j in 0..width {
            let (mean, std) = (fake_mean[j] - real_mean[j], fake_std[j] - real_std[j]);
            matching.loss += (mean * mean + std * std) / s;
            // d mean / dz = 1 / B; d std / dz = (z - mean) / ((B - 1) std)
            let slope = weight * 2.0 * std / s / ((n - 1.0) * fake_std[j]);
            let slope = if slope.is_finite() { slope } else { 0.0 }; // one row, or all alike
            matching.slope[j] = slope;
            matching.offset[j] = weight * 2.0 * mean / s / n - slope * fake_mean[j];
        }
        matching
    }
}

/// Means and unbiased standard deviations of the columns.
fn moments<R: Real>(z: &[R], width: usize) -> (Vec<f64>, Vec<f64>) {
    let n = (z.len() / width) as f64;
    let mut mean = vec![0.0; width];
    let mut square = vec![0.0; width];
    z.chunks_exact(width).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, z)| *m += z.to_f64() / n));
    for row in z.chunks_exact(width) {
        square.iter_mut().zip(row).zip(&mean).for_each(|((s, z), m)| *s += (z.to_f64() - m).powi(2));
    }
    (mean, square.iter().map(|s| (s / (n - 1.0).max(1.0)).sqrt()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The critic scores real ones high: what it falls short of is its loss, and how far it tells them apart the distance.
    #[test]
    fn the_distance_is_what_real_ones_score_more() {
        let losses = CriticLosses { d_real: 5.0, d_fake: 2.0, gp: 0.5 };
        assert_eq!((losses.wasserstein(), losses.total(10.0)), (3.0, 2.0));
    }
}
