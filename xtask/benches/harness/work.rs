//! Arithmetic and memory traffic that a task cannot do without.

use unidiffuser::autoencoder::AutoencoderConfig;
use unidiffuser::uvit::UVitConfig;

/// The least that a repetition has to do; zero where a number would mean nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    /// Floating-point operations; a multiplication and an addition are two.
    pub(crate) operations: f64,
    /// Bytes read or written, each tensor once.
    pub(crate) bytes: f64,
}

impl Work {
    /// Matrix products and the like, whose traffic does not matter.
    pub(crate) fn operations(operations: f64) -> Self {
        Self { operations, bytes: 0.0 }
    }

    /// Both.
    pub(crate) fn plus(self, other: Self) -> Self {
        let Self { operations, bytes } = other;
        Self { operations: self.operations + operations, bytes: self.bytes + bytes }
    }

    /// The same work some times over.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { operations: self.operations * factor, bytes: self.bytes * factor }
    }
}

/// One pass of a U-ViT: products with weights and with each other, nothing else.
pub(crate) fn uvit(config: &UVitConfig, batch: usize) -> Work {
    let UVitConfig { embed_dim: d, mlp_ratio, num_layers, patch_size, in_channels, .. } = *config;
    let tokens = config.num_tokens();
    let grid = config.sample_size / patch_size;
    let block = tokens * (4 + 2 * mlp_ratio) * d * d + 2 * tokens * tokens * d;
    let skips = num_layers / 2 * tokens * 2 * d * d;
    let patches = 2 * grid * grid * patch_size * patch_size * in_channels * d;
    let others = 2 * (config.num_text_tokens * config.text_dim + config.clip_img_dim) * d;
    let products = (num_layers + 1) * block + skips + patches + others;
    Work::operations(2.0 * (batch * products) as f64)
}

/// One pass of the encoder: its convolutions, nothing else.
pub(crate) fn encoder(config: &AutoencoderConfig, batch: usize, side: usize) -> Work {
    let mut total = Convolutions { products: 0, pixels: side * side };
    let widths = &config.block_out_channels;
    total.three(config.in_channels, widths[0]);
    let mut width = widths[0];
    for (level, &out) in widths.iter().enumerate() {
        for _ in 0..config.layers_per_block {
            total.residual(width, out);
            width = out;
        }
        if level + 1 < widths.len() {
            total.pixels /= 4;
            total.three(out, out);
        }
    }
    total.middle(width);
    total.three(width, 2 * config.latent_channels);
    total.work(batch)
}

/// One pass of the decoder: its convolutions, nothing else.
pub(crate) fn decoder(config: &AutoencoderConfig, batch: usize, side: usize) -> Work {
    let widths = &config.block_out_channels;
    let mut width = *widths.last().expect("at least one level");
    let mut total = Convolutions { products: 0, pixels: (side * side) >> (2 * (widths.len() - 1)) };
    total.three(config.latent_channels, width);
    total.middle(width);
    for (level, &out) in widths.iter().rev().enumerate() {
        for _ in 0..=config.layers_per_block {
            total.residual(width, out);
            width = out;
        }
        if level + 1 < widths.len() {
            total.pixels *= 4;
            total.three(out, out);
        }
    }
    total.three(width, config.in_channels);
    total.work(batch)
}

/// Products of one picture, level by level.
struct Convolutions {
    products: usize,
    pixels: usize,
}

impl Convolutions {
    fn three(&mut self, c_in: usize, c_out: usize) {
        self.products += 9 * self.pixels * c_in * c_out;
    }

    fn residual(&mut self, c_in: usize, c_out: usize) {
        self.three(c_in, c_out);
        self.three(c_out, c_out);
        if c_in != c_out {
            self.products += self.pixels * c_in * c_out;
        }
    }

    /// Two residual blocks and self-attention.
    fn middle(&mut self, width: usize) {
        self.residual(width, width);
        self.residual(width, width);
        self.products += 4 * self.pixels * width * width + 2 * self.pixels * self.pixels * width;
    }

    fn work(&self, batch: usize) -> Work {
        Work::operations(2.0 * (batch * self.products) as f64)
    }
}
