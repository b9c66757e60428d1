//! Sockets: who is slow or gone does not hold a place for ever.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use parking_lot::RwLock;
use prometheus_client::metrics::gauge::Gauge;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;

use crate::config::Limits;

/// Silence after which a connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Time until what was sent must have been received.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// Pause after an error of the listener, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// What answers, which may change while it runs.
pub(crate) type Service = Arc<RwLock<Router>>;

/// Accepts connections until `stop` says so, then waits at most the grace of `limits` for those that are open.
pub(crate) async fn serve(
    listener: TcpListener,
    service: Service,
    limits: Limits,
    connections: Gauge<i64, AtomicI64>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    loop {
        // When all places are taken the system lets others wait.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = stopped(&mut stop) => break,
        };
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            () = stopped(&mut stop) => break,
        };
        if let Err(error) = prepare(&stream) {
            tracing::debug!("a connection was gone at once: {error}");
            continue;
        }
        let service = Arc::clone(&service);
        let answer = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo::<SocketAddr>(address));
            let router = service.read().clone();
            router.oneshot(request)
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new());
        builder.header_read_timeout(Duration::from_secs(limits.head_seconds));
        // A client that closes its half of the connection has left, and its work is given up.
        builder.half_close(false);
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), answer));
        connections.inc();
        let connections = connections.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended: {error}");
            }
            connections.dec();
            drop(place);
        });
    }
    drop(listener);
    let grace = Duration::from_secs(limits.grace_seconds);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were cut after {} s", grace.as_secs());
    }
}

/// Waits until the server is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone is a server that is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    #[cfg(not(target_os = "linux"))]
    let _ = UNACKNOWLEDGED;
    Ok(())
}
