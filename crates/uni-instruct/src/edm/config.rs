//! Sizes of the U-Nets of EDM, and a preset for each published file.

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result};

/// The three networks that EDM was published with; what tells them apart is in the methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// DDPM++ (Song et al., <https://arxiv.org/abs/2011.13456>).
    #[default]
    #[serde(rename = "ddpm++")]
    DdpmPlusPlus,
    /// NCSN++ of the same paper: Fourier features, smooth resampling, a residual path for the input.
    #[serde(rename = "ncsn++")]
    NcsnPlusPlus,
    /// ADM (Dhariwal and Nichol, <https://arxiv.org/abs/2105.05233>).
    Adm,
}

/// How the noise level enters the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoiseEmbedding {
    /// Sines and cosines at frequencies from 1 down to 1/10000, the last one included.
    PositionalClosed,
    /// The same with the last one left out.
    PositionalOpen,
    /// Sines and cosines at random frequencies, which are stored with the weights.
    Fourier,
}

/// How the embedding enters a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditioning {
    /// `SiLU(norm(x + p))`
    Shift,
    /// `SiLU(norm(x) (1 + scale) + shift)`
    ScaleShift,
}

/// Which blocks of a decoder level with attention have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecoderAttention {
    /// The last one.
    Last,
    /// All.
    All,
}

/// The filter of changes of resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// `[1, 1]`: means of four pixels, repeated pixels.
    Box,
    /// `[1, 3, 3, 1]`.
    Smooth,
}

impl Filter {
    /// Taps in one direction, normalised to a sum of one.
    pub fn taps(self) -> &'static [f32] {
        match self {
            Self::Box => &[0.5, 0.5],
            Self::Smooth => &[0.125, 0.375, 0.375, 0.125],
        }
    }
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::DdpmPlusPlus, Self::NcsnPlusPlus, Self::Adm];

    pub(super) fn noise_embedding(self) -> NoiseEmbedding {
        match self {
            Self::DdpmPlusPlus => NoiseEmbedding::PositionalClosed,
            Self::NcsnPlusPlus => NoiseEmbedding::Fourier,
            Self::Adm => NoiseEmbedding::PositionalOpen,
        }
    }

    pub(super) fn conditioning(self) -> Conditioning {
        if self.is_adm() { Conditioning::ScaleShift } else { Conditioning::Shift }
    }

    pub(super) fn decoder_attention(self) -> DecoderAttention {
        if self.is_adm() { DecoderAttention::All } else { DecoderAttention::Last }
    }

    pub(super) fn filter(self) -> Filter {
        if self == Self::NcsnPlusPlus { Filter::Smooth } else { Filter::Box }
    }

    /// Factor of the sum that ends a block.
    pub(super) fn skip_scale(self) -> f64 {
        if self.is_adm() { 1.0 } else { std::f64::consts::FRAC_1_SQRT_2 }
    }

    /// Added to the variance in the blocks.
    pub(super) fn epsilon(self) -> f64 {
        if self.is_adm() { 1e-5 } else { 1e-6 }
    }

    /// Channels of the noise embedding per channel of the network.
    pub(super) fn noise_channels(self) -> usize {
        if self == Self::NcsnPlusPlus { 2 } else { 1 }
    }

    /// Whether the input, made smaller, is added to the encoder at each level.
    pub(super) fn has_input_residual(self) -> bool {
        self == Self::NcsnPlusPlus
    }

    /// Whether a change of resolution has a 1x1 convolution on the skip path in any case.
    pub(super) fn projects_resampled_skip(self) -> bool {
        !self.is_adm()
    }

    pub(super) fn is_adm(self) -> bool {
        self == Self::Adm
    }

    /// Channels of an attention head; `None`: one head for all.
    fn head_channels(self) -> Option<usize> {
        self.is_adm().then_some(64)
    }
}

/// Sizes of a U-Net.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UNetConfig {
    /// Which network.
    pub family: Family,
    /// Side of the pictures in pixels.
    pub resolution: usize,
    /// Colours.
    pub channels: usize,
    /// Classes; 0: without labels.
    pub label_dim: usize,
    /// Numbers that describe the augmentation, 9 or 0.
    pub augment_dim: usize,
    /// Channels of the first level, before its multiplier.
    pub model_channels: usize,
    /// Channels of each level, as multiples.
    pub channel_mult: Vec<usize>,
    /// Residual blocks of each encoder level; decoder levels have one more.
    pub num_blocks: usize,
    /// Sides of the pictures at which blocks have attention.
    pub attn_resolutions: Vec<usize>,
    /// Channels of an attention head; absent: 64 for ADM, and one head for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_channels: Option<usize>,
    /// Chance that a value inside of a block is dropped while training.
    pub dropout: f64,
}

impl Default for UNetConfig {
    fn default() -> Self {
        Self {
            family: Family::DdpmPlusPlus,
            resolution: 32,
            channels: 3,
            label_dim: 0,
            augment_dim: 9,
            model_channels: 128,
            channel_mult: vec![2, 2, 2],
            num_blocks: 4,
            attn_resolutions: vec![16],
            head_channels: None,
            dropout: 0.13,
        }
    }
}

impl UNetConfig {
    /// Names of the presets, each with its network.
    pub fn presets() -> [(&'static str, Self); 8] {
        let conditional = Self { label_dim: 10, ..Self::default() };
        let ve = |config: &Self| Self { family: Family::NcsnPlusPlus, ..config.clone() };
        let faces = Self {
            resolution: 64,
            channel_mult: vec![1, 2, 2, 2],
            dropout: 0.05,
            ..Self::default()
        };
        let animals = Self { dropout: 0.25, ..faces.clone() };
        let imagenet = Self {
            family: Family::Adm,
            resolution: 64,
            label_dim: 1000,
            augment_dim: 0,
            model_channels: 192,
            channel_mult: vec![1, 2, 3, 4],
            num_blocks: 3,
            attn_resolutions: vec![32, 16, 8],
            dropout: 0.1,
            ..Self::default()
        };
        [
            ("edm-cifar10-32x32-uncond-vp", Self::default()),
            ("edm-cifar10-32x32-cond-vp", conditional.clone()),
            ("edm-cifar10-32x32-uncond-ve", ve(&Self::default())),
            ("edm-cifar10-32x32-cond-ve", ve(&conditional)),
            ("edm-ffhq-64x64-uncond-vp", faces.clone()),
            ("edm-ffhq-64x64-uncond-ve", ve(&faces)),
            ("edm-afhqv2-64x64-uncond-vp", animals),
            ("edm-imagenet-64x64-cond-adm", imagenet),
        ]
    }

    /// A preset by name.
    ///
    /// # Errors
    /// [`Error::Config`] with the names that there are.
    pub fn preset(name: &str) -> Result<Self> {
        let presets = Self::presets();
        let names: Vec<&str> = presets.iter().map(|(name, _)| *name).collect();
        let reason = format!("expected one of {}; found `{name}`", names.join(", "));
        let found = presets.into_iter().find(|(preset, _)| *preset == name);
        found.map(|(_, config)| config).ok_or_else(|| Error::config("preset", reason))
    }

    /// Width of the embedding.
    pub fn embedding(&self) -> usize {
        4 * self.model_channels
    }

    /// Side of the pictures at a level.
    pub fn side(&self, level: usize) -> usize {
        self.resolution >> level
    }

    /// Channels of a level.
    pub fn width(&self, level: usize) -> usize {
        self.model_channels * self.channel_mult[level]
    }

    /// Heads of the attention over `channels` channels.
    pub(super) fn heads(&self, channels: usize) -> usize {
        match self.head_channels.or(self.family.head_channels()) {
            Some(head) => (channels / head.max(1)).max(1),
            None => 1,
        }
    }

    /// Channels at which something is normalised: those of the levels and the joined ones of the decoder.
    fn normalised_channels(&self) -> Vec<usize> {
        let levels = 0..self.channel_mult.len();
        let first = if self.family.is_adm() { self.width(0) } else { self.model_channels };
        let (mut channels, mut skips) = (first, vec![first]);
        for level in levels.clone() {
            if level > 0 {
                skips.push(channels);
            }
            channels = self.width(level);
            skips.extend(vec![channels; self.num_blocks]);
        }
        let mut all = skips.clone();
        for level in levels.rev() {
            for _ in 0..=self.num_blocks {
                all.push(channels + skips.pop().unwrap_or_default());
                channels = self.width(level);
            }
        }
        all
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that cannot be used.
    pub fn validate(&self) -> Result<()> {
        let check = |good: bool, field: &str, reason: String| {
            if good { Ok(()) } else { Err(Error::config(field, reason)) }
        };
        let levels = self.channel_mult.len();
        let multipliers = (1..=8).contains(&levels) && self.channel_mult.iter().all(|&m| m > 0);
        let reason =
            format!("expected 1 to 8 multipliers of at least 1, found {:?}", self.channel_mult);
        check(multipliers, "channel_mult", reason)?;
        let step = 1 << (levels - 1);
        let reason = format!("{} is not a positive multiple of {step}", self.resolution);
        let divides = self.resolution > 0 && self.resolution.is_multiple_of(step);
        check(divides, "resolution", reason)?;
        check((1..=64).contains(&self.channels), "channels", format!("found {}", self.channels))?;
        let reason = format!("expected a positive multiple of 4, found {}", self.model_channels);
        let fours = self.model_channels > 0 && self.model_channels.is_multiple_of(4);
        check(fours, "model_channels", reason)?;
        check(self.num_blocks > 0, "num_blocks", "must be at least 1".into())?;
        for channels in self.normalised_channels() {
            let groups = groups(channels);
            let reason = format!("{channels} channels do not divide into {groups} groups");
            check(channels.is_multiple_of(groups), "model_channels", reason)?;
        }
        for level in 0..levels {
            let (channels, heads) = (self.width(level), self.heads(self.width(level)));
            let reason = format!("{channels} channels do not divide into {heads} heads");
            check(channels.is_multiple_of(heads), "head_channels", reason)?;
        }
        let reason = format!("must be in [0, 1), found {}", self.dropout);
        check((0.0..1.0).contains(&self.dropout), "dropout", reason)
    }
}

/// Groups of the normalisation of `channels` channels.
pub(super) fn groups(channels: usize) -> usize {
    (channels / 4).clamp(1, 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_found_by_name() {
        for (name, config) in UNetConfig::presets() {
            config.validate().unwrap();
            assert_eq!(UNetConfig::preset(name).unwrap(), config);
        }
        let error = UNetConfig::preset("edm").unwrap_err().to_string();
        assert!(error.contains("edm-imagenet-64x64-cond-adm; found `edm`"), "{error}");
    }

    #[test]
    fn each_bad_field_is_named() {
        let good = UNetConfig::default;
        for (config, field) in [
            (UNetConfig { channel_mult: vec![], ..good() }, "channel_mult"),
            (UNetConfig { channel_mult: vec![1, 0], ..good() }, "channel_mult"),
            (UNetConfig { resolution: 30, ..good() }, "resolution"),
            (UNetConfig { model_channels: 6, ..good() }, "model_channels"),
            (UNetConfig { model_channels: 132, ..good() }, "model_channels"),
            (
                UNetConfig { model_channels: 48, channel_mult: vec![1, 2, 2], ..good() },
                "model_channels",
            ),
            (UNetConfig { model_channels: 20, head_channels: Some(13), ..good() }, "head_channels"),
            (UNetConfig { num_blocks: 0, ..good() }, "num_blocks"),
            (UNetConfig { dropout: 1.0, ..good() }, "dropout"),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid configuration `{field}`")), "{error}");
        }
    }
}
