//! How the time of a transformer block grows with the number of tokens and with the batch.
//!
//! ```sh
//! cargo bench --workspace --bench scaling
//! ```
//!
//! The group of a case is its series, the name what varies: `cargo xtask bench` plots them.

#[expect(dead_code, reason = "one network, and no training")]
mod harness;

use unidiffuser::uvit::UVitConfig;

use harness::{Case, uvit};

/// Lengths of the sequence, at batch one.
const TOKENS: [usize; 7] = [64, 128, 256, 512, 1024, 2048, 4096];
/// Batches, at the length of the shipped model's kind.
const BATCHES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Length of the sequence while the batch varies.
const LENGTH: usize = 82;

fn main() {
    harness::run("scaling", cases);
}

fn cases() -> Vec<Case> {
    let tokens = TOKENS.map(|tokens| uvit::forward(&format!("tokens/{tokens}"), &block(tokens), 1));
    let batches = BATCHES.map(|n| uvit::forward(&format!("batch/{n}"), &block(LENGTH), n));
    tokens.into_iter().chain(batches).collect()
}

/// One block, 256 wide, for a sequence of this length.
fn block(tokens: usize) -> UVitConfig {
    let config = UVitConfig {
        sample_size: 8,
        embed_dim: 256,
        num_layers: 0,
        num_heads: 4,
        num_text_tokens: 0,
        clip_img_dim: 64,
        text_dim: 16,
        use_data_type_embedding: false,
        ..UVitConfig::default()
    };
    UVitConfig { num_text_tokens: tokens - config.num_tokens(), ..config }
}
