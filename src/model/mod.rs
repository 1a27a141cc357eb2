//! The networks, and the model that they make. Knows no files, clocks or C.

pub mod autoencoder;
pub mod critic;
pub mod dense;
pub mod embed;
pub mod expander;
pub mod gan;
pub mod generator;
pub mod pooler;
pub mod sequence;
mod state;

use std::ops::Range;

use crate::config::Config;
use crate::nn::Layout;
use critic::Critic;
use expander::Expander;
use generator::Generator;
use pooler::Pooler;
use sequence::SequenceMap;
pub use state::{DataModel, Device, EarlyStop, Model, Record, StageState, WINDOW};

/// All networks of a configuration and the name table of their tensors.
#[derive(Clone, Debug)]
pub struct Networks {
    pub layout: Layout,
    pub encoder: SequenceMap,
    pub decoder: SequenceMap,
    pub pooler: Pooler,
    pub expander: Expander,
    pub generator: Generator,
    pub critic: Critic,
    /// Ranges of the arena that an optimiser owns.
    pub autoencoder_range: Range<usize>,
    pub generator_range: Range<usize>,
    pub critic_range: Range<usize>,
}

impl Networks {
    pub fn new(c: &Config) -> Networks {
        let mut layout = Layout::default();
        let l = &mut layout;
        let (hidden, layers, p) = (c.encoder_hidden_dim, c.encoder_num_layers, c.lstm_dropout);
        let encoder = SequenceMap::new(l, "encoder", c.feature_dim, hidden, c.latent_dim, layers, p);
        let (hidden, layers) = (c.decoder_hidden_dim, c.decoder_num_layers);
        let decoder = SequenceMap::new(l, "decoder", c.latent_dim, hidden, c.feature_dim, layers, p);
        let pooler = Pooler::new(l, c);
        let expander = Expander::new(l, c);
        let autoencoder_range = 0..l.len();
        let generator = Generator::new(l, c);
        let generator_range = autoencoder_range.end..l.len();
        let critic = Critic::new(l, c);
        let critic_range = generator_range.end..l.len();
        Networks {
            encoder,
            decoder,
            pooler,
            expander,
            generator,
            critic,
            autoencoder_range,
            generator_range,
            critic_range,
            layout,
        }
    }
}
