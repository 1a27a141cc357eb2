//! trajgan learns pointer movements from recordings and makes new ones: training and generation in
//! process. See ARCHITECTURE.md for the map.
//!
//! Letters in shapes: B batch rows, T steps, F features, L latent_dim, S summary_dim, N noise_dim,
//! C condition_dim, H hidden. A comment `x (B,F)` says that x is row-major with those extents.

pub mod backend;
pub mod config;
pub mod data;
pub mod error;
pub mod files;
pub mod rng;

pub use config::Config;
pub use data::{Movement, Point};
pub use error::{Error, Result};
