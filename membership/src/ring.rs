use std::collections::BTreeSet;

use lampyrid_wire::{ClusterId, ProcessId};
use sha2::{Digest, Sha256};

/// The role whose first process coordinates the view, and breaks the tie when it is left.
pub const COORDINATOR_ROLE: &str = "coordinator";

/// Processes in a pseudo-random order that depends only on the cluster, a role and who they are:
/// sorted by SHA-256 over (cluster id, role, process id).
///
/// Everybody with the same processes computes the same ring, without messages. A process that
/// joins or leaves moves nobody else (rendezvous hashing; Thaler and Ravishankar, 1998). Hosts use
/// it to place roles and bubbles of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    order: Vec<ProcessId>,
}

impl Ring {
    /// The ring of `processes` for `role` in `cluster`; repeats count once.
    #[must_use]
    pub fn new(
        cluster: ClusterId,
        role: &str,
        processes: impl IntoIterator<Item = ProcessId>,
    ) -> Self {
        let distinct: BTreeSet<ProcessId> = processes.into_iter().collect();
        let mut keyed: Vec<([u8; 32], ProcessId)> =
            distinct.into_iter().map(|process| (key(cluster, role, process), process)).collect();
        keyed.sort_unstable();
        Self { order: keyed.into_iter().map(|(_, process)| process).collect() }
    }

    /// Who takes the role; `None` of nobody.
    #[must_use]
    pub fn first(&self) -> Option<ProcessId> {
        self.order.first().copied()
    }

    /// All of them, in ring order.
    #[must_use]
    pub fn order(&self) -> &[ProcessId] {
        &self.order
    }

    /// The place of a process in the order.
    #[must_use]
    pub fn position(&self, process: ProcessId) -> Option<usize> {
        self.order.iter().position(|&other| other == process)
    }

    /// The process after `process`, going round; `None` if it is not on the ring.
    #[must_use]
    pub fn successor(&self, process: ProcessId) -> Option<ProcessId> {
        let at = self.position(process)?;
        Some(self.order[(at + 1) % self.order.len()])
    }

    /// The process before `process`, going round; `None` if it is not on the ring.
    #[must_use]
    pub fn predecessor(&self, process: ProcessId) -> Option<ProcessId> {
        let at = self.position(process)?;
        Some(self.order[(at + self.order.len() - 1) % self.order.len()])
    }
}

fn key(cluster: ClusterId, role: &str, process: ProcessId) -> [u8; 32] {
    Sha256::new()
        .chain_update(cluster.as_bytes())
        .chain_update((role.len() as u64).to_be_bytes())
        .chain_update(role.as_bytes())
        .chain_update(process.as_bytes())
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes(n: u128) -> Vec<ProcessId> {
        (1..=n).map(ProcessId::from_u128).collect()
    }

    #[test]
    fn the_ring_does_not_depend_on_the_order_of_its_input() {
        let cluster = ClusterId::from_u128(1);
        let mut reversed = processes(9);
        reversed.reverse();
        assert_eq!(Ring::new(cluster, "r", processes(9)), Ring::new(cluster, "r", reversed));
    }

    #[test]
    fn every_process_is_first_about_equally_often_over_many_clusters() {
        let mut first = std::collections::BTreeMap::new();
        for cluster in 0..4_000 {
            let ring = Ring::new(ClusterId::from_u128(cluster), COORDINATOR_ROLE, processes(4));
            *first.entry(ring.first().unwrap()).or_insert(0) += 1;
        }
        assert!(first.values().all(|&count| (850..1_150).contains(&count)), "{first:?}");
    }

    #[test]
    fn a_join_moves_the_role_rarely_and_a_leave_of_another_never() {
        let mut moved = 0;
        for cluster in 0..2_000 {
            let cluster = ClusterId::from_u128(cluster);
            let before = Ring::new(cluster, "r", processes(9)).first().unwrap();
            let after = Ring::new(cluster, "r", processes(10)).first().unwrap();
            moved += usize::from(before != after);
            let gone = processes(9).into_iter().find(|&p| p != before).unwrap();
            let left = processes(9).into_iter().filter(|&p| p != gone);
            assert_eq!(Ring::new(cluster, "r", left).first(), Some(before));
        }
        assert!((140..260).contains(&moved), "1 in 10 expected, {moved} of 2000 seen");
    }

    #[test]
    fn neighbours_go_round() {
        let ring = Ring::new(ClusterId::from_u128(3), "r", processes(3));
        for &process in ring.order() {
            let next = ring.successor(process).unwrap();
            assert_eq!(ring.predecessor(next), Some(process));
        }
        assert_eq!(ring.successor(ProcessId::from_u128(99)), None);
    }
}
