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

use std::io::{Cursor, Read, Write};
use std::path::Path;

use npyz::{NpyFile, Order, WriterBuilder};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::error::{Error, Result};
use crate::moments::{CovarianceDivisor, Gaussian};
use crate::pixels::PixelPca;

/// Largest array that is read, in bytes: far above the 32 MiB of a 2048x2048 covariance.
const MAX_ARRAY: u64 = 1 << 30;

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
        let file = std::fs::read(path).map_err(|source| Error::File { path: path.into(), source })?;
        let mut archive = ZipArchive::new(Cursor::new(file))
            .map_err(|e| format(format!("not an .npz archive: {e}")))?;
        let mut array = |name: &str| read_array(&mut archive, name).map_err(&format);
        let required = |name: &str, found: Option<Array>| {
            found.ok_or_else(|| format(format!("array `{name}` is absent")))
        };
        let mean = required("mu", array("mu")?)?;
        let covariance = required("sigma", array("sigma")?)?;
        let dim = mean.values.len();
        mean.expect("mu", &[dim]).map_err(&format)?;
        covariance.expect("sigma", &[dim, dim]).map_err(&format)?;
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
                size.expect("pixel_size", &[2]).map_err(&format)?;
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
        let bytes = self.encode().map_err(fail)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let mut file = tempfile::Builder::new()
            .prefix(".trefoil-")
            .suffix(".tmp")
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .map_err(fail)?;
        file.write_all(&bytes).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        file.persist(path).map_err(|e| fail(e.error))?;
        Ok(())
    }

    fn encode(&self) -> std::io::Result<Vec<u8>> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let Gaussian { samples, mean, covariance, divisor } = &self.gaussian;
        let dim = mean.len() as u64;
        add(&mut archive, "mu", &[dim], mean)?;
        add(&mut archive, "sigma", &[dim, dim], covariance)?;
        if *samples > 0 {
            add(&mut archive, "samples", &[1], &[*samples as i64])?;
        }
        if let Some(divisor) = divisor {
            let offset = i64::from(*divisor == CovarianceDivisor::SamplesMinusOne);
            add(&mut archive, "divisor_offset", &[1], &[offset])?;
        }
        if let Some(features) = &self.features {
            add(&mut archive, "features", &[features.len() as u64], features.as_bytes())?;
        }
        if let Some(pixels) = &self.pixels {
            let size = pixels.size().map(|side| side as i64);
            let values = pixels.mean().len() as u64;
            add(&mut archive, "pixel_size", &[2], &size)?;
            add(&mut archive, "pixel_mean", &[values], pixels.mean())?;
            add(&mut archive, "pixel_axes", &[dim, values], pixels.axes())?;
        }
        Ok(archive.finish()?.into_inner())
    }
}

/// An array in row-major order.
struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Array {
    fn expect(&self, name: &str, shape: &[usize]) -> std::result::Result<(), String> {
        if self.shape == shape && !self.values.is_empty() {
            return Ok(());
        }
        Err(format!("array `{name}`: expected shape {shape:?}, found {:?}", self.shape))
    }

    fn first(&self) -> f64 {
        self.values.first().copied().unwrap_or_default()
    }
}

/// An array by name, or `None` when the archive has none.
fn read_array(
    archive: &mut ZipArchive<Cursor<Vec<u8>>>,
    name: &str,
) -> std::result::Result<Option<Array>, String> {
    let entry = match archive.by_name(&npyz::npz::file_name_from_array_name(name)) {
        Ok(entry) => entry,
        Err(zip::result::ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(format!("array `{name}`: {error}")),
    };
    let fail = |e: &dyn std::fmt::Display| format!("array `{name}`: {e}");
    let mut bytes = Vec::new();
    entry.take(MAX_ARRAY + 1).read_to_end(&mut bytes).map_err(|e| fail(&e))?;
    if bytes.len() as u64 > MAX_ARRAY {
        return Err(format!("array `{name}` has more than {MAX_ARRAY} bytes"));
    }
    let length = bytes.len();
    let file = NpyFile::new(&bytes[..]).map_err(|e| fail(&e))?;
    let shape: Vec<usize> = file.shape().iter().map(|&n| n as usize).collect();
    let count = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
    if count.is_none_or(|count| count > length) {
        return Err(format!("array `{name}`: {length} bytes cannot have shape {shape:?}"));
    }
    let order = file.order();
    let file = match file.try_data::<f64>() {
        Ok(data) => return collect(data, order, shape).map(Some).map_err(|e| fail(&e)),
        Err(file) => file,
    };
    let file = match file.try_data::<f32>() {
        Ok(data) => {
            let data = data.map(|value| value.map(f64::from));
            return collect(data, order, shape).map(Some).map_err(|e| fail(&e));
        }
        Err(file) => file,
    };
    let file = match file.try_data::<i64>() {
        Ok(data) => {
            let data = data.map(|value| value.map(|v| v as f64));
            return collect(data, order, shape).map(Some).map_err(|e| fail(&e));
        }
        Err(file) => file,
    };
    match file.try_data::<u8>() {
        Ok(data) => {
            let data = data.map(|value| value.map(f64::from));
            collect(data, order, shape).map(Some).map_err(|e| fail(&e))
        }
        Err(file) => {
            let kind = file.dtype().descr();
            Err(format!("array `{name}`: expected f8, f4, i8 or u1, found {kind}"))
        }
    }
}

/// The values in row-major order; column-major matrices are transposed.
fn collect(
    data: impl Iterator<Item = std::io::Result<f64>>,
    order: Order,
    mut shape: Vec<usize>,
) -> std::io::Result<Array> {
    let mut values = data.collect::<std::io::Result<Vec<f64>>>()?;
    if shape.is_empty() {
        shape.push(1);
    }
    if let (Order::Fortran, [rows, columns]) = (order, &shape[..]) {
        let at = |i: usize| values[(i % columns) * rows + i / columns];
        values = (0..rows * columns).map(at).collect();
    }
    Ok(Array { shape, values })
}

/// Adds an array as numpy's `savez` does.
fn add<T: npyz::AutoSerialize + Copy>(
    archive: &mut ZipWriter<Cursor<Vec<u8>>>,
    name: &str,
    shape: &[u64],
    values: &[T],
) -> std::io::Result<()> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    archive.start_file(npyz::npz::file_name_from_array_name(name), options)?;
    let mut bytes = Vec::new();
    let mut writer =
        npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd()?;
    writer.extend(values.iter().copied())?;
    writer.finish()?;
    archive.write_all(&bytes)
}
