//! The C API: check, convert, call, convert. The doc comments of what is `pub` and begins with `tg_` or `TG_` are the
//! header `include/trajgan.h`; its preamble is in cbindgen.toml, which also lists the files in their order.
#![allow(non_camel_case_types)]
// What a caller must promise is in the header, for all functions at once; C has no other way to pass an array.
#![allow(clippy::missing_safety_doc, clippy::too_many_arguments)]

mod data;
mod evaluate;
mod generate;
mod guard;
mod handle;
mod latent;
mod library;
mod memory;
mod model;
mod options;
mod path;
mod settings;
mod status;
mod stream;
mod train;

pub use data::*;
pub use evaluate::*;
pub use generate::*;
pub use latent::*;
pub use library::*;
pub use model::*;
pub use path::*;
pub use settings::*;
pub use status::*;
pub use stream::*;
pub use train::*;
