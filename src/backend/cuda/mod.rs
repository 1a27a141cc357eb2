//! The CUDA backend: hand-written kernels, launched through cudarc, which only this folder knows.
//!
//! `probe` is asked before the first call of the driver; `Context` is a device, `Session` a piece of memory with a queue of
//! work; `launch` has one function for each kernel; what stands above it follows the CPU's code sweep by sweep.

pub mod context;
mod critic;
pub mod gan;
mod generator;
pub mod kernels;
mod launch;
mod layers;
pub mod probe;
pub mod session;

pub use context::Context;
