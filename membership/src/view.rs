use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lampyrid_wire::{ClusterId, Epoch, Incarnation, Member, ProcessId, Term, ViewId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::agreement::Change;
use crate::ring::{COORDINATOR_ROLE, Ring};
use crate::stamp::Stamp;
use crate::topology::Topology;

/// An agreed list of members. Two different views of one cluster never share an epoch.
///
/// Views follow one another: each names its predecessor through its id (virtual synchrony in the
/// sense of Birman and Joseph, 1987; agreement as in Rapid, USENIX ATC 2018).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct View {
    cluster: ClusterId,
    cluster_name: String,
    epoch: Epoch,
    id: ViewId,
    members: Vec<Member>,
    tie_breaker: ProcessId,
    #[serde(skip)]
    derived: Derived,
}

/// What follows from a view and is worth computing once; equal for equal views.
#[derive(Clone, Default)]
struct Derived {
    topology: OnceLock<Topology>,
    stamp: OnceLock<Stamp>,
    /// Successors made lately, by what they change: each is asked for several times.
    successors: Arc<Mutex<Successors>>,
}

type Successors = Vec<(Change, Arc<View>)>;

/// Successors of a view that are kept at hand.
const SUCCESSORS: usize = 4;

impl std::fmt::Debug for Derived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl PartialEq for Derived {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Derived {}

impl Hash for Derived {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl View {
    /// The first view of a new cluster: one member, epoch 1.
    #[must_use]
    pub fn first(cluster: ClusterId, cluster_name: impl Into<String>, founder: Member) -> Self {
        let tie_breaker = founder.process;
        let members = vec![founder];
        Self {
            cluster,
            cluster_name: cluster_name.into(),
            epoch: Epoch(1),
            id: hash(cluster, &ViewId([0; 32]), Epoch(1), &members),
            members,
            tie_breaker,
            derived: Derived::default(),
        }
    }

    /// The view after this one with `members` in it. `None` if there are none, or if one process
    /// is listed twice: no such view exists.
    #[must_use]
    pub fn successor(&self, mut members: Vec<Member>) -> Option<Self> {
        members.sort_unstable();
        if members.windows(2).any(|pair| pair[0].process == pair[1].process) {
            return None;
        }
        let ring = Ring::new(self.cluster, COORDINATOR_ROLE, members.iter().map(|m| m.process));
        let epoch = self.epoch.next();
        Some(Self {
            cluster: self.cluster,
            cluster_name: self.cluster_name.clone(),
            epoch,
            id: hash(self.cluster, &self.id, epoch, &members),
            tie_breaker: ring.first()?,
            members,
            derived: Derived::default(),
        })
    }

    /// The fence of this view.
    #[must_use]
    pub fn term(&self) -> Term {
        Term { cluster: self.cluster, epoch: self.epoch, view: self.id }
    }

    /// The fence in short, as messages of membership carry it.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        *self.derived.stamp.get_or_init(|| self.term().into())
    }

    /// The successor by `change`, as `make` makes it or has made it before.
    pub(crate) fn successor_by(
        &self,
        change: &Change,
        make: impl FnOnce() -> Option<Self>,
    ) -> Option<Arc<Self>> {
        let lock = || self.derived.successors.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().iter().find(|(by, _)| by == change).map(|(_, next)| Arc::clone(next));
        if known.is_some() {
            return known;
        }
        let next = Arc::new(make()?);
        let mut successors = lock();
        if successors.len() >= SUCCESSORS {
            successors.remove(0);
        }
        successors.push((change.clone(), Arc::clone(&next)));
        Some(next)
    }

    /// Who observes whom, and who has links with whom.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        self.derived.topology.get_or_init(|| Topology::of(self))
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The cluster's name, for people and against mistakes.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.cluster_name
    }

    /// Its number.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Its hash.
    #[must_use]
    pub fn id(&self) -> ViewId {
        self.id
    }

    /// The members, sorted by process id; never empty.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many members.
    #[must_use]
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// The process whose half of this view goes on when the view is left by an exact half: the
    /// first on the coordinator ring when the view was made, stored with it.
    #[must_use]
    pub fn tie_breaker(&self) -> ProcessId {
        self.tie_breaker
    }

    /// The process that coordinates while this view is installed.
    #[must_use]
    pub fn coordinator(&self) -> ProcessId {
        self.tie_breaker
    }

    /// The record of a process, whatever its incarnation.
    #[must_use]
    pub fn member(&self, process: ProcessId) -> Option<&Member> {
        self.index_of(process).map(|at| &self.members[at])
    }

    /// The place of a process among the sorted members; the second part of a proposer's rank.
    #[must_use]
    pub fn index_of(&self, process: ProcessId) -> Option<usize> {
        self.members.binary_search_by_key(&process, |member| member.process).ok()
    }

    /// True if exactly this life of the process is a member.
    #[must_use]
    pub fn lists(&self, process: ProcessId, incarnation: Incarnation) -> bool {
        self.member(process).is_some_and(|member| member.incarnation == incarnation)
    }

    /// True if `processes` (each counted once) are a classic quorum of this view: a majority, or an
    /// exact half that holds the tie-breaker. Any two quorums share a process.
    #[must_use]
    pub fn is_quorum<'a>(&self, processes: impl IntoIterator<Item = &'a ProcessId>) -> bool {
        let present: std::collections::BTreeSet<ProcessId> =
            processes.into_iter().copied().filter(|&p| self.index_of(p).is_some()).collect();
        let twice = present.len() * 2;
        twice > self.size() || (twice == self.size() && present.contains(&self.tie_breaker))
    }

    /// A ring of this view's members for a role of the caller's choice.
    #[must_use]
    pub fn ring(&self, role: &str) -> Ring {
        Ring::new(self.cluster, role, self.members.iter().map(|m| m.process))
    }

    /// True if id, order and tie-breaker are what members and epoch say; checked on everything
    /// that comes from outside (`previous` as far as it is known).
    #[must_use]
    pub fn is_well_formed(&self, previous: Option<&ViewId>) -> bool {
        let sorted = self.members.windows(2).all(|pair| pair[0].process < pair[1].process);
        let first = self.ring(COORDINATOR_ROLE).first() == Some(self.tie_breaker);
        let hashed =
            previous.is_none_or(|id| hash(self.cluster, id, self.epoch, &self.members) == self.id);
        sorted && first && hashed
    }
}

fn hash(cluster: ClusterId, previous: &ViewId, epoch: Epoch, members: &[Member]) -> ViewId {
    let mut hasher = Sha256::new()
        .chain_update(cluster.as_bytes())
        .chain_update(previous.0)
        .chain_update(epoch.0.to_be_bytes());
    for member in members {
        for text in [
            member.name.as_str(),
            &member.address.to_string(),
            member.admin.as_deref().unwrap_or_default(),
        ] {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(member.process.as_bytes());
        hasher.update(member.incarnation.0.to_be_bytes());
    }
    ViewId(hasher.finalize().into())
}

/// What a subscriber is told: the newly installed view and the net difference to the one it was
/// told before. Epochs only rise; some may be skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewChange {
    /// The installed view.
    pub view: Arc<View>,
    /// Members (by process and incarnation) that were not in the view before.
    pub joined: Vec<Member>,
    /// Members (by process and incarnation) that are in it no longer. A process that came back at
    /// a higher incarnation is both left and joined.
    pub left: Vec<Member>,
    /// Who coordinates.
    pub coordinator: ProcessId,
}

impl ViewChange {
    /// The difference between what a subscriber knew and `view`.
    #[must_use]
    pub fn between(before: Option<&View>, view: Arc<View>) -> Self {
        let old = before.map(View::members).unwrap_or_default();
        let new_to = |view: Option<&View>, member: &Member| {
            view.is_none_or(|view| !view.lists(member.process, member.incarnation))
        };
        Self {
            joined: view.members.iter().filter(|m| new_to(before, m)).cloned().collect(),
            left: old.iter().filter(|m| new_to(Some(&view), m)).cloned().collect(),
            coordinator: view.coordinator(),
            view,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(process: u128, incarnation: u64) -> Member {
        Member {
            process: ProcessId::from_u128(process),
            incarnation: Incarnation(incarnation),
            name: format!("p{process}"),
            address: "127.0.0.1:1".parse().unwrap(),
            admin: None,
        }
    }

    fn view(processes: &[u128]) -> View {
        View::first(ClusterId::from_u128(5), "c", member(processes[0], 1))
            .successor(processes.iter().map(|&p| member(p, 1)).collect())
            .unwrap()
    }

    #[test]
    fn any_two_quorums_of_a_view_share_a_process() {
        for size in 1..=6_u128 {
            let view = view(&(1..=size).collect::<Vec<_>>());
            let sets: Vec<Vec<ProcessId>> = (0_u32..1 << size)
                .map(|bits| {
                    (1..=size)
                        .filter(|p| bits & (1 << (p - 1)) != 0)
                        .map(ProcessId::from_u128)
                        .collect()
                })
                .collect();
            for a in sets.iter().filter(|set| view.is_quorum(*set)) {
                for b in sets.iter().filter(|set| view.is_quorum(*set)) {
                    assert!(a.iter().any(|p| b.contains(p)), "{a:?} and {b:?} of {size}");
                }
            }
        }
    }

    #[test]
    fn a_repeated_or_foreign_process_does_not_help_a_quorum() {
        let view = view(&[1, 2, 3]);
        let one = ProcessId::from_u128(1);
        assert!(!view.is_quorum(&[one, one, ProcessId::from_u128(9)]));
        assert!(view.is_quorum(&[one, ProcessId::from_u128(2)]));
    }

    #[test]
    fn a_view_lists_a_process_once_and_is_never_empty() {
        let view = view(&[1, 2]);
        assert_eq!(view.successor(vec![member(1, 1), member(1, 2)]), None);
        assert_eq!(view.successor(vec![]), None);
    }

    #[test]
    fn a_forged_view_is_not_well_formed() {
        let before = view(&[1, 2, 3]);
        let mut after = before.successor(vec![member(1, 1), member(2, 1)]).unwrap();
        assert!(after.is_well_formed(Some(&before.id())));
        after.members.pop();
        assert!(!after.is_well_formed(Some(&before.id())));
    }

    #[test]
    fn a_new_incarnation_is_both_left_and_joined() {
        let before = view(&[1, 2]);
        let after = before.successor(vec![member(1, 1), member(2, 2)]).unwrap();
        let change = ViewChange::between(Some(&before), Arc::new(after));
        assert_eq!(change.left, vec![member(2, 1)]);
        assert_eq!(change.joined, vec![member(2, 2)]);
    }
}
