//! Metrics that can be compared with papers.
//!
//! Everything runs on host slices, with sums in f64: features are row-major `&[f32]` of shape
//! `[rows, dim]`, checked once by [`Features`]. Each metric returns a report struct; a [`Report`]
//! gathers their rows into Markdown and JSON. A new metric is one file that implements [`Measure`]
//! and one line here.
//!
//! ```
//! use trefoil_eval::{Features, Report, RetrievalReport, Truth};
//!
//! let texts = [1.0, 0.1, 0.0, 1.0];
//! let images = [0.9, 0.0, 0.1, 0.8];
//! let texts = Features::new("texts", &texts, 2)?;
//! let images = Features::new("images", &images, 2)?;
//! let retrieval = RetrievalReport::cosine(&Truth::paired(2)?, texts, images)?;
//! assert_eq!(retrieval.recall_at_1, 1.0);
//!
//! let mut report = Report::new("Text to image", &[0]);
//! report.add("test", &retrieval)?;
//! assert!(report.to_markdown().contains("| retrieval recall@1 | test | 100.00 %"));
//! # Ok::<(), trefoil_eval::Error>(())
//! ```

mod caption;
mod error;
mod features;
mod frechet;
mod inception_score;
mod interval;
mod kid;
mod moments;
mod network;
mod npz;
mod pixels;
mod precision_recall;
mod psnr;
mod ranking;
mod report;
mod retrieval;
mod similarity;
mod statistics;

pub use caption::{CaptionReport, captions, normalise, token_f1, words};
pub use error::{Error, Result};
pub use features::Features;
pub use frechet::{FrechetReport, frechet_distance};
pub use inception_score::{InceptionScore, SPLITS};
pub use interval::{Interval, MeanEstimate, mean_estimate, wilson_interval};
pub use kid::{KidOptions, KidReport, kernel_distance};
pub use moments::{CovarianceDivisor, Gaussian, Moments};
pub use network::{Embedding, FeatureNetwork, NetworkError, Pictures, embed_all};
pub use pixels::PixelPca;
pub use precision_recall::{FeaturePrecision, NEIGHBOURS, PrecisionRecall};
pub use psnr::{PSNR_CAP, PsnrReport, psnr};
pub use ranking::{AtCutoff, GroupAuc, Position, RankingReport, Tied, auc};
pub use report::{Measure, Report, Row, Unit};
pub use retrieval::{RetrievalReport, Truth, ranks};
pub use similarity::{Cosine, NegativeSquaredDistance};
pub use statistics::Statistics;
