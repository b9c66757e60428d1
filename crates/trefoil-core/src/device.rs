//! Choosing a device: the only place in the workspace that knows which backends exist.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::str::FromStr;

use burn::tensor::{Device, Tensor};

use crate::error::{Error, Result};

/// A device as a user names it: `auto`, `cpu`, `vulkan`, `cuda:1`, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceSpec {
    /// The first accelerator of this build, else the CPU.
    #[default]
    Auto,
    /// The CPU backend.
    Cpu,
    /// The best adapter through Vulkan, or the n-th discrete GPU for n above zero.
    Vulkan(usize),
    /// The n-th NVIDIA GPU.
    Cuda(usize),
    /// The best adapter through Metal, or the n-th discrete GPU for n above zero.
    Metal(usize),
    /// The n-th AMD GPU.
    Rocm(usize),
}

/// Names of the devices that this build can open, for messages.
pub const AVAILABLE: &[&str] = &[
    "auto",
    "cpu",
    #[cfg(feature = "vulkan")]
    "vulkan[:N]",
    #[cfg(feature = "cuda")]
    "cuda[:N]",
    #[cfg(feature = "metal")]
    "metal[:N]",
    #[cfg(feature = "rocm")]
    "rocm[:N]",
];

impl DeviceSpec {
    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Device`] when the backend is not part of this build, or there is no such device.
    pub fn device(self) -> Result<Device> {
        let device = self.open()?;
        if device != Device::flex() {
            try_out(&device).map_err(|reason| Error::Device { name: self.to_string(), reason })?;
        }
        Ok(device)
    }

    fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            Self::Auto => Ok(Self::accelerator().unwrap_or_else(Device::flex)),
            #[cfg(feature = "vulkan")]
            Self::Vulkan(i) => vulkan(i),
            #[cfg(feature = "cuda")]
            Self::Cuda(i) => Ok(Device::cuda(i)),
            #[cfg(feature = "metal")]
            Self::Metal(i) => Ok(Device::metal(adapter(i))),
            #[cfg(feature = "rocm")]
            Self::Rocm(i) => Ok(Device::rocm(i)),
            #[cfg(not(all(
                feature = "vulkan",
                feature = "cuda",
                feature = "metal",
                feature = "rocm"
            )))]
            other => Err(Error::Device {
                name: other.to_string(),
                reason: format!(
                    "not part of this build (available: {}); build with `--features {}`",
                    AVAILABLE.join(", "),
                    other.to_string().split(':').next().unwrap_or_default()
                ),
            }),
        }
    }

    /// The accelerator that `auto` prefers, when the build has one.
    fn accelerator() -> Option<Device> {
        #[cfg(feature = "cuda")]
        return Some(Device::cuda(0));
        #[cfg(all(feature = "rocm", not(feature = "cuda")))]
        return Some(Device::rocm(0));
        #[cfg(all(feature = "metal", not(any(feature = "cuda", feature = "rocm"))))]
        return Some(Device::metal(burn::tensor::DeviceKind::DefaultDevice));
        #[cfg(all(
            feature = "vulkan",
            not(any(feature = "cuda", feature = "rocm", feature = "metal"))
        ))]
        return vulkan(0).ok();
        #[cfg(not(any(
            feature = "cuda",
            feature = "rocm",
            feature = "metal",
            feature = "vulkan"
        )))]
        return None;
    }
}

/// Zero is the best adapter there is, which may be integrated or a driver in software.
#[cfg(any(feature = "vulkan", feature = "metal"))]
fn adapter(index: usize) -> burn::tensor::DeviceKind {
    match index {
        0 => burn::tensor::DeviceKind::DefaultDevice,
        index => burn::tensor::DeviceKind::DiscreteGpu(index),
    }
}

/// Pinned to Vulkan, whichever compiler of shaders the build has. The framework opens a device once in a process.
#[cfg(feature = "vulkan")]
fn vulkan(index: usize) -> Result<Device> {
    use std::sync::{Mutex, PoisonError};

    use burn::tensor::wgpu::WgpuBackend;

    static OPENED: Mutex<Vec<(usize, Device)>> = Mutex::new(Vec::new());

    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, device)) = opened.iter().find(|(i, _)| *i == index) {
        return Ok(device.clone());
    }
    let options = Device::wgpu_options().device_kind(adapter(index));
    let device = options.graphics_api(WgpuBackend::Vulkan).init().map_err(|error| {
        Error::Device { name: DeviceSpec::Vulkan(index).to_string(), reason: error.to_string() }
    })?;
    opened.push((index, device.clone()));
    Ok(device)
}

/// Computes one number. The framework opens a device at the first use, and panics where it cannot.
fn try_out(device: &Device) -> std::result::Result<(), String> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let first_use = || Tensor::<1>::ones([1], device).into_data().iter::<f32>().sum::<f32>();
    let answer = panic::catch_unwind(AssertUnwindSafe(first_use));
    panic::set_hook(hook);
    match answer {
        Ok(1.0) => Ok(()),
        Ok(other) => Err(format!("the device computes {other} where 1 is expected")),
        Err(payload) => Err(payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_else(|| "the device cannot be opened".into())),
    }
}

impl FromStr for DeviceSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = |reason: &str| Error::Device {
            name: text.to_string(),
            reason: format!("{reason}; available: {}", AVAILABLE.join(", ")),
        };
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => {
                (name, index.parse().map_err(|_| unknown("the part after `:` is not a number"))?)
            }
            None => (text, 0),
        };
        match name {
            "auto" => Ok(Self::Auto),
            "cpu" | "flex" => Ok(Self::Cpu),
            "vulkan" => Ok(Self::Vulkan(index)),
            "cuda" => Ok(Self::Cuda(index)),
            "metal" => Ok(Self::Metal(index)),
            "rocm" => Ok(Self::Rocm(index)),
            _ => Err(unknown("unknown device")),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Vulkan(i) => write!(f, "vulkan:{i}"),
            Self::Cuda(i) => write!(f, "cuda:{i}"),
            Self::Metal(i) => write!(f, "metal:{i}"),
            Self::Rocm(i) => write!(f, "rocm:{i}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_errors_list_what_exists() {
        for name in ["auto", "cpu", "vulkan:0", "cuda:3", "metal:1", "rocm:0"] {
            assert_eq!(name.parse::<DeviceSpec>().unwrap().to_string(), name);
        }
        let error = "tpu".parse::<DeviceSpec>().unwrap_err().to_string();
        assert!(error.starts_with("device `tpu`: unknown device; available: auto, cpu"), "{error}");
        assert!("cuda:x".parse::<DeviceSpec>().is_err());
        assert!(DeviceSpec::Cpu.device().is_ok());
        assert_eq!(try_out(&Device::flex()), Ok(()));
    }
}
