//! What the frozen networks say about the training set, computed once and kept on disk.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use trefoil_core::weights::{self, Precision, WeightFile};
use trefoil_core::{Result, params};

use super::caption::HiddenStates;
use super::data::Pairs;
use crate::autoencoder::Autoencoder;
use crate::caption::CaptionDecoder;
use crate::clip::ClipVision;
use crate::preprocess::{InputSizes, Preprocess};

/// Samples per pass.
const CHUNK: usize = 128;

/// Moments of the latent and CLIP embedding of every picture, text code of every caption.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// `[N, 2, Z, h, w]`: mean and standard deviation, both scaled.
    moments: Vec<f32>,
    /// `[N, E]`
    clip: Vec<f32>,
    /// `[M, L, T]`, the captions of the first picture first.
    text: Vec<f32>,
    /// First caption of each picture.
    starts: Vec<usize>,
    latent: [usize; 3],
    code: [usize; 2],
    embedding: usize,
}

/// The frozen networks.
#[derive(Debug)]
pub struct Frozen<'a> {
    /// Stage 1.
    pub autoencoder: &'a Autoencoder,
    /// Stage 2, image tower.
    pub vision: &'a ClipVision,
    /// Sizes that both image encoders ask for.
    pub sizes: InputSizes,
    /// Stage 3.
    pub decoder: &'a CaptionDecoder,
    /// Stage 2, text tower, already applied to every caption.
    pub hidden: &'a HiddenStates,
}

impl Features {
    /// Reads the cache when it was made by the same networks from the same data, else computes the
    /// features and writes it.
    ///
    /// # Errors
    /// Those of reading, computing and writing.
    pub fn cached(path: &Path, frozen: &Frozen<'_>, pairs: &Pairs) -> Result<Self> {
        let key = fingerprint(frozen, pairs);
        if path.is_file() {
            // A cache that cannot be read is no loss: it is computed again.
            if let Some(features) = Self::read(path, &key, pairs) {
                return Ok(features);
            }
        }
        let features = Self::compute(frozen, pairs)?;
        features.write(path, &key)?;
        Ok(features)
    }

    fn read(path: &Path, key: &str, pairs: &Pairs) -> Option<Self> {
        let file = WeightFile::open(path).ok()?;
        if file.metadata().ok()?.get("fingerprint").map(String::as_str) != Some(key) {
            return None;
        }
        let get = |name: &str| -> Option<(Vec<f32>, Vec<usize>)> {
            let data = file.get(name).ok()?;
            Some((data.iter::<f32>().collect(), data.shape().to_vec()))
        };
        let (moments, m) = get("moments")?;
        let (clip, c) = get("clip")?;
        let (text, t) = get("text")?;
        Some(Self {
            moments,
            clip,
            text,
            starts: starts(pairs),
            latent: [m[2], m[3], m[4]],
            code: [t[1], t[2]],
            embedding: c[1],
        })
    }

    fn write(&self, path: &Path, key: &str) -> Result<()> {
        let [z, h, w] = self.latent;
        let [l, t] = self.code;
        let n = self.clip.len() / self.embedding;
        let tensor = |name: &str, values: &[f32], shape: Vec<usize>| {
            (name.to_string(), TensorData::new(values.to_vec(), shape))
        };
        let tensors = [
            tensor("moments", &self.moments, vec![n, 2, z, h, w]),
            tensor("clip", &self.clip, vec![n, self.embedding]),
            tensor("text", &self.text, vec![self.text.len() / (l * t), l, t]),
        ];
        let metadata = BTreeMap::from([("fingerprint".to_string(), key.to_string())]);
        weights::save(path, &tensors, Precision::F32, metadata)
    }

    fn compute(frozen: &Frozen<'_>, pairs: &Pairs) -> Result<Self> {
        let device = frozen.autoencoder.devices().first().cloned().unwrap_or_default();
        let scale = frozen.autoencoder.scaling_factor();
        let host = |t: TensorData| t.iter::<f32>().collect::<Vec<f32>>();
        let mut this = Self {
            moments: Vec::new(),
            clip: Vec::new(),
            text: Vec::new(),
            starts: starts(pairs),
            latent: [0; 3],
            code: [0; 2],
            embedding: 0,
        };
        for chunk in pairs.pictures().chunks(CHUNK) {
            let inputs = chunk
                .iter()
                .map(|picture| Preprocess::Original.apply(picture, frozen.sizes, &device))
                .collect::<Result<Vec<_>>>()?;
            let (vae, clip): (Vec<_>, Vec<_>) =
                inputs.into_iter().map(|input| (input.vae, input.clip)).unzip();
            let posterior = frozen.autoencoder.encode(Tensor::cat(vae, 0));
            let deviation = (posterior.logvar * 0.5).exp();
            let moments = Tensor::stack::<5>(vec![posterior.mean * scale, deviation * scale], 1); // [n, 2, Z, h, w]
            let [_, _, z, h, w] = moments.dims();
            this.latent = [z, h, w];
            this.moments.extend(host(moments.into_data()));
            let embeddings = frozen.vision.forward(Tensor::cat(clip, 0));
            this.embedding = embeddings.dims()[1];
            this.clip.extend(host(embeddings.into_data()));
        }
        let rows: Vec<usize> = (0..frozen.hidden.len()).collect();
        for chunk in rows.chunks(CHUNK) {
            let code = frozen.decoder.encode(frozen.hidden.tensor(chunk, &device));
            let [_, l, t] = code.dims();
            this.code = [l, t];
            this.text.extend(host(code.into_data()));
        }
        Ok(this)
    }

    /// Elements of a latent, an embedding and a code: `[Z h w, E, L T]`.
    pub fn sizes(&self) -> [usize; 3] {
        [self.latent.iter().product(), self.embedding, self.code.iter().product()]
    }

    /// Shape of a latent, `[Z, h, w]`.
    pub fn latent_shape(&self) -> [usize; 3] {
        self.latent
    }

    /// Shape of a text code, `[L, T]`.
    pub fn code_shape(&self) -> [usize; 2] {
        self.code
    }

    /// Mean and standard deviation of a picture's latent.
    pub fn moments(&self, picture: usize) -> (&[f32], &[f32]) {
        let n: usize = self.latent.iter().product();
        self.moments[2 * n * picture..2 * n * (picture + 1)].split_at(n)
    }

    /// CLIP embedding of a picture.
    pub fn clip(&self, picture: usize) -> &[f32] {
        &self.clip[self.embedding * picture..self.embedding * (picture + 1)]
    }

    /// Text code of a caption of a picture.
    pub fn text(&self, picture: usize, caption: usize) -> &[f32] {
        let n: usize = self.code.iter().product();
        let row = self.starts[picture] + caption;
        &self.text[n * row..n * (row + 1)]
    }
}

/// First caption of each picture in the list of all captions.
fn starts(pairs: &Pairs) -> Vec<usize> {
    let count = |at: &mut usize, captions: &Vec<String>| {
        let start = *at;
        *at += captions.len();
        Some(start)
    };
    pairs.captions().iter().scan(0, count).collect()
}

/// 64-bit FNV-1a over everything that the features depend on.
fn fingerprint(frozen: &Frozen<'_>, pairs: &Pairs) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    let networks = [
        params::export(frozen.autoencoder),
        params::export(frozen.vision),
        params::export(frozen.decoder),
    ];
    for (name, data) in networks.iter().flatten() {
        add(name.as_bytes());
        add(data.as_bytes());
    }
    for (picture, captions) in pairs.pictures().iter().zip(pairs.captions()) {
        add(picture.pixels());
        for caption in captions {
            add(caption.as_bytes());
        }
    }
    // Stands for the text encoder, whose output is what the codes are made of.
    let sample: Vec<usize> = (0..frozen.hidden.len()).step_by(97).collect();
    add(frozen.hidden.tensor(&sample, &Device::flex()).into_data().as_bytes());
    format!("{hash:016x}")
}
