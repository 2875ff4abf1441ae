use std::collections::{BTreeMap, BTreeSet};

use lampyrid_wire::{BubbleId, Incarnation, ProcessId};

use crate::{Entry, Registration, Version};

/// What this process asks to host, and how far that has come. It outlives the actor.
///
/// A bubble that is given up loses its "held since" at once, not when the coordinator hears of it.
/// So among what all members report to a new coordinator no bubble is held twice, although the
/// coordinator before may have given it to somebody else meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnRegistration {
    incarnation: Incarnation,
    request: u64,
    wanted: Option<BTreeMap<BubbleId, Option<Version>>>,
    /// Not yet known to be stored by a quorum.
    open: bool,
    /// The last gathering that was answered: what was broadcast before it is refused since.
    answered: Option<Version>,
    /// The first bubble of the open request that another process hosts.
    lost: Option<(BubbleId, ProcessId)>,
}

impl OwnRegistration {
    /// What a process asks for as soon as it is a member.
    #[must_use]
    pub fn initial(bubbles: BTreeSet<BubbleId>) -> Self {
        let mut own = Self::default();
        own.ask(Some(bubbles));
        own
    }

    /// The number of its newest request; 0 before the first.
    #[must_use]
    pub fn request(&self) -> u64 {
        self.request
    }

    /// True while a request is not known to be stored by a quorum.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The bubbles it asks for.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = BubbleId> {
        self.wanted.iter().flatten().map(|(&bubble, _)| bubble)
    }

    /// True if it asks for exactly these.
    pub(crate) fn is(&self, bubbles: Option<&BTreeSet<BubbleId>>) -> bool {
        match (&self.wanted, bubbles) {
            (Some(wanted), Some(bubbles)) => wanted.keys().eq(bubbles),
            (None, None) => true,
            _ => false,
        }
    }

    /// Asks for another set.
    pub(crate) fn ask(&mut self, bubbles: Option<BTreeSet<BubbleId>>) {
        let before = self.wanted.take().unwrap_or_default();
        let since = |bubble: &BubbleId| before.get(bubble).copied().flatten();
        self.wanted =
            bubbles.map(|set| set.into_iter().map(|bubble| (bubble, since(&bubble))).collect());
        self.renew();
    }

    /// Asks whether the request still stands.
    pub(crate) fn reopen(&mut self) {
        self.open = true;
    }

    /// True if nothing of `version` was overtaken by a gathering that this process answered.
    /// Whoever gathers counts on the answer; an older broadcast must not change it afterwards.
    pub(crate) fn admits(&self, version: Version) -> bool {
        Some(version) >= self.answered
    }

    /// Notes that the gathering was answered.
    pub(crate) fn answer(&mut self, gathering: Version) {
        self.answered = self.answered.max(Some(gathering));
    }

    /// Notes the life that this process lives. A new one holds nothing and asks again.
    pub(crate) fn live(&mut self, incarnation: Incarnation) {
        if self.incarnation == incarnation {
            return;
        }
        self.incarnation = incarnation;
        self.wanted.iter_mut().flatten().for_each(|(_, since)| *since = None);
        if self.request > 0 {
            self.renew();
        }
    }

    fn renew(&mut self) {
        self.request += 1;
        self.open = true;
        self.lost = None;
    }

    /// What to tell the coordinator.
    pub(crate) fn registration(&self) -> Registration {
        Registration { request: self.request, bubbles: self.wanted.clone() }
    }

    /// Takes note of this process's own line in a broadcast; gives the bubbles that are now known
    /// to be another's.
    pub(crate) fn learn(&mut self, entry: &Entry) -> Vec<(BubbleId, ProcessId)> {
        let Some(wanted) = &mut self.wanted else { return Vec::new() };
        if entry.incarnation != self.incarnation || entry.request != self.request {
            return Vec::new();
        }
        for (bubble, &since) in entry.bubbles.iter().flatten() {
            wanted.entry(*bubble).and_modify(|held| *held = Some(since));
        }
        let lost: Vec<(BubbleId, ProcessId)> = entry
            .claimed
            .iter()
            .filter(|(bubble, _)| wanted.remove(bubble).is_some())
            .map(|(&bubble, &by)| (bubble, by))
            .collect();
        self.lost = self.lost.or(lost.first().copied());
        lost
    }

    /// The open request is stored by a quorum; gives the first bubble of it that was lost.
    pub(crate) fn close(&mut self) -> Option<(BubbleId, ProcessId)> {
        self.open = false;
        self.lost.take()
    }
}
