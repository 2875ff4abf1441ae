use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lampyrid_membership::ProbeOutcome;
use lampyrid_wire::ProcessId;
use tokio::net::TcpStream;

use super::accept::report;
use super::actor::LinksMessage;
use super::counters::{Gauge, count};
use super::handshake::{Handshake, HandshakeError};
use super::hello::Side;
use super::limits::{CONNECT_LIMIT, HANDSHAKE_LIMIT};
use super::shared::Shared;
use super::targets::DialOutcome;

/// Connects, shakes hands, and tells the links how it ended.
pub(crate) async fn dial(shared: Arc<Shared>, address: SocketAddr) {
    count(&shared.counters.dialled, 1);
    let _gauge = Gauge::raise(Arc::clone(&shared.counters), |counters| &counters.handshakes);
    let result = attempt(&shared, address).await;
    let outcome = match &result {
        Ok(process) | Err(HandshakeError::Duplicate(process)) => DialOutcome::Settled(*process),
        Err(HandshakeError::Full(others)) => DialOutcome::Full(others.clone()),
        Err(HandshakeError::Ourselves) => DialOutcome::Ourselves,
        Err(HandshakeError::Declined(_)) => DialOutcome::Failed,
        Err(error) => error.refusal().map_or(DialOutcome::Failed, DialOutcome::Refused),
    };
    if let Err(error) = result {
        match error {
            // A process that is not there is no news: membership sees its sessions end.
            HandshakeError::Io(error) => tracing::debug!(%address, %error, "nobody answers"),
            error => report(&shared, address, &error),
        }
    }
    // Not running: the next run dials afresh.
    let _ = shared.slot.cast(LinksMessage::DialEnded(address, outcome));
}

async fn attempt(shared: &Arc<Shared>, address: SocketAddr) -> Result<ProcessId, HandshakeError> {
    let stream = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address))
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    let handshake = Handshake {
        shared: Arc::clone(shared),
        side: Side::Dialler,
        address,
        authenticated: Arc::new(AtomicBool::new(false)),
    };
    let whole = async {
        stream.set_nodelay(true)?;
        let wire = shared.config.transport.client(stream).await?;
        handshake.run(wire).await
    };
    tokio::time::timeout(HANDSHAKE_LIMIT, whole)
        .await
        .unwrap_or(Err(HandshakeError::Garbage("it did not finish its hello in time")))
}

/// A bare connect. A frozen process still accepts (its kernel does): only a process that is gone
/// is found out by this.
pub(crate) async fn probe(address: SocketAddr, limit: Duration) -> ProbeOutcome {
    match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => ProbeOutcome::Accepted,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            ProbeOutcome::Refused
        }
        Ok(Err(_)) | Err(_) => ProbeOutcome::NoAnswer,
    }
}
