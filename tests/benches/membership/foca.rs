use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use foca::{
    AccumulatingRuntime, Config, Foca, Member, NoCustomBroadcast, OwnedNotification, PostcardCodec,
    Timer,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::engine::{Effects, Process};
use crate::identity::Id;

/// How often a joiner whose announcement nobody has answered announces itself again.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(1);

/// Where a process starts from.
pub(crate) enum Beginning {
    /// It knows nobody and waits for others.
    Seed,
    /// It knows the seed.
    Joiner {
        /// The seed's place.
        seed: usize,
    },
    /// It knows everybody of a cluster that stands.
    Member,
}

/// What a foca process is woken for.
pub(crate) enum FocaTimer {
    /// foca's own.
    Own(Timer<Id>),
    /// Announce again, unless it has joined.
    Announce,
}

/// foca 2.0 (SWIM with suspicion and gossip), as its own example drives it, with the settings its
/// authors advise for a local network of that size.
pub(crate) struct FocaProcess {
    foca: Foca<Id, PostcardCodec, StdRng, NoCustomBroadcast>,
    runtime: AccumulatingRuntime<Id>,
    beginning: Beginning,
    places: usize,
    /// What foca refused to handle.
    pub(crate) errors: u64,
}

impl FocaProcess {
    /// The process at `place` of a cluster of `places`.
    pub(crate) fn new(seed: u64, places: usize, place: usize, beginning: Beginning) -> Self {
        let size = u32::try_from(places).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let chance =
            StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9).wrapping_add(place as u64));
        Self {
            foca: Foca::new(Id::of(place), Config::new_lan(size), chance, PostcardCodec),
            runtime: AccumulatingRuntime::new(),
            beginning,
            places,
            errors: 0,
        }
    }

    fn announce(&mut self, out: &mut Effects<FocaTimer>) {
        if let Beginning::Joiner { seed } = self.beginning
            && self.foca.num_members() == 0
        {
            let done = self.foca.announce(Id::of(seed), &mut self.runtime);
            self.after(done, out);
            out.timers.push((ANNOUNCE_AGAIN, FocaTimer::Announce));
        }
    }

    /// Does what foca asked for; all changes of one step count as one, as for a host that reads
    /// the list after each.
    fn after(&mut self, done: Result<(), foca::Error>, out: &mut Effects<FocaTimer>) {
        self.errors += u64::from(done.is_err());
        while let Some((to, payload)) = self.runtime.to_send() {
            out.sends.push((to.place(), payload));
        }
        while let Some((delay, timer)) = self.runtime.to_schedule() {
            out.timers.push((delay, FocaTimer::Own(timer)));
        }
        while let Some(told) = self.runtime.to_notify() {
            match told {
                OwnedNotification::MemberUp(id) => out.changes.push((id.place(), true)),
                OwnedNotification::MemberDown(id) => out.changes.push((id.place(), false)),
                // A new life of the same place, or news of itself: its list of places is the same.
                _ => {}
            }
        }
    }
}

impl Process for FocaProcess {
    type Timer = FocaTimer;

    fn start(&mut self, _: Duration, out: &mut Effects<FocaTimer>) {
        if let Beginning::Member = self.beginning {
            let me = *self.foca.identity();
            let others = (0..self.places).map(Id::of).filter(|id| *id != me).map(Member::alive);
            let done = self.foca.apply_many(others, false, &mut self.runtime);
            self.after(done, out);
        }
        self.announce(out);
    }

    fn receive(&mut self, _: Duration, _: usize, payload: &Bytes, out: &mut Effects<FocaTimer>) {
        let done = self.foca.handle_data(payload, &mut self.runtime);
        self.after(done, out);
    }

    fn wake(&mut self, _: Duration, timer: FocaTimer, out: &mut Effects<FocaTimer>) {
        match timer {
            FocaTimer::Own(timer) => {
                let done = self.foca.handle_timer(timer, &mut self.runtime);
                self.after(done, out);
            }
            FocaTimer::Announce => self.announce(out),
        }
    }
}
