//! Batches of the closed-loop decoder's walks on the device, from noise to events: src/sample/walk.rs with the same dice.

use std::sync::Arc;

use super::context::Context;
use super::generator::GeneratorSpace;
use super::launch::ADD;
use super::launch_steps::{Numbers, Walk, WalkSizes};
use super::layers::{Arenas, Pass, row, tensor};
use super::plan::{Plan, Rows, Span};
use super::session::Session;
use crate::backend::cpu::gemm::{two_weights, weights_of};
use crate::data::StepCodec;
use crate::data::steps::Event;
use crate::error::{Error, Result};
use crate::model::Networks;
use crate::model::walker::Walker;
use crate::nn::{Linear, Matrix};
use crate::rng::Stream;
use crate::sample::SampleOptions;

/// Walks of one launch: more would only take more memory.
const MOST_ROWS: usize = 16_384;

/// Numbers of an event: x, y, ticks.
const EVENT: usize = 3;

/// Sizes of a decoder, its codec and the longest walk.
#[derive(Clone, Copy, Debug)]
pub struct Sizes(WalkSizes);

impl Sizes {
    pub fn of(walker: &Walker, codec: &StepCodec, most_points: usize) -> Sizes {
        Sizes(WalkSizes {
            hidden: walker.lstm.hidden(),
            layers: walker.lstm.layers.len(),
            step_classes: walker.heads[0].classes,
            tick_classes: walker.heads[2].classes,
            repeats: codec.repeats,
            most_points,
            landing: codec.landing,
            profiles: walker.heads[0].profiles().map_or(0, |(_, each)| each),
        })
    }

    /// Whether a block of the device has the memory for it, and a walk the two events that it has at least.
    pub fn fit(self, device: &Context) -> bool {
        /// What the kernel has beside what it is given.
        const OWN: usize = 2048;
        self.0.shared() + OWN <= device.shared() && self.0.most_points > 2
    }
}

/// A decoder on the device.
pub struct Walks<'a> {
    session: Session,
    networks: &'a Networks,
    walker: &'a Walker,
    sizes: WalkSizes,
    rows: usize,
    count: Span,
    arenas: Arenas,
    noise: Span,
    condition: Span,
    generator: GeneratorSpace,
    walk: Walk,
    /// What the events of a launch come back in.
    events: Vec<i32>,
}

/// Targets (n,2), their conditions (n,C), the first one's sample, and the deviation of the noise on summaries.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    pub targets: &'a [[i32; 2]],
    pub conditions: &'a [f32],
    pub first: u64,
    pub noise: f64,
}

/// What a launch has drawn.
pub struct Drawn<'a> {
    numbers: &'a [i32],
    counts: Vec<i32>,
    /// Numbers that a walk has room for.
    stride: usize,
}

impl Drawn<'_> {
    /// Of one walk, in order.
    pub fn events(&self, row: usize) -> impl ExactSizeIterator<Item = Event> {
        let numbers = self.numbers[row * self.stride..][..self.stride].chunks_exact(EVENT);
        let drawn = numbers.take(self.counts[row].max(0) as usize);
        drawn.map(|e| Event { x: e[0], y: e[1], ticks: e[2].max(0) as u32 })
    }
}

impl<'a> Walks<'a> {
    /// params: the model's, with the generator's average in place. count: walks in all.
    ///
    /// # Errors
    /// `Memory` where the device has too little; `Device` where it fails; `State` for a model with the v6 decoder.
    pub fn new(
        context: &Arc<Context>,
        networks: &'a Networks,
        params: &[f32],
        codec: &StepCodec,
        Sizes(sizes): Sizes,
        count: usize,
    ) -> Result<Walks<'a>> {
        let Some(net) = networks.closed_loop() else {
            let problem = "the model has the v6 decoder".to_string();
            return Err(Error::State { call: "walk", problem });
        };
        let (rows, walker) = (count.min(MOST_ROWS), &net.walker);
        let params = &rounded(walker, params);
        let (stack, biases, heads) = (stack(walker, params), biases(walker, params), heads(walker, params));
        let mut plan = Plan::default();
        let arena = plan.floats(params.len());
        // Nothing is learnt here, so there is no room for gradients.
        let nothing = plan.floats(0);
        let arenas = Arenas { params: arena, grads: nothing, buffers: nothing, partials: nothing, divided: nothing };
        let noise = plan.floats(rows * networks.generator.noise);
        let condition = plan.floats(rows * networks.generator.embed.first.weight.inputs);
        let generator = GeneratorSpace::new(&mut plan, &networks.generator, noise, rows);
        let walk = Walk {
            events: plan.floats(rows * (sizes.most_points - 1) * EVENT),
            counts: plan.floats(rows),
            targets: plan.floats(rows * 2),
            constant: plan.floats(rows * 4 * sizes.hidden),
            stack_t: plan.floats(stack.len()),
            biases: plan.floats(biases.len()),
            heads: plan.floats(heads.len()),
            embeddings: walker.embeddings.map(|m| tensor(arena, &m)),
            profiles: [0, 1].map(|k| walker.heads[k].profiles().map(|(table, _)| tensor(arena, &table))),
            step_edges: plan.floats(codec.step_edges.len()),
            tick_edges: plan.floats(codec.tick_edges.len()),
            clock: plan.floats(4),
        };
        let count = plan.floats(1);
        let session = Session::new(context, plan, "walks on the device")?;
        session.upload(arena, params)?;
        session.upload(walk.stack_t, &stack)?;
        session.upload(walk.biases, &biases)?;
        session.upload(walk.heads, &heads)?;
        session.upload(walk.step_edges, &codec.step_edges)?;
        session.upload(walk.tick_edges, &codec.tick_edges)?;
        let events = Vec::new();
        Ok(Walks { session, networks, walker, sizes, rows, count, arenas, noise, condition, generator, walk, events })
    }

    /// Walks of one [`Walks::draw`] at most.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Draws walks.
    pub fn draw(&mut self, order: Order, options: &SampleOptions) -> Result<Drawn<'_>> {
        let Order { targets, conditions, first, noise } = order;
        let (s, walk, generator) = (&self.session, self.walk, &self.generator);
        let rows = Rows { count: self.count, most: targets.len() };
        let seed = options.seed;
        s.upload(self.count, &[targets.len() as i32])?;
        s.upload(walk.clock, &[seed as u32, (seed >> 32) as u32, first as u32, (first >> 32) as u32])?;
        s.upload(walk.targets, targets.as_flattened())?;
        s.upload(self.condition, conditions)?;
        let numbers = |stream: Stream| Numbers { clock: walk.clock, stream: stream as u32, shift: 0, add: 0 };
        let bound = if options.truncation_psi < 1.0 { 2.0 * options.truncation_psi } else { f64::INFINITY };
        s.normals(self.noise, numbers(Stream::SampleNoise), (1.0, bound), rows, self.networks.generator.noise, 0)?;
        let pass = Pass { session: s, arenas: self.arenas, rows, one: rows };
        pass.generator(&self.networks.generator, self.noise, self.condition, generator)?;
        let (z, width) = (generator.z, self.networks.generator.output.weight.outputs);
        s.normals(z, numbers(Stream::SampleSummaryNoise), (noise, f64::INFINITY), rows, width, ADD)?;
        // The summary's share of the first layer, with that layer's biases.
        let layer = &self.walker.lstm.layers[0];
        if let Some(matrix) = &layer.constant {
            let arena = self.arenas.params;
            let biases = [&layer.bias_ih, &layer.bias_hh].map(|bias| Some(row(arena, bias)));
            s.matrix_forward(matrix, (walk.constant, z, tensor(arena, matrix)), biases, None, rows, 0)?;
        }
        s.walk(walk, [options.step_temperature, options.time_temperature], targets.len(), self.sizes)?;

        let mut counts = vec![0i32; targets.len()];
        s.download(walk.counts, &mut counts)?;
        let stride = (self.sizes.most_points - 1) * EVENT;
        self.events.resize(targets.len() * stride, 0);
        s.download(walk.events, &mut self.events)?;
        Ok(Drawn { numbers: &self.events, counts, stride })
    }
}

/// The walker's products are those of sampling on the CPU: with weights rounded as there (Weights::halve).
fn rounded(walker: &Walker, params: &[f32]) -> Vec<f32> {
    let mut params = params.to_vec();
    let layers = walker.lstm.layers.iter().flat_map(|l| [Some(l.input), l.constant, Some(l.recurrent)]).flatten();
    for m in layers.chain(linears(walker).map(|linear| linear.weight)) {
        for o in 0..m.outputs {
            let row = &mut params[m.offset + o * m.stride..][..m.inputs];
            for two in row.chunks_mut(2) {
                let word = two_weights(two[0], two.get(1).copied().unwrap_or_default());
                two.copy_from_slice(&weights_of(word)[..two.len()]);
            }
        }
    }
    params
}

/// Trunk, stop and the three heads.
fn linears(walker: &Walker) -> impl Iterator<Item = Linear> {
    [walker.trunk, walker.stop].into_iter().chain(walker.heads.map(|head| head.linear))
}

/// Of every layer the input's weight and the recurrent one, transposed.
fn stack(walker: &Walker, params: &[f32]) -> Vec<f32> {
    let matrices = walker.lstm.layers.iter().flat_map(|layer| [layer.input, layer.recurrent]);
    matrices.flat_map(|m| transposed(&m, params)).collect()
}

/// Of every layer both biases added up.
fn biases(walker: &Walker, params: &[f32]) -> Vec<f32> {
    let layers = walker.lstm.layers.iter();
    let sums = layers.map(|l| l.bias_ih.of(params).iter().zip(l.bias_hh.of(params)).map(|(a, b)| a + b));
    sums.flatten().collect()
}

/// Of each of these the weight, transposed, and the bias.
fn heads(walker: &Walker, params: &[f32]) -> Vec<f32> {
    linears(walker).flat_map(|l| [transposed(&l.weight, params), l.bias.of(params).to_vec()].concat()).collect()
}

/// w (O,I) -> (I,O)
fn transposed(m: &Matrix, params: &[f32]) -> Vec<f32> {
    let at = |i: usize, o: usize| params[m.offset + o * m.stride + i];
    (0..m.inputs).flat_map(|i| (0..m.outputs).map(move |o| at(i, o))).collect()
}
