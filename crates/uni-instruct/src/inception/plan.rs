//! The layers of the network as two tables: how each convolution moves, and which branches a block joins.

/// A convolution with its normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// What its keys begin with.
    pub name: &'static str,
    /// Channels of input and output.
    pub channels: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Step in both directions.
    pub stride: usize,
    /// Zeros above and below, and on the left and right.
    pub padding: [usize; 2],
}

/// What a branch begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    /// Its first layer.
    None,
    /// The mean over 3x3.
    Mean,
    /// The maximum over 3x3.
    Largest,
    /// The same at every second place.
    LargestOfPairs,
}

/// A pool, a chain of layers, and layers that all take the end of the chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Branch {
    pub(super) pool: Pool,
    pub(super) layers: &'static [&'static str],
    pub(super) fork: &'static [&'static str],
}

/// Branches whose results are joined.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) branches: &'static [Branch],
}

const fn chain(layers: &'static [&'static str]) -> Branch {
    Branch { pool: Pool::None, layers, fork: &[] }
}

const fn fork(layers: &'static [&'static str], fork: &'static [&'static str]) -> Branch {
    Branch { pool: Pool::None, layers, fork }
}

const fn pooled(pool: Pool, layers: &'static [&'static str]) -> Branch {
    Branch { pool, layers, fork: &[] }
}

const fn layer(
    name: &'static str,
    channels: [usize; 2],
    kernel: [usize; 2],
    stride: usize,
    padding: [usize; 2],
) -> Layer {
    Layer { name, channels, kernel, stride, padding }
}

/// All convolutions.
pub fn layers() -> &'static [Layer] {
    &LAYERS
}

#[rustfmt::skip]
const LAYERS: [Layer; 94] = [
    layer("Conv2d_1a_3x3", [3, 32], [3, 3], 2, [0, 0]),
    layer("Conv2d_2a_3x3", [32, 32], [3, 3], 1, [0, 0]),
    layer("Conv2d_2b_3x3", [32, 64], [3, 3], 1, [1, 1]),
    layer("Conv2d_3b_1x1", [64, 80], [1, 1], 1, [0, 0]),
    layer("Conv2d_4a_3x3", [80, 192], [3, 3], 1, [0, 0]),
    layer("Mixed_5b.branch1x1", [192, 64], [1, 1], 1, [0, 0]),
    layer("Mixed_5b.branch5x5_1", [192, 48], [1, 1], 1, [0, 0]),
    layer("Mixed_5b.branch5x5_2", [48, 64], [5, 5], 1, [2, 2]),
    layer("Mixed_5b.branch3x3dbl_1", [192, 64], [1, 1], 1, [0, 0]),
    layer("Mixed_5b.branch3x3dbl_2", [64, 96], [3, 3], 1, [1, 1]),
    layer("Mixed_5b.branch3x3dbl_3", [96, 96], [3, 3], 1, [1, 1]),
    layer("Mixed_5b.branch_pool", [192, 32], [1, 1], 1, [0, 0]),
    layer("Mixed_5c.branch1x1", [256, 64], [1, 1], 1, [0, 0]),
    layer("Mixed_5c.branch5x5_1", [256, 48], [1, 1], 1, [0, 0]),
    layer("Mixed_5c.branch5x5_2", [48, 64], [5, 5], 1, [2, 2]),
    layer("Mixed_5c.branch3x3dbl_1", [256, 64], [1, 1], 1, [0, 0]),
    layer("Mixed_5c.branch3x3dbl_2", [64, 96], [3, 3], 1, [1, 1]),
    layer("Mixed_5c.branch3x3dbl_3", [96, 96], [3, 3], 1, [1, 1]),
    layer("Mixed_5c.branch_pool", [256, 64], [1, 1], 1, [0, 0]),
    layer("Mixed_5d.branch1x1", [288, 64], [1, 1], 1, [0, 0]),
    layer("Mixed_5d.branch5x5_1", [288, 48], [1, 1], 1, [0, 0]),
    layer("Mixed_5d.branch5x5_2", [48, 64], [5, 5], 1, [2, 2]),
    layer("Mixed_5d.branch3x3dbl_1", [288, 64], [1, 1], 1, [0, 0]),
    layer("Mixed_5d.branch3x3dbl_2", [64, 96], [3, 3], 1, [1, 1]),
    layer("Mixed_5d.branch3x3dbl_3", [96, 96], [3, 3], 1, [1, 1]),
    layer("Mixed_5d.branch_pool", [288, 64], [1, 1], 1, [0, 0]),
    layer("Mixed_6a.branch3x3", [288, 384], [3, 3], 2, [0, 0]),
    layer("Mixed_6a.branch3x3dbl_1", [288, 64], [1, 1], 1, [0, 0]),
    layer("Mixed_6a.branch3x3dbl_2", [64, 96], [3, 3], 1, [1, 1]),
    layer("Mixed_6a.branch3x3dbl_3", [96, 96], [3, 3], 2, [0, 0]),
    layer("Mixed_6b.branch1x1", [768, 192], [1, 1], 1, [0, 0]),
    layer("Mixed_6b.branch7x7_1", [768, 128], [1, 1], 1, [0, 0]),
    layer("Mixed_6b.branch7x7_2", [128, 128], [1, 7], 1, [0, 3]),
    layer("Mixed_6b.branch7x7_3", [128, 192], [7, 1], 1, [3, 0]),
    layer("Mixed_6b.branch7x7dbl_1", [768, 128], [1, 1], 1, [0, 0]),
    layer("Mixed_6b.branch7x7dbl_2", [128, 128], [7, 1], 1, [3, 0]),
    layer("Mixed_6b.branch7x7dbl_3", [128, 128], [1, 7], 1, [0, 3]),
    layer("Mixed_6b.branch7x7dbl_4", [128, 128], [7, 1], 1, [3, 0]),
    layer("Mixed_6b.branch7x7dbl_5", [128, 192], [1, 7], 1, [0, 3]),
    layer("Mixed_6b.branch_pool", [768, 192], [1, 1], 1, [0, 0]),
    layer("Mixed_6c.branch1x1", [768, 192], [1, 1], 1, [0, 0]),
    layer("Mixed_6c.branch7x7_1", [768, 160], [1, 1], 1, [0, 0]),
    layer("Mixed_6c.branch7x7_2", [160, 160], [1, 7], 1, [0, 3]),
    layer("Mixed_6c.branch7x7_3", [160, 192], [7, 1], 1, [3, 0]),
    layer("Mixed_6c.branch7x7dbl_1", [768, 160], [1, 1], 1, [0, 0]),
    layer("Mixed_6c.branch7x7dbl_2", [160, 160], [7, 1], 1, [3, 0]),
    layer("Mixed_6c.branch7x7dbl_3", [160, 160], [1, 7], 1, [0, 3]),
    layer("Mixed_6c.branch7x7dbl_4", [160, 160], [7, 1], 1, [3, 0]),
    layer("Mixed_6c.branch7x7dbl_5", [160, 192], [1, 7], 1, [0, 3]),
    layer("Mixed_6c.branch_pool", [768, 192], [1, 1], 1, [0, 0]),
    layer("Mixed_6d.branch1x1", [768, 192], [1, 1], 1, [0, 0]),
    layer("Mixed_6d.branch7x7_1", [768, 160], [1, 1], 1, [0, 0]),
    layer("Mixed_6d.branch7x7_2", [160, 160], [1, 7], 1, [0, 3]),
    layer("Mixed_6d.branch7x7_3", [160, 192], [7, 1], 1, [3, 0]),
    layer("Mixed_6d.branch7x7dbl_1", [768, 160], [1, 1], 1, [0, 0]),
    layer("Mixed_6d.branch7x7dbl_2", [160, 160], [7, 1], 1, [3, 0]),
    layer("Mixed_6d.branch7x7dbl_3", [160, 160], [1, 7], 1, [0, 3]),
    layer("Mixed_6d.branch7x7dbl_4", [160, 160], [7, 1], 1, [3, 0]),
    layer("Mixed_6d.branch7x7dbl_5", [160, 192], [1, 7], 1, [0, 3]),
    layer("Mixed_6d.branch_pool", [768, 192], [1, 1], 1, [0, 0]),
    layer("Mixed_6e.branch1x1", [768, 192], [1, 1], 1, [0, 0]),
    layer("Mixed_6e.branch7x7_1", [768, 192], [1, 1], 1, [0, 0]),
    layer("Mixed_6e.branch7x7_2", [192, 192], [1, 7], 1, [0, 3]),
    layer("Mixed_6e.branch7x7_3", [192, 192], [7, 1], 1, [3, 0]),
    layer("Mixed_6e.branch7x7dbl_1", [768, 192], [1, 1], 1, [0, 0]),
    layer("Mixed_6e.branch7x7dbl_2", [192, 192], [7, 1], 1, [3, 0]),
    layer("Mixed_6e.branch7x7dbl_3", [192, 192], [1, 7], 1, [0, 3]),
    layer("Mixed_6e.branch7x7dbl_4", [192, 192], [7, 1], 1, [3, 0]),
    layer("Mixed_6e.branch7x7dbl_5", [192, 192], [1, 7], 1, [0, 3]),
    layer("Mixed_6e.branch_pool", [768, 192], [1, 1], 1, [0, 0]),
    layer("Mixed_7a.branch3x3_1", [768, 192], [1, 1], 1, [0, 0]),
    layer("Mixed_7a.branch3x3_2", [192, 320], [3, 3], 2, [0, 0]),
    layer("Mixed_7a.branch7x7x3_1", [768, 192], [1, 1], 1, [0, 0]),
    layer("Mixed_7a.branch7x7x3_2", [192, 192], [1, 7], 1, [0, 3]),
    layer("Mixed_7a.branch7x7x3_3", [192, 192], [7, 1], 1, [3, 0]),
    layer("Mixed_7a.branch7x7x3_4", [192, 192], [3, 3], 2, [0, 0]),
    layer("Mixed_7b.branch1x1", [1280, 320], [1, 1], 1, [0, 0]),
    layer("Mixed_7b.branch3x3_1", [1280, 384], [1, 1], 1, [0, 0]),
    layer("Mixed_7b.branch3x3_2a", [384, 384], [1, 3], 1, [0, 1]),
    layer("Mixed_7b.branch3x3_2b", [384, 384], [3, 1], 1, [1, 0]),
    layer("Mixed_7b.branch3x3dbl_1", [1280, 448], [1, 1], 1, [0, 0]),
    layer("Mixed_7b.branch3x3dbl_2", [448, 384], [3, 3], 1, [1, 1]),
    layer("Mixed_7b.branch3x3dbl_3a", [384, 384], [1, 3], 1, [0, 1]),
    layer("Mixed_7b.branch3x3dbl_3b", [384, 384], [3, 1], 1, [1, 0]),
    layer("Mixed_7b.branch_pool", [1280, 192], [1, 1], 1, [0, 0]),
    layer("Mixed_7c.branch1x1", [2048, 320], [1, 1], 1, [0, 0]),
    layer("Mixed_7c.branch3x3_1", [2048, 384], [1, 1], 1, [0, 0]),
    layer("Mixed_7c.branch3x3_2a", [384, 384], [1, 3], 1, [0, 1]),
    layer("Mixed_7c.branch3x3_2b", [384, 384], [3, 1], 1, [1, 0]),
    layer("Mixed_7c.branch3x3dbl_1", [2048, 448], [1, 1], 1, [0, 0]),
    layer("Mixed_7c.branch3x3dbl_2", [448, 384], [3, 3], 1, [1, 1]),
    layer("Mixed_7c.branch3x3dbl_3a", [384, 384], [1, 3], 1, [0, 1]),
    layer("Mixed_7c.branch3x3dbl_3b", [384, 384], [3, 1], 1, [1, 0]),
    layer("Mixed_7c.branch_pool", [2048, 192], [1, 1], 1, [0, 0]),
];

/// The blocks after the first five convolutions.
#[rustfmt::skip]
pub(super) const BLOCKS: [Block; 11] = [
    Block { branches: &[
        chain(&["Mixed_5b.branch1x1"]),
        chain(&["Mixed_5b.branch5x5_1", "Mixed_5b.branch5x5_2"]),
        chain(&["Mixed_5b.branch3x3dbl_1", "Mixed_5b.branch3x3dbl_2", "Mixed_5b.branch3x3dbl_3"]),
        pooled(Pool::Mean, &["Mixed_5b.branch_pool"]),
    ] },
    Block { branches: &[
        chain(&["Mixed_5c.branch1x1"]),
        chain(&["Mixed_5c.branch5x5_1", "Mixed_5c.branch5x5_2"]),
        chain(&["Mixed_5c.branch3x3dbl_1", "Mixed_5c.branch3x3dbl_2", "Mixed_5c.branch3x3dbl_3"]),
        pooled(Pool::Mean, &["Mixed_5c.branch_pool"]),
    ] },
    Block { branches: &[
        chain(&["Mixed_5d.branch1x1"]),
        chain(&["Mixed_5d.branch5x5_1", "Mixed_5d.branch5x5_2"]),
        chain(&["Mixed_5d.branch3x3dbl_1", "Mixed_5d.branch3x3dbl_2", "Mixed_5d.branch3x3dbl_3"]),
        pooled(Pool::Mean, &["Mixed_5d.branch_pool"]),
    ] },
    Block { branches: &[
        chain(&["Mixed_6a.branch3x3"]),
        chain(&["Mixed_6a.branch3x3dbl_1", "Mixed_6a.branch3x3dbl_2", "Mixed_6a.branch3x3dbl_3"]),
        pooled(Pool::LargestOfPairs, &[]),
    ] },
    Block { branches: &[
        chain(&["Mixed_6b.branch1x1"]),
        chain(&["Mixed_6b.branch7x7_1", "Mixed_6b.branch7x7_2", "Mixed_6b.branch7x7_3"]),
        chain(&["Mixed_6b.branch7x7dbl_1", "Mixed_6b.branch7x7dbl_2", "Mixed_6b.branch7x7dbl_3", "Mixed_6b.branch7x7dbl_4", "Mixed_6b.branch7x7dbl_5"]),
        pooled(Pool::Mean, &["Mixed_6b.branch_pool"]),
    ] },
    Block { branches: &[
        chain(&["Mixed_6c.branch1x1"]),
        chain(&["Mixed_6c.branch7x7_1", "Mixed_6c.branch7x7_2", "Mixed_6c.branch7x7_3"]),
        chain(&["Mixed_6c.branch7x7dbl_1", "Mixed_6c.branch7x7dbl_2", "Mixed_6c.branch7x7dbl_3", "Mixed_6c.branch7x7dbl_4", "Mixed_6c.branch7x7dbl_5"]),
        pooled(Pool::Mean, &["Mixed_6c.branch_pool"]),
    ] },
    Block { branches: &[
        chain(&["Mixed_6d.branch1x1"]),
        chain(&["Mixed_6d.branch7x7_1", "Mixed_6d.branch7x7_2", "Mixed_6d.branch7x7_3"]),
        chain(&["Mixed_6d.branch7x7dbl_1", "Mixed_6d.branch7x7dbl_2", "Mixed_6d.branch7x7dbl_3", "Mixed_6d.branch7x7dbl_4", "Mixed_6d.branch7x7dbl_5"]),
        pooled(Pool::Mean, &["Mixed_6d.branch_pool"]),
    ] },
    Block { branches: &[
        chain(&["Mixed_6e.branch1x1"]),
        chain(&["Mixed_6e.branch7x7_1", "Mixed_6e.branch7x7_2", "Mixed_6e.branch7x7_3"]),
        chain(&["Mixed_6e.branch7x7dbl_1", "Mixed_6e.branch7x7dbl_2", "Mixed_6e.branch7x7dbl_3", "Mixed_6e.branch7x7dbl_4", "Mixed_6e.branch7x7dbl_5"]),
        pooled(Pool::Mean, &["Mixed_6e.branch_pool"]),
    ] },
    Block { branches: &[
        chain(&["Mixed_7a.branch3x3_1", "Mixed_7a.branch3x3_2"]),
        chain(&["Mixed_7a.branch7x7x3_1", "Mixed_7a.branch7x7x3_2", "Mixed_7a.branch7x7x3_3", "Mixed_7a.branch7x7x3_4"]),
        pooled(Pool::LargestOfPairs, &[]),
    ] },
    Block { branches: &[
        chain(&["Mixed_7b.branch1x1"]),
        fork(&["Mixed_7b.branch3x3_1"], &["Mixed_7b.branch3x3_2a", "Mixed_7b.branch3x3_2b"]),
        fork(&["Mixed_7b.branch3x3dbl_1", "Mixed_7b.branch3x3dbl_2"], &["Mixed_7b.branch3x3dbl_3a", "Mixed_7b.branch3x3dbl_3b"]),
        pooled(Pool::Mean, &["Mixed_7b.branch_pool"]),
    ] },
    Block { branches: &[
        chain(&["Mixed_7c.branch1x1"]),
        fork(&["Mixed_7c.branch3x3_1"], &["Mixed_7c.branch3x3_2a", "Mixed_7c.branch3x3_2b"]),
        fork(&["Mixed_7c.branch3x3dbl_1", "Mixed_7c.branch3x3dbl_2"], &["Mixed_7c.branch3x3dbl_3a", "Mixed_7c.branch3x3dbl_3b"]),
        pooled(Pool::Largest, &["Mixed_7c.branch_pool"]),
    ] },
];
