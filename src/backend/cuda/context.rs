//! A device that is open.

use super::probe::probe;

/// A CUDA device.
#[derive(Debug)]
pub struct Context {
    ordinal: u32,
    name: String,
}

impl Context {
    /// # Errors
    /// The reason why the device cannot be used, in words.
    pub fn open(ordinal: u32) -> Result<Context, String> {
        probe(ordinal).map_err(|absence| absence.to_string())?;
        Err("a CUDA device is there, but no part of this version runs on it yet".into())
    }

    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// As the driver calls it.
    pub fn name(&self) -> &str {
        &self.name
    }
}
