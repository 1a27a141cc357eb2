//! Recordings in: movements, features, batches. Knows no networks.

pub mod batches;
mod clock;
pub mod dataset;
mod export;
pub mod features;
pub mod lengths;
pub mod prepare;
mod quantiles;
pub mod readers;
pub mod recording;
pub mod scaler;
pub mod split;
pub mod steps;

pub use batches::{LengthAware, Stratified, Waste};
pub use dataset::Dataset;
pub use features::{FEATURES, features};
pub use lengths::LengthModel;
pub use prepare::{PrepareReport, Prepared};
pub use readers::{CutOptions, ReadOptions, ReadReport, Rejected};
pub use recording::{Movement, Point, Turn};
pub use scaler::Scaler;
pub use split::Split;
pub use steps::StepCodec;

/// At most so many of 0..n, evenly spread.
pub(crate) fn evenly(n: usize, most: usize) -> impl Iterator<Item = usize> {
    let kept = n.min(most);
    (0..kept).map(move |i| i * n / kept)
}
