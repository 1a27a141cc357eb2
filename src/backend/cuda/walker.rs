//! The closed-loop autoencoder on the device: src/model/walker.rs and closed_loop.rs, sweep by sweep.

use super::batch::ANCHORS;
use super::context::Context;
use super::launch::ADD;
use super::launch_sequence::{Room, lstm_fits};
use super::launch_walker::Profiles;
use super::layers::tensor;
use super::plan::{Plan, Span};
use super::pooler::PoolerSpace;
use super::sequence::{self, LstmSpace, SequenceSpace, Sweep, transposed};
use crate::error::Result;
use crate::model::closed_loop::{ClosedLoop, HELD};
use crate::model::head::Head;
use crate::model::walker::Walker;
use crate::model::{ENCODER, POOLER, WALKER};
use crate::nn::dropout::Site;

/// Activations of a walker, and room for their gradients.
#[derive(Clone, Debug)]
struct WalkerSpace {
    lstm: LstmSpace,
    transposed: Vec<Span>,
    /// (N,K): what each head's activation sees, its sigmoid, and its gradient.
    before: [Span; 3],
    gate: [Span; 3],
    dbefore: [Span; 3],
    /// (N,K)
    active: Span,
    /// (N)
    stop: Span,
    /// Rows (N,width) of the widest head.
    logits: Span,
    /// (N,H)
    dh: Span,
    /// Doubles (N): shares of a loss.
    shares: Span,
}

impl WalkerSpace {
    fn new(plan: &mut Plan, net: &Walker, room: Room) -> WalkerSpace {
        let width = room.steps * net.width();
        let widest = net.heads.iter().map(Head::width).max().unwrap_or(0);
        let mut three = || [(); 3].map(|()| plan.floats(width));
        let [before, gate, dbefore] = [(); 3].map(|()| three());
        WalkerSpace {
            lstm: LstmSpace::new(plan, &net.lstm, room, true),
            transposed: transposed(plan, &net.lstm),
            before,
            gate,
            dbefore,
            active: plan.floats(width),
            stop: plan.floats(room.steps),
            logits: plan.floats(room.steps * widest),
            dh: plan.floats(room.steps * net.lstm.hidden()),
            shares: plan.doubles(room.steps),
        }
    }
}

/// All that is made of a batch, and room for its gradients.
#[derive(Clone, Debug)]
pub(super) struct ClosedLoopSpace {
    encoder: SequenceSpace,
    transposed: Vec<Span>,
    pooler: PoolerSpace,
    /// (B,S): summaries with noise.
    pub noisy: Span,
    walker: WalkerSpace,
    dz: Span,
    /// (N,L)
    dh: Span,
}

impl ClosedLoopSpace {
    pub fn new(plan: &mut Plan, net: &ClosedLoop, room: Room) -> ClosedLoopSpace {
        let summaries = room.rows * net.pooler.summary;
        ClosedLoopSpace {
            encoder: SequenceSpace::new(plan, &net.encoder, room, true),
            transposed: transposed(plan, &net.encoder.lstm),
            pooler: PoolerSpace::new(plan, &net.pooler, room, true),
            noisy: plan.floats(summaries),
            walker: WalkerSpace::new(plan, &net.walker, room),
            dz: plan.floats(summaries),
            dh: plan.floats(room.steps * net.pooler.latent),
        }
    }
}

/// Whether a device has the memory for the recurrences and the encoder's norm.
pub(super) fn fits(device: &Context, net: &ClosedLoop) -> bool {
    sequence::fits(device, &net.encoder) && lstm_fits(device, net.walker.lstm.hidden())
}

impl Sweep<'_> {
    /// The encoder's norm, and the recurrent weights: before the losses of a batch.
    pub fn closed_loop_norms(&self, net: &ClosedLoop, space: &ClosedLoopSpace, training: bool) -> Result<()> {
        self.rows.spectral(&net.encoder.head, space.encoder.normed, training)?;
        self.transpose(&net.encoder.lstm, &space.transposed)?;
        self.transpose(&net.walker.lstm, &space.walker.transposed)
    }

    /// x (N,INPUTS), classes (N,9) -> losses: doubles steps, ticks, stop, and their sum. noise: asked for its numbers,
    /// which are added to space.noisy. With `gradients`, those of the parameters are added to.
    pub fn closed_loop(
        &self,
        net: &ClosedLoop,
        (x, classes): (Span, Span),
        space: &ClosedLoopSpace,
        noise: impl FnOnce(Span) -> Result<()>,
        losses: Span,
        gradients: bool,
    ) -> Result<()> {
        let (s, h, summary) = (self.session(), space.encoder.y, net.pooler.summary);
        self.sequence(&net.encoder, &space.transposed, x, ENCODER, &space.encoder)?;
        self.pool(&net.pooler, h, POOLER, &space.pooler)?;
        s.copy_rows(space.noisy, space.pooler.z, self.rows.rows, summary)?;
        noise(space.noisy)?;
        let dz = gradients.then_some(space.dz);
        self.walk((&net.walker, WALKER), (x, classes), (space.noisy, dz), &space.walker, losses)?;
        if !gradients {
            return Ok(());
        }
        s.centre_rows(space.dz, self.rows.rows, summary)?;
        self.pool_backward(&net.pooler, h, (space.dz, HELD), &space.pooler, space.dh)?;
        self.sequence_backward(&net.encoder, x, space.dh, &space.encoder, None)
    }

    /// Walker::losses; with dz (B,S) the gradients too.
    fn walk(
        &self,
        (net, site): (&Walker, Site),
        (x, classes): (Span, Span),
        (z, dz): (Span, Option<Span>),
        space: &WalkerSpace,
        losses: Span,
    ) -> Result<()> {
        let (s, rows, k) = (self.session(), self.steps.rows, net.width());
        let [steps, ticks, stop, total] = [0, 1, 2, 3].map(|place| losses.part(2 * place, 2));
        let tables = net.embeddings.map(|m| tensor(self.params(), &m));
        let [o, y, t] = space.before;
        self.lstm(&net.lstm, &space.transposed, (x, Some(z)), site, &space.lstm)?;
        self.steps.linear(&net.trunk, space.lstm.output(), o, 0)?;
        s.embed(y, o, tables[0], (classes, 0), rows, k)?;
        s.embed(t, y, tables[1], (classes, 1), rows, k)?;
        self.steps.linear(&net.stop, o, space.stop, 0)?;
        s.binary_loss(space.stop, space.shares, self.by_step())?;
        s.sum_parts(stop, space.shares, 1.0, rows, (1, 1), 0)?;
        for (i, head) in net.heads.iter().enumerate() {
            let (before, gate, sizes) = (space.before[i], space.gate[i], (head.classes, head.width()));
            let profiles = self.profiles(head, (classes, ANCHORS[i]));
            s.swish((space.active, gate), before, rows, k)?;
            self.steps.linear(&head.linear, space.active, space.logits, 0)?;
            if let Some(profiles) = profiles {
                s.add_profiles(space.logits, profiles, rows)?;
            }
            s.categorical_loss(space.logits, space.shares, (classes, i), self.by_step(), sizes)?;
            let (loss, flags) = if i < 2 { (steps, i * ADD) } else { (ticks, 0) };
            s.sum_parts(loss, space.shares, 1.0, rows, (1, 1), flags)?;
            if dz.is_some() {
                if let Some(profiles) = profiles {
                    s.profiles_backward(space.logits, profiles, self.rows.arenas.partials, rows)?;
                }
                self.steps.gradient(&head.linear, space.logits, space.active)?;
                self.steps.backward(&head.linear.weight, space.logits, space.dbefore[i], 0)?;
                s.swish_backward(space.dbefore[i], space.dbefore[i], (before, gate), rows, k)?;
            }
        }
        s.sum_parts(total, losses.part(0, 6), 1.0, self.rows.one, (3, 1), 0)?;
        match dz {
            Some(dz) => self.walk_backward(net, (x, classes), (z, dz), space),
            None => Ok(()),
        }
    }

    /// A head's profiles, and where their anchors are.
    fn profiles(&self, head: &Head, (classes, first): (Span, usize)) -> Option<Profiles> {
        head.profiles().map(|(m, each)| Profiles {
            table: tensor(self.params(), &m),
            dtable: tensor(self.rows.arenas.grads, &m),
            each,
            classes,
            first,
            count: head.classes,
            width: head.width(),
        })
    }

    /// From the gradients of stop and heads, which are in `space`.
    fn walk_backward(
        &self,
        net: &Walker,
        (x, classes): (Span, Span),
        (z, dz): (Span, Span),
        space: &WalkerSpace,
    ) -> Result<()> {
        let (s, rows, k) = (self.session(), self.steps.rows, net.width());
        let [d_o, d_y, d_t] = space.dbefore;
        let tables = net.embeddings.map(|m| (tensor(self.rows.arenas.grads, &m), m.outputs));
        s.scatter(tables[1], d_t, (classes, 1), rows, k)?;
        s.plus(d_y, d_y, d_t, rows, k)?;
        s.scatter(tables[0], d_y, (classes, 0), rows, k)?;
        s.plus(d_o, d_o, d_y, rows, k)?;
        self.steps.gradient(&net.stop, space.stop, space.before[0])?;
        self.steps.backward(&net.stop.weight, space.stop, d_o, ADD)?;
        self.steps.gradient(&net.trunk, d_o, space.lstm.output())?;
        self.steps.backward(&net.trunk.weight, d_o, space.dh, 0)?;
        self.lstm_backward(&net.lstm, (x, Some(z)), space.dh, &space.lstm, (None, Some(dz)))
    }
}
