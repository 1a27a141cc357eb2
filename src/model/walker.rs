//! The closed-loop decoder: an LSTM that walks to its target, one event at a time.
//!
//! It sees what is left to go, its last event and the summary, and gives the probabilities of the next event: of being the
//! last, whose step goes to the target, p(stop) p(ticks | x, y), or of any other, p(not stop) p(x) p(y | x) p(ticks | x, y).
//! Trained by teacher forcing on the negative log-likelihood of recorded events. That the last step lands exactly is a
//! decision of its own, because a softmax smooths so narrow a peak: walks would creep up to their targets and past them.
//!
//! With o (N,K) the trunk, E the embeddings, s(v) = v sigmoid(v), and heads as in head.rs:
//! stop = A o, x = head s(o), y = head s(o + E x), ticks = head s(o + E x + E' y).

use crate::backend::cpu::{Buffer, Isa, Real, math};
use crate::config::Config;
use crate::data::steps::{Classes, INPUTS, Walk, X_ANCHORS, Y_ANCHORS};
use crate::model::head::Head;
use crate::nn::dropout::Site;
use crate::nn::lstm::{Lstm, LstmTrace};
use crate::nn::params::{Initial, Matrix, To};
use crate::nn::{Dropout, Gradients, Layout, Linear, Steps, Weights};

#[derive(Clone, Debug)]
pub struct Walker {
    pub lstm: Lstm,
    /// K, the trunk's width.
    width: usize,
    pub(crate) trunk: Linear,
    pub(crate) stop: Linear,
    pub(crate) heads: [Head; 3],
    /// Of the x class and the y class: (classes, K), a row each.
    pub(crate) embeddings: [Matrix; 2],
}

/// Losses of events, in nats, summed over a shard and divided by the batch's number of steps: of its points, of which a walk has one
/// more than events. Where in its class an event is, which is drawn evenly, is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WalkLosses {
    pub steps: f64,
    pub ticks: f64,
    pub stop: f64,
}

impl WalkLosses {
    pub fn total(&self) -> f64 {
        self.steps + self.ticks + self.stop
    }
}

impl std::ops::AddAssign for WalkLosses {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.ticks += other.ticks;
        self.stop += other.stop;
    }
}

#[derive(Clone, Debug, Default)]
pub struct WalkerTrace<R> {
    lstm: LstmTrace<R>,
    /// What each head's activation saw (N,K), and its sigmoid.
    before: [Buffer<R>; 3],
    gate: [Buffer<R>; 3],
    active: Buffer<R>,
    stop: Buffer<R>,
    logits: Buffer<R>,
    /// Gradients of `before`.
    dbefore: [Buffer<R>; 3],
    dactive: Buffer<R>,
    dh: Buffer<R>,
}

impl Walker {
    pub fn new(layout: &mut Layout, c: &Config) -> Walker {
        let hidden = c.expander_hidden_dim;
        let (layers, dropout) = (c.expander_num_layers, c.expander_dropout);
        let step_classes = 2 * c.step_magnitudes - 1;
        let lstm = Lstm::new(layout, "walker.lstm", INPUTS, c.summary_dim, hidden, layers, dropout);
        let trunk = Linear::new(layout, "walker.trunk", hidden, hidden);
        let stop = Linear::new(layout, "walker.stop", hidden, 1);
        let heads = [("x", step_classes, X_ANCHORS), ("y", step_classes, Y_ANCHORS), ("ticks", c.tick_classes, 0)];
        let heads =
            heads.map(|(name, classes, anchors)| Head::new(layout, name, hidden, classes, anchors, c.step_profiles));
        let embedding = |name: &str| format!("walker.embed_{name}.weight");
        // Small at first: the trunk leads, the conditions modulate.
        let initial = Initial::Uniform(0.3);
        let embeddings = ["x", "y"].map(|name| layout.matrix(embedding(name), step_classes, hidden, initial));
        Walker { lstm, width: hidden, trunk, stop, heads, embeddings }
    }

    /// K
    #[cfg(feature = "cuda")]
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Where its tensors begin in the arena.
    pub fn start(&self) -> usize {
        self.lstm.layers[0].input.offset
    }

    /// Before training: the biases of stop and heads become the logarithms of how often recorded events stop and have each class
    /// (half an event more of each, so that none is impossible). Learning begins with what depends on the place, and a class that no
    /// recording has stays as rare as that. mirrored: each step counts as its mirror images, too.
    pub fn begin_at_frequencies(&self, params: &mut [f32], walks: impl Iterator<Item = Walk>, mirrored: bool) {
        let mut counts = self.heads.map(|head| vec![0.5; head.classes]);
        let (mut walked, mut events) = (0.5, 1.0);
        for walk in walks {
            walked += 1.0;
            events += walk.events.len() as f64;
            for (i, event) in walk.events.iter().enumerate() {
                counts[2][usize::from(event.ticks)] += 1.0;
                // Where the last event goes is known.
                if i + 1 < walk.events.len() {
                    counts[0][usize::from(event.x)] += 1.0;
                    counts[1][usize::from(event.y)] += 1.0;
                }
            }
        }
        let frequent = |count: f64, all: f64| (count / all).ln() as f32;
        self.stop.bias.of_mut(params)[0] = frequent(walked, events - walked);
        for (k, (head, mut counts)) in self.heads.iter().zip(counts).enumerate() {
            if mirrored && k < 2 {
                let images: Vec<f64> = counts.iter().rev().copied().collect();
                counts.iter_mut().zip(images).for_each(|(count, image)| *count += image);
            }
            let all = counts.iter().sum();
            let biases = &mut head.linear.bias.of_mut(params)[..head.classes];
            biases.iter_mut().zip(counts).for_each(|(bias, count)| *bias = frequent(count, all));
        }
    }

    /// Losses of a shard of walks, divided by `total`, the batch's number of steps; with grads, their gradients are
    /// added to it and dz (B,S) is written. x (N,INPUTS); classes (N), of which those at a walk's last step are not
    /// looked at: there it stands at its target, and nothing is left to be learnt.
    pub fn losses<R: Real>(
        &self,
        w: &Weights<R>,
        steps: &Steps,
        (x, classes): (&[R], &[Classes]),
        z: &[R],
        total: usize,
        dropout: Option<(&Dropout, Site)>,
        trace: &mut WalkerTrace<R>,
        grads: Option<(&mut Gradients<R>, &mut Buffer<R>)>,
    ) -> WalkLosses {
        let n = steps.total();
        let k = self.width;
        self.lstm.forward(w, steps, x, z, dropout, &mut trace.lstm);
        let left = events_left(steps);
        let share = 1.0 / total as f64;
        let slope = R::from_f64(share);

        let [o, y, t] = &mut trace.before;
        self.trunk.forward(w, trace.lstm.output(), o.fit(n * k));
        self.embed(w, 0, o, classes.iter().map(|c| c.x), y);
        self.embed(w, 1, y, classes.iter().map(|c| c.y), t);
        self.stop.forward(w, o, trace.stop.fit(n));

        let mut losses = WalkLosses { stop: binary(&mut trace.stop, &left, slope) * share, ..WalkLosses::default() };
        let mut grads = grads;
        for (i, head) in self.heads.iter().enumerate() {
            let (before, gate) = (&trace.before[i], &mut trace.gate[i]);
            swish(w, before, gate, &mut trace.active);
            let logits = trace.logits.fit(n * head.width());
            head.linear.forward(w, &trace.active, logits);
            head.add_profiles(w, logits, classes.iter().map(|c| c.anchors(i)));
            let target = |c: &Classes| usize::from([c.x, c.y, c.ticks][i]);
            // Where the last event goes is known.
            let (sum, least) = if i < 2 { (&mut losses.steps, 2) } else { (&mut losses.ticks, 1) };
            let rows = (&mut *logits, head.classes);
            *sum += categorical(w.isa, rows, classes.iter().map(target), least, &left, slope) * share;
            if let Some((grads, _)) = grads.as_mut() {
                head.profiles_backward(w, logits, classes.iter().map(|c| c.anchors(i)), grads);
                head.linear.gradient(w.isa, logits, &trace.active, grads);
                head.linear.backward(w, logits, trace.dactive.fit(n * k));
                swish_backward(before, gate, &trace.dactive, &mut trace.dbefore[i]);
            }
        }
        let Some((grads, dz)) = grads else { return losses };

        let [d_o, d_y, d_t] = &mut trace.dbefore;
        self.scatter(1, d_t, classes.iter().map(|c| c.y), grads);
        math::axpy(w.isa, R::ONE, d_t, d_y);
        self.scatter(0, d_y, classes.iter().map(|c| c.x), grads);
        math::axpy(w.isa, R::ONE, d_y, d_o);
        self.stop.gradient(w.isa, &trace.stop, &trace.before[0], grads);
        self.stop.weight.backward(w, &trace.stop, d_o, R::ONE, To::Add);
        self.trunk.gradient(w.isa, d_o, trace.lstm.output(), grads);
        self.trunk.backward(w, d_o, trace.dh.fit(n * k));
        self.lstm.backward(w, steps, x, z, dropout.is_some(), &trace.dh, &mut trace.lstm, None, Some(dz), grads);
        losses
    }

    /// to (N,K) = from + the embeddings of the classes
    fn embed<R: Real>(
        &self,
        w: &Weights<R>,
        which: usize,
        from: &[R],
        classes: impl Iterator<Item = u16>,
        to: &mut Buffer<R>,
    ) {
        let to = to.fit(from.len());
        to.copy_from_slice(from);
        for (to, class) in to.chunks_exact_mut(self.width).zip(classes) {
            math::axpy(w.isa, R::ONE, self.embedding(w, which, class.into()), to);
        }
    }

    fn embedding<'w, R: Real>(&self, w: &'w Weights<R>, which: usize, class: usize) -> &'w [R] {
        &w.params[self.embeddings[which].offset + class * self.width..][..self.width]
    }

    /// The reverse of embed: d (N,K) -> gradients of the embeddings.
    fn scatter<R: Real>(&self, which: usize, d: &[R], classes: impl Iterator<Item = u16>, grads: &mut Gradients<R>) {
        let grads = grads.of(&self.embeddings[which]);
        for (d, class) in d.chunks_exact(self.width).zip(classes) {
            let row = &mut grads[self.embeddings[which].offset + usize::from(class) * self.width..][..self.width];
            row.iter_mut().zip(d).for_each(|(row, &d)| *row += d);
        }
    }

    /// Sampling: h (B,H) of the last layer -> trunk (B,K).
    pub fn trunk<R: Real>(&self, w: &Weights<R>, h: &[R], trunk: &mut Buffer<R>) {
        self.trunk.forward(w, h, trunk.fit(h.len()));
    }

    /// Sampling: trunk (B,K) -> logits of stopping (B).
    pub fn stop_logits<R: Real>(&self, w: &Weights<R>, trunk: &[R], logits: &mut Buffer<R>) {
        self.stop.forward(w, trunk, logits.fit(trunk.len() / self.width));
    }

    /// Sampling: trunk (B,K), to which the classes drawn so far have been added -> rows of the next head (B,width), which
    /// begin with its logits.
    pub fn head_logits<'a, R: Real>(
        &self,
        w: &Weights<R>,
        head: usize,
        trunk: &[R],
        anchors: impl Iterator<Item = &'a [Option<u16>]>,
        (gate, active): (&mut Buffer<R>, &mut Buffer<R>),
        rows: &mut Buffer<R>,
    ) {
        swish(w, trunk, gate, active);
        let head = &self.heads[head];
        let rows = rows.fit(trunk.len() / self.width * head.width());
        head.linear.forward(w, active, rows);
        head.add_profiles(w, rows, anchors);
    }

    /// Sampling: adds the embeddings of the classes that x (0) or y (1) drew.
    pub fn add_embedding<R: Real>(
        &self,
        w: &Weights<R>,
        which: usize,
        classes: impl Iterator<Item = usize>,
        trunk: &mut [R],
    ) {
        for (trunk, class) in trunk.chunks_exact_mut(self.width).zip(classes) {
            math::axpy(w.isa, R::ONE, self.embedding(w, which, class), trunk);
        }
    }
}

/// How many events of its walk are still to come at each packed step: none at the last.
fn events_left(steps: &Steps) -> Vec<usize> {
    let step = |t: usize| (0..steps.running(t)).map(move |row| steps.lengths()[row] - 1 - t);
    (0..steps.len()).flat_map(step).collect()
}

/// active = x sigmoid(x), gate = sigmoid(x)
fn swish<R: Real>(w: &Weights<R>, x: &[R], gate: &mut Buffer<R>, active: &mut Buffer<R>) {
    let gate = gate.fit(x.len());
    gate.copy_from_slice(x);
    math::sigmoid(w.isa, gate);
    active.fit(x.len()).iter_mut().zip(x).zip(gate).for_each(|((a, &x), g)| *a = x * *g);
}

fn swish_backward<R: Real>(x: &[R], gate: &[R], dactive: &[R], dx: &mut Buffer<R>) {
    let dx = dx.fit(x.len());
    for (((dx, &x), &g), &d) in dx.iter_mut().zip(x).zip(gate).zip(dactive) {
        *dx = d * g * (R::ONE + x * (R::ONE - g));
    }
}

/// Logits (N) become the gradients of slope * the loss, which is returned: the sum of the binary cross-entropies of being
/// the last of the events that are left.
fn binary<R: Real>(logits: &mut [R], left: &[usize], slope: R) -> f64 {
    let mut loss = 0.0;
    for (logit, &left) in logits.iter_mut().zip(left) {
        if left == 0 {
            *logit = R::ZERO;
            continue;
        }
        let x = logit.to_f64();
        let p = 1.0 / (1.0 + (-x).exp());
        // log(1 + e^x) without overflow
        loss += x.max(0.0) + (-x.abs()).exp().ln_1p() - if left == 1 { x } else { 0.0 };
        *logit = R::from_f64(if left == 1 { p - 1.0 } else { p }) * slope;
    }
    loss
}

/// The same for rows that begin with the logits of so many classes, and cross-entropy, where `least` events or more are left.
fn categorical<R: Real>(
    isa: Isa,
    (rows, classes): (&mut [R], usize),
    targets: impl Iterator<Item = usize>,
    least: usize,
    left: &[usize],
    slope: R,
) -> f64 {
    let width = rows.len() / left.len();
    let mut loss = 0.0;
    for ((row, target), &left) in rows.chunks_exact_mut(width).zip(targets).zip(left) {
        let row = &mut row[..classes];
        if left < least {
            row.fill(R::ZERO);
            continue;
        }
        let hit = row[target].to_f64();
        loss += math::softmax(isa, row, slope) - hit;
        row[target] -= slope;
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_begin_with_how_often_recordings_have_each_class() {
        let c = Config { step_magnitudes: 3, tick_classes: 3, step_profiles: 1, ..Config::default() };
        let mut layout = Layout::default();
        let walker = Walker::new(&mut layout, &c);
        let event = |x, y, ticks| Classes { x, y, ticks, ..Classes::default() };
        let walk = |events| Walk { events, ..Walk::default() };
        let walks = [walk(vec![event(4, 2, 1), event(4, 3, 1), event(0, 0, 2)]), walk(vec![event(0, 0, 2)])];
        let (before, _) = layout.initialise(1);
        let begun = |mirrored| {
            let mut params = before.clone();
            walker.begin_at_frequencies(&mut params, walks.iter().cloned(), mirrored);
            params
        };
        let params = begun(false);
        let shares = |params: &[f32], head: usize, all: f64| -> Vec<f64> {
            let biases = &walker.heads[head].linear.bias.of(params)[..walker.heads[head].classes];
            biases.iter().map(|bias| (f64::from(*bias).exp() * all * 1e4).round() / 1e4).collect()
        };
        // Two steps are counted, for a walk's last is known; and all four times.
        assert_eq!(shares(&params, 0, 4.5), [0.5, 0.5, 0.5, 0.5, 2.5]);
        assert_eq!(shares(&params, 1, 4.5), [0.5, 0.5, 1.5, 1.5, 0.5]);
        assert_eq!(shares(&params, 2, 5.5), [0.5, 2.5, 2.5]);
        // Two of four events are the last.
        assert_eq!(walker.stop.bias.of(&params), [0.0]);

        let params = begun(true);
        assert_eq!(shares(&params, 0, 9.0), [3.0, 1.0, 1.0, 1.0, 3.0]);
        assert_eq!(shares(&params, 1, 9.0), [1.0, 2.0, 3.0, 2.0, 1.0]);
        assert_eq!(shares(&params, 2, 5.5), [0.5, 2.5, 2.5]);
        // Nothing else has moved: gates of profiles neither.
        let moved = before.iter().zip(&params).filter(|(before, now)| before != now).count();
        assert_eq!(moved, 5 + 5 + 3 + 1);
    }
}
