//! The core without time, for model checking: a timer rings because somebody wants it to, and what
//! is remembered of when things happened makes no difference between two states.

use std::time::Duration;

use lampyrid_wire::{EntityId, OwnershipEpoch};
use uuid::Uuid;

use super::Core;
use super::flight::Backoff;
use super::ids::Ids;
use super::io::{Input, Step};
use super::timers::Timer;
use crate::pace::Peers;
use crate::{Audit, PartId};

/// The moment at which all steps of a timeless core happen.
pub const TIMELESS: Duration = Duration::from_secs(3_600);

/// When timers are set that nobody lets ring.
const LATER: Duration = Duration::from_secs(3_601);

/// The identifier that a core mints first from that seed.
#[must_use]
pub fn minted(seed: [u8; 32]) -> Uuid {
    Ids::new(seed).uuid()
}

impl Core {
    /// Parts that are not over.
    #[must_use]
    pub fn open_parts(&self) -> Vec<PartId> {
        self.flights.keys().copied().collect()
    }

    /// Stagings whose source can be asked now.
    #[must_use]
    pub fn open_stagings(&self) -> Vec<PartId> {
        let due = self.doubting.iter().filter(|(_, doubting)| doubting.due.is_some());
        due.map(|(part, _)| *part).collect()
    }

    /// The timer of a part rings: to repeat what was sent, or because it is late for good.
    pub fn ring_part(&mut self, part: PartId, late: bool, out: &mut Step) {
        if let Some(flight) = self.flights.get_mut(&part).filter(|_| late) {
            flight.began = Duration::ZERO;
            flight.sent = Some(Duration::ZERO);
        }
        self.timers.set(Timer::Part(part), Some(TIMELESS));
        self.step(TIMELESS, Input::Wake, out);
    }

    /// The timer of a staging rings.
    pub fn ring_staging(&mut self, part: PartId, out: &mut Step) {
        if let Some(doubting) = self.doubting.get_mut(&part) {
            doubting.due = Some(TIMELESS);
            self.timers.set(Timer::Staging(part), Some(TIMELESS));
        }
        self.step(TIMELESS, Input::Wake, out);
    }

    /// Everything that is over has been so for long enough to be forgotten.
    pub fn ring_retention(&mut self, out: &mut Step) {
        self.kept_sagas.since(Duration::ZERO);
        self.kept_activations.iter_mut().for_each(|kept| kept.0 = Duration::ZERO);
        self.step(TIMELESS, Input::Wake, out);
    }

    /// From here on identifiers follow from that seed.
    pub fn mint_from(&mut self, seed: [u8; 32]) {
        self.ids.reseed(seed);
    }

    /// Forgets when everything was, and what was counted.
    pub fn forget_time(&mut self) {
        for flight in self.flights.values_mut() {
            flight.forget_time(TIMELESS, self.config.limits.phase);
        }
        for doubting in self.doubting.values_mut() {
            doubting.due = doubting.due.map(|_| LATER);
            doubting.backoff = Backoff::default();
        }
        for saga in self.sagas.values_mut() {
            saga.began = None;
            saga.finished.clear();
        }
        let timers: Vec<Timer> = self.timers.all().copied().collect();
        for timer in timers {
            self.timers.set(timer, Some(LATER));
        }
        self.kept_sagas.since(TIMELESS);
        self.kept_activations.iter_mut().for_each(|kept| kept.0 = TIMELESS);
        self.peers = Peers::new(self.config.limits.time_limits, self.config.limits.phase);
        self.counts = Audit::default();
    }

    /// What a flawed core knows beside its rows.
    #[must_use]
    pub fn residue(&self) -> (Vec<(EntityId, OwnershipEpoch)>, u64) {
        let seen = self.seen.iter().map(|(id, epoch)| (*id, *epoch)).collect();
        (seen, self.ids.counted())
    }
}
