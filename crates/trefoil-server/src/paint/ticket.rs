//! A place in the queue, seen from both sides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{oneshot, watch};
use trefoil_core::Picture;
use unidiffuser::pipeline::{Generated, Request};

use super::model::Loaded;
use crate::error::ApiError;

/// What the device has to do.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Samples of a request.
    Samples(Box<Request>),
    /// Pictures between two others, one for each weight.
    Blend {
        /// The two.
        pictures: Box<[Picture; 2]>,
        /// Shares of the second.
        weights: Vec<f64>,
        /// How to sample.
        request: Box<Request>,
    },
    /// CLIP embeddings, of length one.
    Embed {
        /// Texts.
        texts: Vec<String>,
        /// Pictures, after the texts.
        pictures: Vec<Picture>,
    },
}

impl Work {
    /// Results that it will have.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Samples(request) => request.count,
            Self::Blend { weights, .. } => weights.len(),
            Self::Embed { texts, pictures } => texts.len() + pictures.len(),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// Samples in their order.
    Samples(Vec<Generated>),
    /// A vector for each input.
    Embeddings(Vec<Vec<f32>>),
}

/// How far it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Samples that are finished, and all of them.
    pub(crate) done: usize,
    pub(crate) count: usize,
    /// Steps of those that are being made.
    pub(crate) step: usize,
    pub(crate) steps: usize,
    /// How many those are.
    pub(crate) rows: usize,
    /// look like now, as small pictures, if somebody watches.
    pub(crate) previews: Arc<Vec<Picture>>,
}

impl Progress {
    /// From 0 to 1.
    pub(crate) fn fraction(&self) -> f64 {
        let current = self.step as f64 / self.steps.max(1) as f64 * self.rows as f64;
        ((self.done as f64 + current) / self.count.max(1) as f64).min(1.0)
    }
}

/// The side of the device.
pub(crate) struct Ticket {
    pub(crate) model: Arc<Loaded>,
    pub(crate) work: Work,
    pub(crate) done: Vec<Generated>,
    pub(crate) progress: watch::Sender<Progress>,
    shared: Arc<Shared>,
    reply: oneshot::Sender<Result<Output, ApiError>>,
}

/// The side of whoever waits. Dropping it gives up the place, and stops the work.
pub(crate) struct Waiting {
    /// How far it is.
    pub(crate) progress: watch::Receiver<Progress>,
    /// Lets others watch and cancel.
    pub(crate) control: Control,
    result: oneshot::Receiver<Result<Output, ApiError>>,
}

/// Watching and cancelling.
#[derive(Debug, Clone)]
pub(crate) struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_cancelled: AtomicBool,
    watchers: AtomicUsize,
}

/// Somebody who wants to see previews, until it is dropped.
pub(crate) struct Watcher(Arc<Shared>);

/// A new place: both of its sides.
pub(crate) fn ticket(model: Arc<Loaded>, work: Work) -> (Ticket, Waiting) {
    let shared = Arc::new(Shared::default());
    let count = work.count();
    let (progress, receiver) = watch::channel(Progress { count, ..Progress::default() });
    let (reply, result) = oneshot::channel();
    let control = Control(Arc::clone(&shared));
    let ticket = Ticket { model, work, done: Vec::new(), progress, shared, reply };
    (ticket, Waiting { progress: receiver, control, result })
}

impl Ticket {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.shared.is_cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.shared.watchers.load(Ordering::Relaxed) > 0
    }

    /// Tells whoever waits, if anybody still does.
    pub(crate) fn finish(self, result: Result<Output, ApiError>) {
        let _ = self.reply.send(result);
    }
}

impl Control {
    /// Stops the work at its next step.
    pub(crate) fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Asks for previews.
    pub(crate) fn watch(&self) -> Watcher {
        self.0.watchers.fetch_add(1, Ordering::Relaxed);
        Watcher(Arc::clone(&self.0))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Waiting {
    /// Waits for the result.
    pub(crate) async fn result(mut self) -> Result<Output, ApiError> {
        match (&mut self.result).await {
            Ok(result) => result,
            Err(_) => Err(ApiError::Unavailable("the server is shutting down".into())),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.control.cancel();
    }
}
