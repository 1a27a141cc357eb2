//! Layers on the device: the same calls as in src/nn, on spans instead of slices.

use super::launch::LEAKY;
use super::session::{Plan, Rows, Session, Span};
use crate::error::Result;
use crate::model::dense::Dense;
use crate::model::embed::Embed;
use crate::nn::{LayerNorm, Linear, Matrix, SpectralLinear, Vector};

/// Where parameters and what belongs to them lie. Offsets are those of the host's arenas.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arenas {
    pub params: Span,
    pub grads: Span,
    /// Spectral norm's u and v.
    pub buffers: Span,
    /// For sums of gradients in parts, and for gradients of divided weights.
    pub partials: Span,
    pub divided: Span,
}

/// A sweep over a batch.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub session: &'a Session,
    pub arenas: Arenas,
    pub rows: Rows,
    /// For what is no matrix of the batch.
    pub one: Rows,
}

pub(super) fn tensor(arena: Span, m: &Matrix) -> Span {
    arena.part(m.offset, (m.outputs - 1) * m.stride + m.inputs)
}

pub(super) fn row(arena: Span, v: &Vector) -> Span {
    arena.part(v.offset, v.len)
}

impl Pass<'_> {
    /// x (M,I) -> y (M,O)
    pub fn linear(&self, linear: &Linear, x: Span, y: Span, flags: usize) -> Result<()> {
        let (w, bias) = (tensor(self.arenas.params, &linear.weight), row(self.arenas.params, &linear.bias));
        self.session.matrix_forward(&linear.weight, (y, x, w), [Some(bias), None], None, self.rows, flags)
    }

    /// The same without the bias.
    pub fn forward(&self, m: &Matrix, x: Span, y: Span) -> Result<()> {
        self.session.matrix_forward(m, (y, x, tensor(self.arenas.params, m)), [None; 2], None, self.rows, 0)
    }

    /// Writes a weight (O,I) as (I,O).
    pub fn transpose(&self, m: &Matrix, to: Span) -> Result<()> {
        self.session.matrix_transpose(to, tensor(self.arenas.params, m), [m.inputs, m.outputs, m.stride])
    }

    /// dy (M,O) -> dx (M,I)
    pub fn backward(&self, m: &Matrix, dy: Span, dx: Span, flags: usize) -> Result<()> {
        self.session.matrix_backward(m, (dx, dy, tensor(self.arenas.params, m)), None, self.rows, flags)
    }

    /// dy (M,O), x (M,I) -> gradient of a weight
    pub fn weight_gradient(&self, m: &Matrix, dy: Span, x: Span) -> Result<()> {
        let dw = (tensor(self.arenas.grads, m), m.stride);
        self.session.matrix_gradient(m, dw, (dy, x), self.arenas.partials, self.rows)
    }

    /// dy (M,O), x (M,I) -> gradients of weight and bias
    pub fn gradient(&self, linear: &Linear, dy: Span, x: Span) -> Result<()> {
        self.weight_gradient(&linear.weight, dy, x)?;
        self.bias_gradient(&linear.bias, dy)
    }

    pub fn bias_gradient(&self, bias: &Vector, dy: Span) -> Result<()> {
        self.session.add_columns(row(self.arenas.grads, bias), dy, self.arenas.partials, self.rows, bias.len)
    }

    fn gain_gradient(&self, gain: &Vector, dy: Span, normal: Span) -> Result<()> {
        let (dgain, room) = (row(self.arenas.grads, gain), self.arenas.partials);
        self.session.add_product_columns(dgain, (dy, normal), room, self.rows, gain.len)
    }

    pub fn norm(&self, norm: &LayerNorm, x: Span, trace: NormSpace, flags: usize) -> Result<()> {
        let affine = (row(self.arenas.params, &norm.gain), row(self.arenas.params, &norm.bias));
        self.session.layer_norm_forward(x, (trace.normal, trace.inverse), affine, self.rows, norm.gain.len, flags)
    }

    /// dy (M,D) becomes dx
    pub fn norm_backward(&self, norm: &LayerNorm, dy: Span, trace: NormSpace, gradients: bool) -> Result<()> {
        let width = norm.gain.len;
        if gradients {
            self.gain_gradient(&norm.gain, dy, trace.normal)?;
            self.bias_gradient(&norm.bias, dy)?;
        }
        let gain = row(self.arenas.params, &norm.gain);
        self.session.layer_norm_backward(dy, (trace.normal, trace.inverse), gain, self.rows, width)
    }

    /// dx (M,D) becomes the change of y
    pub fn norm_tangent(&self, norm: &LayerNorm, dx: Span, trace: NormSpace) -> Result<()> {
        let gain = row(self.arenas.params, &norm.gain);
        let normal = (trace.normal, trace.inverse);
        self.session.layer_norm_tangent((dx, trace.change), normal, gain, self.rows, norm.gain.len)
    }

    /// The reverse of both, as LayerNorm::tangent_backward.
    pub fn norm_tangent_backward(
        &self,
        norm: &LayerNorm,
        (dy, dty): (Span, Span),
        tx: Span,
        trace: NormSpace,
    ) -> Result<()> {
        let (width, NormSpace { normal, inverse, change }) = (norm.gain.len, trace);
        self.gain_gradient(&norm.gain, dy, normal)?;
        self.gain_gradient(&norm.gain, dty, change)?;
        self.bias_gradient(&norm.bias, dy)?;
        let gain = row(self.arenas.params, &norm.gain);
        let normal = (normal, inverse);
        self.session.layer_norm_tangent_backward((dy, dty), (tx, change), normal, gain, self.rows, width)
    }

    /// The norm of one call of a layer, if it has one. In training mode u and v advance first.
    pub fn normalise(&self, dense: &Dense, normed: &[Span], training: bool) -> Result<()> {
        let Some((linear, place)) = dense.spectral() else { return Ok(()) };
        self.spectral(linear, normed[place], training)
    }

    /// The same for a layer that always has one. normed (1 + O + I)
    pub fn spectral(&self, linear: &SpectralLinear, normed: Span, training: bool) -> Result<()> {
        let vectors = linear.vectors().map(|v| row(self.arenas.buffers, &v));
        let w = tensor(self.arenas.params, &linear.weight);
        self.session.spectral_normalise(&linear.weight, normed, vectors.into(), w, training)
    }

    /// dy (M,O), x (M,I) of one or two calls -> gradient of a divided weight, without the bias
    pub fn spectral_gradient(
        &self,
        m: &Matrix,
        normed: Span,
        calls: impl IntoIterator<Item = (Span, Span)>,
    ) -> Result<()> {
        let size = m.outputs * m.inputs;
        let dw = self.arenas.divided.part(0, size);
        self.session.fill(dw, 0.0, self.one, size)?;
        for pair in calls {
            self.session.matrix_gradient(m, (dw, m.inputs), pair, self.arenas.partials, self.rows)?;
        }
        let pair = (tensor(self.arenas.grads, m), tensor(self.arenas.params, m));
        self.session.spectral_finish(m, pair, dw, normed)
    }

    pub fn dense(&self, dense: &Dense, normed: &[Span], x: Span, y: Span) -> Result<()> {
        let (m, bias) = (dense.weight(), row(self.arenas.params, dense.bias()));
        let w = tensor(self.arenas.params, m);
        self.session.matrix_forward(m, (y, x, w), [Some(bias), None], inverse(dense, normed), self.rows, 0)
    }

    pub fn dense_tangent(&self, dense: &Dense, normed: &[Span], tx: Span, ty: Span) -> Result<()> {
        let (m, w) = (dense.weight(), tensor(self.arenas.params, dense.weight()));
        self.session.matrix_forward(m, (ty, tx, w), [None; 2], inverse(dense, normed), self.rows, 0)
    }

    pub fn dense_backward(&self, dense: &Dense, normed: &[Span], dy: Span, dx: Span) -> Result<()> {
        let (m, w) = (dense.weight(), tensor(self.arenas.params, dense.weight()));
        self.session.matrix_backward(m, (dx, dy, w), inverse(dense, normed), self.rows, 0)
    }

    /// Gradients from y = f(x) and, after a tangent sweep, from ty = f'(tx) as well.
    pub fn dense_gradient(
        &self,
        dense: &Dense,
        normed: &[Span],
        (dy, x): (Span, Span),
        tangent: Option<(Span, Span)>,
    ) -> Result<()> {
        let m = dense.weight();
        let both = [Some((dy, x)), tangent].into_iter().flatten();
        match dense.spectral() {
            None => {
                for (dy, x) in both {
                    self.weight_gradient(m, dy, x)?;
                }
            }
            Some((_, place)) => self.spectral_gradient(m, normed[place], both)?,
        }
        self.bias_gradient(dense.bias(), dy)
    }

    /// condition (M,C) -> space.e (M,E)
    pub fn embed(&self, embed: &Embed, condition: Span, space: EmbedSpace) -> Result<()> {
        self.linear(&embed.first, condition, space.hidden, LEAKY)?;
        self.linear(&embed.second, space.hidden, space.e, if embed.last_activation { LEAKY } else { 0 })
    }

    /// space.de (M,E) is used up. Nobody asks for the gradient of the condition.
    pub fn embed_backward(&self, embed: &Embed, condition: Span, space: EmbedSpace) -> Result<()> {
        let EmbedSpace { hidden, e, dhidden, de } = space;
        if embed.last_activation {
            self.session.leaky_relu_backward(e, de, self.rows, embed.outputs())?;
        }
        self.gradient(&embed.second, de, hidden)?;
        self.backward(&embed.second.weight, de, dhidden, 0)?;
        self.session.leaky_relu_backward(hidden, dhidden, self.rows, embed.first.weight.outputs)?;
        self.gradient(&embed.first, dhidden, condition)
    }
}

/// 1 / sigma, where a weight is divided.
fn inverse(dense: &Dense, normed: &[Span]) -> Option<Span> {
    dense.spectral().map(|(_, place)| normed[place].part(0, 1))
}

/// What a LayerNorm keeps for its reverse: n (M,D), 1 / deviation (M); and of a tangent sweep the change of n (M,D).
#[derive(Clone, Copy, Debug)]
pub(super) struct NormSpace {
    pub normal: Span,
    pub inverse: Span,
    pub change: Span,
}

impl NormSpace {
    pub fn new(plan: &mut Plan, rows: usize, width: usize, tangents: bool) -> NormSpace {
        let (normal, inverse) = (plan.floats(rows * width), plan.floats(rows));
        NormSpace { normal, inverse, change: plan.floats(if tangents { rows * width } else { 0 }) }
    }
}

/// What an embedding keeps, and room for its gradients.
#[derive(Clone, Copy, Debug)]
pub(super) struct EmbedSpace {
    pub hidden: Span,
    pub e: Span,
    pub dhidden: Span,
    pub de: Span,
}

impl EmbedSpace {
    pub fn new(plan: &mut Plan, embed: &Embed, rows: usize) -> EmbedSpace {
        let [hidden, dhidden] = [(); 2].map(|()| plan.floats(rows * embed.first.weight.outputs));
        let [e, de] = [(); 2].map(|()| plan.floats(rows * embed.outputs()));
        EmbedSpace { hidden, e, dhidden, de }
    }
}
