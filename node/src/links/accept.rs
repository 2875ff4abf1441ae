use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};

use super::counters::{Gauge, count};
use super::handshake::{Handshake, HandshakeError};
use super::hello::Side;
use super::limits::{HANDSHAKE_LIMIT, MAX_HANDSHAKES};
use super::one_sided;
use super::shared::Shared;

/// After an accept that failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

struct Running {
    task: AbortHandle,
    authenticated: Arc<AtomicBool>,
}

/// Accepts for as long as the links run. Handshakes run beside each other, at most
/// [`MAX_HANDSHAKES`]; when there are so many, the oldest one whose peer has not proved itself gives
/// way: a real peer needs milliseconds, so silent strangers cannot keep it out.
pub(crate) async fn accept(shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    let mut running: BTreeMap<u64, Running> = BTreeMap::new();
    let mut number = 0_u64;
    loop {
        tokio::select! {
            accepted = shared.config.listener.accept() => match accepted {
                Ok((stream, address)) => {
                    count(&shared.counters.accepted, 1);
                    if running.len() >= MAX_HANDSHAKES && !evict(&mut running, &shared) {
                        continue;
                    }
                    number += 1;
                    let authenticated = Arc::new(AtomicBool::new(false));
                    let handshake = greet(
                        Arc::clone(&shared), stream, address, Arc::clone(&authenticated), number,
                    );
                    running.insert(number, Running { task: tasks.spawn(handshake), authenticated });
                }
                Err(error) => {
                    if let Some(left_out) = shared.log.admit(shared.config.clock.now(), "accept", "") {
                        tracing::warn!(%error, left_out, "cannot accept a connection");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(done) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                // An evicted one was taken out when it was evicted.
                if let Ok((_, number)) = done {
                    running.remove(&number);
                }
            }
        }
    }
}

/// Makes room; false if every handshake has an authenticated peer.
fn evict(running: &mut BTreeMap<u64, Running>, shared: &Shared) -> bool {
    count(&shared.counters.evicted, 1);
    if let Some(left_out) = shared.log.admit(shared.config.clock.now(), "evicted", "") {
        tracing::warn!(left_out, "too many handshakes at once; the oldest gives way");
    }
    let oldest = running.iter().find(|(_, r)| !r.authenticated.load(Ordering::Acquire));
    let Some((&number, _)) = oldest else { return false };
    if let Some(oldest) = running.remove(&number) {
        oldest.task.abort();
    }
    true
}

async fn greet(
    shared: Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    authenticated: Arc<AtomicBool>,
    number: u64,
) -> u64 {
    let _gauge = Gauge::raise(Arc::clone(&shared.counters), |counters| &counters.handshakes);
    let handshake =
        Handshake { shared: Arc::clone(&shared), side: Side::Acceptor, address, authenticated };
    let whole = async {
        stream.set_nodelay(true)?;
        let transport = &shared.config.transport;
        let stream = one_sided::check(stream, transport.is_secure()).await?;
        let wire = transport.server(stream).await?;
        handshake.run(wire).await
    };
    let result = match tokio::time::timeout(HANDSHAKE_LIMIT, whole).await {
        Ok(result) => result,
        Err(_) => Err(HandshakeError::Garbage("it did not finish its hello in time")),
    };
    if let Err(error) = result {
        report(&shared, address, &error);
    }
    number
}

/// Counts and logs a handshake that led to nothing, either side; at most a line a second per kind,
/// and the same line again once a minute.
pub(crate) fn report(shared: &Shared, address: SocketAddr, error: &HandshakeError) {
    let kind = match error {
        HandshakeError::Silent => {
            tracing::debug!(%address, "probed");
            return;
        }
        HandshakeError::NotRunning => return,
        HandshakeError::Ourselves => {
            tracing::debug!(%address, "this is our own address");
            return;
        }
        HandshakeError::Duplicate(_) => {
            count(&shared.counters.duplicates, 1);
            tracing::debug!(%address, %error, "not needed");
            return;
        }
        HandshakeError::Refused(_) | HandshakeError::Declined(_) => "refused",
        HandshakeError::Versions { .. } => "version",
        HandshakeError::Certificate(_) => "certificate",
        HandshakeError::OneSided(_) => "one-sided",
        HandshakeError::Full(_) => "full",
        HandshakeError::Io(_) => {
            count(&shared.counters.garbage, 1);
            "io"
        }
        HandshakeError::Garbage(_) => {
            count(&shared.counters.garbage, 1);
            "garbage"
        }
    };
    if let Some(reason) = error.refusal() {
        count(shared.counters.refusals(reason), 1);
    }
    let line = format!("{} {error}", address.ip());
    if let Some(left_out) = shared.log.admit(shared.config.clock.now(), kind, &line) {
        tracing::warn!(%address, %error, left_out, "no session");
    }
}
