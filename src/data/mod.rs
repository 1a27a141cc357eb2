//! Recordings in: movements, features, batches. Knows no networks.

pub mod recording;

pub use recording::{Movement, Point};
