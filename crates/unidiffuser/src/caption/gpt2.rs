//! GPT-2 (Radford et al., *Language Models are Unsupervised Multitask Learners*, 2019): a pre-norm
//! causal transformer with learned positions and an output head tied to the token table.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};
use trefoil_core::nn::{
    Activation, AttentionMask, Embedding, Init, LayerNorm, attention, linear, linear_transposed,
    merge_heads, softmax, split_heads,
};

use super::CaptionDecoderConfig;

/// The network without its head.
#[derive(Module, Debug)]
pub(super) struct Gpt2 {
    wte: Embedding,
    wpe: Embedding,
    h: Vec<Gpt2Block>,
    ln_f: LayerNorm,
}

/// Keys and values of one block: those of the prefix once per sample, those of the text once per
/// beam, so that a step copies and reorders only the text.
#[derive(Debug, Clone)]
pub(super) struct BlockCache {
    /// `[B, H, P, d]` each.
    prefix: [Tensor<4>; 2],
    /// `[B W, H, t, d]` each; absent before the first step.
    text: Option<[Tensor<4>; 2]>,
}

/// Keys and values of all blocks, and how many positions they hold.
#[derive(Debug)]
pub(super) struct Cache {
    blocks: Vec<BlockCache>,
    length: usize,
}

impl Cache {
    /// Keeps some samples, and makes row `i` of the text continue what row `rows[i]` was.
    pub(super) fn reorder(&mut self, samples: Tensor<1, Int>, rows: Tensor<1, Int>) {
        for block in &mut self.blocks {
            if block.prefix[0].dims()[0] != samples.dims()[0] {
                block.prefix = block.prefix.clone().map(|x| x.select(0, samples.clone()));
            }
            block.text = block.text.take().map(|text| text.map(|x| x.select(0, rows.clone())));
        }
    }
}

impl Gpt2 {
    pub(super) fn new(init: &mut Init, config: &CaptionDecoderConfig) -> Self {
        let (d, std) = (config.n_embd, config.initializer_range);
        Self {
            wte: Embedding::new(init, [config.vocab_size, d], std),
            wpe: Embedding::new(init, [config.n_positions, d], std),
            h: (0..config.n_layer).map(|_| Gpt2Block::new(init, config)).collect(),
            ln_f: LayerNorm::new(init, d, config.layer_norm_epsilon),
        }
    }

    /// Number of learned positions.
    pub(super) fn positions(&self) -> usize {
        self.wpe.weight.dims()[0]
    }

    /// Number of tokens.
    pub(super) fn vocabulary(&self) -> usize {
        self.wte.weight.dims()[0]
    }

    /// # Shapes
    /// - `tokens`: `[B, m]`
    /// - returns: `[B, m, D]`
    pub(super) fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.wte.forward(tokens)
    }

    /// Hidden states after the last norm, with causal attention.
    ///
    /// # Shapes
    /// - `inputs`: `[B, L, D]`, embeddings at positions `0..L`
    /// - returns: `[B, L, D]`
    pub(super) fn forward(&self, inputs: Tensor<3>) -> Tensor<3> {
        let mut x = self.add_positions(inputs, 0);
        for block in &self.h {
            x = block.forward(x).0;
        }
        self.ln_f.forward(x)
    }

    /// As [`Self::forward`], for the last position only, keeping what later steps need.
    ///
    /// # Shapes
    /// - `inputs`: `[B, P, D]`
    /// - returns: `[B, 1, D]`
    pub(super) fn prefill(&self, inputs: Tensor<3>) -> (Tensor<3>, Cache) {
        let [_, length, _] = inputs.dims();
        let mut x = self.add_positions(inputs, 0);
        let mut blocks = Vec::with_capacity(self.h.len());
        for block in &self.h {
            let (y, prefix) = block.forward(x);
            blocks.push(BlockCache { prefix, text: None });
            x = y;
        }
        let last = self.ln_f.forward(x.narrow(1, length - 1, 1));
        (last, Cache { blocks, length })
    }

    /// One more token for each beam.
    ///
    /// # Shapes
    /// - `tokens`: `[B, W]`, one token per beam
    /// - returns: `[B, W, D]`
    pub(super) fn step(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3> {
        // Beams stand where positions usually do; all of them are at the same position.
        let position = self.wpe.rows(cache.length, 1); // [1, D]
        let mut x = self.embed(tokens) + position.unsqueeze::<3>(); // [B, W, D]
        for (block, cache) in self.h.iter().zip(&mut cache.blocks) {
            x = block.step(x, cache);
        }
        cache.length += 1;
        self.ln_f.forward(x)
    }

    /// Logits of the next token through the tied head.
    ///
    /// # Shapes
    /// - `hidden`: `[B, L, D]`
    /// - returns: `[B, L, V]`
    pub(super) fn head(&self, hidden: Tensor<3>) -> Tensor<3> {
        linear(hidden, self.wte.weight.val(), None, None)
    }

    /// `log sum_v exp(h . e_v) - h . e_label`, which needs no gather over the vocabulary.
    ///
    /// # Shapes
    /// - `hidden`: `[B, n, D]`
    /// - `labels`: `[B, n]`
    /// - returns: `[B, n]`
    pub(super) fn cross_entropy(&self, hidden: Tensor<3>, labels: Tensor<2, Int>) -> Tensor<2> {
        let [b, n] = labels.dims();
        let label_logit = (hidden.clone() * self.embed(labels)).sum_dim(2); // [B, n, 1]
        let logits = self.head(hidden); // [B, n, V]
        let max = logits.clone().detach().max_dim(2); // [B, n, 1]
        let log_sum = (logits - max.clone()).exp().sum_dim(2).log() + max; // [B, n, 1]
        (log_sum - label_logit).reshape([b, n])
    }

    fn add_positions(&self, inputs: Tensor<3>, start: usize) -> Tensor<3> {
        let [_, length, _] = inputs.dims();
        inputs + self.wpe.rows(start, length).unsqueeze::<3>()
    }
}

/// One pre-norm block.
#[derive(Module, Debug)]
struct Gpt2Block {
    ln_1: LayerNorm,
    attn: Gpt2Attention,
    ln_2: LayerNorm,
    mlp: Gpt2Mlp,
}

impl Gpt2Block {
    fn new(init: &mut Init, config: &CaptionDecoderConfig) -> Self {
        let (d, eps) = (config.n_embd, config.layer_norm_epsilon);
        Self {
            ln_1: LayerNorm::new(init, d, eps),
            attn: Gpt2Attention::new(init, config),
            ln_2: LayerNorm::new(init, d, eps),
            mlp: Gpt2Mlp::new(init, config),
        }
    }

    /// Returns also the keys and values, `[B, H, L, d]` each.
    fn forward(&self, x: Tensor<3>) -> (Tensor<3>, [Tensor<4>; 2]) {
        let (y, cache) = self.attn.forward(self.ln_1.forward(x.clone()));
        (self.feed_forward(x + y), cache)
    }

    fn step(&self, x: Tensor<3>, cache: &mut BlockCache) -> Tensor<3> {
        let y = self.attn.step(self.ln_1.forward(x.clone()), cache);
        self.feed_forward(x + y)
    }

    fn feed_forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.mlp.forward(self.ln_2.forward(x.clone())) + x
    }
}

/// Multi-head attention over one packed projection.
#[derive(Module, Debug)]
struct Gpt2Attention {
    c_attn: Conv1d,
    c_proj: Conv1d,
    heads: usize,
}

impl Gpt2Attention {
    fn new(init: &mut Init, config: &CaptionDecoderConfig) -> Self {
        let (d, std) = (config.n_embd, config.initializer_range);
        Self {
            c_attn: Conv1d::new(init, d, 3 * d, std),
            c_proj: Conv1d::new(init, d, d, residual_std(config)),
            heads: config.n_head,
        }
    }

    /// `[B, L, D]` to queries, keys and values `[B, H, L, d]`.
    fn project(&self, x: Tensor<3>) -> [Tensor<4>; 3] {
        let [_, _, d] = x.dims();
        let qkv = self.c_attn.forward(x); // [B, L, 3D]
        [0, 1, 2].map(|i| split_heads(qkv.clone().narrow(2, i * d, d), self.heads))
    }

    fn forward(&self, x: Tensor<3>) -> (Tensor<3>, [Tensor<4>; 2]) {
        let [q, k, v] = self.project(x);
        let y = attention(q, k.clone(), v.clone(), AttentionMask::Causal); // [B, H, L, d]
        (self.c_proj.forward(merge_heads(y)), [k, v])
    }

    /// Each beam attends to the prefix of its sample and to its own text:
    /// `softmax([q K_prefix^T, q K_text^T] / sqrt(d)) [V_prefix; V_text]`.
    fn step(&self, x: Tensor<3>, cache: &mut BlockCache) -> Tensor<3> {
        let [b, w, width] = x.dims();
        let (h, d) = (self.heads, width / self.heads);
        let [q, k, v] = self.project(x); // [B, H, W, d]
        let per_beam = |y: Tensor<4>| y.swap_dims(1, 2).reshape([b * w, h, 1, d]);
        let per_sample = |y: Tensor<4>, last: usize| y.reshape([b, w, h, last]).swap_dims(1, 2); // [B, H, W, last]
        let new = [per_beam(k), per_beam(v)];
        let text = match cache.text.take() {
            Some([keys, values]) => {
                let [k, v] = new;
                [Tensor::cat(vec![keys, k], 2), Tensor::cat(vec![values, v], 2)]
            }
            None => new,
        };
        let [keys, values] = text.clone(); // [B W, H, t, d]
        cache.text = Some(text);
        let [prefix_keys, prefix_values] = cache.prefix.clone(); // [B, H, P, d]
        let (p, t) = (prefix_keys.dims()[2], keys.dims()[2]);

        let q = q / (d as f64).sqrt();
        let prefix_scores = q.clone().matmul(prefix_keys.transpose()); // [B, H, W, P]
        let text_scores = per_beam(q).matmul(keys.transpose()); // [B W, H, 1, t]
        let scores = Tensor::cat(vec![prefix_scores, per_sample(text_scores, t)], 3);
        let weights = softmax(scores); // [B, H, W, P + t]

        let from_prefix = weights.clone().narrow(3, 0, p).matmul(prefix_values); // [B, H, W, d]
        let text_weights = weights.narrow(3, p, t).swap_dims(1, 2).reshape([b * w, h, 1, t]);
        let from_text = per_sample(text_weights.matmul(values), d); // [B, H, W, d]
        self.c_proj.forward(merge_heads(from_prefix + from_text)) // [B, W, D]
    }
}

/// The two-layer perceptron of a block.
#[derive(Module, Debug)]
struct Gpt2Mlp {
    c_fc: Conv1d,
    c_proj: Conv1d,
    #[module(skip)]
    activation: Activation,
}

impl Gpt2Mlp {
    fn new(init: &mut Init, config: &CaptionDecoderConfig) -> Self {
        let (d, inner) = (config.n_embd, config.inner());
        Self {
            c_fc: Conv1d::new(init, d, inner, config.initializer_range),
            c_proj: Conv1d::new(init, inner, d, residual_std(config)),
            activation: config.activation_function,
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.c_proj.forward(self.c_fc.forward_activated(x, self.activation))
    }
}

/// GPT-2 scales the layers that write to the residual stream by `1 / sqrt(2 layers)`.
fn residual_std(config: &CaptionDecoderConfig) -> f64 {
    config.initializer_range / (2.0 * config.n_layer as f64).sqrt()
}

/// A linear layer that stores its weight as `[in, out]`, as GPT-2's checkpoints do.
#[derive(Module, Debug)]
struct Conv1d {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Conv1d {
    fn new(init: &mut Init, inputs: usize, outputs: usize, std: f64) -> Self {
        Self { weight: init.normal([inputs, outputs], std), bias: init.full([outputs], 0.0) }
    }

    /// # Shapes
    /// - `x`: `[B, L, in]`
    /// - returns: `[B, L, out]`
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        linear_transposed(x, self.weight.val(), Some(self.bias.val()), None)
    }

    /// `f(x W + b)`, fused.
    fn forward_activated(&self, x: Tensor<3>, f: Activation) -> Tensor<3> {
        linear_transposed(x, self.weight.val(), Some(self.bias.val()), Some(f.into()))
    }
}
