use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::limits::{HEADER_TIMEOUT, MAX_CONNECTIONS, SHUTDOWN_TIMEOUT, WRITE_TIMEOUT};
use super::room::{Room, Settled};
use super::routes::{App, router};
use super::stall::Stall;
use super::{AdminTls, Backend, Token, blunt};

/// How long the server pauses when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    tls: Option<Arc<AdminTls>>,
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
        Ok(Self { listener, address, tls: None })
    }

    /// Speaks TLS and nothing else on the port.
    #[must_use]
    pub fn secured(mut self, tls: AdminTls) -> Self {
        self.tls = Some(Arc::new(tls));
        self
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
        let task = tokio::spawn(accept(self, router, app, stopping));
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
    AdminListener { listener, tls, .. }: AdminListener,
    router: Router,
    app: Arc<App>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut room = Room::new(MAX_CONNECTIONS);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(()) = room.left() => {
                app.metrics.connections(room.len());
                continue;
            }
            _ = stopping.changed() => break,
        };
        match accepted {
            Ok((stream, _)) if room.make() => {
                let (tls, router, stopping) = (tls.clone(), router.clone(), stopping.clone());
                room.enter(|settled| connection(stream, tls, router, settled, stopping));
                app.metrics.connections(room.len());
            }
            Ok((stream, _)) => blunt::turn_away(&stream, tls.is_some()),
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while room.left().await.is_some() {} };
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, ended).await;
}

async fn connection(
    stream: TcpStream,
    tls: Option<Arc<AdminTls>>,
    router: Router,
    settled: Settled,
    mut stopping: watch::Receiver<bool>,
) {
    // Small answers must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        let stream = Stall::new(stream, WRITE_TIMEOUT);
        return serve(stream, HEADER_TIMEOUT, router, settled, stopping).await;
    };
    let started = Instant::now();
    let secured = tokio::select! {
        secured = tls.secure(stream) => secured,
        // Nothing has been asked yet.
        _ = stopping.changed() => return,
    };
    match secured {
        Ok(stream) => {
            // A silent client gets no more time than one without TLS.
            let left = HEADER_TIMEOUT.saturating_sub(started.elapsed());
            serve(stream, left, router, settled, stopping).await;
        }
        Err(error) => tracing::debug!(%error, "an admin connection was not secured"),
    }
}

/// Answers the requests of one connection until it ends.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    header_timeout: Duration,
    router: Router,
    settled: Settled,
    mut stopping: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| {
        settled.set();
        router.call(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), service);
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
