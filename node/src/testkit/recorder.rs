use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lampyrid_membership::{LinkControl, ProbeOutcome};
use lampyrid_wire::{
    Channel, ClusterId, CodecError, Envelope, Incarnation, Member, Outbound, ProcessId, SendError,
    decode,
};

/// The most that a [`Recorder`] keeps; what comes then is refused as by a full window.
pub const MAX_RECORDED: usize = 10_000;

/// A frame that an actor sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// To whom.
    pub to: ProcessId,
    /// Whose concern it is.
    pub channel: Channel,
    /// The encoded envelope.
    pub frame: Bytes,
}

impl Sent {
    /// The envelope.
    ///
    /// # Errors
    /// [`CodecError`]: it is none.
    pub fn envelope(&self) -> Result<Envelope, CodecError> {
        decode(&self.frame)
    }
}

/// What membership asked of its links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To keep sessions with these.
    Keep(Vec<Member>),
    /// To seek whoever is there.
    Seek(Vec<SocketAddr>),
    /// To name that cluster.
    Cluster(ClusterId),
    /// To be that incarnation.
    Incarnation(Incarnation),
}

/// Stands in for the links of an actor that is tested alone: remembers what it is given and sends
/// nothing. Clones are the same recorder.
///
/// ```
/// use bytes::Bytes;
/// use lampyrid::testkit::actors::{Channel, LinkControl, Outbound};
/// use lampyrid::testkit::{Asked, Recorder, member};
///
/// let recorder = Recorder::new();
/// // What an actor does with the clone that it was given:
/// let links = recorder.clone();
/// links.keep(vec![member(2)]);
/// links.send(member(2).process, Channel::Registry, Bytes::from("frame"))?;
/// // What a test sees:
/// assert_eq!(recorder.asked(), [Asked::Keep(vec![member(2)])]);
/// assert_eq!(recorder.sent()[0].to, member(2).process);
/// assert!(recorder.sent().is_empty(), "taken already");
/// # Ok::<(), lampyrid::testkit::actors::SendError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    sent: Vec<Sent>,
    asked: Vec<Asked>,
    probe: Option<ProbeOutcome>,
}

impl Recorder {
    /// One that has recorded nothing. Whoever is probed accepts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was sent since this was last called.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.recorded().sent)
    }

    /// Takes what membership asked for since this was last called.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.recorded().asked)
    }

    /// What a probe brings from now on.
    pub fn answer_probes(&self, outcome: ProbeOutcome) {
        self.recorded().probe = Some(outcome);
    }

    fn ask(&self, asked: Asked) {
        let mut recorded = self.recorded();
        if recorded.asked.len() < MAX_RECORDED {
            recorded.asked.push(asked);
        }
    }
}

impl Outbound for Recorder {
    fn send(&self, to: ProcessId, channel: Channel, frame: Bytes) -> Result<(), SendError> {
        let mut recorded = self.recorded();
        if recorded.sent.len() >= MAX_RECORDED {
            return Err(SendError::Overloaded(to));
        }
        recorded.sent.push(Sent { to, channel, frame });
        Ok(())
    }
}

impl LinkControl for Recorder {
    fn keep(&self, members: Vec<Member>) {
        self.ask(Asked::Keep(members));
    }

    fn seek(&self, addresses: Vec<SocketAddr>) {
        self.ask(Asked::Seek(addresses));
    }

    fn set_cluster(&self, cluster: ClusterId) {
        self.ask(Asked::Cluster(cluster));
    }

    fn set_incarnation(&self, incarnation: Incarnation) {
        self.ask(Asked::Incarnation(incarnation));
    }

    fn probe(
        &self,
        _: SocketAddr,
        _: Duration,
    ) -> Pin<Box<dyn Future<Output = ProbeOutcome> + Send>> {
        let outcome = self.recorded().probe.unwrap_or(ProbeOutcome::Accepted);
        Box::pin(ready(outcome))
    }
}
