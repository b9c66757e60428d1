//! The queue before a device, and the thread that empties it.
//!
//! Requests that wait at the same time and differ only in prompt, picture, seed and count go through the network as one
//! batch ([`unidiffuser::pipeline::Part`]): nobody's result depends on who else is in it. A batch takes the oldest
//! request and whatever behind it goes with it.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use parking_lot::{Condvar, Mutex};
use unidiffuser::pipeline::{self, GenerateError, Part};

use super::model::Loaded;
use super::ticket::{Output, Progress, Ticket, Waiting, Work, ticket};
use crate::error::ApiError;
use crate::metrics::Metrics;

/// Weight of the latest batch in the mean time of a sample.
const LATEST: f64 = 0.2;
/// Shortest time between two previews.
const PREVIEW: Duration = Duration::from_millis(100);

/// A queue and its thread.
pub(crate) struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    wake: Condvar,
    capacity: usize,
    batch: usize,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Ticket>,
    running: usize,
    /// Mean seconds of a sample.
    seconds: f64,
    is_closing: bool,
    is_stopped: bool,
}

impl State {
    fn purge(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for ticket in waiting {
            if ticket.is_cancelled() {
                ticket.finish(Err(ApiError::Cancelled));
            } else {
                self.waiting.push_back(ticket);
            }
        }
    }
}

/// A ticket whose samples are in the batch.
struct Running {
    ticket: Ticket,
    samples: Range<usize>,
}

impl Queue {
    /// A queue of `capacity` places, whose batches have at most `batch` samples.
    pub(crate) fn start(
        capacity: usize,
        batch: usize,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let state = Mutex::new(State::default());
        let batch = batch.max(1);
        let inner = Arc::new(Inner { state, wake: Condvar::new(), capacity, batch, metrics });
        let worker = Arc::clone(&inner);
        std::thread::Builder::new().name("device".into()).spawn(move || worker.work())?;
        Ok(Self { inner })
    }

    /// Takes a place.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] when there is none, [`ApiError::Unavailable`] when the server stops.
    pub(crate) fn submit(&self, model: Arc<Loaded>, work: Work) -> Result<Waiting, ApiError> {
        let mut state = self.inner.state.lock();
        if state.is_closing {
            return Err(ApiError::Unavailable("the server is shutting down".into()));
        }
        state.purge();
        let waiting = state.waiting.len();
        if waiting >= self.inner.capacity {
            let samples: usize = state.waiting.iter().map(|ticket| ticket.work.count()).sum();
            let retry = Duration::from_secs_f64((state.seconds * samples as f64).clamp(1.0, 300.0));
            return Err(ApiError::Overloaded { waiting, retry });
        }
        let (ticket, handle) = ticket(model, work);
        state.waiting.push_back(ticket);
        self.inner.metrics.waiting.set(state.waiting.len() as i64);
        self.inner.wake.notify_one();
        Ok(handle)
    }

    /// Gives the places of those that were cancelled to others, and tells them.
    pub(crate) fn purge(&self) {
        let mut state = self.inner.state.lock();
        state.purge();
        self.inner.metrics.waiting.set(state.waiting.len() as i64);
    }

    /// Takes no more requests. Those that are there are worked on until [`Queue::stop`].
    pub(crate) fn close(&self) {
        self.inner.state.lock().is_closing = true;
    }

    /// Whether nothing waits and nothing runs.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.inner.state.lock();
        state.running == 0 && state.waiting.is_empty()
    }

    /// Ends the thread; whoever still waits is told.
    pub(crate) fn stop(&self) {
        let mut state = self.inner.state.lock();
        (state.is_closing, state.is_stopped) = (true, true);
        state.waiting.clear();
        self.inner.wake.notify_all();
    }
}

impl Inner {
    fn work(&self) {
        while let Some(batch) = self.next() {
            let begin = Instant::now();
            let rows: usize = batch.iter().map(|running| running.samples.len()).sum();
            self.metrics.running.set(batch.len() as i64);
            self.metrics.batch_rows.observe(rows as f64);
            self.run(batch);
            let seconds = begin.elapsed().as_secs_f64() / rows.max(1) as f64;
            let mut state = self.state.lock();
            state.running = 0;
            state.seconds = match state.seconds {
                0.0 => seconds,
                mean => mean + LATEST * (seconds - mean),
            };
            self.metrics.running.set(0);
            self.metrics.waiting.set(state.waiting.len() as i64);
        }
    }

    /// Waits for the next batch; nothing when the queue was stopped.
    fn next(&self) -> Option<Vec<Running>> {
        let mut state = self.state.lock();
        let first = loop {
            if state.is_stopped {
                return None;
            }
            match state.waiting.pop_front() {
                Some(ticket) if ticket.is_cancelled() => ticket.finish(Err(ApiError::Cancelled)),
                Some(ticket) => break ticket,
                None => self.wake.wait(&mut state),
            }
        };
        let first = running(first, self.batch);
        let mut room = self.batch.saturating_sub(first.samples.len());
        let mut batch = vec![first];
        let mut place = 0;
        while room > 0 && place < state.waiting.len() {
            let other = &state.waiting[place];
            let goes = !other.is_cancelled() && go_together(&batch[0].ticket, other);
            match goes.then(|| state.waiting.remove(place)).flatten() {
                Some(ticket) => {
                    let running = running(ticket, room);
                    room -= running.samples.len();
                    batch.push(running);
                }
                None => place += 1,
            }
        }
        state.running = batch.len();
        self.metrics.waiting.set(state.waiting.len() as i64);
        Some(batch)
    }

    /// Runs a batch. One that fails is run again one by one, so that nobody has to answer for others.
    fn run(&self, batch: Vec<Running>) {
        let result = try_run(&batch);
        match result {
            Ok(outputs) => {
                for (running, output) in batch.into_iter().zip(outputs) {
                    self.finish(running, output);
                }
            }
            Err(ApiError::Cancelled) => {
                for running in batch {
                    running.ticket.finish(Err(ApiError::Cancelled));
                }
            }
            Err(_) if batch.len() > 1 => batch.into_iter().for_each(|one| self.run(vec![one])),
            Err(error) => batch.into_iter().for_each(|r| r.ticket.finish(Err(error.clone()))),
        }
    }

    fn finish(&self, running: Running, output: Output) {
        let Running { mut ticket, .. } = running;
        let Output::Samples(samples) = output else {
            ticket.finish(Ok(output));
            return;
        };
        self.metrics.samples.inc_by(samples.len() as u64);
        ticket.done.extend(samples);
        let (done, count) = (ticket.done.len(), ticket.work.count());
        ticket.progress.send_modify(|progress| {
            *progress = Progress { done, count, ..Progress::default() };
        });
        if done < count {
            // The rest of a large request keeps its place.
            self.state.lock().waiting.push_front(ticket);
        } else {
            let samples = std::mem::take(&mut ticket.done);
            ticket.finish(Ok(Output::Samples(samples)));
        }
    }
}

/// The next samples of a ticket, as many as there is room for.
fn running(ticket: Ticket, room: usize) -> Running {
    let (begin, count) = (ticket.done.len(), ticket.work.count());
    let end = match &ticket.work {
        Work::Samples(_) => count.min(begin + room),
        Work::Blend { .. } | Work::Embed { .. } => count,
    };
    Running { ticket, samples: begin..end }
}

/// The outputs of a batch, on a thread of the pool: whoever waits for a kernel there takes part in it.
fn try_run(batch: &[Running]) -> Result<Vec<Output>, ApiError> {
    let Some(first) = batch.first() else { return Ok(Vec::new()) };
    let model = Arc::clone(&first.ticket.model);
    let mut watch = Watch { batch, model: &model, shown: None };
    let run = || {
        rayon::scope(|_| match &first.ticket.work {
            Work::Samples(_) => {
                let parts: Vec<Part<'_>> = batch.iter().filter_map(part).collect();
                let samples = model.model.generate_together(&parts, &mut |at| watch.step(at))?;
                Ok(samples.into_iter().map(Output::Samples).collect())
            }
            Work::Blend { pictures, weights, request } => {
                let [a, b] = &**pictures;
                let mut on_step = |at: &pipeline::Progress<'_>| watch.step(at);
                let samples = model.model.blend([a, b], weights, request, &mut on_step)?;
                Ok(vec![Output::Samples(samples)])
            }
            Work::Embed { texts, pictures } => {
                let mut vectors = Vec::new();
                if !texts.is_empty() {
                    vectors.extend(normalised(model.model.embed_texts(texts)?));
                }
                if !pictures.is_empty() {
                    vectors.extend(normalised(model.model.embed_images(pictures)?));
                }
                Ok(vec![Output::Embeddings(vectors)])
            }
        })
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error: GenerateError| error.into()),
        Err(_) => Err(ApiError::Internal("the model failed; the log says where".into())),
    }
}

/// Whether the rest of `other` can be in the batch of `first`.
fn go_together(first: &Ticket, other: &Ticket) -> bool {
    match (&first.work, &other.work) {
        (Work::Samples(a), Work::Samples(b)) => {
            Arc::ptr_eq(&first.model, &other.model) && a.goes_with(b)
        }
        _ => false,
    }
}

fn part(running: &Running) -> Option<Part<'_>> {
    match &running.ticket.work {
        Work::Samples(request) => Some(Part { request, samples: running.samples.clone() }),
        Work::Blend { .. } | Work::Embed { .. } => None,
    }
}

/// Rows of length one.
fn normalised(rows: Tensor<2>) -> Vec<Vec<f32>> {
    let [_, width] = rows.dims();
    let values: Vec<f32> = rows.into_data().convert::<f32>().iter::<f32>().collect();
    let unit = |row: &[f32]| {
        let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-12);
        row.iter().map(|v| (f64::from(*v) / length) as f32).collect()
    };
    values.chunks_exact(width.max(1)).map(unit).collect()
}

/// Tells those who wait how far a batch is.
struct Watch<'a> {
    batch: &'a [Running],
    model: &'a Loaded,
    shown: Option<Instant>,
}

impl Watch<'_> {
    fn step(&mut self, at: &pipeline::Progress<'_>) -> ControlFlow<()> {
        if self.batch.iter().all(|running| running.ticket.is_cancelled()) {
            return ControlFlow::Break(());
        }
        let previews = self.previews(at);
        let mut row = 0;
        for Running { ticket, samples } in self.batch {
            let own = previews.get(row..row + samples.len()).unwrap_or_default();
            row += samples.len();
            ticket.progress.send_modify(|progress| {
                (progress.step, progress.steps) = (at.step, at.steps);
                progress.rows = samples.len();
                if !own.is_empty() {
                    progress.previews = Arc::new(own.to_vec());
                }
            });
        }
        ControlFlow::Continue(())
    }

    /// Small pictures of all rows, when somebody watches and the last ones are old enough.
    fn previews(&mut self, at: &pipeline::Progress<'_>) -> Vec<trefoil_core::Picture> {
        let is_due = self.shown.is_none_or(|shown| shown.elapsed() >= PREVIEW);
        let is_watched = self.batch.iter().any(|running| running.ticket.is_watched());
        match &at.estimate.image {
            Some(image) if is_due && is_watched => {
                self.shown = Some(Instant::now());
                self.model.preview.pictures(image.z.clone())
            }
            _ => Vec::new(),
        }
    }
}
