use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::limits::{HEADER_TIMEOUT, MAX_CONNECTIONS, SHUTDOWN_TIMEOUT, WRITE_TIMEOUT};
use super::routes::{App, router};
use super::{Backend, Token};

/// How long the server pauses when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a client over the limit is told.
const FULL: &str = r#"{"type":"overloaded","code":"overloaded","title":"Too much is under way","status":503,"detail":"too many connections are open"}"#;

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve the admin HTTP at {address}: {source}")]
pub struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}

/// A bound port that does not answer yet: its address is part of what the process tells others of
/// itself, so it must be known before the process starts.
#[derive(Debug)]
pub struct AdminListener {
    listener: TcpListener,
    address: SocketAddr,
}

/// A running server. Dropping it stops it at once; [`AdminServer::shutdown`] lets answers end.
#[derive(Debug)]
pub struct AdminServer {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl AdminListener {
    /// Binds.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let fault = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        Ok(Self { listener, address })
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts to serve `backend`, to anyone or to those who show `token`.
    #[must_use]
    pub fn serve(self, backend: Arc<dyn Backend>, token: Option<Token>) -> AdminServer {
        let (stop, stopping) = watch::channel(false);
        let app = App::new(backend, stopping.clone());
        let router = router(Arc::clone(&app), token);
        let task = tokio::spawn(accept(self.listener, router, app, stopping));
        AdminServer { stop, task }
    }
}

impl AdminServer {
    /// Accepts nothing more, gives answers under way a moment to end, and returns.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        // An error only says that the task has ended another way.
        let _ = (&mut self.task).await;
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    app: Arc<App>,
    mut stopping: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => {
                app.metrics.connections(open.len());
                continue;
            }
            _ = stopping.changed() => break,
        };
        match (accepted, Arc::clone(&room).try_acquire_owned()) {
            (Ok((stream, _)), Ok(permit)) => {
                open.spawn(connection(stream, router.clone(), permit, stopping.clone()));
                app.metrics.connections(open.len());
            }
            // Best effort: whether the client gets to read it does not matter.
            (Ok((stream, _)), Err(_)) => drop(stream.try_write(full().as_bytes())),
            (Err(error), _) => {
                tracing::warn!(%error, "cannot accept an admin connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while open.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, ended).await;
}

async fn connection(
    stream: TcpStream,
    router: Router,
    _room: OwnedSemaphorePermit,
    mut stopping: watch::Receiver<bool>,
) {
    // Small answers must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(super::stall::Stall::new(stream, WRITE_TIMEOUT));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(stream, TowerToHyperService::new(router));
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an admin connection ended badly");
    }
}

/// The whole answer to a client over the limit: its request is not even read.
fn full() -> String {
    let length = FULL.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
         content-type: application/problem+json\r\ncontent-length: {length}\r\n\r\n{FULL}"
    )
}
