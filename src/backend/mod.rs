//! Where the arithmetic is done.

pub mod cpu;
