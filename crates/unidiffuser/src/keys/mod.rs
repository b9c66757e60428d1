//! Names of tensors in the published layouts.
//!
//! Each network has one set of names of its own: the path of a field. A function per network takes a weight file in
//! any published layout and renames, splits, stacks or reshapes its tensors, without reading them, until they
//! carry these names. What it does not know keeps its name, so that strict loading reports it. The file then knows the way
//! back ([`WeightFile::written_as`]), so that what is absent is reported under the name that it has in that layout.

mod autoencoder;
mod caption;
mod clip;
mod uvit;

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::TensorData;
use trefoil_core::weights::{StoredTensor, WeightFile};

pub use self::autoencoder::{autoencoder, autoencoder_to_original};
pub use self::caption::{caption_decoder, caption_decoder_to_original, has_untied_head, with_head};
pub use self::clip::{clip_text, clip_vision};
pub use self::uvit::{uvit, uvit_to_diffusers};

/// A tensor that can be cut into rows: in memory, or still in its file.
pub trait Rows: Clone {
    /// Number of rows.
    fn height(&self) -> usize;

    /// Some of them; nothing when there are not as many.
    fn cut(&self, rows: Range<usize>) -> Option<Self>;
}

impl Rows for StoredTensor {
    fn height(&self) -> usize {
        self.shape().first().copied().unwrap_or(0)
    }

    fn cut(&self, rows: Range<usize>) -> Option<Self> {
        self.rows(rows)
    }
}

/// A shape, where only names and shapes are asked for.
impl Rows for Vec<usize> {
    fn height(&self) -> usize {
        self.first().copied().unwrap_or(0)
    }

    fn cut(&self, rows: Range<usize>) -> Option<Self> {
        let (&height, rest) = self.split_first()?;
        let is_inside = rows.start <= rows.end && rows.end <= height;
        is_inside.then(|| std::iter::once(rows.len()).chain(rest.iter().copied()).collect())
    }
}

impl Rows for TensorData {
    fn height(&self) -> usize {
        self.shape().first().copied().unwrap_or(0)
    }

    fn cut(&self, rows: Range<usize>) -> Option<Self> {
        let mut shape = self.shape().to_vec();
        let width: usize = shape.get(1..)?.iter().product();
        let count = rows.len() * width;
        let values: Vec<f32> = self.iter::<f32>().skip(rows.start * width).take(count).collect();
        shape[0] = rows.len();
        (values.len() == count).then(|| TensorData::new(values, shape))
    }
}

/// The three equal parts of a packed projection: queries, keys, values.
fn thirds<T: Rows>(packed: &T) -> Option<[T; 3]> {
    let rows = packed.height();
    if rows == 0 || !rows.is_multiple_of(3) {
        return None;
    }
    let part = |i: usize| packed.cut(i * rows / 3..(i + 1) * rows / 3);
    Some([part(0)?, part(1)?, part(2)?])
}

/// Removes a prefix that every name has, as `DataParallel` puts before them.
fn without_prefix(file: WeightFile, prefix: &str) -> WeightFile {
    if file.tensors().all(|(name, _)| name.starts_with(prefix)) {
        let whole = prefix.to_string();
        file.renamed(|name| name.strip_prefix(prefix).map(ToString::to_string))
            .written_as(move |name, shape| vec![(format!("{whole}{name}"), shape.to_vec())])
    } else {
        file
    }
}

/// All tensors of a file, to be taken out one after another.
fn all(file: &WeightFile) -> BTreeMap<String, StoredTensor> {
    file.tensors().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect()
}
