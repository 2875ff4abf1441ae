//! The same agreements where nobody forgets anything.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use lampyrid_membership::Agreement;
use stateright::Model;

use super::bounds::{Bounds, Fast};
use super::chain::Chain;
use super::facts::{Acceptor, Ballot, Fact, ProcessNo, SmallRank, ViewNo};
use super::run::is_large;
use super::state::{State, Wish};

/// All cores as they are, and what each has published.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Memory {
    cores: Vec<Agreement>,
    facts: Vec<Vec<Fact>>,
    starts: u8,
}

/// What both kinds of model have: what is durable and what was published.
type Seen = (Vec<(Option<SmallRank>, Option<Ballot>, Vec<Fact>)>, u8);

/// What a core does of itself or with one fact.
enum Step {
    VoteFast(ViewNo),
    ProposeFirst(ViewNo),
    /// After it has given up what it tried.
    Start,
    Learn(ProcessNo, Fact),
}

/// Explores agreements in which every fact is learned by itself and kept.
struct Unreduced {
    chain: Chain,
}

impl Unreduced {
    fn begin(&self) -> Memory {
        let size = self.chain.bounds.size;
        let fresh = Acceptor::fresh(0);
        let cores = (0..size).map(|process| self.chain.world.agreement(process, false, &fresh));
        Memory { cores: cores.collect(), facts: vec![Vec::new(); usize::from(size)], starts: 0 }
    }

    /// Every state that a step leads to: where the core asks for a value, one for each.
    fn step(&self, from: &Memory, process: usize, step: &Step, values: &[ViewNo]) -> Vec<Memory> {
        let world = &self.chain.world;
        let mut next = from.clone();
        let core = &mut next.cores[process];
        let progress = match step {
            Step::VoteFast(value) => core.vote_fast(world.view(*value)),
            Step::ProposeFirst(value) => core.propose_first(world.view(*value)),
            Step::Start => {
                core.give_up();
                core.start()
            }
            Step::Learn(by, fact) => core.learn(&world.facts(0, &[(*by, *fact)])),
        };
        // What is heard again moves only a count that `Flaw::DuplicateCounted` looks at.
        if !progress.news && !progress.persist {
            return Vec::new();
        }
        if matches!(step, Step::Start | Step::ProposeFirst(_)) && progress.persist {
            next.starts += 1;
        }
        let mut all = Vec::new();
        if progress.free {
            for &value in values {
                let mut chosen = next.clone();
                chosen.cores[process].propose(world.view(value));
                all.push(chosen);
            }
            next.cores[process].give_up();
        }
        all.push(next);
        for next in &mut all {
            for fact in world.own_facts(0, &next.cores[process]) {
                if let Err(at) = next.facts[process].binary_search(&fact) {
                    next.facts[process].insert(at, fact);
                }
            }
        }
        all
    }

    fn next(&self, from: &Memory, values: &[ViewNo]) -> Vec<Memory> {
        let mut all = Vec::new();
        for process in 0..from.cores.len() {
            let mut steps: Vec<Step> = values.iter().map(|&value| Step::VoteFast(value)).collect();
            let starter = self.chain.bounds.starters.iter().any(|&p| usize::from(p) == process);
            if starter && from.starts < self.chain.bounds.starts {
                steps.extend(values.iter().map(|&value| Step::ProposeFirst(value)));
                steps.push(Step::Start);
            }
            let others = (0..).zip(&from.facts);
            steps.extend(others.flat_map(|(by, facts): (ProcessNo, _)| {
                facts.iter().map(move |fact| Step::Learn(by, *fact))
            }));
            for step in steps {
                all.extend(self.step(from, process, &step, values));
            }
        }
        all
    }

    fn seen(&self, memory: &Memory) -> Seen {
        let world = &self.chain.world;
        let each = memory.cores.iter().zip(&memory.facts).map(|(core, facts)| {
            let voted = core.voted().map(|vote| Ballot {
                rank: SmallRank::of(vote.rank),
                value: world.number(&vote.value),
            });
            (core.promised().map(SmallRank::of), voted, facts.clone())
        });
        (each.collect(), memory.starts)
    }

    // A view's caches are no part of what it is compared by.
    #[allow(clippy::mutable_key_type)]
    fn explore(&self, values: &[ViewNo]) -> (HashSet<Seen>, usize) {
        let mut known: HashSet<Memory> = [self.begin()].into();
        let mut open: VecDeque<Memory> = known.iter().cloned().collect();
        let mut seen = HashSet::new();
        while let Some(memory) = open.pop_front() {
            seen.insert(self.seen(&memory));
            for next in self.next(&memory, values) {
                if known.insert(next.clone()) {
                    open.push_back(next);
                }
            }
        }
        (seen, known.len())
    }
}

/// The states of the forgetful model, by the same world.
fn reduced(chain: &Chain) -> HashSet<Seen> {
    let mut known: HashSet<_> = chain.init_states().into_iter().collect();
    let mut open: Vec<_> = known.iter().cloned().collect();
    while let Some(state) = open.pop() {
        for next in chain.next_states(&state) {
            if known.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    let size = usize::from(chain.bounds.size);
    let of = |state: &State| -> Seen {
        let each = state.processes[..size].iter().map(|it| {
            let acceptor = it.acceptor.expect("all are in the first view");
            (acceptor.promised, acceptor.voted, it.facts.clone())
        });
        (each.collect(), state.starts)
    };
    known.iter().map(of).collect()
}

/// `starters`: how many of them may start a round.
fn compare(size: u8, starts: u8, starters: u8) {
    let bounds = Bounds {
        size,
        outside: 2,
        agreements: 1,
        starts,
        starters: (0..starters).collect(),
        wishes: vec![Wish::Admit(size), Wish::Admit(size + 1)],
        fast: Fast::AnyTime,
        ..Bounds::default()
    };
    let begun = Instant::now();
    let chain = Chain::new(bounds);
    let values = chain.values(&chain.init_states()[0], 0);
    let forgetful = reduced(&chain);
    let (whole, states) = Unreduced { chain }.explore(&values);
    eprintln!(
        "nothing forgotten, N = {size}, {starts} rounds: {states} states, {} different on disk and \
         wire; forgetful: {}; {:.1} s",
        whole.len(),
        forgetful.len(),
        begun.elapsed().as_secs_f64()
    );
    assert!(whole.is_subset(&forgetful), "the forgetful model lacks a state");
    assert!(forgetful.is_subset(&whole), "the forgetful model does what no core does");
}

#[test]
fn processes_that_forget_reach_what_processes_with_memory_reach() {
    compare(2, 3, 2);
    compare(3, 1, 3);
    if is_large() {
        compare(3, 2, 1);
    }
}
