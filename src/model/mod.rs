//! The networks, and the model that they make. Knows no files, clocks or C.

pub mod closed_loop;
pub mod critic;
pub mod decoding;
pub mod dense;
pub mod embed;
pub mod expander;
pub mod gan;
pub mod generator;
pub mod head;
pub mod pooler;
pub mod sequence;
mod state;
pub mod v6;
pub mod walker;

use std::ops::Range;

pub use crate::backend::Device;
use crate::config::{Config, DecoderKind};
use crate::nn::Layout;
use crate::nn::dropout::Site;
use closed_loop::ClosedLoop;
use critic::Critic;
use generator::Generator;
use pooler::Pooler;
use sequence::SequenceMap;
pub use state::{DataModel, EarlyStop, Model, Record, StageState, WINDOW};
use v6::V6;

/// Dropout sites: 256 for every network, one a layer. A model has an expander or a walker; v6's decoder runs twice, with masks of
/// its own.
pub(crate) const ENCODER: Site = 0;
pub(crate) const POOLER: Site = 256;
pub(crate) const EXPANDER: Site = 512;
pub(crate) const WALKER: Site = EXPANDER;
pub(crate) const DECODER: Site = 768;
pub(crate) const DECODER_DIRECT: Site = 1024;

/// All networks of a configuration and the name table of their tensors.
#[derive(Clone, Debug)]
pub struct Networks {
    pub layout: Layout,
    pub autoencoder: Autoencoder,
    pub generator: Generator,
    pub critic: Critic,
    /// Ranges of the arena that an optimiser owns.
    pub autoencoder_range: Range<usize>,
    pub generator_range: Range<usize>,
    pub critic_range: Range<usize>,
}

/// What stage 1 trains.
#[derive(Clone, Debug)]
pub enum Autoencoder {
    V6(V6),
    ClosedLoop(ClosedLoop),
}

impl Networks {
    pub fn new(c: &Config) -> Networks {
        let mut layout = Layout::default();
        let autoencoder = match c.decoder {
            DecoderKind::V6 => Autoencoder::V6(V6::new(&mut layout, c)),
            DecoderKind::ClosedLoop => Autoencoder::ClosedLoop(ClosedLoop::new(&mut layout, c)),
        };
        let autoencoder_range = 0..layout.len();
        let generator = Generator::new(&mut layout, c);
        let generator_range = autoencoder_range.end..layout.len();
        let critic = Critic::new(&mut layout, c);
        let critic_range = generator_range.end..layout.len();
        Networks { layout, autoencoder, generator, critic, autoencoder_range, generator_range, critic_range }
    }

    /// Encoder and pooler, whichever the decoder.
    pub(crate) fn encoder(&self) -> (&SequenceMap, &Pooler) {
        match &self.autoencoder {
            Autoencoder::V6(net) => (&net.encoder, &net.pooler),
            Autoencoder::ClosedLoop(net) => (&net.encoder, &net.pooler),
        }
    }

    /// The seed's autoencoder, if the model has that.
    pub fn v6(&self) -> Option<&V6> {
        match &self.autoencoder {
            Autoencoder::V6(v6) => Some(v6),
            Autoencoder::ClosedLoop(_) => None,
        }
    }

    /// The closed-loop autoencoder, if the model has that.
    pub fn closed_loop(&self) -> Option<&ClosedLoop> {
        match &self.autoencoder {
            Autoencoder::V6(_) => None,
            Autoencoder::ClosedLoop(closed_loop) => Some(closed_loop),
        }
    }
}
