use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lampyrid_wire::ProcessId;

use crate::RegistryWire;

/// Things counted beside messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter {
    /// A timer of one of the three actors rang.
    Alarms,
    /// A frame was no message, or not its sender's.
    Malformed,
    /// A message from an older view was refused.
    Stale,
    /// A message from a newer view was kept for later.
    Held,
    /// A kept message gave way to a newer one.
    HeldOverflow,
    /// An update came a second time.
    Duplicate,
    /// An update older than the newest seen came and was refused.
    Reordered,
    /// An update was missing before a newer one.
    Gap,
    /// An update came more than a second after it was sent, by the two wall clocks.
    Late,
    /// A peer's wall clock was beyond the tolerance.
    Skew,
    /// A broadcast was made.
    Broadcasts,
    /// A frame could not be handed to the links.
    SendFailed,
}

/// Counters of the registry, the coordinator and the broadcaster of one process. An idle cluster
/// shows no growth in any of them.
#[derive(Debug, Default)]
pub struct Counters {
    sent: [AtomicU64; RegistryWire::KINDS],
    sent_bytes: [AtomicU64; RegistryWire::KINDS],
    received: [AtomicU64; RegistryWire::KINDS],
    received_bytes: [AtomicU64; RegistryWire::KINDS],
    others: [AtomicU64; Self::NAMES.len()],
    skews: Mutex<BTreeMap<ProcessId, i64>>,
}

impl Counters {
    /// The names of [`Counter`]'s variants, in their order.
    pub const NAMES: [&'static str; 12] = [
        "alarms",
        "malformed",
        "stale",
        "held",
        "held_overflow",
        "duplicate",
        "reordered",
        "gap",
        "late",
        "skew",
        "broadcasts",
        "send_failed",
    ];

    /// Adds one.
    pub fn count(&self, counter: Counter) {
        self.others[counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it happened.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.others[counter as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self, kind: usize, bytes: usize) {
        self.sent[kind].fetch_add(1, Ordering::Relaxed);
        self.sent_bytes[kind].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, kind: usize, bytes: usize) {
        self.received[kind].fetch_add(1, Ordering::Relaxed);
        self.received_bytes[kind].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Per kind of message between processes: its name, messages and bytes sent, messages and
    /// bytes received. What a process sends to itself is not in it.
    #[must_use]
    pub fn traffic(&self) -> Vec<(&'static str, [u64; 4])> {
        let columns = [&self.sent, &self.sent_bytes, &self.received, &self.received_bytes];
        let row = |kind: usize| columns.map(|column| column[kind].load(Ordering::Relaxed));
        RegistryWire::NAMES.iter().enumerate().map(|(kind, &name)| (name, row(kind))).collect()
    }

    /// Notes by how many milliseconds each peer's wall clock was last seen ahead of ours.
    pub fn set_skews(&self, skews: BTreeMap<ProcessId, i64>) {
        *self.skews.lock().unwrap_or_else(PoisonError::into_inner) = skews;
    }

    /// By how many milliseconds each peer's wall clock was last seen ahead of ours (negative:
    /// behind, or its message was long under way).
    #[must_use]
    pub fn skews(&self) -> BTreeMap<ProcessId, i64> {
        self.skews.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The counters beside messages: name and value.
    #[must_use]
    pub fn others(&self) -> Vec<(&'static str, u64)> {
        let values = self.others.iter().map(|value| value.load(Ordering::Relaxed));
        Self::NAMES.into_iter().zip(values).collect()
    }
}
