//! Into the latent space and back: summaries of movements, and what a v6 decoder makes of summaries.

use ndarray::{Array2, ArrayView2};

use super::{array2, movement};
#[cfg(feature = "cuda")]
use crate::backend::Backend;
use crate::backend::cpu::tiles;
use crate::backend::cpu::{Pool, Scratch};
#[cfg(feature = "cuda")]
use crate::backend::cuda;
use crate::data::{Movement, features};
use crate::error::{Error, Result, afford, all_finite, try_zeroed};
use crate::model::Model;
use crate::model::decoding::Decoding;
use crate::model::expander::POSITIONS;
use crate::model::pooler::PoolerTrace;
use crate::model::sequence::SequenceTrace;
use crate::nn::steps::longest_first;
use crate::nn::{Steps, Weights};
use crate::train::shards::{Batch, ROWS, SequenceShard, together, workers};

/// Through the encoder, or through v6's expander and decoder.
#[derive(Clone, Copy)]
pub(super) enum Way {
    In,
    Out,
}

impl Model {
    /// Summaries of movements: n x S in [-1,1].
    pub fn encode(&self, movements: &[Movement], threads: usize) -> Result<Array2<f32>> {
        let codec = self.known_data("encode")?.codec.as_ref();
        let (least, most) = (if codec.is_some() { 2 } else { 3 }, self.config.max_seq_len);
        for (i, points) in movements.iter().map(|m| &m.points).enumerate() {
            if !(least..=most).contains(&points.len()) {
                let (got, expected) = (format!("{} points", points.len()), format!("{least} to {most} (max_seq_len)"));
                return Err(Error::argument(format!("movement {i}"), got, expected));
            }
            if let Some(k) = points.iter().position(|p| ![p.x, p.y, p.t_ms].iter().all(|v| v.is_finite())) {
                return Err(Error::argument(
                    format!("movement {i}, point {k}"),
                    format!("{:?}", points[k]),
                    "finite numbers",
                ));
            }
        }
        if let Some(codec) = codec {
            self.afford_batch(movements.iter().map(|m| m.points.len()), Way::In, threads)?;
            let walks: Vec<_> = movements.iter().map(|m| codec.encode(&m.points)).collect();
            let z = self.encode_batch(&Batch::of_walks(&walks), &mut Pool::new(workers(threads, walks.len())))?;
            return array2(movements.len(), self.config.summary_dim, z);
        }
        let scaler = self.scaler("encode")?;
        self.afford_batch(movements.iter().map(|m| m.points.len()), Way::In, threads)?;
        let rows: Vec<Vec<f32>> = movements.iter().map(|m| scaler.scale(&features(&m.points))).collect();
        self.encode_features(&rows, threads)
    }

    /// Summaries of scaled features, length x F each: n x S in [-1,1].
    pub fn encode_features(&self, rows: &[Vec<f32>], threads: usize) -> Result<Array2<f32>> {
        self.only_v6("encode_features")?;
        let f = self.config.feature_dim;
        for (i, row) in rows.iter().enumerate() {
            let length = row.len() / f;
            if row.len() % f != 0 || !(1..=self.config.max_seq_len).contains(&length) {
                let expected = format!("1 to {} rows of {f} features", self.config.max_seq_len);
                return Err(Error::argument(format!("movement {i}"), format!("{} numbers", row.len()), expected));
            }
            if let Some(k) = row.iter().position(|x| !x.is_finite()) {
                return Err(Error::argument(format!("movement {i}, number {k}"), row[k], "a finite number"));
            }
        }
        self.afford_batch(rows.iter().map(|row| row.len() / f), Way::In, threads)?;
        let z = self.encode_batch(&Batch::new(rows, f), &mut Pool::new(workers(threads, rows.len())))?;
        array2(rows.len(), self.config.summary_dim, z)
    }

    /// Movements of summaries z (n,S), with so many points each.
    pub fn decode(&self, z: ArrayView2<f32>, lengths: &[usize], threads: usize) -> Result<Vec<Movement>> {
        let scaler = self.scaler("decode")?;
        let rows = self.decode_checked(z, lengths, threads)?;
        Ok(rows.iter().map(|x| movement(scaler, x)).collect())
    }

    /// Scaled features of summaries z (n,S): length x F numbers each.
    pub fn decode_features(&self, z: ArrayView2<f32>, lengths: &[usize], threads: usize) -> Result<Vec<Vec<f32>>> {
        self.decode_checked(z, lengths, threads)
    }

    /// Summaries on the straight line from one to another, both included: steps x S.
    pub fn interpolate(&self, from: &[f32], to: &[f32], steps: usize) -> Result<Array2<f32>> {
        let s = self.config.summary_dim;
        for (name, z) in [("z1", from), ("z2", to)] {
            if z.len() != s {
                return Err(Error::argument(name, format!("{} numbers", z.len()), format!("{s}, summary_dim")));
            }
            all_finite(name, z)?;
        }
        if steps < 2 {
            return Err(Error::argument("steps", steps, "2 or more"));
        }
        let mut out = try_zeroed(steps.saturating_mul(s), "an interpolation")?;
        for (k, row) in out.chunks_exact_mut(s).enumerate() {
            let share = k as f32 / (steps - 1) as f32;
            row.iter_mut().zip(from.iter().zip(to)).for_each(|(z, (a, b))| *z = a * (1.0 - share) + b * share);
        }
        array2(steps, s, out)
    }

    /// More than movements of these lengths take on their way in or out: of a step its point, its event, and its features
    /// three times; of a movement its summary twice. And what the threads work in, and what all samples share, where nobody has
    /// made it yet.
    fn afford_batch(&self, lengths: impl Iterator<Item = usize> + Clone, way: Way, threads: usize) -> Result<()> {
        let (rows, longest) = (lengths.clone().count(), lengths.clone().max().unwrap_or(0));
        let (row, step) = (8 * self.config.summary_dim + 128, 12 * self.config.feature_dim + 160);
        let own = rows.saturating_mul(row).saturating_add(lengths.sum::<usize>().saturating_mul(step));
        let shared = self.working_bytes(way, rows, longest, threads).saturating_add(self.sampler_bytes());
        afford(own.saturating_add(shared), "summaries of movements")
    }

    /// More than the networks keep of the steps of a shard, times the threads that work on one: on the way in of an LSTM's unit
    /// its gates, its cell and its output; on the way out what an expander that does not go by steps has of each.
    pub(super) fn working_bytes(&self, way: Way, rows: usize, longest: usize, threads: usize) -> usize {
        let c = &self.config;
        let (numbers, most) = match way {
            Way::In => (8 * c.encoder_num_layers * c.encoder_hidden_dim + 2 * c.latent_dim, ROWS),
            Way::Out => (4 * c.expander_hidden_dim + c.latent_dim + c.feature_dim + POSITIONS, tiles::ROWS),
        };
        (workers(threads, rows) * most.min(rows)).saturating_mul(4 * numbers * longest)
    }

    /// Summaries (n,S) of a batch, in the order that its rows were given in.
    pub(crate) fn encode_batch(&self, batch: &Batch, pool: &mut Pool) -> Result<Vec<f32>> {
        #[cfg(feature = "cuda")]
        if let Some(sorted) = self.encode_on_cuda(batch)? {
            return Ok(batch.in_given_order(&sorted));
        }
        Ok(batch.in_given_order(&self.encode_on_cpu(batch, pool)))
    }

    /// The same in the order of the shards. None where the model computes on the CPU, or its encoder does not fit the device.
    #[cfg(feature = "cuda")]
    fn encode_on_cuda(&self, batch: &Batch) -> Result<Option<Vec<f32>>> {
        match &self.backend {
            Backend::Cuda(device) if batch.rows() > 0 && cuda::encoder::fits(device, &self.networks) => {
                let values = (self.weights.params.as_slice(), self.buffers.as_slice());
                cuda::encoder::encode(device, &self.networks, values, batch).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn encode_on_cpu(&self, batch: &Batch, pool: &mut Pool) -> Vec<f32> {
        let (w, norm, (encoder, pooler)) = (&self.weights, &self.sampler().encoder, self.networks.encoder());
        let mut parts: Vec<_> = batch.shards.iter().map(|shard| (shard, Vec::new())).collect();
        let traces = Scratch::<(SequenceTrace<f32>, PoolerTrace<f32>)>::new(pool);
        pool.for_each(&mut parts, |worker, _, (SequenceShard { steps, x, .. }, z)| {
            let (encoded, pooled) = &mut *traces.of(worker);
            encoder.forward(w, norm, steps, x, None, encoded);
            pooler.forward(w, steps, &encoded.y, None, pooled);
            z.extend_from_slice(&pooled.z);
        });
        parts.into_iter().flat_map(|(_, z)| z).collect()
    }

    /// Those of movements to decode.
    pub(crate) fn check_lengths(&self, lengths: &[usize]) -> Result<()> {
        self.only_v6("decode")?;
        let most = self.config.max_seq_len;
        match lengths.iter().position(|length| !(1..=most).contains(length)) {
            Some(i) => Err(Error::argument(format!("lengths[{i}]"), lengths[i], format!("1 to {most} (max_seq_len)"))),
            None => Ok(()),
        }
    }

    fn decode_checked(&self, z: ArrayView2<f32>, lengths: &[usize], threads: usize) -> Result<Vec<Vec<f32>>> {
        self.check_lengths(lengths)?;
        let (n, s) = z.dim();
        if s != self.config.summary_dim {
            return Err(Error::argument("columns of z", s, format!("{}, summary_dim", self.config.summary_dim)));
        }
        if lengths.len() != n {
            return Err(Error::argument("lengths", lengths.len(), format!("{n}, one for each summary")));
        }
        self.afford_batch(lengths.iter().copied(), Way::Out, threads)?;
        let z: Vec<f32> = z.iter().copied().collect();
        all_finite("summaries", &z)?;
        #[cfg(feature = "cuda")]
        if let Some(mut movements) = self.movements_on_cuda(lengths, false)? {
            let rows = movements.rows();
            let parts = z.chunks(rows * s).zip(lengths.chunks(rows)).map(|(z, lengths)| movements.decode(z, lengths));
            return Ok(parts.collect::<Result<Vec<_>>>()?.concat());
        }
        Ok(self.decode_rows(&z, lengths, false, &mut Pool::new(workers(threads, n))))
    }

    /// What makes movements of such lengths on the model's device. None where the model computes on the CPU, or its
    /// decoder does not fit the device.
    #[cfg(feature = "cuda")]
    pub(super) fn movements_on_cuda(
        &self,
        lengths: &[usize],
        tf32: bool,
    ) -> Result<Option<cuda::movements::Movements<'_>>> {
        let (Backend::Cuda(device), Some(net), Some(&longest)) =
            (&self.backend, self.networks.v6(), lengths.iter().max())
        else {
            return Ok(None);
        };
        if !cuda::movements::fits(device, net) {
            return Ok(None);
        }
        let (learnt, sizes) = ((&*self.sampling_weights().params, &*self.buffers), (lengths.len(), longest));
        cuda::movements::Movements::new(device, &self.networks, learnt, sizes, tf32).map(Some)
    }

    /// Copies of the model's weights, of which those that decode are for products of parts of floats.
    fn split_weights(&self) -> &Weights<f32> {
        self.sampler().split.get_or_init(|| {
            let mut weights = self.weights.clone();
            if let Some(net) = self.networks.v6() {
                weights.split(net.decoder.lstm.layers[0].input.offset..self.networks.autoencoder_range.end);
            }
            weights
        })
    }

    /// v6: scaled features of summaries (n,S), clamped to [-1,1]. rounded: by products of parts of floats.
    pub(super) fn decode_rows(&self, z: &[f32], lengths: &[usize], rounded: bool, pool: &mut Pool) -> Vec<Vec<f32>> {
        let (s, f, norm) = (self.config.summary_dim, self.config.feature_dim, &self.sampler().decoder);
        let order = longest_first(lengths);
        let weights = if rounded { self.split_weights() } else { &self.weights };
        let most = if rounded { tiles::ROWS } else { ROWS };
        let mut parts: Vec<_> =
            order.chunks(together(lengths.len(), most, pool.threads())).map(|rows| (rows, Vec::new())).collect();
        let Some(net) = self.networks.v6() else { return Vec::new() };
        let traces = Scratch::<Decoding<f32>>::new(pool);
        pool.for_each(&mut parts, |worker, _, (rows, out)| {
            let sorted: Vec<usize> = rows.iter().map(|&i| lengths[i]).collect();
            let steps = Steps::new(&sorted);
            let z: Vec<f32> = rows.iter().flat_map(|&i| &z[i * s..(i + 1) * s]).copied().collect();
            let mut trace = traces.of(worker);
            let packed = net.decode(weights, norm, &steps, &z, &mut trace);
            for (b, &length) in sorted.iter().enumerate() {
                let points = (0..length).flat_map(|t| &packed[steps.at(b, t) * f..][..f]);
                out.push(points.map(|x| x.clamp(-1.0, 1.0)).collect::<Vec<f32>>());
            }
        });
        let mut rows = vec![Vec::new(); lengths.len()];
        for (places, out) in parts {
            places.iter().zip(out).for_each(|(&i, x)| rows[i] = x);
        }
        rows
    }
}
