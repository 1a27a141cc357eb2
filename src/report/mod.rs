//! Reports that people look at: pictures, and files for TensorBoard. Of the program (feature `cli`), since they bring
//! libraries and a font that training and sampling do not need. Nothing here decides anything: it shows.

mod canvas;
mod events;
pub mod plot;
pub mod tensorboard;
pub mod tracks;

pub use canvas::Picture;
pub use tensorboard::Board;
