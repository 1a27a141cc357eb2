//! The CUDA backend: hand-written kernels, launched through cudarc, which only this folder knows.
//!
//! `probe` is asked before the first call of the driver; `Context` is a device, `Session` a piece of memory with a queue of
//! work; `launch` and its siblings have one function for each kernel;
//! what stands above it follows the CPU's code sweep by sweep.

mod batch;
pub mod context;
mod critic;
pub mod encoder;
mod expander;
pub mod gan;
mod gan_space;
mod generator;
pub mod kernels;
mod launch;
mod launch_group;
mod launch_pool;
mod launch_sequence;
mod launch_steps;
mod launch_walker;
mod layers;
pub mod movements;
pub mod parts;
pub mod plan;
mod pooler;
pub mod probe;
mod routine;
mod sequence;
pub mod session;
pub mod stage1;
mod v6;
mod walker;
pub mod walks;

pub use context::Context;

/// What no device does yet.
pub(super) const ON_CPU: &str =
    "on the device: both stages, encoding, decoding and batches of movements; on the CPU: single paths and streams";
