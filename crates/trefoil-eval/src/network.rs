//! What turns pictures into features: any network behind one trait, which every result names.

use crate::error::{Error, Result};

/// Pictures of one size as bytes.
///
/// # Shapes
/// `[count, height, width, 3]`, row-major
#[derive(Debug, Clone, Copy)]
pub struct Pictures<'a> {
    pixels: &'a [u8],
    height: usize,
    width: usize,
}

impl<'a> Pictures<'a> {
    /// Views RGB bytes.
    ///
    /// # Errors
    /// A side of zero, an incomplete picture.
    pub fn new(pixels: &'a [u8], height: usize, width: usize) -> Result<Self> {
        let (what, dim) = ("pictures", height * width * 3);
        if dim == 0 {
            return Err(Error::ZeroDimension { what });
        }
        if !pixels.len().is_multiple_of(dim) {
            return Err(Error::RaggedRows { what, length: pixels.len(), dim });
        }
        Ok(Self { pixels, height, width })
    }

    /// Number of pictures.
    pub fn count(&self) -> usize {
        self.pixels.len() / self.values()
    }

    /// Height and width.
    pub fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Bytes of a picture.
    pub fn values(&self) -> usize {
        self.height * self.width * 3
    }

    /// All bytes.
    pub fn pixels(&self) -> &'a [u8] {
        self.pixels
    }
}

/// What a network says about pictures.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embedding {
    /// `[count, dim]`, row-major.
    pub features: Vec<f32>,
    /// Class probabilities, `[count, classes]`; empty for a network that is no classifier.
    pub probabilities: Vec<f64>,
}

/// An error of a network.
pub type NetworkError = Box<dyn std::error::Error + Send + Sync>;

/// A source of features. Its name is part of every result, since distances in the spaces of two networks
/// cannot be compared.
pub trait FeatureNetwork {
    /// What a reader must know to use the same one: network, layer, weights.
    fn name(&self) -> String;

    /// Dimension of a feature vector.
    fn dim(&self) -> usize;

    /// Number of classes that it knows; 0 for a network that is no classifier.
    fn classes(&self) -> usize {
        0
    }

    /// Features of some pictures, and class probabilities where it has classes.
    ///
    /// # Errors
    /// Whatever the network reports, such as pictures of a size that it cannot read.
    fn embed(&self, pictures: Pictures<'_>) -> std::result::Result<Embedding, NetworkError>;
}

/// Features of many pictures, `batch` at a time; `progress` is told how many are done.
///
/// # Errors
/// [`Error::Network`]; [`Error::SizeMismatch`] when the network returns another number of values.
pub fn embed_all(
    network: &dyn FeatureNetwork,
    pictures: Pictures<'_>,
    batch: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Embedding> {
    let [height, width] = pictures.size();
    let mut all = Embedding::default();
    for part in pictures.pixels.chunks(pictures.values() * batch.max(1)) {
        let part = Pictures::new(part, height, width)?;
        let found = network
            .embed(part)
            .map_err(|source| Error::Network { network: network.name(), source })?;
        let count = part.count();
        crate::error::same_size(
            "features of a batch",
            count * network.dim(),
            found.features.len(),
        )?;
        let classes = count * network.classes();
        crate::error::same_size("probabilities of a batch", classes, found.probabilities.len())?;
        all.features.extend(found.features);
        all.probabilities.extend(found.probabilities);
        progress(all.features.len() / network.dim());
    }
    Ok(all)
}
