//! A server from its start to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::app::{App, blocking};
use crate::config::Config;
use crate::error::ApiError;
use crate::http::listen;
use crate::metrics::Metrics;
use crate::store::tokens::TokenBook;
use crate::store::{self, StoreError};
use crate::{routes, swap};

/// Between two looks for old jobs.
const SWEEP: Duration = Duration::from_mins(1);
/// Between two looks whether the queue is empty.
const LOOK: Duration = Duration::from_millis(20);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is taken, or not one of this machine.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Others could reach the server, and it has no tokens.
    #[error("{0} can be reached from other machines, and there is no token")]
    Open(SocketAddr),
    /// The state cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A model cannot be loaded.
    #[error("{0}")]
    Model(String),
    /// The threads of the server cannot be started.
    #[error("cannot start the server")]
    Runtime(#[from] std::io::Error),
}

/// Serves until SIGINT or SIGTERM; `ready` is called with the address when the models are loaded. Must not be called
/// on a thread of the pool of the kernels, which it would keep from working.
///
/// # Errors
/// [`ServeError`].
pub fn serve(config: Config, ready: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    let backend = store::open(&config.state)?;
    let has_tokens =
        !config.tokens.is_empty() || !TokenBook::new(Arc::clone(&backend)).all()?.is_empty();
    if !config.bind.ip().is_loopback() && !has_tokens && !config.is_open {
        return Err(ServeError::Open(config.bind));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Connections to a database wait for their end when they are dropped, which no thread of the runtime may do.
    let last = Arc::clone(&backend);
    let result = runtime.block_on(run(config, backend, ready));
    // What still runs on threads that may wait is not waited for: all that counts is on the disk.
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(last);
    result
}

async fn run(
    config: Config,
    backend: Arc<dyn store::Backend>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let fail = |source| ServeError::Bind { address: config.bind, source };
    let listener = TcpListener::bind(config.bind).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    let service = Arc::new(RwLock::new(routes::starting()));
    let (stop, stopped) = watch::channel(false);
    let (limits, metrics) = (config.limits, Arc::new(Metrics::default()));
    let connections = metrics.connections.clone();
    let serving = listen::serve(listener, Arc::clone(&service), limits, connections, stopped);
    let serving = tokio::spawn(serving);
    let mut stopping = std::pin::pin!(signals::stop());

    let open = blocking(move || {
        let app = App::open(config, backend, metrics)?;
        app.painter.model().warm_up()?;
        Ok(app)
    });
    let app = tokio::select! {
        app = open => app.map_err(|error| ServeError::Model(error.to_string()))?,
        () = &mut stopping => return Ok(()),
    };
    *service.write() = routes::router(&app);
    ready(address);
    let background = tokio::spawn(background(app.clone()));

    let mut hangup = signals::hangup();
    loop {
        tokio::select! {
            () = &mut stopping => break,
            () = signals::next(&mut hangup) => swap::reload(&app).await,
        }
    }
    tracing::info!("stopping: requests that have begun are finished");
    background.abort();
    app.queue.close();
    // The listener waits for its connections, each of which waits for its result.
    let _ = stop.send(true);
    let finish = async {
        let _ = serving.await;
        while !app.queue.is_idle() {
            tokio::time::sleep(LOOK).await;
        }
    };
    // Jobs that are not done by then begin again with the next process.
    let _ = tokio::time::timeout(Duration::from_secs(limits.grace_seconds), finish).await;
    app.queue.stop();
    Ok(())
}

/// Jobs of the last process, and from time to time the deletion of old ones.
async fn background(app: App) {
    if let Err(error) = app.jobs.resume(&app).await {
        report("jobs of the last process could not begin again", &error);
    }
    loop {
        if let Err(error) = app.jobs.sweep().await {
            report("old jobs could not be deleted", &error);
        }
        tokio::time::sleep(SWEEP).await;
    }
}

fn report(what: &str, error: &ApiError) {
    tracing::warn!("{what}: {error}");
}

/// Signals of the system.
mod signals {
    use tokio::signal;

    /// Waits for SIGINT or SIGTERM.
    #[cfg(unix)]
    pub(super) async fn stop() {
        use signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            let _ = signal::ctrl_c().await;
            return;
        };
        tokio::select! {
            _ = signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    }

    /// Waits for Ctrl-C.
    #[cfg(not(unix))]
    pub(super) async fn stop() {
        let _ = signal::ctrl_c().await;
    }

    /// SIGHUP, where there is such a thing.
    #[cfg(unix)]
    pub(super) fn hangup() -> Option<signal::unix::Signal> {
        signal::unix::signal(signal::unix::SignalKind::hangup()).ok()
    }

    /// Nothing.
    #[cfg(not(unix))]
    pub(super) fn hangup() -> Option<()> {
        None
    }

    /// Waits for the next of these signals.
    #[cfg(unix)]
    pub(super) async fn next(hangup: &mut Option<signal::unix::Signal>) {
        match hangup {
            Some(hangup) => {
                hangup.recv().await;
            }
            None => std::future::pending().await,
        }
    }

    /// Waits for ever.
    #[cfg(not(unix))]
    pub(super) async fn next(_: &mut Option<()>) {
        std::future::pending().await
    }
}
