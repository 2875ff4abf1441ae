//! The production core behind the models. A call of [`Agreement`] is a pure function of what it
//! was built from and what it learns, so each distinct call is made once and its outcome kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

use lampyrid_membership::{Agreement, BallotFacts, Change, Flaw, Progress, Rank, View, Vote};
use lampyrid_wire::{ClusterId, Incarnation, Member, ProcessId};

use super::facts::{
    Acceptor, Ballot, Fact, Outcome, ProcessNo, Said, SmallRank, Trying, ViewNo, Voters,
};

/// A call of the core.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Call {
    /// Gives the fast vote.
    VoteFast(ViewNo),
    /// Proposes in the rank that needs no promises.
    ProposeFirst(ViewNo),
    /// Starts a round after it heard of that round.
    Start(u8),
    /// Learns one fact of one other process.
    Learn(ProcessNo, Fact),
    /// A proposer learns promises of its rank, in a message that comes twice, and proposes that value if it may
    /// choose.
    Collect(Trying, Vec<(ProcessNo, Fact)>, Option<ViewNo>),
    /// Comes back with what was durable, and says it again.
    Return,
}

type Key = (ProcessNo, bool, Acceptor, Call);

/// All views that occurred, by number, and all outcomes.
pub(crate) struct World {
    pub(crate) flaw: Option<Flaw>,
    views: RwLock<Vec<Arc<View>>>,
    outcomes: RwLock<HashMap<Key, Option<Outcome>>>,
    decisions: RwLock<HashMap<(ViewNo, Ballot, Voters), bool>>,
}

pub(crate) fn process_id(process: ProcessNo) -> ProcessId {
    ProcessId::from_u128(u128::from(process) + 1)
}

/// The record of one life of a process.
pub(crate) fn member(process: ProcessNo, incarnation: u8) -> Member {
    Member {
        process: process_id(process),
        incarnation: Incarnation(u64::from(incarnation)),
        name: String::new(),
        address: "127.0.0.1:1".parse().expect("an address"),
        admin: None,
    }
}

impl World {
    /// A world whose view number 0 has the first `size` processes in it.
    pub(crate) fn new(size: u8, flaw: Option<Flaw>) -> Self {
        let first = View::first(ClusterId::from_u128(5), "c", member(0, 1));
        let members = (0..size).map(|process| member(process, 1)).collect();
        let view = first.successor(members).expect("a view");
        Self {
            flaw,
            views: RwLock::new(vec![Arc::new(view)]),
            outcomes: RwLock::default(),
            decisions: RwLock::default(),
        }
    }

    pub(crate) fn view(&self, number: ViewNo) -> Arc<View> {
        Arc::clone(&self.views.read().expect("lock")[usize::from(number)])
    }

    /// The number of a view; a new one if it was never seen.
    pub(crate) fn number(&self, view: &Arc<View>) -> ViewNo {
        let find = |views: &[Arc<View>]| views.iter().position(|known| known.id() == view.id());
        let known = find(&self.views.read().expect("lock"));
        let at = known.unwrap_or_else(|| {
            let mut views = self.views.write().expect("lock");
            find(&views).unwrap_or_else(|| {
                let ids: BTreeSet<ProcessId> = view.members().iter().map(|m| m.process).collect();
                assert_eq!(ids.len(), view.size(), "a process is listed once");
                views.push(Arc::clone(view));
                views.len() - 1
            })
        });
        ViewNo::try_from(at).expect("few views in a model")
    }

    /// How many views follow the first up to this one.
    pub(crate) fn depth(&self, number: ViewNo) -> u64 {
        self.view(number).epoch().0 - self.view(0).epoch().0
    }

    /// The incarnation at which a view lists a process.
    pub(crate) fn listed(&self, number: ViewNo, process: ProcessNo) -> Option<u8> {
        let view = self.view(number);
        let member = view.member(process_id(process))?;
        u8::try_from(member.incarnation.0).ok()
    }

    /// The place of a process in a view.
    pub(crate) fn place(&self, number: ViewNo, process: ProcessNo) -> Option<u8> {
        self.view(number).place_of(process_id(process)).and_then(|place| u8::try_from(place).ok())
    }

    pub(crate) fn successor(&self, number: ViewNo, change: &Change) -> Option<ViewNo> {
        Some(self.number(&change.apply(&self.view(number))?))
    }

    pub(crate) fn agreement(&self, process: ProcessNo, again: bool, from: &Acceptor) -> Agreement {
        let voted =
            from.voted.map(|vote| Vote { rank: vote.rank.whole(), value: self.view(vote.value) });
        Agreement::flawed(
            self.view(from.view),
            process_id(process),
            from.promised.map(SmallRank::whole),
            voted,
            self.flaw,
            again,
        )
    }

    /// What the core makes of a call; `None` if nothing.
    pub(crate) fn call(
        &self,
        process: ProcessNo,
        again: bool,
        from: &Acceptor,
        call: Call,
    ) -> Option<Outcome> {
        let key = (process, again, *from, call);
        if let Some(known) = self.outcomes.read().expect("lock").get(&key) {
            return known.clone();
        }
        let outcome = self.make(process, again, from, &key.3);
        self.outcomes.write().expect("lock").insert(key, outcome.clone());
        outcome
    }

    fn make(
        &self,
        process: ProcessNo,
        again: bool,
        from: &Acceptor,
        call: &Call,
    ) -> Option<Outcome> {
        let mut core = self.agreement(process, again, from);
        let mut chose = false;
        let progress = match call {
            Call::VoteFast(value) => core.vote_fast(self.view(*value)),
            Call::ProposeFirst(value) => core.propose_first(self.view(*value)),
            Call::Start(floor) => {
                self.hear_of_round(process, &mut core, *floor);
                core.start()
            }
            Call::Learn(by, fact) => core.learn(&self.facts(from.view, &[(*by, *fact)])),
            Call::Collect(trying, facts, value) => {
                core = self.agreement(process, again, &trying.before);
                self.hear_of_round(process, &mut core, trying.floor);
                let started = core.start();
                assert_eq!(core.promised().map(SmallRank::of), from.promised, "the same rank");
                let message = self.facts(from.view, facts);
                let first = core.learn(&message);
                let second = core.learn(&message);
                let mut progress = Progress {
                    persist: first.persist | second.persist,
                    free: started.free | first.free | second.free,
                    ..Progress::default()
                };
                if let Some(value) = value.filter(|_| progress.free) {
                    chose = core.propose(self.view(value)).persist;
                    progress.persist |= chose;
                }
                progress
            }
            Call::Return => Progress { persist: true, ..Progress::default() },
        };
        let tries = matches!(call, Call::Start(_)) && core.trying().is_some();
        if !progress.persist && !tries {
            return None;
        }
        let acceptor = Acceptor {
            view: from.view,
            promised: core.promised().map(SmallRank::of),
            voted: core.voted().map(|vote| Ballot {
                rank: SmallRank::of(vote.rank),
                value: self.number(&vote.value),
            }),
        };
        let facts = self.own_facts(from.view, &core);
        Some(Outcome { acceptor, facts, tries, chose })
    }

    /// Somebody else promised a third one's rank of that round: no request to do so as well. Of
    /// two processes none is left to be heard of but the one that asks.
    fn hear_of_round(&self, process: ProcessNo, core: &mut Agreement, round: u8) {
        let own = core.view().place_of(process_id(process));
        let size = u16::try_from(core.view().size()).expect("few seats");
        let others: Vec<u16> = (0..size).filter(|&place| Some(place) != own).collect();
        if round == 0 || others.len() < 2 {
            return;
        }
        let rank = Rank { round: u64::from(round), index: others[0] };
        let promises = vec![(rank, None, [others[1]].into_iter().collect())];
        core.learn(&BallotFacts { promises, ..BallotFacts::default() });
    }

    /// True if these votes decide, to the core of one who only watches.
    pub(crate) fn decides(&self, view: ViewNo, ballot: Ballot, voters: Voters) -> bool {
        let key = (view, ballot, voters);
        if let Some(&known) = self.decisions.read().expect("lock").get(&key) {
            return known;
        }
        let said = Said::Vote(ballot);
        let facts: Vec<(ProcessNo, Fact)> =
            key.2.iter().map(|&(by, extra)| (by, Fact { view, extra, said })).collect();
        let mut core = self.agreement(200, false, &Acceptor::fresh(view));
        let decided = core.learn(&self.facts(view, &facts)).decided;
        if let Some(next) = &decided {
            assert_eq!(self.number(next), ballot.value, "what is decided is what was voted for");
        }
        self.decisions.write().expect("lock").insert(key, decided.is_some());
        decided.is_some()
    }
}
