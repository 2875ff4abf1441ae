use std::collections::BTreeMap;
use std::sync::Arc;

use lampyrid_membership::View;
use lampyrid_registry::{Entry, Registration, Version};
use lampyrid_wire::{BubbleId, Incarnation, ProcessId, Term};

/// A line as it was last broadcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The line.
    pub entry: Arc<Entry>,
    /// The broadcast that first carried it in this form.
    pub changed: Version,
}

/// What the coordinator gives the broadcaster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The coordinator's view.
    pub term: Term,
    /// Its number.
    pub version: Version,
    /// True if the table was gathered anew: nothing stored before can be the base of a delta.
    pub fresh: bool,
    /// The lines.
    pub table: Arc<BTreeMap<ProcessId, Published>>,
}

#[derive(Debug, Clone)]
struct Row {
    incarnation: Incarnation,
    request: u64,
    /// `None` since: to be held from the next broadcast on.
    bubbles: Option<BTreeMap<BubbleId, Option<Version>>>,
    claimed: BTreeMap<BubbleId, ProcessId>,
    /// The request was judged as a whole; seeing it again changes nothing.
    judged: bool,
    /// `None` while there is something to broadcast.
    published: Option<Published>,
}

impl Row {
    fn publish(&mut self, version: Version) -> Published {
        if let Some(published) = &self.published {
            return published.clone();
        }
        let bubbles = self.bubbles.as_mut().map(|bubbles| {
            let line = bubbles.iter_mut();
            line.map(|(&bubble, since)| (bubble, *since.get_or_insert(version))).collect()
        });
        let entry = Arc::new(Entry {
            incarnation: self.incarnation,
            request: self.request,
            bubbles,
            claimed: self.claimed.clone(),
        });
        self.published.insert(Published { entry, changed: version }).clone()
    }
}

/// The registry as its coordinator changes it. A bubble has one owner at any time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    rows: BTreeMap<ProcessId, Row>,
    owners: BTreeMap<BubbleId, ProcessId>,
}

impl Table {
    /// Takes a registration in; one that is out of date changes nothing. With `anew` false only
    /// what the process already holds is taken, for somebody not yet heard of may hold the rest.
    ///
    /// A bubble of another process stays there, unless the registrant has held it for longer
    /// (or for as long and has the lower id).
    pub(crate) fn take(
        &mut self,
        process: ProcessId,
        incarnation: Incarnation,
        registration: &Registration,
        anew: bool,
    ) {
        let newest = self.rows.get(&process).map(|row| (row.request, row.judged));
        if registration.request == 0 || newest >= Some((registration.request, true)) {
            return;
        }
        let mut old = self.rows.remove(&process);
        let before = old.as_mut().and_then(|row| row.bubbles.take()).unwrap_or_default();
        let wanted = registration.bubbles.as_ref();
        for bubble in before.keys().filter(|b| !wanted.is_some_and(|w| w.contains_key(b))) {
            self.owners.remove(bubble);
        }
        let mut claimed = BTreeMap::new();
        let mut bubbles = BTreeMap::new();
        for (&bubble, &since) in wanted.into_iter().flatten() {
            match self.owners.get(&bubble).copied() {
                Some(owner) if owner == process => {
                    bubbles.insert(bubble, before.get(&bubble).copied().flatten().or(since));
                }
                Some(owner) if !self.is_earlier((since, process), bubble, owner) => {
                    claimed.insert(bubble, owner);
                }
                owner if since.is_some() || anew => {
                    if let Some(owner) = owner {
                        self.displace(bubble, owner, process);
                    }
                    self.owners.insert(bubble, process);
                    bubbles.insert(bubble, since);
                }
                _ => {}
            }
        }
        let bubbles = wanted.map(|_| bubbles);
        let published = old.as_ref().and_then(|row| row.published.clone()).filter(|published| {
            published.entry.request == registration.request
                && published.entry.claimed == claimed
                && published.entry.bubbles.as_ref().map(|b| b.keys().collect::<Vec<_>>())
                    == bubbles.as_ref().map(|b| b.keys().collect::<Vec<_>>())
        });
        let request = registration.request;
        let row = Row { incarnation, request, bubbles, claimed, judged: anew, published };
        self.rows.insert(process, row);
    }

    /// True if the claim (held since, by whom) comes before that of the bubble's owner. One that is
    /// not held yet never does: first come, first served.
    fn is_earlier(
        &self,
        claim: (Option<Version>, ProcessId),
        bubble: BubbleId,
        owner: ProcessId,
    ) -> bool {
        let held =
            self.rows.get(&owner).and_then(|row| row.bubbles.as_ref()?.get(&bubble).copied());
        match (claim.0, held.flatten()) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(since), Some(held)) => (since, claim.1) < (held, owner),
        }
    }

    fn displace(&mut self, bubble: BubbleId, owner: ProcessId, by: ProcessId) {
        if let Some(row) = self.rows.get_mut(&owner) {
            row.bubbles.iter_mut().for_each(|bubbles| {
                bubbles.remove(&bubble);
            });
            row.claimed.insert(bubble, by);
            row.published = None;
        }
    }

    /// Drops whoever is not in `view` at that incarnation.
    pub(crate) fn purge(&mut self, view: &View) {
        self.rows.retain(|&process, row| view.lists(process, row.incarnation));
        self.owners.retain(|_, owner| self.rows.contains_key(owner));
    }

    /// True if something changed since the last broadcast.
    pub(crate) fn is_dirty(&self) -> bool {
        self.rows.values().any(|row| row.published.is_none())
    }

    /// The whole table, changes as of `version`.
    pub(crate) fn publish(&mut self, version: Version) -> Arc<BTreeMap<ProcessId, Published>> {
        let lines = self.rows.iter_mut().map(|(&process, row)| (process, row.publish(version)));
        Arc::new(lines.collect())
    }

    /// The newest request of a process and the broadcast that carries it, if it was broadcast.
    pub(crate) fn broadcast(&self, process: ProcessId) -> Option<(u64, Version)> {
        let row = self.rows.get(&process)?;
        row.published.as_ref().map(|published| (row.request, published.changed))
    }
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::Epoch;
    use proptest::prelude::*;

    use super::*;

    fn version(epoch: u64, sequence: u64) -> Version {
        Version { epoch: Epoch(epoch), sequence }
    }

    fn process(number: u128) -> ProcessId {
        ProcessId::from_u128(number)
    }

    fn registration(request: u64, bubbles: &[(u128, Option<Version>)]) -> Registration {
        let held = bubbles.iter().map(|&(b, since)| (BubbleId::from_u128(b), since)).collect();
        Registration { request, bubbles: Some(held) }
    }

    fn take(table: &mut Table, p: u128, request: u64, bubbles: &[(u128, Option<Version>)]) {
        table.take(process(p), Incarnation(1), &registration(request, bubbles), true);
    }

    fn host(table: &Table, bubble: u128) -> Option<u128> {
        let hosts: Vec<u128> = table
            .rows
            .iter()
            .filter(|(_, row)| {
                row.bubbles.as_ref().is_some_and(|b| b.contains_key(&BubbleId::from_u128(bubble)))
            })
            .map(|(process, _)| process.0.as_u128())
            .collect();
        assert!(hosts.len() < 2, "{hosts:?}");
        assert_eq!(
            hosts.first().map(|&h| process(h)),
            table.owners.get(&BubbleId::from_u128(bubble)).copied()
        );
        hosts.first().copied()
    }

    #[test]
    fn a_bubble_of_a_live_process_is_refused_and_the_rest_is_taken() {
        let mut table = Table::default();
        take(&mut table, 2, 1, &[(10, None)]);
        take(&mut table, 1, 1, &[(10, None), (11, None)]);
        assert_eq!((host(&table, 10), host(&table, 11)), (Some(2), Some(1)));
        let lines = table.publish(version(1, 0));
        let claimed = &lines[&process(1)].entry.claimed;
        assert_eq!(claimed.get(&BubbleId::from_u128(10)), Some(&process(2)));
    }

    #[test]
    fn of_gathered_claims_the_earlier_wins_then_the_lower_process() {
        let (early, late) = (Some(version(1, 9)), Some(version(2, 0)));
        for (first, second, winner) in [
            (early, late, 1),
            (late, early, 2),
            (early, early, 1),
            (None, late, 2),
            (late, None, 1),
        ] {
            for order in [[1, 2], [2, 1]] {
                let mut table = Table::default();
                for p in order {
                    let since = if p == 1 { first } else { second };
                    // As in a gathering: what is held is taken as it comes, what is asked for
                    // anew only when everybody has answered.
                    table.take(process(p), Incarnation(1), &registration(1, &[(5, since)]), false);
                }
                for p in [1, 2] {
                    let since = if p == 1 { first } else { second };
                    take(&mut table, p, 1, &[(5, since)]);
                }
                assert_eq!(host(&table, 5), Some(winner), "{first:?} {second:?} {order:?}");
            }
        }
    }

    #[test]
    fn a_late_request_does_not_undo_a_newer_one() {
        let mut table = Table::default();
        take(&mut table, 1, 2, &[(6, None)]);
        take(&mut table, 1, 1, &[(5, None)]);
        assert_eq!((host(&table, 5), host(&table, 6)), (None, Some(1)));
    }

    #[test]
    fn a_repeated_request_is_no_change() {
        let mut table = Table::default();
        take(&mut table, 1, 1, &[(5, None), (6, None)]);
        table.publish(version(1, 0));
        assert!(!table.is_dirty());
        take(&mut table, 1, 1, &[(6, None), (5, Some(version(1, 0)))]);
        assert!(!table.is_dirty());
        assert_eq!(table.broadcast(process(1)), Some((1, version(1, 0))));
    }

    #[test]
    fn unregistering_frees_the_bubbles_and_leaves_a_line_without_a_set() {
        let mut table = Table::default();
        take(&mut table, 1, 1, &[(5, None)]);
        let gone = Registration { request: 2, bubbles: None };
        table.take(process(1), Incarnation(1), &gone, true);
        take(&mut table, 2, 1, &[(5, None)]);
        assert_eq!(host(&table, 5), Some(2));
        assert_eq!(table.publish(version(1, 0))[&process(1)].entry.bubbles, None);
    }

    proptest! {
        #[test]
        fn whatever_is_asked_a_bubble_has_at_most_one_host_and_lines_say_why(
            requests in prop::collection::vec(
                (1_u128..4, prop::collection::btree_set(1_u128..8, 0..6), any::<bool>(), 0_u64..9),
                1..40,
            ),
        ) {
            let mut table = Table::default();
            for (number, (p, set, firm, epoch)) in requests.into_iter().enumerate() {
                let since = firm.then(|| version(epoch, 0));
                let bubbles: Vec<_> = set.iter().map(|&b| (b, since)).collect();
                take(&mut table, p, number as u64 + 1, &bubbles);
                for bubble in 1..8 {
                    host(&table, bubble);
                }
                let row = &table.rows[&process(p)];
                for bubble in set {
                    let bubble = BubbleId::from_u128(bubble);
                    let hosted = row.bubbles.as_ref().is_some_and(|b| b.contains_key(&bubble));
                    prop_assert!(hosted != row.claimed.contains_key(&bubble));
                }
            }
        }
    }
}
