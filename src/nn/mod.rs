//! Layers: forward and backward side by side, no autograd. Knows no files, clocks or C.
//!
//! Gradients of parameters are added to (see [`Gradients`]), gradients of activations are written.

pub mod dropout;
pub mod gradients;
pub mod linear;
pub mod lstm;
pub mod norm;
pub mod optim;
pub mod params;
pub mod running;
pub mod spectral;
pub mod steps;

pub use dropout::Dropout;
pub use gradients::Gradients;
pub use linear::Linear;
pub use lstm::Lstm;
pub use norm::LayerNorm;
pub use params::{Initial, Layout, Matrix, Vector, Weights};
pub use spectral::SpectralLinear;
pub use steps::Steps;
