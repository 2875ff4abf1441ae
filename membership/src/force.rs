use lampyrid_wire::{ClusterId, Epoch, Incarnation, Member, Term};

use crate::{AcceptorState, View};

/// How many clusters a data directory remembers to have left.
pub const MAX_PARENTS: usize = 64;

/// Why a stored state is not led into another cluster. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForceRefusal {
    /// It has never been a member of anything: there is nothing to go on from.
    #[error("this process has installed no view: it belongs to no cluster that could be lost")]
    NoView,
    /// The others went on without it, so the majority was not lost, at least not before that.
    #[error("this process was removed: the view of epoch {0} does not list it")]
    Removed(Epoch),
    /// The directory holds less than the cluster knew.
    #[error("the data directory was rolled back: {known} of this process is known, this is {own}")]
    RolledBack {
        /// The incarnation in the last view.
        known: Incarnation,
        /// The highest that the directory knows of.
        own: Incarnation,
    },
    /// The nil id names no cluster.
    #[error("the nil UUID names no cluster")]
    NilCluster,
    /// It is in that cluster already.
    #[error("this process belongs to cluster {0} already: start it as usual")]
    SameCluster(ClusterId),
    /// It has voted there and forgotten its votes.
    #[error(
        "this process was in cluster {0} before, and what it promised there is forgotten: it must \
         not go back"
    )]
    FormerCluster(ClusterId),
    /// It may have forgotten some of the clusters it was in.
    #[error("this directory has left {MAX_PARENTS} clusters and may have forgotten the first ones")]
    TooManyParents,
}

impl ForceRefusal {
    /// The reason in one word, for scripts.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoView => "no_view",
            Self::Removed(_) => "removed",
            Self::RolledBack { .. } => "data_directory_rolled_back",
            Self::NilCluster => "nil_cluster",
            Self::SameCluster(_) => "same_cluster",
            Self::FormerCluster(_) => "former_cluster",
            Self::TooManyParents => "too_many_parents",
        }
    }
}

/// The way out of a cluster whose majority is lost for good. Both ways keep process id and journal
/// and forget view, promises and votes, which is safe for one reason only: the process never comes
/// back to the cluster it leaves. For that cluster it is a process that has crashed.
impl AcceptorState {
    /// The other processes that may still make up its cluster: the members of the last view, and
    /// of the view it voted for, which may have been installed elsewhere. Sorted, each address
    /// once, none of this process's own.
    #[must_use]
    pub fn others(&self) -> Vec<Member> {
        let voted = self.voted.iter().map(|vote| &vote.value);
        let views: Vec<_> = self.view.iter().chain(voted).collect();
        let own = |member: &Member| member.process == self.process;
        let members = || views.iter().flat_map(|view| view.members());
        let own_addresses: Vec<_> = members().filter(|m| own(m)).map(|m| m.address).collect();
        let mut others: Vec<Member> = members()
            .filter(|member| !own(member) && !own_addresses.contains(&member.address))
            .cloned()
            .collect();
        others.sort_unstable();
        others.dedup_by_key(|member| (member.process, member.address));
        others
    }

    /// The state after a new cluster was forced, with this process as its only member.
    ///
    /// The incarnation rises here, and once more at the next start: the first view then lists a
    /// life that never ran. No life of the old cluster is ever a member of the new one, and the
    /// start after it takes its place in the way of every restart.
    ///
    /// # Errors
    /// [`ForceRefusal`]. That no other process answers is for the caller to see to.
    pub fn force_new_cluster(&self, minted: ClusterId) -> Result<Self, ForceRefusal> {
        let view = self.forcible()?;
        let listed = view.member(self.process).ok_or(ForceRefusal::Removed(view.epoch()))?;
        let parents = self.parents_after(minted)?;
        let incarnation = self.incarnation.next();
        let founder = Member { incarnation, ..listed.clone() };
        let first = View::first(minted, view.cluster_name(), founder);
        Ok(Self {
            incarnation,
            cluster: Some(minted),
            view: Some(first.into()),
            parents,
            ..Self::new(self.process, incarnation)
        })
    }

    /// The last view, if it may be left by force.
    ///
    /// # Errors
    /// [`ForceRefusal::NoView`], [`ForceRefusal::Removed`], [`ForceRefusal::RolledBack`].
    pub fn forcible(&self) -> Result<&View, ForceRefusal> {
        let view = self.view.as_deref().ok_or(ForceRefusal::NoView)?;
        match view.member(self.process) {
            None => Err(ForceRefusal::Removed(view.epoch())),
            Some(listed) if listed.incarnation > self.incarnation => {
                Err(ForceRefusal::RolledBack { known: listed.incarnation, own: self.incarnation })
            }
            Some(_) => Ok(view),
        }
    }

    /// The state of a process that is to join `target`, a cluster that was forced elsewhere: it
    /// knows its cluster and no view, and asks to be admitted like any joiner.
    ///
    /// # Errors
    /// [`ForceRefusal`].
    pub fn join_new_cluster(&self, target: ClusterId) -> Result<Self, ForceRefusal> {
        if self.cluster.is_none() {
            return Err(ForceRefusal::NoView);
        }
        if self.parents.len() >= MAX_PARENTS {
            return Err(ForceRefusal::TooManyParents);
        }
        let parents = self.parents_after(target)?;
        let incarnation = self.incarnation.next();
        Ok(Self { cluster: Some(target), parents, ..Self::new(self.process, incarnation) })
    }

    /// The clusters it has been in, once it has gone on to `target`; the newest last. One of which
    /// it installed no view does not count: it has promised nothing there.
    fn parents_after(&self, target: ClusterId) -> Result<Vec<Term>, ForceRefusal> {
        if target.is_nil() {
            return Err(ForceRefusal::NilCluster);
        }
        if self.cluster == Some(target) {
            return Err(ForceRefusal::SameCluster(target));
        }
        if self.parents.iter().any(|parent| parent.cluster == target) {
            return Err(ForceRefusal::FormerCluster(target));
        }
        let mut parents = self.parents.clone();
        parents.extend(self.view.iter().map(|view| view.term()));
        let spare = parents.len().saturating_sub(MAX_PARENTS);
        parents.drain(..spare);
        Ok(parents)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lampyrid_wire::ProcessId;

    use super::*;
    use crate::{AcceptorStore, MemoryStore, Rank, Vote, start_identity};

    fn cluster(id: u128) -> ClusterId {
        ClusterId::from_u128(id)
    }

    fn member(process: u128, incarnation: u64) -> Member {
        Member {
            process: ProcessId::from_u128(process),
            incarnation: Incarnation(incarnation),
            name: format!("p{process}"),
            address: ([127, 0, 0, 1], 1_000 + u16::try_from(process).unwrap()).into(),
            admin: None,
        }
    }

    fn view(members: &[u128]) -> View {
        let first = View::first(cluster(1), "c", member(members[0], 3));
        first.successor(members.iter().map(|&p| member(p, 3)).collect()).unwrap()
    }

    /// Process 1 at incarnation 4, which has promised and voted for a view with process 9 in it.
    fn state(members: &[u128]) -> AcceptorState {
        let view = view(members);
        let value = view.successor(vec![member(1, 4), member(2, 3), member(9, 1)]).unwrap();
        let rank = Rank { round: 2, index: 0 };
        AcceptorState {
            cluster: Some(view.cluster()),
            view: Some(Arc::new(view)),
            promised: Some(rank),
            voted: Some(Vote { rank, value: Arc::new(value) }),
            ..AcceptorState::new(ProcessId::from_u128(1), Incarnation(4))
        }
    }

    #[test]
    fn a_forced_cluster_has_one_member_and_no_promise_of_the_old_one() {
        let before = state(&[1, 2, 3]);
        let after = before.force_new_cluster(cluster(2)).unwrap();
        assert_eq!((after.process, after.incarnation), (before.process, Incarnation(5)));
        assert_eq!(
            (after.cluster, &after.promised, &after.voted),
            (Some(cluster(2)), &None, &None)
        );
        let first = after.view.as_ref().unwrap();
        assert_eq!((first.epoch(), first.cluster_name()), (Epoch(1), "c"));
        assert_eq!(first.members(), [member(1, 5)]);
        assert!(first.is_well_formed(Some(&lampyrid_wire::ViewId([0; 32]))));
        assert_eq!(after.parents, [before.view.as_ref().unwrap().term()]);
    }

    #[test]
    fn the_next_start_is_a_life_that_no_view_lists_yet() {
        let store = MemoryStore::new();
        store.save(&state(&[1, 2, 3]).force_new_cluster(cluster(2)).unwrap()).unwrap();
        let started = start_identity(&store, ProcessId::from_u128(7)).unwrap();
        let listed = started.view.as_ref().unwrap().member(started.process).unwrap();
        assert!(listed.incarnation < started.incarnation);
        assert_eq!(started.parents.len(), 1, "the lineage is kept");
    }

    #[test]
    fn who_was_removed_who_was_never_in_and_who_is_rolled_back_is_refused() {
        let removed = state(&[2, 3]);
        assert_eq!(removed.force_new_cluster(cluster(2)), Err(ForceRefusal::Removed(Epoch(2))));
        let nobody = AcceptorState::new(ProcessId::from_u128(1), Incarnation(4));
        assert_eq!(nobody.force_new_cluster(cluster(2)), Err(ForceRefusal::NoView));
        assert_eq!(nobody.join_new_cluster(cluster(2)), Err(ForceRefusal::NoView));
        let old = AcceptorState { incarnation: Incarnation(2), ..state(&[1, 2]) };
        let refusal = ForceRefusal::RolledBack { known: Incarnation(3), own: Incarnation(2) };
        assert_eq!(old.force_new_cluster(cluster(2)), Err(refusal));
    }

    #[test]
    fn those_to_ask_are_of_the_last_view_and_of_the_voted_one_without_the_process_itself() {
        let asked: Vec<ProcessId> =
            state(&[1, 2, 3]).others().iter().map(|member| member.process).collect();
        assert_eq!(asked, [2, 3, 9].map(ProcessId::from_u128));
    }

    #[test]
    fn joining_keeps_the_process_and_forgets_what_it_was_in() {
        for before in [state(&[1, 2, 3]), state(&[2, 3])] {
            let after = before.join_new_cluster(cluster(2)).unwrap();
            let wanted = AcceptorState {
                cluster: Some(cluster(2)),
                parents: vec![before.view.as_ref().unwrap().term()],
                ..AcceptorState::new(before.process, Incarnation(5))
            };
            assert_eq!(after, wanted);
            // A mistyped id can be corrected, and leaves no trace.
            let corrected = after.join_new_cluster(cluster(3)).unwrap();
            assert_eq!(corrected.parents, after.parents);
        }
    }

    #[test]
    fn nobody_goes_back_to_a_cluster_whose_votes_it_forgot() {
        let before = state(&[1, 2, 3]);
        let same = before.join_new_cluster(cluster(1));
        assert_eq!(same, Err(ForceRefusal::SameCluster(cluster(1))));
        let forced = before.force_new_cluster(cluster(2)).unwrap();
        let again = forced.force_new_cluster(cluster(3)).unwrap();
        for former in [1, 2] {
            let back = again.join_new_cluster(cluster(former));
            assert_eq!(back, Err(ForceRefusal::FormerCluster(cluster(former))));
        }
        assert_eq!(again.join_new_cluster(cluster(0)), Err(ForceRefusal::NilCluster));
    }

    #[test]
    fn the_list_of_parents_is_bounded_and_a_full_one_bars_the_way_to_others() {
        let mut state = state(&[1, 2, 3]);
        for id in 0..200 {
            state = state.force_new_cluster(cluster(100 + id)).unwrap();
        }
        assert_eq!(state.parents.len(), MAX_PARENTS);
        assert_eq!(state.parents.last().unwrap().cluster, cluster(298));
        // Cluster 1 is forgotten: so none may be joined, or it could be that one.
        assert_eq!(state.join_new_cluster(cluster(1)), Err(ForceRefusal::TooManyParents));
    }
}
