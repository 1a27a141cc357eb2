//! The expanders on the device: src/model/expander.rs, sweep by sweep.

use super::launch::{ADD, LEAKY, TANH};
use super::launch_sequence::{Cells, ExpanderSizes, ExpanderWeights, Expansion, Room};
use super::layers::{NormSpace, row, tensor};
use super::plan::{Plan, Span};
use super::sequence::{DropSpace, Sweep};
use crate::error::Result;
use crate::model::expander::{Expander, Kind, POSITIONS};
use crate::nn::dropout::Site;
use crate::nn::{LayerNorm, Linear, Lstm};

/// Activations of an expander, and room for their gradients.
#[derive(Clone, Debug)]
pub(super) struct ExpanderSpace {
    /// (N,L)
    pub y: Span,
    kind: KindSpace,
}

#[derive(Clone, Debug)]
enum KindSpace {
    Lstm(StackSpace),
    Mlp(MlpSpace),
    Repeat(RepeatSpace),
}

#[derive(Clone, Debug)]
struct StackSpace {
    sizes: ExpanderSizes,
    expansion: Expansion,
    weights: ExpanderWeights,
    /// As weights.stack_t, not transposed: for the backward.
    stack: Span,
    /// (layers-1,N,H), of which `expansion` has no more than it needs.
    mask: Span,
    /// (B,layers,H) each.
    dinit: [Span; 2],
    /// (N,H): a layer's h one step earlier, or its input; (N,L): y one step earlier.
    before: Span,
    before_y: Span,
    /// (B,4H)
    sums: Span,
}

#[derive(Clone, Debug)]
struct MlpSpace {
    /// (N,32)
    positions: Span,
    /// (B,H): the summary's share of the first layer, and the gradient's sums.
    shared: Span,
    /// (N,H) each.
    hidden: [Span; 2],
    dhidden: [Span; 2],
    norms: [NormSpace; 2],
    drop: DropSpace,
}

#[derive(Clone, Debug)]
struct RepeatSpace {
    /// (B,H)
    hidden: Span,
    dhidden: Span,
    norm: NormSpace,
    /// (B,L): the one step, and its gradient.
    step: Span,
    dstep: Span,
}

pub(super) fn sizes(net: &Expander, lstm: &Lstm, room: Room) -> ExpanderSizes {
    ExpanderSizes { latent: net.latent, hidden: net.hidden, layers: lstm.layers.len(), capacity: room.steps }
}

impl StackSpace {
    fn new(plan: &mut Plan, sizes: ExpanderSizes, lstm: &Lstm, y: Span, room: Room, training: bool) -> StackSpace {
        // What no backward will want is not kept.
        let sizes = if training { sizes } else { ExpanderSizes { capacity: room.rows, ..sizes } };
        let ExpanderSizes { latent: l, hidden: h, layers, capacity } = sizes;
        let back = |len: usize| if training { len } else { 0 };
        let stack = 4 * h * (l + h) + (layers - 1) * 8 * h * h;
        let width = layers * capacity * h;
        let cells = Cells { gates: plan.floats(back(4 * width)), c: plan.floats(width), h: plan.floats(back(width)) };
        let state = room.rows * layers * h;
        let init = [(); 2].map(|()| plan.floats(state));
        StackSpace {
            sizes,
            expansion: Expansion { y, cells, init, mask: None, words: plan.floats(back(sizes.words(room.rows))) },
            weights: ExpanderWeights {
                constant: plan.floats(room.rows * 4 * h),
                stack_t: plan.floats(stack),
                biases: plan.floats(layers * 4 * h),
                out_t: plan.floats(h * l),
                out_bias: Span::default(), // in the arena of parameters
            },
            stack: plan.floats(back(stack)),
            mask: plan.floats(if lstm.dropout > 0.0 { back((layers - 1) * capacity * h) } else { 0 }),
            dinit: [(); 2].map(|()| plan.floats(back(state))),
            before: plan.floats(back(capacity * h)),
            before_y: plan.floats(back(capacity * l)),
            sums: plan.floats(back(room.rows * 4 * h)),
        }
    }

    /// What a layer has of a buffer (layers,capacity,width).
    fn layer(&self, buffer: Span, k: usize, width: usize) -> Span {
        buffer.part(k * self.sizes.capacity * width, self.sizes.capacity * width)
    }
}

impl ExpanderSpace {
    pub fn new(plan: &mut Plan, net: &Expander, room: Room, training: bool) -> ExpanderSpace {
        let (n, b, h, l) = (room.steps, room.rows, net.hidden, net.latent);
        let back = |len: usize| if training { len } else { 0 };
        let y = plan.floats(n * l);
        let kind = match &net.kind {
            Kind::Lstm { lstm, .. } => {
                KindSpace::Lstm(StackSpace::new(plan, sizes(net, lstm, room), lstm, y, room, training))
            }
            Kind::Mlp { dropout, .. } => KindSpace::Mlp(MlpSpace {
                positions: plan.floats(n * POSITIONS),
                shared: plan.floats(b * h),
                hidden: [(); 2].map(|()| plan.floats(n * h)),
                dhidden: [(); 2].map(|()| plan.floats(back(n * h))),
                norms: [(); 2].map(|()| NormSpace::new(plan, n, h, false)),
                drop: DropSpace::new(plan, if *dropout > 0.0 { back(n * h) } else { 0 }),
            }),
            Kind::Repeat { .. } => KindSpace::Repeat(RepeatSpace {
                hidden: plan.floats(b * h),
                dhidden: plan.floats(back(b * h)),
                norm: NormSpace::new(plan, b, h, false),
                step: plan.floats(b * l),
                dstep: plan.floats(back(b * l)),
            }),
        };
        ExpanderSpace { y, kind }
    }
}

impl Sweep<'_> {
    /// z (B,S) -> space.y (N,L)
    pub fn expand(&self, net: &Expander, z: Span, site: Site, space: &ExpanderSpace) -> Result<()> {
        match (&net.kind, &space.kind) {
            (Kind::Lstm { init_hidden, init_cell, lstm, output }, KindSpace::Lstm(here)) => {
                self.stack(([init_hidden, init_cell], lstm, output), z, site, here)
            }
            (Kind::Mlp { .. }, KindSpace::Mlp(here)) => self.mlp(net, z, site, here, space.y),
            (Kind::Repeat { first, norm, last }, KindSpace::Repeat(here)) => {
                self.repeat((first, norm, last), z, here, space.y)
            }
            _ => Ok(()), // a space is made for its expander
        }
    }

    /// dy (N,L) is used up; dz (B,S) written.
    pub fn expand_backward(&self, net: &Expander, z: Span, dy: Span, space: &ExpanderSpace, dz: Span) -> Result<()> {
        match (&net.kind, &space.kind) {
            (Kind::Lstm { init_hidden, init_cell, lstm, output }, KindSpace::Lstm(here)) => {
                self.stack_backward(([init_hidden, init_cell], lstm, output), z, dy, here, dz)
            }
            (Kind::Mlp { .. }, KindSpace::Mlp(here)) => self.mlp_backward(net, (z, dz), (space.y, dy), here),
            (Kind::Repeat { first, norm, last }, KindSpace::Repeat(here)) => {
                self.repeat_backward((first, norm, last), (z, dz), dy, here)
            }
            _ => Ok(()),
        }
    }

    fn stack(
        &self,
        (init, lstm, output): ([&Linear; 2], &Lstm, &Linear),
        z: Span,
        site: Site,
        space: &StackSpace,
    ) -> Result<()> {
        let s = self.session();
        self.stack_weights(lstm, output, space)?;
        for (linear, state) in init.into_iter().zip(space.expansion.init) {
            self.rows.linear(linear, z, state, 0)?;
        }
        if let Some(matrix) = &lstm.layers[0].constant {
            let operands = (space.weights.constant, z, tensor(self.params(), matrix));
            s.matrix_forward(matrix, operands, self.biases(&lstm.layers[0]), None, self.rows.rows, 0)?;
        }
        let hidden = space.sizes.hidden;
        let clock = self.drops(lstm.dropout).filter(|_| lstm.layers.len() > 1);
        if let Some(clock) = clock {
            for k in 0..lstm.layers.len() - 1 {
                let mask = space.layer(space.mask, k, hidden);
                s.dropout_mask(mask, clock, (site + k as Site, lstm.dropout), self.by_step(), hidden)?;
            }
        }
        let expansion = Expansion { mask: clock.map(|_| space.mask), ..space.expansion };
        let weights = ExpanderWeights { out_bias: row(self.params(), &output.bias), ..space.weights };
        s.expander_forward(expansion, weights, self.by_row(), space.sizes)
    }

    /// Weights as the kernels want them, after these have changed.
    fn stack_weights(&self, lstm: &Lstm, output: &Linear, space: &StackSpace) -> Result<()> {
        let (s, hidden) = (self.session(), space.sizes.hidden);
        let mut at = 0;
        for (k, layer) in lstm.layers.iter().enumerate() {
            for m in [&layer.input, &layer.recurrent] {
                let size = m.inputs * m.outputs;
                let turned = space.weights.stack_t.part(at, size);
                self.rows.transpose(m, turned)?;
                if !space.stack.is_empty() {
                    // Turned back: the tensor itself may have gaps.
                    s.matrix_transpose(space.stack.part(at, size), turned, [m.outputs, m.inputs, m.outputs])?;
                }
                at += size;
            }
            let (biases, width) = (space.weights.biases.part(k * 4 * hidden, 4 * hidden), 4 * hidden);
            let [first, second] = [&layer.bias_ih, &layer.bias_hh].map(|bias| row(self.params(), bias));
            s.plus(biases, first, second, self.rows.one, width)?;
        }
        self.rows.transpose(&output.weight, space.weights.out_t)
    }

    fn stack_backward(
        &self,
        (init, lstm, output): ([&Linear; 2], &Lstm, &Linear),
        z: Span,
        dy: Span,
        space: &StackSpace,
        dz: Span,
    ) -> Result<()> {
        let (s, sizes) = (self.session(), space.sizes);
        let ExpanderSizes { latent, hidden, layers, .. } = sizes;
        let dropped = self.drops(lstm.dropout).is_some() && layers > 1;
        let expansion = Expansion { mask: dropped.then_some(space.mask), ..space.expansion };
        let weights = (space.stack, tensor(self.params(), &output.weight));
        s.expander_backward(expansion, (dy, space.dinit), weights, self.by_row(), sizes)?;
        let Cells { gates, h, .. } = expansion.cells;
        self.steps.gradient(output, dy, space.layer(h, layers - 1, hidden))?;
        for (k, layer) in lstm.layers.iter().enumerate() {
            let (gates, states) = (space.layer(gates, k, 4 * hidden), expansion.init[0].from(k * hidden));
            let initial = Some((states, layers * hidden));
            s.shift_steps(space.before, space.layer(h, k, hidden), initial, self.by_step(), hidden)?;
            self.layer_gradient(layer, gates, space.before)?;
            let input = match k {
                0 => {
                    s.shift_steps(space.before_y, expansion.y, None, self.by_step(), latent)?;
                    space.before_y
                }
                _ if dropped => {
                    let [h, mask] = [h, space.mask].map(|buffer| space.layer(buffer, k - 1, hidden));
                    s.product(space.before, h, mask, self.steps.rows, hidden, 0)?;
                    space.before
                }
                _ => space.layer(h, k - 1, hidden),
            };
            self.steps.weight_gradient(&layer.input, [None; 2], gates, input)?;
        }
        if let Some(matrix) = &lstm.layers[0].constant {
            self.constant_backward(matrix, space.layer(gates, 0, 4 * hidden), (z, Some(dz)), space.sums)?;
        }
        for (linear, dstates) in init.into_iter().zip(space.dinit) {
            self.rows.gradient(linear, dstates, z)?;
            self.rows.backward(&linear.weight, dstates, dz, ADD)?;
        }
        Ok(())
    }

    fn mlp(&self, net: &Expander, z: Span, site: Site, space: &MlpSpace, y: Span) -> Result<()> {
        let Kind::Mlp { summary, position, bias, norms, middle, last, dropout } = &net.kind else { return Ok(()) };
        let (s, [first, second]) = (self.session(), space.hidden);
        s.encode_positions(space.positions, self.by_step())?;
        let operands = (space.shared, z, tensor(self.params(), summary));
        s.matrix_forward(summary, operands, [Some(row(self.params(), bias)), None], None, self.rows.rows, 0)?;
        self.steps.forward(position, space.positions, first)?;
        s.spread_steps(first, space.shared, self.by_step(), net.hidden, ADD)?;
        self.steps.norm(&norms[0], first, space.norms[0], LEAKY)?;
        let seen = self.drop((site, *dropout), first, space.drop, net.hidden)?;
        self.steps.linear(middle, seen, second, 0)?;
        self.steps.norm(&norms[1], second, space.norms[1], LEAKY)?;
        self.steps.linear(last, second, y, TANH)
    }

    fn mlp_backward(
        &self,
        net: &Expander,
        (z, dz): (Span, Span),
        (y, dy): (Span, Span),
        space: &MlpSpace,
    ) -> Result<()> {
        let Kind::Mlp { summary, position, bias, norms, middle, last, dropout } = &net.kind else { return Ok(()) };
        let (s, rows, width) = (self.session(), self.steps.rows, net.hidden);
        let ([first, second], [dfirst, dsecond]) = (space.hidden, space.dhidden);
        s.tanh_backward(dy, y, rows, net.latent)?;
        self.steps.gradient(last, dy, second)?;
        self.steps.backward_leaky(&last.weight, dy, dsecond, second)?;
        self.steps.norm_backward(&norms[1], dsecond, space.norms[1], true)?;
        self.steps.gradient(middle, dsecond, self.seen(*dropout, first, space.drop))?;
        self.steps.backward(&middle.weight, dsecond, dfirst, 0)?;
        self.drop_backward(*dropout, dfirst, space.drop, width)?;
        s.leaky_relu_backward(first, dfirst, rows, width)?;
        self.steps.norm_backward(&norms[0], dfirst, space.norms[0], true)?;
        self.steps.weight_gradient(position, [None; 2], dfirst, space.positions)?;
        s.sum_steps(space.shared, dfirst, self.by_row(), width)?;
        self.rows.weight_gradient(summary, [Some(bias), None], space.shared, z)?;
        self.rows.backward(summary, space.shared, dz, 0)
    }

    fn repeat(
        &self,
        (first, norm, last): (&Linear, &LayerNorm, &Linear),
        z: Span,
        space: &RepeatSpace,
        y: Span,
    ) -> Result<()> {
        self.rows.linear(first, z, space.hidden, 0)?;
        self.rows.norm(norm, space.hidden, space.norm, LEAKY)?;
        self.rows.linear(last, space.hidden, space.step, TANH)?;
        self.session().spread_steps(y, space.step, self.by_step(), last.weight.outputs, 0)
    }

    fn repeat_backward(
        &self,
        (first, norm, last): (&Linear, &LayerNorm, &Linear),
        (z, dz): (Span, Span),
        dy: Span,
        space: &RepeatSpace,
    ) -> Result<()> {
        let (s, rows) = (self.session(), self.rows.rows);
        s.sum_steps(space.dstep, dy, self.by_row(), last.weight.outputs)?;
        s.tanh_backward(space.dstep, space.step, rows, last.weight.outputs)?;
        self.rows.gradient(last, space.dstep, space.hidden)?;
        self.rows.backward_leaky(&last.weight, space.dstep, space.dhidden, space.hidden)?;
        self.rows.norm_backward(norm, space.dhidden, space.norm, true)?;
        self.rows.gradient(first, space.dhidden, z)?;
        self.rows.backward(&first.weight, space.dhidden, dz, 0)
    }
}
