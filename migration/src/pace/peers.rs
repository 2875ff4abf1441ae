use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lampyrid_wire::ProcessId;

use super::{PhaseLimit, TimeLimits};
use crate::{Attempt, Phase};

/// Expired attempts of one peer whose answers still count if they come; older ones are forgotten.
const LATE_MAX: usize = 256;

/// The time limits of all peers. What is kept of one is bounded, and those that left the view are
/// forgotten.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    rule: TimeLimits,
    fixed: Duration,
    known: BTreeMap<ProcessId, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    stage: PhaseLimit,
    activate: PhaseLimit,
    /// Attempts to stage that were given up, and when they were sent.
    late: VecDeque<(Attempt, Duration)>,
    /// When the last answer came.
    heard: Option<Duration>,
}

impl Known {
    fn phase(&self, phase: Phase) -> &PhaseLimit {
        match phase {
            Phase::Activate => &self.activate,
            Phase::Prepare | Phase::Stage => &self.stage,
        }
    }

    fn phase_mut(&mut self, phase: Phase) -> &mut PhaseLimit {
        match phase {
            Phase::Activate => &mut self.activate,
            Phase::Prepare | Phase::Stage => &mut self.stage,
        }
    }
}

impl Peers {
    pub(crate) fn new(rule: TimeLimits, fixed: Duration) -> Self {
        Self { rule, fixed, known: BTreeMap::new() }
    }

    /// Forgets whoever is not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(&ProcessId) -> bool) {
        self.known.retain(|peer, _| keep(peer));
    }

    /// How long what is sent now may take.
    pub(crate) fn limit(&self, peer: ProcessId, phase: Phase) -> Duration {
        let known = self.known.get(&peer);
        known.map_or_else(|| self.unknown().limit(), |known| known.phase(phase).limit())
    }

    /// When to repeat it for the first time; see [`PhaseLimit::repeat_after`].
    pub(crate) fn repeat_after(
        &self,
        peer: ProcessId,
        phase: Phase,
        first: Duration,
        last: Duration,
    ) -> Duration {
        let known = self.known.get(&peer);
        known.map_or(first, |known| known.phase(phase).repeat_after(first, last))
    }

    /// True from when a limit to stage expired there until an answer comes.
    pub(crate) fn is_doubted(&self, peer: ProcessId) -> bool {
        self.known.get(&peer).is_some_and(|known| known.stage.is_doubted())
    }

    /// True if it has answered anything since.
    pub(crate) fn was_heard_since(&self, peer: ProcessId, since: Duration) -> bool {
        self.known.get(&peer).is_some_and(|known| known.heard.is_some_and(|at| at >= since))
    }

    pub(crate) fn answered(
        &mut self,
        peer: ProcessId,
        phase: Phase,
        took: Duration,
        now: Duration,
    ) {
        let known = self.entry(peer);
        known.heard = Some(now);
        known.phase_mut(phase).answered(took);
    }

    /// An answer to something that is over: counted if it is one to an attempt that expired.
    pub(crate) fn answered_late(&mut self, peer: ProcessId, attempt: Attempt, now: Duration) {
        let Some(known) = self.known.get_mut(&peer) else { return };
        let found = known.late.iter().position(|(expired, _)| *expired == attempt);
        if let Some((_, sent)) = found.and_then(|n| known.late.remove(n)) {
            known.heard = Some(now);
            known.stage.answered(now - sent);
        }
    }

    /// The limit of a phase has passed; `attempts` are those that nothing will wait for any more.
    pub(crate) fn expired(
        &mut self,
        peer: ProcessId,
        phase: Phase,
        (sent, now): (Duration, Duration),
        attempts: impl Iterator<Item = (Attempt, Duration)>,
    ) {
        let known = self.entry(peer);
        known.phase_mut(phase).expired(sent, now);
        known.late.extend(attempts);
        let over = known.late.len().saturating_sub(LATE_MAX);
        known.late.drain(..over);
    }

    fn unknown(&self) -> PhaseLimit {
        PhaseLimit::new(self.rule, self.fixed)
    }

    fn entry(&mut self, peer: ProcessId) -> &mut Known {
        let unknown = self.unknown();
        self.known.entry(peer).or_insert_with(|| Known {
            stage: unknown.clone(),
            activate: unknown,
            late: VecDeque::new(),
            heard: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::SagaId;

    use super::*;
    use crate::PartId;

    const PEER: ProcessId = ProcessId::from_u128(2);

    fn attempt(number: u32) -> Attempt {
        let part = PartId { source: ProcessId::from_u128(1), saga: SagaId::from_u128(1), part: 0 };
        Attempt { part, number }
    }

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn known() -> Peers {
        let mut peers = Peers::new(TimeLimits::Adaptive, millis(1_000));
        (0..20).for_each(|n| peers.answered(PEER, Phase::Stage, millis(5), millis(n * 10)));
        peers
    }

    #[test]
    fn a_late_answer_counts_once_and_raises_the_limit_above_it() {
        let mut peers = known();
        assert_eq!(peers.limit(PEER, Phase::Stage), millis(100));
        assert_eq!(peers.limit(PEER, Phase::Activate), millis(1_000), "each phase for itself");
        let sent = millis(1_000);
        peers.expired(PEER, Phase::Stage, (sent, millis(1_100)), [(attempt(7), sent)].into_iter());
        assert_eq!(peers.limit(PEER, Phase::Stage), millis(200));
        assert!(peers.is_doubted(PEER) && !peers.was_heard_since(PEER, sent));
        peers.answered_late(PEER, attempt(8), millis(1_300));
        assert!(peers.is_doubted(PEER), "of another attempt");
        peers.answered_late(PEER, attempt(7), millis(1_600));
        assert!(!peers.is_doubted(PEER) && peers.was_heard_since(PEER, sent));
        let limit = peers.limit(PEER, Phase::Stage);
        assert!(limit > millis(600), "{limit:?}");
        peers.answered_late(PEER, attempt(7), millis(9_000));
        assert_eq!(peers.limit(PEER, Phase::Stage), limit);
    }

    #[test]
    fn what_is_kept_of_a_peer_is_bounded_and_goes_with_it() {
        let mut peers = known();
        for n in 0..10_000 {
            let sent = millis(u64::from(n));
            peers.expired(PEER, Phase::Stage, (sent, sent), [(attempt(n), sent)].into_iter());
        }
        assert_eq!(peers.known[&PEER].late.len(), LATE_MAX);
        peers.retain(|peer| *peer != PEER);
        assert_eq!(peers.limit(PEER, Phase::Stage), millis(1_000));
        assert!(peers.known.is_empty());
    }
}
