use std::collections::BTreeMap;
use std::time::Duration;

use lampyrid_membership::View;
use lampyrid_registry::{Backoff, Registration, RegistryWire, Version};
use lampyrid_wire::{Incarnation, ProcessId, Term};

use super::{CoordinatorConfig, CoordinatorOutput};
use crate::Publication;
use crate::table::Table;

/// The first pause before a member is asked again; it doubles up to [`ASK_MAX`].
const ASK_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two questions to one member.
const ASK_MAX: Duration = Duration::from_secs(1);

/// The time during which this process coordinates, over one view or several consecutive ones.
#[derive(Debug, Clone)]
pub(super) struct Reign {
    config: CoordinatorConfig,
    term: Term,
    /// Names this gathering.
    round: u64,
    table: Table,
    /// Members whose own registration is not known yet, and when to ask them again.
    missing: BTreeMap<ProcessId, (Incarnation, Backoff)>,
    /// Until when nothing is broadcast while members are missing.
    patience: Duration,
    /// Registrations that wait for the missing members.
    waiting: BTreeMap<ProcessId, (Incarnation, Registration)>,
    /// The view has not had its first broadcast. That one carries the same state under the new
    /// term: it neither waits for the cooldown nor starts one.
    opening: bool,
    /// Nothing was broadcast since the gathering (or the broadcaster has forgotten it).
    fresh: bool,
    /// When the next change may be broadcast.
    not_before: Duration,
    /// The newest broadcast of this view that a quorum has stored.
    acknowledged: Option<Version>,
    /// Requests to be answered once they are stored by a quorum.
    owed: BTreeMap<ProcessId, u64>,
}

impl Reign {
    pub(super) fn new(now: Duration, view: &View, round: u64, config: CoordinatorConfig) -> Self {
        let ask = || Backoff::now(now, ASK_FIRST, ASK_MAX);
        Self {
            term: view.term(),
            round,
            table: Table::default(),
            missing: view.members().iter().map(|m| (m.process, (m.incarnation, ask()))).collect(),
            patience: now + config.gather,
            config,
            waiting: BTreeMap::new(),
            opening: true,
            fresh: true,
            not_before: Duration::ZERO,
            acknowledged: None,
            owed: BTreeMap::new(),
        }
    }

    pub(super) fn term(&self) -> Term {
        self.term
    }

    /// True if `view` is the very next one, so that nobody else coordinated in between.
    pub(super) fn leads_to(&self, view: &View) -> bool {
        self.term.cluster == view.cluster() && self.term.epoch.next() == view.epoch()
    }

    /// Goes on in the next view. Who joins has nothing that would have to be gathered.
    pub(super) fn go_on(&mut self, now: Duration, view: &View) {
        self.term = view.term();
        self.table.purge(view);
        self.missing.retain(|&process, (incarnation, _)| view.lists(process, *incarnation));
        for (_, ask) in self.missing.values_mut() {
            *ask = Backoff::now(now, ASK_FIRST, ASK_MAX);
        }
        self.waiting.retain(|&process, (incarnation, _)| view.lists(process, *incarnation));
        // Members repeat their open requests in the new view.
        self.owed.clear();
        self.acknowledged = None;
        self.opening = true;
    }

    /// Takes a registration: the answer to a question of that round, or one by itself (`None`). The
    /// first of a process has to be the answer: anything else may have been overtaken while the
    /// coordinator's actor was restarted within the view.
    pub(super) fn take(
        &mut self,
        process: ProcessId,
        incarnation: Incarnation,
        registration: Registration,
        round: Option<u64>,
    ) {
        match round {
            None => {
                let newest = self.owed.entry(process).or_default();
                *newest = registration.request.max(*newest);
                if self.missing.contains_key(&process) {
                    return;
                }
            }
            Some(round) if round == self.round => {
                self.missing.remove(&process);
            }
            Some(_) => return,
        }
        let waiting = self.waiting.get(&process).map(|(_, registration)| registration.request);
        if waiting > Some(registration.request) {
            return;
        }
        self.table.take(process, incarnation, &registration, false);
        self.waiting.insert(process, (incarnation, registration));
    }

    /// Asks a member that has not answered again at once: it came within reach.
    pub(super) fn reachable(&mut self, now: Duration, process: ProcessId) {
        if let Some((_, ask)) = self.missing.get_mut(&process) {
            ask.hurry(now);
        }
    }

    pub(super) fn acknowledge(&mut self, version: Version) {
        if version.epoch == self.term.epoch {
            self.acknowledged = self.acknowledged.max(Some(version));
        }
    }

    pub(super) fn republish(&mut self) {
        self.opening = true;
        self.fresh = true;
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let asks = self.missing.values().map(|(_, ask)| ask.due());
        let broadcast = if self.opening {
            Some(self.patience)
        } else {
            self.table.is_dirty().then_some(self.not_before)
        };
        asks.chain(broadcast).min()
    }

    pub(super) fn drive(
        &mut self,
        now: Duration,
        next_sequence: &mut u64,
        out: &mut Vec<CoordinatorOutput>,
    ) {
        let ask = RegistryWire::Gather { round: self.round };
        for (&process, (_, backoff)) in &mut self.missing {
            if backoff.take(now) {
                out.push(CoordinatorOutput::Send(process, self.term, ask.clone()));
            }
        }
        if self.missing.is_empty() {
            for (process, (incarnation, registration)) in std::mem::take(&mut self.waiting) {
                self.table.take(process, incarnation, &registration, true);
            }
        }
        if self.opening {
            if self.missing.is_empty() || now >= self.patience {
                self.publish(next_sequence, out);
                self.opening = false;
            }
        } else if self.table.is_dirty() && now >= self.not_before {
            self.publish(next_sequence, out);
            self.not_before = now + self.config.cooldown;
        }
        self.answer(out);
    }

    fn publish(&mut self, next_sequence: &mut u64, out: &mut Vec<CoordinatorOutput>) {
        let version = Version { epoch: self.term.epoch, sequence: *next_sequence };
        *next_sequence += 1;
        let table = self.table.publish(version);
        let fresh = std::mem::take(&mut self.fresh);
        let publication = Publication { term: self.term, version, fresh, table };
        out.push(CoordinatorOutput::Publish(publication));
    }

    fn answer(&mut self, out: &mut Vec<CoordinatorOutput>) {
        let Self { owed, table, waiting, acknowledged, term, .. } = self;
        owed.retain(|process, owed| {
            let Some((request, version)) = table.broadcast(*process) else { return true };
            if waiting.contains_key(process) || request < *owed || Some(version) > *acknowledged {
                return true;
            }
            let message = RegistryWire::Registered { request, version };
            out.push(CoordinatorOutput::Send(*process, *term, message));
            false
        });
    }
}
