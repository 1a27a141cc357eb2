//! The CUDA backend. Only this folder knows cudarc.

pub mod context;
pub mod probe;

pub use context::Context;
