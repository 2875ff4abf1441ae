use std::collections::BTreeMap;
use std::time::Duration;

use lampyrid_wire::{BootNonce, Peer, ProcessId};

use crate::View;
use crate::limits::{FLAP_PAUSE, FLAP_PAUSE_LAST, FLAP_SPAN, MAX_MEMBERS};

/// Who is removed soon after it was admitted, again and again, is let in ever more slowly: a member
/// behind a link that loses most messages would otherwise cost two views every few seconds. Who
/// has started again since is another matter, and is not held up.
#[derive(Debug, Default)]
pub(super) struct Flapping {
    /// When members were admitted that have come since this process looks.
    admitted: BTreeMap<ProcessId, Duration>,
    /// How often in a row somebody stayed for less than [`FLAP_SPAN`], and when it went last.
    removed: BTreeMap<ProcessId, (u32, Duration)>,
    /// The start of each process that asked here last.
    starts: BTreeMap<ProcessId, BootNonce>,
}

impl Flapping {
    /// One view follows another.
    pub(super) fn note(&mut self, now: Duration, before: Option<&View>, view: &View) {
        let Some(before) = before else { return };
        for member in view.members() {
            if before.member(member.process) != Some(member) {
                self.admitted.insert(member.process, now);
            }
        }
        for member in before.members() {
            if view.index_of(member.process).is_some() {
                continue;
            }
            let short = self
                .admitted
                .remove(&member.process)
                .is_some_and(|since| now.saturating_sub(since) < FLAP_SPAN);
            let flaps = self.removed.get(&member.process).map_or(0, |(flaps, _)| *flaps);
            let flaps = if short { flaps.saturating_add(1) } else { 0 };
            self.removed.insert(member.process, (flaps, now));
        }
        self.admitted.retain(|&process, _| view.index_of(process).is_some());
        if self.removed.len() > MAX_MEMBERS {
            let recent = now.saturating_sub(2 * FLAP_PAUSE_LAST);
            self.removed.retain(|_, (_, at)| *at >= recent);
        }
    }

    /// A process asks to be let in.
    pub(super) fn asks(&mut self, peer: Peer) {
        if self.starts.len() >= MAX_MEMBERS {
            let removed = &self.removed;
            self.starts.retain(|process, _| removed.contains_key(process));
        }
        if self.starts.insert(peer.process, peer.nonce) != Some(peer.nonce) {
            self.removed.remove(&peer.process);
        }
    }

    /// From when on a process may be let in.
    pub(super) fn may_return(&self, process: ProcessId) -> Duration {
        match self.removed.get(&process) {
            Some(&(flaps, at)) if flaps > 0 => {
                let pause = FLAP_PAUSE.saturating_mul(1 << (flaps - 1).min(16));
                at + pause.min(FLAP_PAUSE_LAST)
            }
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::{ClusterId, Incarnation, Member};

    use super::*;

    fn member(process: u128, incarnation: u64) -> Member {
        Member {
            process: ProcessId::from_u128(process),
            incarnation: Incarnation(incarnation),
            name: String::new(),
            address: "127.0.0.1:1".parse().unwrap(),
            admin: None,
        }
    }

    fn start(nonce: u64) -> Peer {
        Peer {
            process: ProcessId::from_u128(2),
            incarnation: Incarnation(1),
            nonce: BootNonce(nonce),
        }
    }

    #[test]
    fn who_comes_and_goes_is_let_in_ever_more_slowly_and_who_stays_is_not_held_up() {
        let mut view = View::first(ClusterId::from_u128(5), "c", member(1, 1));
        let mut flapping = Flapping::default();
        let two = ProcessId::from_u128(2);
        let mut now = Duration::from_secs(100);
        let mut go = |flapping: &mut Flapping, members: Vec<Member>, now| {
            let next = view.successor(members).unwrap();
            flapping.note(now, Some(&view), &next);
            view = next;
        };
        for flaps in 0..4_u32 {
            go(&mut flapping, vec![member(1, 1), member(2, flaps.into())], now);
            now += FLAP_SPAN / 2;
            go(&mut flapping, vec![member(1, 1)], now);
            flapping.asks(start(1));
            // Of the first time it is not known which start it was.
            let held = flaps.checked_sub(1).map(|held| now + FLAP_PAUSE * (1 << held));
            assert_eq!(flapping.may_return(two), held.unwrap_or_default());
        }
        flapping.asks(start(2));
        assert_eq!(flapping.may_return(two), Duration::ZERO, "it has started again");
        go(&mut flapping, vec![member(1, 1), member(2, 9)], now);
        now += FLAP_SPAN;
        go(&mut flapping, vec![member(1, 1)], now);
        assert_eq!(flapping.may_return(two), Duration::ZERO);
    }
}
