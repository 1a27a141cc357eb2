//! trajgan learns pointer movements from recordings and makes new ones: training and generation in
//! process. See ARCHITECTURE.md for the map.
//!
//! Same seed, same bits, whatever the number of threads; the calling thread must round to nearest and keep subnormals, as
//! threads do unless a program changes that (the C API sees to it itself).
//!
//! Letters in shapes: B batch rows, T steps, F features, L latent_dim, S summary_dim, N noise_dim,
//! C condition_dim, H hidden. A comment `x (B,F)` says that x is row-major with those extents.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("trajgan needs a 64-bit machine: sizes within the bounds of settings and files can exceed 32 bits");

pub mod backend;
pub mod capi;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod error;
pub mod eval;
pub mod files;
pub mod model;
pub mod nn;
mod order;
#[cfg(feature = "cli")]
pub mod report;
pub mod rng;
pub mod sample;
pub mod train;

pub use config::Config;
pub use data::{Dataset, Movement, Point};
pub use error::{Error, Result};
pub use model::{Device, Model};
pub use sample::SampleOptions;
pub use sample::path::{Path, PathOptions};
pub use sample::stream::Stream;
pub use train::{Control, Outcome, Progress, Stage, TrainOptions};
