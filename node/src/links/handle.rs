use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lampyrid_membership::{LinkControl, ProbeOutcome, View};
use lampyrid_wire::{
    Channel, ClusterId, Incarnation, MAX_FRAME_BYTES, Member, Outbound, ProcessId, SendError,
};
use ractor::concurrency::JoinHandle;
use ractor::{Actor, ActorCell};

use super::actor::{Links, LinksMessage};
use super::config::{LinksConfig, LinksHooks};
use super::counters::{LinkCounters, count};
use super::error::LinksError;
use super::shared::Shared;

/// The links of this process, over every restart of their actors. Cheap to clone. While the actors
/// are not running frames are refused with [`SendError::NoLink`], and what was asked of
/// [`LinkControl`] is remembered for the next run.
///
/// At most one per operating-system process may run: the substrate keeps its tables once per
/// process.
#[derive(Clone)]
pub struct LinksHandle(Arc<Shared>);

impl std::fmt::Debug for LinksHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LinksHandle").field(&self.0.config).finish()
    }
}

impl LinksHandle {
    /// A handle whose actors do not run yet.
    ///
    /// # Errors
    /// [`LinksError`] if the configuration cannot work.
    pub fn new(config: LinksConfig, hooks: LinksHooks) -> Result<Self, LinksError> {
        config.check()?;
        Ok(Self(Arc::new(Shared::new(config, hooks))))
    }

    /// A handle whose actors run, under no supervisor.
    ///
    /// # Errors
    /// [`LinksError`]; nothing runs.
    pub async fn start(
        config: LinksConfig,
        hooks: LinksHooks,
    ) -> Result<(Self, JoinHandle<()>), LinksError> {
        let handle = Self::new(config, hooks)?;
        let (_, ended) = Actor::spawn(None, Links, Arc::clone(&handle.0)).await?;
        Ok((handle, ended))
    }

    /// Starts the actors, or starts them again after they ended, as a child of `supervisor`. The
    /// cell is the child to watch: when anything of the links fails, it fails, having closed every
    /// session (each with its [`lampyrid_membership::LinkEvent::Down`]). Stop it to stop the links.
    ///
    /// # Errors
    /// [`LinksError::Spawn`]: the actor did not start; try again later.
    pub async fn spawn_linked(&self, supervisor: ActorCell) -> Result<ActorCell, LinksError> {
        let (links, _) = Actor::spawn_linked(None, Links, Arc::clone(&self.0), supervisor).await?;
        Ok(links.get_cell())
    }

    /// What the links have done so far.
    #[must_use]
    pub fn counters(&self) -> Arc<LinkCounters> {
        Arc::clone(&self.0.counters)
    }

    /// The installed view: sessions with its members are made on demand.
    pub fn set_view(&self, view: Arc<View>) {
        if self.0.wishes(|wishes| wishes.set_view(view)) {
            // Not running: the next run begins with this.
            let _ = self.0.slot.cast(LinksMessage::Viewed);
        }
    }

    /// [`LinksHandle::set_view`] for a subscriber to views. It does not hold the links, nor with them
    /// the listener: whoever tells views is itself held by the links' hooks.
    pub fn view_sink(&self) -> impl Fn(Arc<View>) + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.0);
        move |view| {
            if let Some(shared) = shared.upgrade() {
                Self(shared).set_view(view);
            }
        }
    }

    /// Notes that there is something for that process. Not for membership, which says by itself
    /// whom it wants a session with.
    fn wish(&self, to: ProcessId, channel: Channel) -> SendError {
        if channel == Channel::Membership {
            return SendError::NoLink(to);
        }
        let noted = self.0.wishes(|wishes| wishes.note(to));
        if noted.tell && self.0.slot.cast(LinksMessage::Wish(to)).is_err() {
            self.0.wishes(|wishes| wishes.taken(to));
        }
        if noted.no_room { SendError::NoRoom(to) } else { SendError::NoLink(to) }
    }

    fn follow(&self) {
        // Not running: the next run begins with this.
        let _ = self.0.slot.cast(LinksMessage::Desired);
    }
}

impl Outbound for LinksHandle {
    fn send(&self, to: ProcessId, channel: Channel, frame: Bytes) -> Result<(), SendError> {
        let counters = self.0.counters.channel(channel);
        if frame.len() > MAX_FRAME_BYTES {
            count(&counters.too_large, 1);
            return Err(SendError::TooLarge { bytes: frame.len(), limit: MAX_FRAME_BYTES });
        }
        let Some(session) = self.0.route(to) else {
            count(&counters.no_link, 1);
            return Err(self.wish(to, channel));
        };
        session.send(channel, &frame)
    }
}

impl LinkControl for LinksHandle {
    fn keep(&self, members: Vec<Member>) {
        self.0.desire(|desired| desired.keep = members);
        self.follow();
    }

    fn seek(&self, addresses: Vec<SocketAddr>) {
        self.0.desire(|desired| desired.seek = addresses);
        self.follow();
    }

    fn set_cluster(&self, cluster: ClusterId) {
        self.0.desire(|desired| desired.cluster = Some(cluster));
    }

    fn set_incarnation(&self, incarnation: Incarnation) {
        self.0.desire(|desired| desired.me.incarnation = incarnation);
        self.follow();
    }

    fn proven_name(&self, process: ProcessId) -> Option<String> {
        self.0.route(process)?.proven.clone()
    }

    fn probe(
        &self,
        address: SocketAddr,
        limit: Duration,
    ) -> Pin<Box<dyn Future<Output = ProbeOutcome> + Send>> {
        Box::pin(super::dial::probe(address, limit))
    }
}
