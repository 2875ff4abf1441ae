use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lampyrid_wire::{Inbound, Peer, ProcessId, Slot};

use super::MembershipMessage;
use crate::{Barred, LinkEvent, View, ViewEvent};

/// Called with the current state on subscribing, then with every change, in order. It runs on the
/// membership actor: it should only cast a message.
pub type Subscriber = Arc<dyn Fn(ViewEvent) + Send + Sync>;

/// The way to the membership actor, over its restarts. What a restarted actor must find again, but
/// is not durable (live sessions, subscribers), lives here.
#[derive(Clone, Default)]
pub struct MembershipPort {
    slot: Slot<MembershipMessage>,
    sessions: Arc<Mutex<BTreeMap<ProcessId, Peer>>>,
    pub(super) audience: Arc<Mutex<Audience>>,
    barred: Barred,
}

impl std::fmt::Debug for MembershipPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MembershipPort")
    }
}

#[derive(Default)]
pub(super) struct Audience {
    pub(super) welcomed: Vec<Subscriber>,
    pub(super) new: Vec<Subscriber>,
    /// The view they were told last.
    pub(super) told: Option<Arc<View>>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MembershipPort {
    /// A port nobody stands behind yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the actor is found; for messages that have no method here.
    #[must_use]
    pub fn slot(&self) -> &Slot<MembershipMessage> {
        &self.slot
    }

    /// What the links report. Never lost: a restarting actor finds the live sessions.
    pub fn link(&self, event: LinkEvent) {
        // Noted and cast under one lock, so that both orders are the same.
        let mut sessions = locked(&self.sessions);
        match &event {
            LinkEvent::Up(peer) => {
                sessions.insert(peer.process, *peer);
            }
            LinkEvent::Down(peer) => {
                if sessions.get(&peer.process) == Some(peer) {
                    sessions.remove(&peer.process);
                }
            }
            LinkEvent::Refused { .. } | LinkEvent::OwnId(_) => {}
        }
        // Without an actor the table is enough.
        let _ = self.slot.cast(MembershipMessage::Link(event));
    }

    /// A frame of the membership channel. Dropped while the actor is being restarted: senders
    /// repeat what matters.
    pub fn inbound(&self, inbound: Inbound) {
        let _ = self.slot.cast(MembershipMessage::Inbound(inbound));
    }

    /// Another concern's gateway refused a message of that peer as stale: membership sends it the
    /// newest view.
    pub fn stale_peer(&self, process: ProcessId) {
        let _ = self.slot.cast(MembershipMessage::StalePeer(process));
    }

    /// Another concern's gateway saw a newer term from that peer: membership asks for its view.
    pub fn newer_peer(&self, process: ProcessId) {
        let _ = self.slot.cast(MembershipMessage::NewerPeer(process));
    }

    /// These processes are barred for ever: not heard, and not admitted.
    pub fn bar(&self, processes: impl IntoIterator<Item = ProcessId>) {
        self.barred.add(processes);
        // Without an actor the set is enough.
        let _ = self.slot.cast(MembershipMessage::Barred);
    }

    /// Which are.
    #[must_use]
    pub fn barred(&self) -> &Barred {
        &self.barred
    }

    /// Subscribes, before the actor runs or later; the current state comes first.
    pub fn subscribe(&self, subscriber: Subscriber) {
        locked(&self.audience).new.push(subscriber);
        let _ = self.slot.cast(MembershipMessage::Welcome);
    }

    pub(super) fn sessions(&self) -> Vec<Peer> {
        locked(&self.sessions).values().copied().collect()
    }
}
