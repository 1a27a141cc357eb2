//! Latent sequence (N,L) -> summary (B,S) in [-1,1]: tanh(linear(pooled)), of hybrid tanh(linear(lrelu(norm(linear(pooled))))), where
//! pooled is last, mean and max, one behind the other.

use crate::backend::cpu::{Buffer, Real, math};
use crate::config::{Config, Pool};
use crate::nn::dropout::{Site, dropout_backward};
use crate::nn::linear::{leaky_relu, leaky_relu_backward};
use crate::nn::norm::NormTrace;
use crate::nn::params::To;
use crate::nn::{Dropout, Gradients, LayerNorm, Layout, Linear, Steps, Weights};

#[derive(Clone, Debug)]
pub struct Pooler {
    pub(crate) kind: Pool,
    pub(crate) latent: usize,
    pub(crate) summary: usize,
    pub(crate) dropout: f64,
    /// attention: L -> L/2 -> 1, the score of a step.
    pub(crate) attention: Option<(Linear, Linear)>,
    pub(crate) project: Project,
}

#[derive(Clone, Debug)]
pub(crate) enum Project {
    /// mean and last, where S = L.
    Identity,
    Linear(Linear),
    /// hybrid: 3L -> 2L -> S
    Deep(Linear, LayerNorm, Linear),
}

#[derive(Clone, Debug, Default)]
pub struct PoolerTrace<R> {
    /// (B,S)
    pub z: Buffer<R>,
    /// attention: activations of the first layer (N,L/2), before and after dropout, and the dropout's mask.
    activation: Buffer<R>,
    dropped: Buffer<R>,
    mask: Buffer<R>,
    /// attention: share of each step (N).
    share: Buffer<R>,
    /// (B,L), or (B,3L) for hybrid: last, mean, max.
    pooled: Buffer<R>,
    /// hybrid: step of the largest value (B,L).
    largest: Buffer<usize>,
    hidden: Buffer<R>,
    norm: NormTrace<R>,
}

/// Where the slope of tanh is less than a fifth.
pub(crate) const FLAT: f64 = 0.9;

impl Pooler {
    pub fn new(layout: &mut Layout, c: &Config) -> Pooler {
        let (latent, summary) = (c.latent_dim, c.summary_dim);
        let attention = (c.pool_type == Pool::Attention).then(|| {
            let first = Linear::new(layout, "pooler.attention.0", latent, latent / 2);
            (first, Linear::new(layout, "pooler.attention.3", latent / 2, 1))
        });
        let project = match c.pool_type {
            Pool::Hybrid => Project::Deep(
                Linear::new(layout, "pooler.project.0", 3 * latent, 2 * latent),
                LayerNorm::new(layout, "pooler.project.1", 2 * latent),
                Linear::new(layout, "pooler.project.3", 2 * latent, summary),
            ),
            Pool::Mean | Pool::Last if summary == latent => Project::Identity,
            _ => Project::Linear(Linear::new(layout, "pooler.project", latent, summary)),
        };
        Pooler { kind: c.pool_type, latent, summary, dropout: c.pooler_dropout, attention, project }
    }

    /// h (N,L) -> trace.z (B,S)
    pub fn forward<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        h: &[R],
        dropout: Option<(&Dropout, Site)>,
        trace: &mut PoolerTrace<R>,
    ) {
        let rows = steps.rows();
        match self.kind {
            Pool::Attention => self.attend(w, steps, h, dropout, trace),
            Pool::Mean => pool_mean(steps, h, self.latent, trace.pooled.fit(rows * self.latent), self.latent),
            Pool::Last => pool_last(steps, h, self.latent, trace.pooled.fit(rows * self.latent), self.latent),
            Pool::Hybrid => {
                let l = self.latent;
                let pooled = trace.pooled.fit(rows * 3 * l);
                pool_last(steps, h, l, pooled, 3 * l);
                pool_mean(steps, h, l, &mut pooled[l..], 3 * l);
                pool_max(steps, h, l, &mut pooled[2 * l..], trace.largest.fit(rows * l));
            }
        }
        let z = trace.z.fit(rows * self.summary);
        match &self.project {
            Project::Identity => z.copy_from_slice(&trace.pooled),
            Project::Linear(linear) => linear.forward(w, &trace.pooled, z),
            Project::Deep(first, norm, last) => {
                let hidden = trace.hidden.fit(rows * 2 * self.latent);
                first.forward(w, &trace.pooled, hidden);
                norm.forward(w, hidden, &mut trace.norm);
                leaky_relu(w.isa, hidden);
                last.forward(w, hidden, z);
            }
        }
        math::tanh(w.isa, z);
    }

    /// dz (B,S) is used up; dh (N,L) written. held: weight of a penalty on summaries beyond [`FLAT`], whose gradient before tanh is
    /// how far they are beyond.
    pub fn backward<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        h: &[R],
        dropped: bool,
        dz: &mut [R],
        held: R,
        trace: &mut PoolerTrace<R>,
        dh: &mut Buffer<R>,
        grads: &mut Gradients<R>,
    ) {
        math::tanh_backward(w.isa, &trace.z, dz);
        if held > R::ZERO {
            let flat = R::from_f64(FLAT);
            for (d, &z) in dz.iter_mut().zip(&trace.z) {
                if z > flat || z < -flat {
                    *d += held * (z - if z > flat { flat } else { -flat });
                }
            }
        }
        let mut dpooled = vec![R::ZERO; trace.pooled.len()];
        match &self.project {
            Project::Identity => dpooled.copy_from_slice(dz),
            Project::Linear(linear) => {
                linear.gradient(w.isa, dz, &trace.pooled, grads);
                linear.backward(w, dz, &mut dpooled);
            }
            Project::Deep(first, norm, last) => {
                last.gradient(w.isa, dz, &trace.hidden, grads);
                let mut dhidden = vec![R::ZERO; trace.hidden.len()];
                last.backward(w, dz, &mut dhidden);
                leaky_relu_backward(w.isa, &trace.hidden, &mut dhidden);
                norm.gradient(w.isa, &dhidden, trace.norm.all(), grads);
                norm.backward(w, &mut dhidden, trace.norm.all());
                first.gradient(w.isa, &dhidden, &trace.pooled, grads);
                first.backward(w, &dhidden, &mut dpooled);
            }
        }
        let l = self.latent;
        let dh = dh.fit(steps.total() * l);
        dh.fill(R::ZERO);
        match self.kind {
            Pool::Attention => self.attend_backward(w, steps, h, dropped, &dpooled, trace, dh, grads),
            Pool::Mean => pool_mean_backward(steps, &dpooled, l, l, dh),
            Pool::Last => pool_last_backward(steps, &dpooled, l, l, dh),
            Pool::Hybrid => {
                pool_last_backward(steps, &dpooled, l, 3 * l, dh);
                pool_mean_backward(steps, &dpooled[l..], l, 3 * l, dh);
                for (b, (largest, dpooled)) in trace.largest.chunks(l).zip(dpooled.chunks(3 * l)).enumerate() {
                    for (j, (&t, &d)) in largest.iter().zip(&dpooled[2 * l..]).enumerate() {
                        dh[steps.at(b, t) * l + j] += d;
                    }
                }
            }
        }
    }

    /// pooled (B,L) = sum over t of softmax(score(h)) h
    fn attend<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        h: &[R],
        dropout: Option<(&Dropout, Site)>,
        trace: &mut PoolerTrace<R>,
    ) {
        let Some((first, second)) = &self.attention else { return };
        let (l, half) = (self.latent, self.latent / 2);
        let activation = trace.activation.fit(steps.total() * half);
        first.forward(w, h, activation);
        math::tanh(w.isa, activation);
        let mut seen: &[R] = activation;
        if let Some((dropout, site)) = dropout.filter(|_| self.dropout > 0.0) {
            let (dropped, mask) = (trace.dropped.fit(seen.len()), trace.mask.fit(seen.len()));
            dropout.apply_steps(w.isa, (site, self.dropout), steps, half, seen, dropped, mask);
            seen = dropped;
        }
        let share = trace.share.fit(steps.total());
        second.forward(w, seen, share);
        let pooled = trace.pooled.fit(steps.rows() * l);
        pooled.fill(R::ZERO);
        for (b, pooled) in pooled.chunks_exact_mut(l).enumerate() {
            let times = 0..steps.lengths()[b];
            let most = times.clone().map(|t| share[steps.at(b, t)].to_f64()).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = times.clone().map(|t| (share[steps.at(b, t)].to_f64() - most).exp()).sum();
            for i in times.map(|t| steps.at(b, t)) {
                share[i] = R::from_f64((share[i].to_f64() - most).exp() / sum);
                math::axpy(w.isa, share[i], &h[i * l..(i + 1) * l], pooled);
            }
        }
    }

    fn attend_backward<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        h: &[R],
        dropped: bool,
        dpooled: &[R],
        trace: &PoolerTrace<R>,
        dh: &mut [R],
        grads: &mut Gradients<R>,
    ) {
        let Some((first, second)) = &self.attention else { return };
        let l = self.latent;
        let dropped = dropped && self.dropout > 0.0;
        let share = &trace.share;
        let mut dscore = vec![R::ZERO; share.len()];
        for (b, dpooled) in dpooled.chunks_exact(l).enumerate() {
            let times = || (0..steps.lengths()[b]).map(|t| steps.at(b, t));
            let mut mean = R::ZERO;
            for i in times() {
                let h = &h[i * l..(i + 1) * l];
                dscore[i] = h.iter().zip(dpooled).map(|(&h, &d)| h * d).sum();
                mean += share[i] * dscore[i];
                math::axpy(w.isa, share[i], dpooled, &mut dh[i * l..(i + 1) * l]);
            }
            for i in times() {
                dscore[i] = share[i] * (dscore[i] - mean);
            }
        }
        let seen = if dropped { &trace.dropped } else { &trace.activation };
        second.gradient(w.isa, &dscore, seen, grads);
        let mut dactivation = vec![R::ZERO; seen.len()];
        second.backward(w, &dscore, &mut dactivation);
        if dropped {
            dropout_backward(w.isa, &trace.mask, &mut dactivation);
        }
        math::tanh_backward(w.isa, &trace.activation, &mut dactivation);
        first.gradient(w.isa, &dactivation, h, grads);
        first.weight.backward(w, &dactivation, dh, R::ONE, To::Add);
    }
}

/// Row b of `pooled` begins at b * stride.
fn pool_last<R: Real>(steps: &Steps, h: &[R], l: usize, pooled: &mut [R], stride: usize) {
    for (b, pooled) in pooled.chunks_mut(stride).take(steps.rows()).enumerate() {
        pooled[..l].copy_from_slice(&h[steps.at(b, steps.lengths()[b] - 1) * l..][..l]);
    }
}

fn pool_last_backward<R: Real>(steps: &Steps, dpooled: &[R], l: usize, stride: usize, dh: &mut [R]) {
    for (b, dpooled) in dpooled.chunks(stride).take(steps.rows()).enumerate() {
        let dh = &mut dh[steps.at(b, steps.lengths()[b] - 1) * l..][..l];
        dh.iter_mut().zip(dpooled).for_each(|(dh, &d)| *dh += d);
    }
}

fn pool_mean<R: Real>(steps: &Steps, h: &[R], l: usize, pooled: &mut [R], stride: usize) {
    for (b, pooled) in pooled.chunks_mut(stride).take(steps.rows()).enumerate() {
        let pooled = &mut pooled[..l];
        pooled.fill(R::ZERO);
        for t in 0..steps.lengths()[b] {
            pooled.iter_mut().zip(&h[steps.at(b, t) * l..]).for_each(|(p, &h)| *p += h);
        }
        let n = R::from_f64(steps.lengths()[b] as f64);
        pooled.iter_mut().for_each(|p| *p = *p / n);
    }
}

fn pool_mean_backward<R: Real>(steps: &Steps, dpooled: &[R], l: usize, stride: usize, dh: &mut [R]) {
    for (b, dpooled) in dpooled.chunks(stride).take(steps.rows()).enumerate() {
        let n = R::from_f64(steps.lengths()[b] as f64);
        for t in 0..steps.lengths()[b] {
            dh[steps.at(b, t) * l..][..l].iter_mut().zip(dpooled).for_each(|(dh, &d)| *dh += d / n);
        }
    }
}

/// hybrid's third part: rows of `pooled` are 3L apart. Of equal values the first counts.
fn pool_max<R: Real>(steps: &Steps, h: &[R], l: usize, pooled: &mut [R], largest: &mut [usize]) {
    for (b, (pooled, largest)) in pooled.chunks_mut(3 * l).zip(largest.chunks_mut(l)).enumerate() {
        let pooled = &mut pooled[..l];
        pooled.copy_from_slice(&h[steps.at(b, 0) * l..][..l]);
        largest.fill(0);
        for t in 1..steps.lengths()[b] {
            let h = &h[steps.at(b, t) * l..];
            for ((p, largest), &h) in pooled.iter_mut().zip(&mut *largest).zip(h) {
                if h > *p {
                    (*p, *largest) = (h, t);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Isa;

    /// Held with a weight, a summary beyond 0.9 to either side is pulled back as far as it is beyond, before its tanh.
    #[test]
    fn what_is_held_is_pulled_back_from_where_tanh_is_flat() {
        let c = Config { pool_type: Pool::Last, latent_dim: 4, summary_dim: 4, ..Config::default() };
        let mut layout = Layout::default();
        let pooler = Pooler::new(&mut layout, &c);
        let w = Weights::new(Isa::detect(), &layout, Vec::<f64>::new());
        let (steps, h) = (Steps::new(&[1]), [2.0, -2.0, 0.5, -1.4]);
        let mut trace = PoolerTrace::default();
        pooler.forward(&w, &steps, &h, None, &mut trace);
        let (mut dh, mut grads) = (Buffer::default(), Gradients::new(&layout));
        let mut back = |held, dz: [f64; 4]| {
            pooler.backward(&w, &steps, &h, false, &mut dz.clone(), held, &mut trace, &mut dh, &mut grads);
            dh.to_vec()
        };
        assert_eq!(back(0.0, [0.0; 4]), [0.0; 4]);
        let beyond = 2f64.tanh() - 0.9;
        for (got, expected) in back(0.5, [0.0; 4]).iter().zip([0.5 * beyond, -0.5 * beyond, 0.0, 0.0]) {
            assert!((got - expected).abs() < 1e-12, "{got}, expected {expected}");
        }
        // Beside what the losses say.
        let slope = 1.0 - 2f64.tanh().powi(2);
        assert!((back(0.5, [3.0; 4])[0] - (3.0 * slope + 0.5 * beyond)).abs() < 1e-12);
    }
}
