//! Layers on the device: the same calls as in src/nn, on spans instead of slices.

use super::launch::{ADD, LEAKY};
use super::plan::{Plan, Rows, Span};
use super::session::Session;
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
        self.session.matrix_backward(m, (dx, dy, tensor(self.arenas.params, m)), None, None, self.rows, flags)
    }

    /// The same, and back through the LeakyReLU that has left x (M,I).
    pub fn backward_leaky(&self, m: &Matrix, dy: Span, dx: Span, x: Span) -> Result<()> {
        self.session.matrix_backward(m, (dx, dy, tensor(self.arenas.params, m)), None, Some(x), self.rows, 0)
    }

    /// dy (M,O), x (M,I) -> gradients of a weight and of the biases that are added to its product: none, or the same for all
    pub fn weight_gradient(&self, m: &Matrix, biases: [Option<&Vector>; 2], dy: Span, x: Span) -> Result<()> {
        let dw = (tensor(self.arenas.grads, m), m.stride, ADD);
        let biases = biases.map(|bias| bias.map(|bias| row(self.arenas.grads, bias)));
        self.session.matrix_gradient(m, dw, biases, (dy, x), self.arenas.partials, self.rows)
    }

    /// dy (M,O), x (M,I) -> gradients of weight and bias
    pub fn gradient(&self, linear: &Linear, dy: Span, x: Span) -> Result<()> {
        self.weight_gradient(&linear.weight, [Some(&linear.bias), None], dy, x)
    }

    /// dy (M,D), and of a tangent sweep dty (M,D) -> gradients of gain and bias
    fn norm_gradient(&self, norm: &LayerNorm, dy: Span, dty: Option<Span>, trace: NormSpace) -> Result<()> {
        let affine = (row(self.arenas.grads, &norm.gain), row(self.arenas.grads, &norm.bias));
        let tangent = dty.map(|dty| (dty, trace.change));
        let (room, width) = (self.arenas.partials, norm.gain.len);
        self.session.layer_norm_gradient(affine, (dy, trace.normal), tangent, room, self.rows, width)
    }

    pub fn norm(&self, norm: &LayerNorm, x: Span, trace: NormSpace, flags: usize) -> Result<()> {
        let affine = (row(self.arenas.params, &norm.gain), row(self.arenas.params, &norm.bias));
        self.session.layer_norm_forward(x, (trace.normal, trace.inverse), affine, self.rows, norm.gain.len, flags)
    }

    /// dy (M,D) becomes dx
    pub fn norm_backward(&self, norm: &LayerNorm, dy: Span, trace: NormSpace, gradients: bool) -> Result<()> {
        let width = norm.gain.len;
        if gradients {
            self.norm_gradient(norm, dy, None, trace)?;
        }
        let gain = row(self.arenas.params, &norm.gain);
        self.session.layer_norm_backward(dy, (trace.normal, trace.inverse), gain, self.rows, width)
    }

    /// dx (M,D) -> the change of y, dy (M,D), which LeakyReLU has left
    pub fn norm_tangent(&self, norm: &LayerNorm, (dx, dy): (Span, Span), trace: NormSpace, y: Span) -> Result<()> {
        let NormSpace { normal, inverse, change } = trace;
        let gain = row(self.arenas.params, &norm.gain);
        let changes = (dx, dy, change);
        self.session.layer_norm_tangent(changes, (normal, inverse), (gain, y), self.rows, norm.gain.len)
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
        self.norm_gradient(norm, dy, Some(dty), trace)?;
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

    /// dy (M,O), x (M,I), and of a tangent sweep the same -> gradients of a divided weight and of its bias
    pub fn spectral_gradient(
        &self,
        (m, bias): (&Matrix, &Vector),
        normed: Span,
        call: (Span, Span),
        tangent: Option<(Span, Span)>,
    ) -> Result<()> {
        let (s, room) = (self.session, self.arenas.partials);
        let (dw, db) = (self.arenas.divided.part(0, m.outputs * m.inputs), row(self.arenas.grads, bias));
        s.matrix_gradient(m, (dw, m.inputs, 0), [Some(db), None], call, room, self.rows)?;
        if let Some(tangent) = tangent {
            s.matrix_gradient(m, (dw, m.inputs, ADD), [None; 2], tangent, room, self.rows)?;
        }
        let pair = (tensor(self.arenas.grads, m), tensor(self.arenas.params, m));
        s.spectral_finish(m, pair, dw, normed)
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

    /// leaky: x, where LeakyReLU has left it, through which dx then goes.
    pub fn dense_backward(
        &self,
        dense: &Dense,
        normed: &[Span],
        (dy, dx): (Span, Span),
        leaky: Option<Span>,
    ) -> Result<()> {
        let (m, w) = (dense.weight(), tensor(self.arenas.params, dense.weight()));
        self.session.matrix_backward(m, (dx, dy, w), inverse(dense, normed), leaky, self.rows, 0)
    }

    /// Gradients from y = f(x) and, after a tangent sweep, from ty = f'(tx) as well.
    pub fn dense_gradient(
        &self,
        dense: &Dense,
        normed: &[Span],
        (dy, x): (Span, Span),
        tangent: Option<(Span, Span)>,
    ) -> Result<()> {
        let (m, bias) = (dense.weight(), dense.bias());
        if let Some((_, place)) = dense.spectral() {
            return self.spectral_gradient((m, bias), normed[place], (dy, x), tangent);
        }
        self.weight_gradient(m, [Some(bias), None], dy, x)?;
        match tangent {
            Some((dty, tx)) => self.weight_gradient(m, [None; 2], dty, tx),
            None => Ok(()),
        }
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
        self.backward_leaky(&embed.second.weight, de, dhidden, hidden)?;
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
