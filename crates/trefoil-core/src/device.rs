//! Choosing a device: the only place in the workspace that knows which backends exist.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

use crate::error::{Error, Result};

/// A device as a user names it: `auto`, `cpu`, `vulkan`, `cuda:1`, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceSpec {
    /// The first accelerator of this build, else the CPU.
    #[default]
    Auto,
    /// The CPU backend.
    Cpu,
    /// The n-th GPU through Vulkan.
    Vulkan(usize),
    /// The n-th NVIDIA GPU.
    Cuda(usize),
    /// The n-th GPU through Metal.
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
    /// [`Error::Device`] when the backend is not part of this build.
    pub fn device(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            Self::Auto => Ok(Self::accelerator().unwrap_or_else(Device::flex)),
            #[cfg(feature = "vulkan")]
            Self::Vulkan(i) => Ok(Device::vulkan(burn::tensor::DeviceKind::DiscreteGpu(i.into()))),
            #[cfg(feature = "cuda")]
            Self::Cuda(i) => Ok(Device::cuda(i)),
            #[cfg(feature = "metal")]
            Self::Metal(i) => Ok(Device::metal(burn::tensor::DeviceKind::DiscreteGpu(i.into()))),
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
        return Some(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice));
        #[cfg(not(any(
            feature = "cuda",
            feature = "rocm",
            feature = "metal",
            feature = "vulkan"
        )))]
        return None;
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
    }
}
