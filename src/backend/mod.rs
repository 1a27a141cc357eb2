//! Where the arithmetic is done.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;

#[cfg(feature = "cuda")]
use std::sync::Arc;

use crate::error::{Error, Result};

/// Where a model is asked to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The best there is; the CPU always is.
    Auto,
    Cpu,
    Cuda(u32),
}

impl Device {
    /// The C API's numbers: -2 auto, -1 CPU, n >= 0 CUDA device n.
    pub fn from_code(code: i32) -> Result<Device> {
        match code {
            -2 => Ok(Device::Auto),
            -1 => Ok(Device::Cpu),
            n => match u32::try_from(n) {
                Ok(n) => Ok(Device::Cuda(n)),
                Err(_) => Err(Error::argument("device", code, "-2 (auto), -1 (CPU) or a CUDA device from 0")),
            },
        }
    }

    /// Whether models can compute there, by trying.
    ///
    /// # Errors
    /// `Device` with the reason why they cannot.
    pub fn check(self) -> Result<()> {
        Backend::open(self).map(drop)
    }
}

impl std::str::FromStr for Device {
    type Err = Error;

    /// `auto`, `cpu`, or the number of a CUDA device.
    fn from_str(text: &str) -> Result<Device> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            number => match number.parse::<i32>() {
                Ok(n @ 0..) => Ok(Device::Cuda(n as u32)),
                _ => Err(Error::argument("device", text, "auto, cpu, or the number of a CUDA device from 0")),
            },
        }
    }
}

/// Where a model computes. A training step, encoding and the sampling of a batch ask it; nobody else need know.
#[derive(Clone, Debug)]
pub enum Backend {
    /// With the reason why it is not a CUDA device, where that was asked for.
    Cpu(Option<String>),
    #[cfg(feature = "cuda")]
    Cuda(Arc<cuda::Context>),
}

impl Backend {
    /// # Errors
    /// `Device` for a CUDA device that cannot be had. `Auto` falls to the CPU and keeps the reason.
    pub fn open(device: Device) -> Result<Backend> {
        match device {
            Device::Cpu => Ok(Backend::Cpu(None)),
            Device::Auto => Ok(open_cuda(0).unwrap_or_else(|reason| Backend::Cpu(Some(reason)))),
            Device::Cuda(n) => open_cuda(n).map_err(|reason| Error::Device { device: n as i32, reason }),
        }
    }

    /// "cpu", or "cuda:0 (its name)".
    pub fn name(&self) -> String {
        match self {
            Backend::Cpu(_) => "cpu".into(),
            #[cfg(feature = "cuda")]
            Backend::Cuda(context) => format!("cuda:{} ({})", context.ordinal(), context.name()),
        }
    }

    /// Why something is done on the CPU that was asked of a device: all of it where `Auto` found none.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Backend::Cpu(reason) => reason.as_deref(),
            #[cfg(feature = "cuda")]
            Backend::Cuda(_) => Some(cuda::ON_CPU),
        }
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(ordinal: u32) -> std::result::Result<Backend, String> {
    cuda::Context::open(ordinal).map(|context| Backend::Cuda(Arc::new(context)))
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_: u32) -> std::result::Result<Backend, String> {
    Err("this build has no CUDA backend".into())
}
