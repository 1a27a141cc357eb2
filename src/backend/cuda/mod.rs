//! The CUDA backend: hand-written kernels, launched through cudarc, which only this folder knows.
//!
//! `probe` is asked before the first call of the driver; `Context` is a device, `Session` a piece of memory with a queue of
//! work; `launch` and `launch_steps` have one function for each kernel;
//! what stands above it follows the CPU's code sweep by sweep.

pub mod context;
mod critic;
pub mod gan;
mod gan_space;
mod generator;
pub mod kernels;
mod launch;
mod launch_steps;
mod layers;
pub mod probe;
pub mod session;
pub mod walks;

pub use context::Context;

/// What no device does yet.
pub(super) const ON_CPU: &str = "on the device: stage 2 and batches of closed-loop walks; still on the CPU: stage 1, encoding, the v6 decoder, single paths";
