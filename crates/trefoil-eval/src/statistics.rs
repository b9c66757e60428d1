//! Statistics of a data set in a file: mean and covariance of its features, as the `.npz` files that are
//! published for FID.
//!
//! | array | shape | |
//! |---|---|---|
//! | `mu` | `[D]` | mean |
//! | `sigma` | `[D, D]` | covariance |
//! | `samples` | `[1]` | number of samples |
//! | `divisor_offset` | `[1]` | what is taken from their number in the divisor of `sigma`: 0 or 1 |
//! | `features` | `[bytes]` | name of the features, UTF-8 |
//! | `pixel_size`, `pixel_mean`, `pixel_axes` | `[2]`, `[P]`, `[D, P]` | for features that are pixels on axes |
//!
//! Published files have the first two, which is enough to be read.

use std::io::Write as _;
use std::path::Path;

use crate::error::{Error, Result};
use crate::moments::{CovarianceDivisor, Gaussian};
use crate::npz::{Archive, Array, Values, Writer};
use crate::pixels::PixelPca;

/// What is known about the features of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// Mean and covariance.
    pub gaussian: Gaussian,
    /// Name of the features; `None` when the file does not tell.
    pub features: Option<String>,
    /// The axes, where the features are pixels.
    pub pixels: Option<PixelPca>,
}

impl Statistics {
    /// Reads an `.npz` file.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, [`Error::Format`] naming the array that is absent or has
    /// another shape or type than expected.
    pub fn read(path: &Path) -> Result<Self> {
        let format = |reason: String| Error::Format { path: path.into(), reason };
        let format = &format;
        let file =
            std::fs::read(path).map_err(|source| Error::File { path: path.into(), source })?;
        let archive = Archive::open(&file).map_err(format)?;
        let array = |name: &str| archive.array(name).map_err(format);
        let required = |name: &str, found: Option<Array>| {
            found.ok_or_else(|| format(format!("array `{name}` is absent")))
        };
        let mean = required("mu", array("mu")?)?;
        let covariance = required("sigma", array("sigma")?)?;
        let dim = mean.values.len();
        mean.expect("mu", &[dim]).map_err(format)?;
        covariance.expect("sigma", &[dim, dim]).map_err(format)?;
        let samples = array("samples")?.map_or(0, |a| a.first() as usize);
        let divisor = array("divisor_offset")?.map(|a| match a.first() {
            0.0 => CovarianceDivisor::Samples,
            _ => CovarianceDivisor::SamplesMinusOne,
        });
        let features = array("features")?.map(|a| {
            let bytes: Vec<u8> = a.values.iter().map(|&v| v as u8).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let pixels = match (array("pixel_size")?, array("pixel_mean")?, array("pixel_axes")?) {
            (Some(size), Some(mean), Some(axes)) => {
                size.expect("pixel_size", &[2]).map_err(format)?;
                let single = |a: &Array| a.values.iter().map(|&v| v as f32).collect();
                let size = [size.values[0] as usize, size.values[1] as usize];
                let pixels = PixelPca::from_parts(size, single(&mean), single(&axes));
                Some(pixels.map_err(|e| format(e.to_string()))?)
            }
            _ => None,
        };
        let (mean, covariance) = (mean.values, covariance.values);
        Ok(Self { gaussian: Gaussian { samples, mean, covariance, divisor }, features, pixels })
    }

    /// Writes an `.npz` file that numpy reads, under a temporary name first.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let fail = |source| Error::File { path: path.into(), source };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let mut file = tempfile::Builder::new()
            .prefix(".trefoil-")
            .suffix(".tmp")
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .map_err(fail)?;
        file.write_all(&self.encode()).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        file.persist(path).map_err(|e| fail(e.error))?;
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut archive = Writer::default();
        let Gaussian { samples, mean, covariance, divisor } = &self.gaussian;
        let dim = mean.len();
        archive.add("mu", &[dim], Values::Double(mean));
        archive.add("sigma", &[dim, dim], Values::Double(covariance));
        if *samples > 0 {
            archive.add("samples", &[1], Values::Integer(&[*samples as i64]));
        }
        if let Some(divisor) = divisor {
            let offset = i64::from(*divisor == CovarianceDivisor::SamplesMinusOne);
            archive.add("divisor_offset", &[1], Values::Integer(&[offset]));
        }
        if let Some(features) = &self.features {
            archive.add("features", &[features.len()], Values::Byte(features.as_bytes()));
        }
        if let Some(pixels) = &self.pixels {
            let size = pixels.size().map(|side| side as i64);
            let values = pixels.mean().len();
            archive.add("pixel_size", &[2], Values::Integer(&size));
            archive.add("pixel_mean", &[values], Values::Single(pixels.mean()));
            archive.add(
                "pixel_axes",
                &[pixels.axes().len() / values, values],
                Values::Single(pixels.axes()),
            );
        }
        archive.finish()
    }
}
