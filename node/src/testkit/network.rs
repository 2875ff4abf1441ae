use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lampyrid_membership::{Barred, LinkEvent, RefusalReason, View};
use lampyrid_wire::{
    Channel, Clock, ClusterId, Credit, Inbound, Member, Peer, ProcessId, SendError,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::links::LinksHooks;

/// Frames that may be on their way from one process to another; more are refused as by a full
/// window.
const ON_THE_WAY: usize = 1_024;

/// The port of the first station; each has one of its own, and none is opened.
const FIRST_PORT: u16 = 10_000;

/// What happens to frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// Of 100, lost.
    pub loss: u8,
    /// Of 100, delivered twice.
    pub repetition: u8,
    /// How long each is on its way. Frames of one process to another stay in order.
    pub delay: Range<Duration>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { loss: 0, repetition: 0, delay: Duration::ZERO..Duration::ZERO }
    }
}

/// What connects the processes of a [`crate::testkit::Cluster`]: sessions in memory, over which
/// frames are lost, repeated and delayed as a seed has it. Clones are the same network. Its methods
/// are to be called within the runtime.
#[derive(Clone)]
pub struct Network {
    hub: Arc<Mutex<Hub>>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

struct Hub {
    random: StdRng,
    faults: Faults,
    /// Pairs, the lower address first.
    cut: BTreeSet<(SocketAddr, SocketAddr)>,
    stations: BTreeMap<SocketAddr, Place>,
    next: u16,
}

/// Who is at an address.
pub(crate) struct Place {
    pub(crate) peer: Peer,
    pub(crate) cluster_name: String,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) barred: Barred,
    pub(crate) hooks: LinksHooks,
    pub(crate) keep: Vec<Member>,
    pub(crate) seek: Vec<SocketAddr>,
    pub(crate) view: Option<Arc<View>>,
    sessions: BTreeMap<ProcessId, Session>,
    /// Those who refused, and what was said of it.
    refused: BTreeMap<SocketAddr, RefusalReason>,
}

struct Session {
    with: Peer,
    at: SocketAddr,
    lane: Sender<Letter>,
}

struct Letter {
    due: Duration,
    channel: Channel,
    frame: Bytes,
}

fn pair(a: SocketAddr, b: SocketAddr) -> (SocketAddr, SocketAddr) {
    if a <= b { (a, b) } else { (b, a) }
}

impl Place {
    pub(crate) fn new(
        peer: Peer,
        cluster_name: String,
        cluster: Option<ClusterId>,
        barred: Barred,
        hooks: LinksHooks,
    ) -> Self {
        Self {
            peer,
            cluster_name,
            cluster,
            barred,
            hooks,
            keep: Vec::new(),
            seek: Vec::new(),
            view: None,
            sessions: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    fn wanted(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.keep.iter().map(|member| member.address).chain(self.seek.iter().copied())
    }

    /// Why this one does not let the other in.
    fn refuses(&self, other: &Self) -> Option<RefusalReason> {
        let differ = matches!((self.cluster, other.cluster), (Some(a), Some(b)) if a != b);
        match () {
            () if self.peer.process == other.peer.process => Some(RefusalReason::OwnId),
            () if self.cluster_name != other.cluster_name => Some(RefusalReason::ClusterName),
            () if differ => Some(RefusalReason::ClusterId),
            () if self.barred.contains(other.peer.process) => Some(RefusalReason::Barred),
            () => None,
        }
    }
}

impl Network {
    /// A network on which nothing goes wrong yet. What goes wrong follows from the seed.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, seed: u64) -> Self {
        let hub = Hub {
            random: StdRng::seed_from_u64(seed),
            faults: Faults::default(),
            cut: BTreeSet::new(),
            stations: BTreeMap::new(),
            next: FIRST_PORT,
        };
        Self { hub: Arc::new(Mutex::new(hub)), clock }
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An address that nobody else is given.
    pub(crate) fn address(&self) -> SocketAddr {
        let mut hub = self.hub();
        let port = hub.next;
        hub.next = hub.next.wrapping_add(1);
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// What happens to frames from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.hub().faults = faults;
    }

    /// Nothing gets through between a process at one of these addresses and one at any of the
    /// others, and nobody is told: as by a cable that is pulled out.
    pub fn cut_off(&self, side: &[SocketAddr]) {
        let mut hub = self.hub();
        let all: Vec<SocketAddr> = hub.stations.keys().copied().collect();
        for &here in side {
            let others = all.iter().filter(|other| !side.contains(other));
            let pairs: Vec<_> = others.map(|&there| pair(here, there)).collect();
            hub.cut.extend(pairs);
        }
    }

    /// No cuts and no faults any more.
    pub fn heal(&self) {
        let mut hub = self.hub();
        hub.cut.clear();
        hub.faults = Faults::default();
        self.connect(&mut hub);
    }

    pub(crate) fn join(&self, at: SocketAddr, place: Place) {
        let mut hub = self.hub();
        hub.hang_up(at);
        hub.stations.insert(at, place);
        self.connect(&mut hub);
    }

    /// Whoever is at that address is gone, as after kill -9: its sessions end at once.
    pub(crate) fn remove(&self, at: SocketAddr) {
        let mut hub = self.hub();
        hub.hang_up(at);
        hub.stations.remove(&at);
    }

    /// Changes what the process there wants or says of itself.
    pub(crate) fn change(&self, at: SocketAddr, change: impl FnOnce(&mut Place)) {
        let mut hub = self.hub();
        let Some(place) = hub.stations.get_mut(&at) else { return };
        change(place);
        place.refused.clear();
        self.connect(&mut hub);
    }

    /// All sessions of the process there end and are made anew.
    pub(crate) fn renew(&self, at: SocketAddr, change: impl FnOnce(&mut Place)) {
        self.hub().hang_up(at);
        self.change(at, change);
    }

    pub(crate) fn accepts(&self, from: SocketAddr, to: SocketAddr) -> Option<bool> {
        let hub = self.hub();
        (!hub.cut.contains(&pair(from, to))).then(|| hub.stations.contains_key(&to))
    }

    pub(crate) fn send(
        &self,
        from: SocketAddr,
        to: ProcessId,
        channel: Channel,
        frame: Bytes,
    ) -> Result<(), SendError> {
        let mut hub = self.hub();
        let now = self.clock.now();
        let Hub { stations, random, faults, cut, .. } = &mut *hub;
        let Some(place) = stations.get_mut(&from) else { return Err(SendError::NoLink(to)) };
        let Some(session) = place.sessions.get(&to) else {
            let member = place.view.as_ref().and_then(|view| view.member(to));
            if let (Some(member), true) = (member.cloned(), channel != Channel::Membership) {
                self.dial(&mut hub, from, member.address);
            }
            return Err(SendError::NoLink(to));
        };
        if cut.contains(&pair(from, session.at)) || random.random_range(0..100) < faults.loss {
            return Ok(());
        }
        let copies = 1 + usize::from(random.random_range(0..100) < faults.repetition);
        let delay = match faults.delay.is_empty() {
            true => faults.delay.start,
            false => random.random_range(faults.delay.clone()),
        };
        for _ in 0..copies {
            let letter = Letter { due: now + delay, channel, frame: frame.clone() };
            match session.lane.try_send(letter) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => return Err(SendError::Overloaded(to)),
                Err(TrySendError::Closed(_)) => return Err(SendError::NoLink(to)),
            }
        }
        Ok(())
    }

    /// Makes the sessions that are wanted and can be made.
    fn connect(&self, hub: &mut Hub) {
        let places = hub.stations.iter();
        let wanted: Vec<_> =
            places.flat_map(|(&from, place)| place.wanted().map(move |to| (from, to))).collect();
        for (from, to) in wanted {
            self.dial(hub, from, to);
        }
    }

    fn dial(&self, hub: &mut Hub, from: SocketAddr, to: SocketAddr) {
        if from == to || hub.cut.contains(&pair(from, to)) {
            return;
        }
        let (Some(ours), Some(theirs)) = (hub.stations.get(&from), hub.stations.get(&to)) else {
            return;
        };
        let (told, own) = (theirs.refuses(ours), ours.refuses(theirs));
        if told.is_none() && own == Some(RefusalReason::Barred) {
            return;
        }
        if let Some(reason) = told.or(own) {
            let (stranger, acceptor) = (ours.peer, theirs.hooks.clone());
            if let Some(dialler) = hub.stations.get_mut(&from)
                && dialler.refused.insert(to, reason) != Some(reason)
            {
                if reason == RefusalReason::OwnId {
                    (acceptor.on_event)(LinkEvent::OwnId(stranger));
                }
                (dialler.hooks.on_event)(LinkEvent::Refused { address: to, reason });
            }
            return;
        }
        if ours.sessions.contains_key(&theirs.peer.process) {
            return;
        }
        let peers = (ours.peer, theirs.peer);
        self.open(hub, (from, peers.0), (to, peers.1));
        self.open(hub, (to, peers.1), (from, peers.0));
        for (at, with) in [(from, peers.1), (to, peers.0)] {
            if let Some(place) = hub.stations.get(&at) {
                // Under the lock, so that up and down come in order; they only cast messages.
                (place.hooks.on_event)(LinkEvent::Up(with));
            }
        }
    }

    /// One direction of a session.
    fn open(&self, hub: &mut Hub, from: (SocketAddr, Peer), to: (SocketAddr, Peer)) {
        let Some(place) = hub.stations.get_mut(&from.0) else { return };
        let (lane, letters) = channel(ON_THE_WAY);
        place.sessions.insert(to.1.process, Session { with: to.1, at: to.0, lane });
        tokio::spawn(self.clone().carry(from, to.0, letters));
    }

    /// Carries what one sends to the other, for as long as their session lasts.
    async fn carry(
        self,
        (from, peer): (SocketAddr, Peer),
        to: SocketAddr,
        mut letters: Receiver<Letter>,
    ) {
        while let Some(Letter { due, channel, frame }) = letters.recv().await {
            if self.clock.now() < due {
                self.clock.sleep_until(due).await;
            }
            let hooks = {
                let hub = self.hub();
                if hub.cut.contains(&pair(from, to)) {
                    continue;
                }
                let place = hub.stations.get(&to);
                let session = place.and_then(|place| place.sessions.get(&peer.process));
                match (place, session) {
                    (Some(place), Some(session)) if session.with == peer => place.hooks.clone(),
                    _ => return,
                }
            };
            (hooks.on_frame)(channel, Inbound { from: peer, frame, credit: Credit::none() });
        }
    }
}

impl Hub {
    /// Ends all sessions of whoever is there.
    fn hang_up(&mut self, at: SocketAddr) {
        let Some(place) = self.stations.get_mut(&at) else { return };
        let (peer, hooks) = (place.peer, place.hooks.clone());
        for session in std::mem::take(&mut place.sessions).into_values() {
            (hooks.on_event)(LinkEvent::Down(session.with));
            if let Some(other) = self.stations.get_mut(&session.at)
                && other.sessions.remove(&peer.process).is_some()
            {
                (other.hooks.on_event)(LinkEvent::Down(peer));
            }
        }
    }
}
