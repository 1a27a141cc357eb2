//! The poolers on the device: src/model/pooler.rs, sweep by sweep.

use super::kernels::Kernel;
use super::launch::{ADD, LEAKY, TANH};
use super::launch_sequence::Room;
use super::layers::NormSpace;
use super::plan::{Plan, Span};
use super::sequence::{DropSpace, Sweep};
use crate::config::Pool;
use crate::error::Result;
use crate::model::pooler::{FLAT, Pooler, Project};
use crate::nn::dropout::Site;

/// Activations of a pooler, and room for their gradients.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolerSpace {
    /// (B,S)
    pub z: Span,
    /// attention: the first layer (N,L/2), after dropout too, and each step's share (N).
    activation: Span,
    drop: DropSpace,
    share: Span,
    dactivation: Span,
    dscore: Span,
    /// (B,L), or (B,3L) for hybrid.
    pooled: Span,
    dpooled: Span,
    /// hybrid: step of the largest value (B,L), and the layer between (B,2L).
    largest: Span,
    hidden: Span,
    dhidden: Span,
    norm: NormSpace,
}

impl PoolerSpace {
    pub fn new(plan: &mut Plan, net: &Pooler, room: Room, training: bool) -> PoolerSpace {
        let Room { rows, steps, .. } = room;
        let (attention, hybrid) = (net.kind == Pool::Attention, net.kind == Pool::Hybrid);
        let back = |wanted: bool, len: usize| if wanted && training { len } else { 0 };
        let only = |wanted: bool, len: usize| if wanted { len } else { 0 };
        let (half, deep) = (steps * (net.latent / 2), rows * 2 * net.latent);
        let pooled = rows * net.latent * if hybrid { 3 } else { 1 };
        PoolerSpace {
            z: plan.floats(rows * net.summary),
            activation: plan.floats(only(attention, half)),
            drop: DropSpace::new(plan, back(attention && net.dropout > 0.0, half)),
            share: plan.floats(only(attention, steps)),
            dactivation: plan.floats(back(attention, half)),
            dscore: plan.floats(back(attention, steps)),
            pooled: plan.floats(pooled),
            dpooled: plan.floats(back(true, pooled)),
            largest: plan.floats(only(hybrid, rows * net.latent)),
            hidden: plan.floats(only(hybrid, deep)),
            dhidden: plan.floats(back(hybrid, deep)),
            norm: NormSpace::new(plan, only(hybrid, rows), 2 * net.latent, false),
        }
    }
}

impl Sweep<'_> {
    /// h (N,L) -> space.z (B,S)
    pub fn pool(&self, net: &Pooler, h: Span, site: Site, space: &PoolerSpace) -> Result<()> {
        let (s, l, by_row) = (self.session(), net.latent, self.by_row());
        match net.kind {
            Pool::Attention => self.attend(net, h, site, space)?,
            Pool::Mean => s.pool(Kernel::pool_mean, (space.pooled, l), h, by_row, l)?,
            Pool::Last => s.pool(Kernel::pool_last, (space.pooled, l), h, by_row, l)?,
            Pool::Hybrid => {
                s.pool(Kernel::pool_last, (space.pooled, 3 * l), h, by_row, l)?;
                s.pool(Kernel::pool_mean, (space.pooled.from(l), 3 * l), h, by_row, l)?;
                s.pool_max((space.pooled.from(2 * l), 3 * l), space.largest, h, by_row, l)?;
            }
        }
        match &net.project {
            Project::Identity => {
                s.copy_rows(space.z, space.pooled, self.rows.rows, l)?;
                s.tanh_forward(space.z, self.rows.rows, l)
            }
            Project::Linear(linear) => self.rows.linear(linear, space.pooled, space.z, TANH),
            Project::Deep(first, norm, last) => {
                self.rows.linear(first, space.pooled, space.hidden, 0)?;
                self.rows.norm(norm, space.hidden, space.norm, LEAKY)?;
                self.rows.linear(last, space.hidden, space.z, TANH)
            }
        }
    }

    /// dz (B,S) is used up; dh (N,L) written. held: as in `Pooler::backward`, over the rows of the batch.
    pub fn pool_backward(
        &self,
        net: &Pooler,
        h: Span,
        (dz, held): (Span, f64),
        space: &PoolerSpace,
        dh: Span,
    ) -> Result<()> {
        let (s, l) = (self.session(), net.latent);
        s.tanh_backward(dz, space.z, self.rows.rows, net.summary)?;
        if held > 0.0 {
            s.hold_rows(dz, space.z, [held, FLAT], self.rows.rows, net.summary)?;
        }
        let dpooled = match &net.project {
            Project::Identity => dz,
            Project::Linear(linear) => {
                self.rows.gradient(linear, dz, space.pooled)?;
                self.rows.backward(&linear.weight, dz, space.dpooled, 0)?;
                space.dpooled
            }
            Project::Deep(first, norm, last) => {
                self.rows.gradient(last, dz, space.hidden)?;
                self.rows.backward_leaky(&last.weight, dz, space.dhidden, space.hidden)?;
                self.rows.norm_backward(norm, space.dhidden, space.norm, true)?;
                self.rows.gradient(first, space.dhidden, space.pooled)?;
                self.rows.backward(&first.weight, space.dhidden, space.dpooled, 0)?;
                space.dpooled
            }
        };
        let by_step = self.by_step();
        match net.kind {
            Pool::Attention => self.attend_backward(net, h, dpooled, space, dh),
            Pool::Last => s.pool_backward(dh, ([Some(dpooled), None, None], l), None, by_step, l),
            Pool::Mean => s.pool_backward(dh, ([None, Some(dpooled), None], l), None, by_step, l),
            Pool::Hybrid => {
                let parts = [0, l, 2 * l].map(|start| Some(dpooled.from(start)));
                s.pool_backward(dh, (parts, 3 * l), Some(space.largest), by_step, l)
            }
        }
    }

    fn attend(&self, net: &Pooler, h: Span, site: Site, space: &PoolerSpace) -> Result<()> {
        let Some((first, second)) = &net.attention else { return Ok(()) };
        self.steps.linear(first, h, space.activation, TANH)?;
        let seen = self.drop((site, net.dropout), space.activation, space.drop, net.latent / 2)?;
        self.steps.linear(second, seen, space.share, 0)?;
        self.session().attend((space.pooled, space.share), h, self.by_row(), net.latent)
    }

    fn attend_backward(&self, net: &Pooler, h: Span, dpooled: Span, space: &PoolerSpace, dh: Span) -> Result<()> {
        let Some((first, second)) = &net.attention else { return Ok(()) };
        let (s, half) = (self.session(), net.latent / 2);
        let PoolerSpace { activation, dactivation, dscore, share, .. } = *space;
        s.attend_backward((dscore, dh), dpooled, (share, h), self.by_row(), net.latent)?;
        self.steps.gradient(second, dscore, self.seen(net.dropout, activation, space.drop))?;
        self.steps.backward(&second.weight, dscore, dactivation, 0)?;
        self.drop_backward(net.dropout, dactivation, space.drop, half)?;
        s.tanh_backward(dactivation, activation, self.steps.rows, half)?;
        self.steps.gradient(first, dactivation, h)?;
        self.steps.backward(&first.weight, dactivation, dh, ADD)
    }
}
