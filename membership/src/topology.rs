use lampyrid_wire::{ClusterId, Member, ProcessId};
use sha2::{Digest, Sha256};

use crate::View;
use crate::limits::OBSERVERS;
use crate::ring::{COORDINATOR_ROLE, Ring};

/// Who observes whom in one view, and who has links with whom; the same for everybody, without a
/// message. All are places among the view's sorted members.
///
/// Pseudo-random rings order the processes; a subject's observers are its predecessors over
/// successive rings, repeats skipped, until there are [`OBSERVERS`] (Fireflies, EuroSys 2006;
/// Rapid, USENIX ATC 2018). Such a graph is an expander: a few dead or cut-off members leave the
/// others well connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    observers: Vec<Vec<u16>>,
    subjects: Vec<Vec<u16>>,
    neighbours: Vec<Vec<u16>>,
    coordinators: Vec<u16>,
}

impl Topology {
    pub(crate) fn of(view: &View) -> Self {
        let size = view.size();
        let d = observer_count(size);
        let mut observers: Vec<Vec<u16>> = vec![Vec::with_capacity(d); size];
        let places = || (0..size).filter_map(|place| u16::try_from(place).ok());
        if d + 1 == size {
            for (subject, list) in places().zip(&mut observers) {
                list.extend(places().filter(|&place| place != subject));
            }
        } else if d > 0 {
            for number in 0_u32.. {
                let ring = ring(view.cluster(), number, view.members());
                let mut complete = true;
                for at in 0..size {
                    let (before, subject) = (ring[(at + size - 1) % size], ring[at]);
                    let list = &mut observers[usize::from(subject)];
                    if list.len() < d && !list.contains(&before) {
                        list.push(before);
                    }
                    complete &= list.len() == d;
                }
                if complete {
                    break;
                }
            }
        }
        let mut subjects: Vec<Vec<u16>> = vec![Vec::new(); size];
        for (subject, list) in places().zip(&observers) {
            for &observer in list {
                subjects[usize::from(observer)].push(subject);
            }
        }
        let neighbours = observers
            .iter()
            .zip(&subjects)
            .map(|(observers, subjects)| {
                let mut both: Vec<u16> = observers.iter().chain(subjects).copied().collect();
                both.sort_unstable();
                both.dedup();
                both
            })
            .collect();
        let ring = Ring::new(
            view.cluster(),
            COORDINATOR_ROLE,
            view.members().iter().map(|member| member.process),
        );
        let coordinators = ring.order().iter().filter_map(|&p| view.place_of(p)).collect();
        Self { observers, subjects, neighbours, coordinators }
    }

    /// Who observes that member, in ring order.
    #[must_use]
    pub fn observers(&self, of: u16) -> &[u16] {
        self.observers.get(usize::from(of)).map_or(&[], Vec::as_slice)
    }

    /// Whom that member observes.
    #[must_use]
    pub fn subjects(&self, of: u16) -> &[u16] {
        self.subjects.get(usize::from(of)).map_or(&[], Vec::as_slice)
    }

    /// Observers and subjects: those with whom it keeps links.
    #[must_use]
    pub fn neighbours(&self, of: u16) -> &[u16] {
        self.neighbours.get(usize::from(of)).map_or(&[], Vec::as_slice)
    }

    /// All members in the order of the coordinator ring.
    #[must_use]
    pub fn coordinators(&self) -> &[u16] {
        &self.coordinators
    }

    /// True if everybody observes everybody.
    #[must_use]
    pub fn is_full(&self) -> bool {
        observer_count(self.observers.len()) + 1 >= self.observers.len()
    }
}

/// How many observe each member of a view of that size.
#[must_use]
pub(crate) fn observer_count(size: usize) -> usize {
    OBSERVERS.min(size.saturating_sub(1))
}

/// Places in the order of one ring.
fn ring(cluster: ClusterId, number: u32, members: &[Member]) -> Vec<u16> {
    let start = Sha256::new().chain_update(cluster.as_bytes()).chain_update(number.to_be_bytes());
    let mut keyed: Vec<([u8; 32], ProcessId, u16)> = (0_u16..)
        .zip(members)
        .map(|(place, member)| {
            let key = start.clone().chain_update(member.process.as_bytes()).finalize();
            (key.into(), member.process, place)
        })
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, _, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lampyrid_wire::Incarnation;

    use super::*;

    fn view(size: u128) -> View {
        let member = |number| Member {
            process: ProcessId::from_u128(number),
            incarnation: Incarnation(1),
            name: String::new(),
            address: "127.0.0.1:1".parse().unwrap(),
            admin: None,
        };
        View::first(ClusterId::from_u128(5), "c", member(1))
            .successor((1..=size).map(member).collect())
            .unwrap()
    }

    #[test]
    fn up_to_eleven_members_everybody_observes_everybody() {
        for size in 1..=11 {
            let view = view(size);
            let topology = view.topology();
            assert!(topology.is_full());
            for place in 0..u16::try_from(size).unwrap() {
                assert_eq!(topology.observers(place).len(), view.size() - 1);
                assert_eq!(topology.neighbours(place).len(), view.size() - 1);
            }
        }
    }

    #[test]
    fn above_it_each_has_ten_distinct_observers_and_all_are_connected() {
        for size in [12, 13, 40, 500] {
            let view = view(size);
            let topology = view.topology();
            let mut reached = BTreeSet::from([0]);
            let mut next = vec![0];
            while let Some(place) = next.pop() {
                let observers: BTreeSet<u16> = topology.observers(place).iter().copied().collect();
                assert_eq!(observers.len(), OBSERVERS);
                assert!(!observers.contains(&place));
                for &observer in &observers {
                    assert!(topology.subjects(observer).contains(&place));
                }
                let new = topology.neighbours(place).iter().filter(|&&other| reached.insert(other));
                next.extend(new);
            }
            assert_eq!(reached.len(), view.size());
        }
    }
}
