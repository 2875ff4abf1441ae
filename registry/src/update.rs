use std::collections::BTreeMap;
use std::sync::Arc;

use lampyrid_wire::{ProcessId, Term};
use serde::{Deserialize, Serialize};

use crate::{Entry, Version};

/// The entries of one part of an update are kept below this many encoded bytes (a single larger
/// entry, at most about 150 KiB, travels alone), so that a frame never nears the frame limit.
pub const PART_BYTES: usize = 192 * 1024;

/// The most parts of one update that are taken.
pub const MAX_PARTS: u16 = 1_024;

/// The registry, or what changed in it, as the coordinator broadcasts it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TopologyUpdate {
    /// The coordinator's view. Along the rings the envelope is the forwarder's.
    pub term: Term,
    /// Its number within the term.
    pub sequence: u64,
    /// Who made it.
    pub coordinator: ProcessId,
    /// `None`: full, every entry is here. Else a delta: every entry that changed after this version
    /// is here, so it fits any state from there on.
    pub base: Option<Version>,
    /// Which part this is, from 0.
    pub part: u16,
    /// How many parts there are, at least 1.
    pub parts: u16,
    /// The entries.
    pub entries: BTreeMap<ProcessId, Arc<Entry>>,
    /// Wall time at the sender, milliseconds since the Unix epoch; for reports only.
    pub sent_at: i64,
}

impl TopologyUpdate {
    /// The state it leads to.
    #[must_use]
    pub fn version(&self) -> Version {
        Version { epoch: self.term.epoch, sequence: self.sequence }
    }

    /// Cuts a whole update into parts of at most about [`PART_BYTES`].
    #[must_use]
    pub fn split(mut self) -> Vec<Self> {
        let mut heaps: Vec<BTreeMap<ProcessId, Arc<Entry>>> = vec![BTreeMap::new()];
        let mut bytes = 0;
        for (process, entry) in std::mem::take(&mut self.entries) {
            let more = entry.encoded_bytes();
            if bytes > 0 && bytes + more > PART_BYTES {
                heaps.push(BTreeMap::new());
                bytes = 0;
            }
            bytes += more;
            if let Some(heap) = heaps.last_mut() {
                heap.insert(process, entry);
            }
        }
        let parts = u16::try_from(heaps.len()).unwrap_or(u16::MAX);
        (0..parts)
            .zip(heaps)
            .map(|(part, entries)| Self { part, parts, entries, ..self.clone() })
            .collect()
    }
}

/// Puts the parts of the newest update together. Parts of an older one are given up: the newer
/// state is worth more, and the coordinator repeats what was not stored.
#[derive(Debug, Clone, Default)]
pub struct Assembly {
    parts: BTreeMap<u16, TopologyUpdate>,
}

impl Assembly {
    /// Adds a part; gives the whole update (as one part) when it is complete. A part that belongs
    /// to another update than those before replaces them, unless it is older.
    pub fn add(&mut self, update: TopologyUpdate) -> Option<TopologyUpdate> {
        if update.parts == 0 || update.part >= update.parts || update.parts > MAX_PARTS {
            return None;
        }
        if let Some((_, first)) = self.parts.first_key_value() {
            if update.version() < first.version() {
                return None;
            }
            let name = |u: &TopologyUpdate| (u.version(), u.base, u.parts);
            if name(first) != name(&update) {
                self.parts.clear();
            }
        }
        let parts = usize::from(update.parts);
        self.parts.insert(update.part, update);
        if self.parts.len() < parts {
            return None;
        }
        let mut all = std::mem::take(&mut self.parts).into_values();
        let mut whole = all.next()?;
        whole.entries.extend(all.flat_map(|part| part.entries));
        (whole.part, whole.parts) = (0, 1);
        Some(whole)
    }

    /// Forgets what came so far.
    pub fn clear(&mut self) {
        self.parts.clear();
    }
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::{BubbleId, ClusterId, Epoch, Incarnation, ViewId};

    use super::*;

    fn update(sequence: u64, processes: u128, bubbles: u128) -> TopologyUpdate {
        let since = Version { epoch: Epoch(u64::MAX), sequence: u64::MAX };
        let entry = |process: u128| Entry {
            incarnation: Incarnation(u64::MAX),
            request: u64::MAX,
            bubbles: Some(
                (0..bubbles).map(|b| (BubbleId::from_u128(process << 64 | b), since)).collect(),
            ),
            claimed: BTreeMap::new(),
        };
        TopologyUpdate {
            term: Term {
                cluster: ClusterId::from_u128(1),
                epoch: Epoch(u64::MAX),
                view: ViewId([255; 32]),
            },
            sequence,
            coordinator: ProcessId::from_u128(1),
            base: Some(since),
            part: 0,
            parts: 1,
            entries: (1..=processes)
                .map(|p| (ProcessId::from_u128(p), Arc::new(entry(p))))
                .collect(),
            sent_at: i64::MIN,
        }
    }

    #[test]
    fn a_large_update_travels_in_parts_that_fit_a_frame_and_comes_together_in_any_order() {
        let whole = update(7, 20, crate::MAX_BUBBLES as u128);
        let mut parts = whole.clone().split();
        assert!(parts.len() > 5);
        for part in &parts {
            let bytes = lampyrid_wire::encode(part).unwrap().len();
            assert!(bytes < lampyrid_wire::MAX_FRAME_BYTES / 4, "{bytes}");
        }
        parts.reverse();
        let mut assembly = Assembly::default();
        let last = parts.pop().unwrap();
        for part in parts {
            assert_eq!(assembly.add(part.clone()), None);
            assert_eq!(assembly.add(part), None, "a repeated part changes nothing");
        }
        assert_eq!(assembly.add(last), Some(whole));
    }

    #[test]
    fn a_newer_update_displaces_the_parts_of_an_older_one() {
        let mut old = update(1, 20, 4_096).split();
        let mut assembly = Assembly::default();
        let late = old.pop().unwrap();
        for part in old {
            assembly.add(part);
        }
        let new = update(2, 1, 1);
        assert_eq!(assembly.add(new.clone()), Some(new));
        assert_eq!(assembly.add(late), None);
    }

    #[test]
    fn malformed_part_numbers_are_ignored() {
        let mut assembly = Assembly::default();
        for (part, parts) in [(0, 0), (1, 1), (0, MAX_PARTS + 1)] {
            assert_eq!(assembly.add(TopologyUpdate { part, parts, ..update(1, 1, 1) }), None);
        }
    }
}
