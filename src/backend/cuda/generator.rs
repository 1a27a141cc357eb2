//! The generator on the device: src/model/generator.rs, sweep by sweep.

use super::launch::{ADD, LEAKY, TANH};
use super::layers::{EmbedSpace, NormSpace, Pass};
use super::plan::{Plan, Span};
use crate::error::Result;
use crate::model::generator::{Block, EMBED, Generator, Skip};

/// Its activations for a batch, and room for their gradients.
#[derive(Clone, Debug)]
pub(super) struct GeneratorSpace {
    embed: EmbedSpace,
    /// x[i] is what block i sees; the last is what the output layer sees. dx[i] is its gradient.
    x: Vec<Span>,
    dx: Vec<Span>,
    blocks: Vec<BlockSpace>,
    /// (M,S)
    pub z: Span,
    pub dz: Span,
}

#[derive(Clone, Debug)]
struct BlockSpace {
    norm: NormSpace,
    /// After LayerNorm. The same as `active` but for film, which modulates it.
    normal: Span,
    scale: Span,
    dscale: Span,
    /// After LeakyReLU.
    active: Span,
}

/// Widths of what the blocks and the output layer see.
fn widths(net: &Generator) -> Vec<usize> {
    let first = net.noise + if net.film { 0 } else { EMBED };
    [first].into_iter().chain(net.blocks.iter().map(|block| block.linear.weight.outputs)).collect()
}

impl GeneratorSpace {
    /// noise: where the batch's noise will be; film sees it as it is.
    pub fn new(plan: &mut Plan, net: &Generator, noise: Span, rows: usize) -> GeneratorSpace {
        let embed = EmbedSpace::new(plan, &net.embed, rows);
        let widths = widths(net);
        let mut x = vec![if net.film { noise } else { plan.floats(rows * widths[0]) }];
        let mut blocks = Vec::new();
        for (block, width) in net.blocks.iter().zip(&widths[1..]) {
            let n = rows * width;
            let film = if block.film.is_some() { n } else { 0 };
            let norm = NormSpace::new(plan, rows, *width, false);
            let active = plan.floats(n);
            let normal = if block.film.is_some() { plan.floats(n) } else { active };
            blocks.push(BlockSpace { norm, normal, scale: plan.floats(film), dscale: plan.floats(film), active });
            x.push(if matches!(block.skip, Skip::None) { active } else { plan.floats(n) });
        }
        let dx = widths.iter().map(|width| plan.floats(rows * width)).collect();
        let [z, dz] = [(); 2].map(|()| plan.floats(rows * net.output.weight.outputs));
        GeneratorSpace { embed, x, dx, blocks, z, dz }
    }
}

impl Pass<'_> {
    /// noise (M,N), condition (M,C) -> space.z (M,S)
    pub fn generator(&self, net: &Generator, noise: Span, condition: Span, space: &GeneratorSpace) -> Result<()> {
        let (s, rows) = (self.session, self.rows);
        self.embed(&net.embed, condition, space.embed)?;
        if !net.film {
            s.join_columns(space.x[0], (noise, Some(space.embed.e)), rows, [net.noise, EMBED])?;
        }
        for (i, block) in net.blocks.iter().enumerate() {
            self.block(block, (space.x[i], space.x[i + 1]), space.embed.e, &space.blocks[i])?;
        }
        self.linear(&net.output, space.x[net.blocks.len()], space.z, TANH)
    }

    fn block(&self, block: &Block, (x, next): (Span, Span), e: Span, space: &BlockSpace) -> Result<()> {
        let (s, rows, width) = (self.session, self.rows, block.linear.weight.outputs);
        self.linear(&block.linear, x, space.normal, 0)?;
        self.norm(&block.norm, space.normal, space.norm, if block.film.is_some() { 0 } else { LEAKY })?;
        if let Some((scale, shift)) = &block.film {
            self.linear(scale, e, space.scale, 0)?;
            self.linear(shift, e, space.active, 0)?;
            s.product(space.active, space.scale, space.normal, rows, width, ADD)?;
            s.leaky_relu(space.active, rows, width)?;
        }
        match &block.skip {
            Skip::None => Ok(()), // next is active
            Skip::Same => s.plus(next, x, space.active, rows, width),
            Skip::Project(project) => {
                self.linear(project, x, next, 0)?;
                s.plus(next, next, space.active, rows, width)
            }
        }
    }

    /// space.dz (M,S) is used up; gradients of the parameters are added to.
    pub fn generator_backward(&self, net: &Generator, condition: Span, space: &GeneratorSpace) -> Result<()> {
        let (s, rows, last) = (self.session, self.rows, net.blocks.len());
        s.tanh_backward(space.dz, space.z, rows, net.output.weight.outputs)?;
        self.gradient(&net.output, space.dz, space.x[last])?;
        self.backward(&net.output.weight, space.dz, space.dx[last], 0)?;
        s.fill(space.embed.de, 0.0, rows, EMBED)?;
        for (i, block) in net.blocks.iter().enumerate().rev() {
            self.block_backward(block, space.x[i], (space.dx[i + 1], space.dx[i]), space.embed, &space.blocks[i])?;
        }
        if !net.film {
            s.split_columns((None, Some(space.embed.de)), space.dx[0], rows, [net.noise, EMBED])?;
        }
        self.embed_backward(&net.embed, condition, space.embed)
    }

    /// dnext is used up; dx written, the embedding's gradient added to.
    fn block_backward(
        &self,
        block: &Block,
        x: Span,
        (dnext, dx): (Span, Span),
        embed: EmbedSpace,
        space: &BlockSpace,
    ) -> Result<()> {
        let (s, rows, width) = (self.session, self.rows, block.linear.weight.outputs);
        let mut to = ADD;
        match &block.skip {
            Skip::None => to = 0,
            Skip::Same => s.copy_rows(dx, dnext, rows, width)?,
            Skip::Project(project) => {
                self.gradient(project, dnext, x)?;
                self.backward(&project.weight, dnext, dx, 0)?;
            }
        }
        let dy = dnext;
        s.leaky_relu_backward(space.active, dy, rows, width)?;
        if let Some((scale, shift)) = &block.film {
            self.gradient(shift, dy, embed.e)?;
            self.backward(&shift.weight, dy, embed.de, ADD)?;
            s.product(space.dscale, dy, space.normal, rows, width, 0)?;
            self.gradient(scale, space.dscale, embed.e)?;
            self.backward(&scale.weight, space.dscale, embed.de, ADD)?;
            s.product(dy, dy, space.scale, rows, width, 0)?;
        }
        self.norm_backward(&block.norm, dy, space.norm, true)?;
        self.gradient(&block.linear, dy, x)?;
        self.backward(&block.linear.weight, dy, dx, to)
    }
}
