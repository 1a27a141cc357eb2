//! Recordings in: movements, features, batches. Knows no networks.

pub mod features;
pub mod lengths;
pub mod recording;
pub mod scaler;

pub use features::{FEATURES, features};
pub use lengths::LengthModel;
pub use recording::{Movement, Point};
pub use scaler::Scaler;
