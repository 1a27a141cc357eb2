//! Where a command computes.

use trajgan::Device;

#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Hardware {
    /// CPU threads, 0 for one per core; the result does not depend on it
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// Where networks run: cpu, the number of a CUDA device, or auto: the first of those if there is one
    #[arg(long, default_value = "auto")]
    pub device: Device,
}
