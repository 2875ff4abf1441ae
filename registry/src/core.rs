mod own;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use lampyrid_membership::{Isolated, Status};
use lampyrid_wire::{BubbleId, ProcessId, Term};

pub use own::OwnRegistration;

use crate::{
    Assembly, Backoff, Fence, Held, Letter, RegistryError, RegistryWire, Replica, Standing,
    TopologyUpdate, Version, first_invalid,
};

/// The first pause before a registration is sent again; it doubles up to [`RESEND_MAX`].
const RESEND_FIRST: Duration = Duration::from_millis(200);
/// The longest pause between two sendings.
const RESEND_MAX: Duration = Duration::from_secs(1);

/// What happens to the registry of one process.
#[derive(Debug, Clone)]
pub enum RegistryInput {
    /// The view or the status changed.
    View(Standing),
    /// A caller replaces this process's set (`None`: unregisters).
    Register {
        /// Names the caller in [`RegistryOutput::Answer`].
        token: u64,
        /// The new set.
        bubbles: Option<BTreeSet<BubbleId>>,
        /// One of the bubbles that [`RegistryCore::releases`] named and that has entities.
        occupied: Option<BubbleId>,
        /// False if membership gives no leave to act now.
        permitted: bool,
        /// How long the caller waits.
        limit: Duration,
    },
    /// A session with a process came up: what was sent to it before may not have left.
    Reachable(ProcessId),
    /// A message from a process (itself included).
    Letter(Letter),
    /// The time that [`RegistryCore::deadline`] named has come.
    Wake,
}

/// What the shell is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryOutput {
    /// Publish the replica and what is to survive a restart of the actor.
    Install(Replica, OwnRegistration),
    /// Send to a process.
    Send(ProcessId, Term, RegistryWire),
    /// Answer a caller.
    Answer(u64, Result<(), RegistryError>),
    /// A bubble asked for here is hosted by another process.
    Claimed(BubbleId, ProcessId),
    /// A process is in a newer view.
    NewerView(ProcessId, Term),
    /// A message was refused as stale.
    Refused,
    /// A message from a newer view is kept; true if another gave way to it.
    Kept(bool),
}

#[derive(Debug, Clone)]
struct Call {
    token: u64,
    until: Duration,
}

/// One process's side of the registry: its own registration, and its copy of everybody's.
#[derive(Debug, Clone)]
pub struct RegistryCore {
    standing: Standing,
    replica: Replica,
    own: OwnRegistration,
    call: Option<Call>,
    /// The broadcast that the present coordinator saw stored by a quorum, for the open request.
    confirmed: Option<Version>,
    resend: Option<Backoff>,
    assembly: Assembly,
    held: Held,
}

impl RegistryCore {
    /// The core of a process that stands as `standing` and goes on from what it last published.
    #[must_use]
    pub fn new(
        now: Duration,
        standing: Standing,
        replica: Replica,
        own: OwnRegistration,
        out: &mut Vec<RegistryOutput>,
    ) -> Self {
        let mut core = Self {
            standing: standing.clone(),
            replica,
            own,
            call: None,
            confirmed: None,
            resend: None,
            assembly: Assembly::default(),
            held: Held::default(),
        };
        core.view(now, standing, out);
        core
    }

    /// When it wants [`RegistryInput::Wake`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let resend = self.resend.as_ref().map(Backoff::due);
        let until = self.call.as_ref().map(|call| call.until);
        resend.into_iter().chain(until).min()
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Its copy of the registry.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Its own registration.
    #[must_use]
    pub fn own(&self) -> &OwnRegistration {
        &self.own
    }

    /// The bubbles that a change to `bubbles` would give up: none of them may have entities.
    #[must_use]
    pub fn releases(&self, bubbles: Option<&BTreeSet<BubbleId>>) -> Vec<BubbleId> {
        let kept = |bubble: &BubbleId| bubbles.is_some_and(|set| set.contains(bubble));
        self.own.wanted().filter(|bubble| !kept(bubble)).collect()
    }

    /// Takes one input; appends what is to be done.
    pub fn step(&mut self, now: Duration, input: RegistryInput, out: &mut Vec<RegistryOutput>) {
        match input {
            RegistryInput::View(standing) => self.view(now, standing, out),
            RegistryInput::Register { token, bubbles, occupied, permitted, limit } => {
                let refusal = self.refusal(bubbles.as_ref(), occupied, permitted);
                match refusal {
                    Some(error) => out.push(RegistryOutput::Answer(token, Err(error))),
                    None => self.request(now, token, bubbles, limit, out),
                }
            }
            RegistryInput::Reachable(process) => self.reachable(now, process, out),
            RegistryInput::Letter(letter) => self.letter(now, letter, out),
            RegistryInput::Wake => {
                if let Some(call) = self.call.take_if(|call| call.until <= now) {
                    let isolated = self.standing.status == Status::Isolated;
                    let error = if isolated { Isolated.into() } else { RegistryError::Timeout };
                    out.push(RegistryOutput::Answer(call.token, Err(error)));
                }
            }
        }
        self.resend(now, out);
    }

    fn refusal(
        &self,
        bubbles: Option<&BTreeSet<BubbleId>>,
        occupied: Option<BubbleId>,
        permitted: bool,
    ) -> Option<RegistryError> {
        if let Some(error) = bubbles.and_then(|set| first_invalid(set.iter())) {
            return Some(error);
        }
        match self.standing.status {
            Status::Active if self.standing.member_of().is_some() && !permitted => {
                Some(Isolated.into())
            }
            Status::Active if self.standing.member_of().is_some() => {
                occupied.map(|bubble| RegistryError::BubbleNotEmpty { bubble })
            }
            Status::Isolated => Some(Isolated.into()),
            Status::Active | Status::Joining | Status::Left => Some(RegistryError::NotMember),
        }
    }

    fn request(
        &mut self,
        now: Duration,
        token: u64,
        bubbles: Option<BTreeSet<BubbleId>>,
        limit: Duration,
        out: &mut Vec<RegistryOutput>,
    ) {
        if let Some(earlier) = self.call.take() {
            out.push(RegistryOutput::Answer(earlier.token, Err(RegistryError::Superseded)));
        }
        // Order and repeats do not count: the same set again is no new request, only the question
        // whether the present view has stored it.
        if self.own.is(bubbles.as_ref()) && self.own.request() > 0 {
            self.own.reopen();
        } else {
            self.own.ask(bubbles);
        }
        self.publish(out);
        self.confirmed = None;
        self.call = Some(Call { token, until: now + limit });
        self.resend = None;
    }

    fn view(&mut self, now: Duration, standing: Standing, out: &mut Vec<RegistryOutput>) {
        if standing.precedes(&self.standing) {
            return;
        }
        let new_term = standing.term() != self.standing.term();
        self.standing = standing;
        self.own.live(self.standing.me.1);
        if let Some(view) = self.standing.view.clone() {
            self.replica.purge(&view);
        }
        self.publish(out);
        if new_term {
            // What another coordinator confirmed says nothing about this one's broadcasts.
            self.confirmed = None;
            self.assembly.clear();
        }
        self.resend = None;
        for letter in self.held.release() {
            self.letter(now, letter, out);
        }
        self.resend(now, out);
    }

    /// The coordinator came within reach: it is told again what it may not have heard, the open
    /// request and what is stored.
    fn reachable(&mut self, now: Duration, process: ProcessId, out: &mut Vec<RegistryOutput>) {
        let Some(view) = self.standing.member_of() else { return };
        if process != view.coordinator() || process == self.standing.me.0 {
            return;
        }
        if let Some(resend) = &mut self.resend {
            resend.hurry(now);
        }
        if let Some(version) = self.replica.version.filter(|it| it.epoch == view.epoch()) {
            let message = RegistryWire::Stored { version };
            out.push(RegistryOutput::Send(process, view.term(), message));
        }
    }

    fn letter(&mut self, now: Duration, letter: Letter, out: &mut Vec<RegistryOutput>) {
        let from = letter.from.process;
        if letter.message == RegistryWire::Stale {
            if self.standing.term().is_some_and(|term| letter.term.epoch > term.epoch) {
                out.push(RegistryOutput::NewerView(from, letter.term));
            }
            return;
        }
        match self.standing.fence((from, letter.from.incarnation), letter.term) {
            Fence::Current => self.current(now, letter, out),
            Fence::Newer => {
                out.push(RegistryOutput::NewerView(from, letter.term));
                out.push(RegistryOutput::Kept(self.held.keep(letter)));
            }
            Fence::Stale => {
                out.push(RegistryOutput::Refused);
                if let Some(term) = self.standing.term() {
                    out.push(RegistryOutput::Send(from, term, RegistryWire::Stale));
                }
            }
            Fence::Foreign => {}
        }
    }

    fn current(&mut self, now: Duration, letter: Letter, out: &mut Vec<RegistryOutput>) {
        let Some(view) = self.standing.member_of() else { return };
        let (coordinator, term) = (view.coordinator(), view.term());
        match letter.message {
            RegistryWire::Gather { round } if letter.from.process == coordinator => {
                let gathering = Version { epoch: term.epoch, sequence: round };
                if !self.own.admits(gathering) {
                    return;
                }
                self.own.answer(gathering);
                self.confirmed = self.confirmed.filter(|&version| self.own.admits(version));
                self.publish(out);
                let registration = self.own.registration();
                let answer = RegistryWire::Gathered { round, registration };
                out.push(RegistryOutput::Send(coordinator, term, answer));
            }
            RegistryWire::Registered { request, version }
                if letter.from.process == coordinator
                    && self.own.admits(version)
                    && self.own.is_open()
                    && request == self.own.request() =>
            {
                self.confirmed = Some(version);
                self.settle(out);
            }
            RegistryWire::Update(update)
                if update.coordinator == coordinator
                    && update.term == term
                    && self.own.admits(update.version()) =>
            {
                self.update(update, out);
            }
            // Not from the coordinator, or not for this actor.
            _ => {}
        }
        self.resend(now, out);
    }

    fn update(&mut self, update: TopologyUpdate, out: &mut Vec<RegistryOutput>) {
        let (coordinator, term) = (update.coordinator, update.term);
        if self.replica.version < Some(update.version()) {
            let Some(whole) = self.assembly.add(update) else { return };
            let version = whole.version();
            if self.replica.apply(whole).is_err() {
                let message = RegistryWire::NeedFull { version };
                return out.push(RegistryOutput::Send(coordinator, term, message));
            }
            if let Some(view) = self.standing.view.clone() {
                self.replica.purge(&view);
            }
            let lost = match self.replica.entries.get(&self.standing.me.0) {
                Some(entry) => self.own.learn(entry),
                None => Vec::new(),
            };
            self.publish(out);
            out.extend(lost.into_iter().map(|(bubble, by)| RegistryOutput::Claimed(bubble, by)));
        }
        if let Some(version) = self.replica.version {
            let message = RegistryWire::Stored { version };
            out.push(RegistryOutput::Send(coordinator, term, message));
        }
        self.settle(out);
    }

    /// True if the replica shows the newest request of this process.
    fn shows_own(&self) -> bool {
        self.replica.entries.get(&self.standing.me.0).is_some_and(|entry| {
            entry.incarnation == self.standing.me.1 && entry.request == self.own.request()
        })
    }

    /// Closes the open request once a quorum and this process itself have stored it; so whoever
    /// registers reads its own write.
    fn settle(&mut self, out: &mut Vec<RegistryOutput>) {
        let stored = self.confirmed.is_some() && self.replica.version >= self.confirmed;
        if !(self.own.is_open() && stored && self.shows_own()) {
            return;
        }
        let lost = self.own.close();
        self.confirmed = None;
        self.resend = None;
        self.publish(out);
        if let Some(call) = self.call.take() {
            let answer = match lost {
                Some((bubble, by)) => Err(RegistryError::BubbleClaimed { bubble, by }),
                None => Ok(()),
            };
            out.push(RegistryOutput::Answer(call.token, answer));
        }
    }

    /// Sends the open request when it is due; keeps the timer only while it can be sent.
    fn resend(&mut self, now: Duration, out: &mut Vec<RegistryOutput>) {
        let view = self.standing.member_of().filter(|_| self.standing.is_active());
        let Some(view) = view.filter(|_| self.own.is_open()) else {
            self.resend = None;
            return;
        };
        let backoff =
            self.resend.get_or_insert_with(|| Backoff::now(now, RESEND_FIRST, RESEND_MAX));
        if backoff.take(now) {
            let message = RegistryWire::Register(self.own.registration());
            out.push(RegistryOutput::Send(view.coordinator(), view.term(), message));
        }
    }

    /// Publishes the replica (its lines are shared, so a copy is cheap) and what outlives the actor.
    fn publish(&self, out: &mut Vec<RegistryOutput>) {
        out.push(RegistryOutput::Install(self.replica.clone(), self.own.clone()));
    }
}
