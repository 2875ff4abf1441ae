//! What must be back for a cluster to heal by itself, and a run that shows that it does.

use lampyrid_membership::{Agreement, Change};

use super::chain::{Chain, install};
use super::facts::{Acceptor, ProcessNo, ViewNo};
use super::state::{Process, State, Wish};
use super::world::{World, member};

/// What one process that is back has on disk.
pub(crate) type Durable = (ProcessNo, Option<Acceptor>, u8);

/// More decisions than any of these takes to heal.
const TRIES: usize = 8;

impl Chain {
    /// Of every set of processes: if all who must be back are in it, it heals by itself. The others
    /// stay silent, and what they published is lost; those who are back have only what is durable.
    pub(crate) fn heals(&self, state: &State) -> bool {
        let all = state.processes.len();
        (1_u32..1 << all).all(|some| {
            let back: Vec<ProcessNo> =
                state.numbered().map(|(p, _)| p).filter(|p| some >> p & 1 == 1).collect();
            // As they are, and after a loss of power.
            !self.must_heal(state, &back)
                || [0, 1].into_iter().all(|more| self.does_heal(state, &back, more))
        })
    }

    /// Those who are back include a quorum of the newest view any of them has installed, of every
    /// view decided after it, and of every view one of them accepted in a classic round. One thing
    /// more: of every view for which so many of them have voted fast that selection may force it,
    /// decided or not. Without this the rule does not hold from five processes on.
    fn must_heal(&self, state: &State, back: &[ProcessNo]) -> bool {
        let world = &self.world;
        let on_disk = || back.iter().filter_map(|&p| state.processes[usize::from(p)].acceptor);
        let Some(newest) = on_disk().map(|it| it.view).max_by_key(|&view| world.depth(view)) else {
            return false;
        };
        let known = world.depth(newest);
        let decided = state.left().into_iter().flat_map(|view| state.decided(world, view));
        let decided = decided.filter(|&view| world.depth(view) > known);
        let accepted = on_disk()
            .filter(|it| it.view == newest)
            .filter_map(|it| it.voted)
            .filter(|ballot| ballot.rank.round > 0)
            .map(|ballot| ballot.value);
        let size = world.view(newest).size();
        let spare = (size - 1) / 4;
        let fast = || {
            let votes = on_disk().filter(|it| it.view == newest).filter_map(|it| it.voted);
            votes.filter(|ballot| ballot.rank.round == 0).map(|ballot| ballot.value)
        };
        let may_force = |&value: &ViewNo| {
            fast().filter(|&other| other == value).count() + spare >= size.div_ceil(2)
        };
        let forced = fast().filter(may_force).filter(|_| !self.bounds.forget_fast);
        let mut needed = decided.chain(accepted).chain(forced).chain([newest]);
        needed.all(|view| {
            let places: Vec<u16> =
                back.iter().filter_map(|&p| world.place(view, p)).map(u16::from).collect();
            world.view(view).is_quorum_of_places(&places.into_iter().collect())
        })
    }

    fn does_heal(&self, state: &State, back: &[ProcessNo], restarts: u8) -> bool {
        let durable: Vec<Durable> = back
            .iter()
            .map(|&p| (p, &state.processes[usize::from(p)]))
            .map(|(p, it)| (p, it.acceptor, it.incarnation + restarts))
            .collect();
        if let Some(&known) = self.healed.read().expect("lock").get(&durable) {
            return known;
        }
        let leaver = self.bounds.wishes.iter().find_map(|wish| match wish {
            Wish::Leave(process) => Some(*process),
            _ => None,
        });
        let mut run = Run::new(&self.world, &durable, leaver);
        let healed = (0..TRIES).any(|_| run.goes_on());
        self.healed.write().expect("lock").insert(durable, healed);
        healed
    }
}

/// A run without faults: everybody hears everything, and the first of them starts a round.
struct Run<'a> {
    world: &'a World,
    back: Vec<(ProcessNo, Process)>,
    leaver: Option<ProcessNo>,
}

impl<'a> Run<'a> {
    fn new(world: &'a World, durable: &[Durable], leaver: Option<ProcessNo>) -> Self {
        let back = durable.iter().map(|&(process, acceptor, incarnation)| {
            let facts = Vec::new();
            (process, Process { acceptor, incarnation, trying: None, facts, past: None })
        });
        Self { world, back: back.collect(), leaver }
    }

    /// Takes the next decision; true if all are healed: one view, with all in it as they now live.
    fn goes_on(&mut self) -> bool {
        let world = self.world;
        let views = self.back.iter().filter_map(|(_, it)| it.acceptor).map(|it| it.view);
        let Some(view) = views.max_by_key(|&view| world.depth(view)) else { return false };
        for (process, it) in &mut self.back {
            let behind = it.acceptor.is_none_or(|own| world.depth(own.view) < world.depth(view));
            let listed = world.listed(view, *process);
            if behind && (it.acceptor.is_some() || listed.is_some()) {
                install(world, it, *process, view);
            }
        }
        let stays = |process: ProcessNo| Some(process) != self.leaver;
        let healed =
            self.back.iter().filter(|(process, _)| stays(*process)).all(|(process, it)| {
                it.acceptor.is_some_and(|own| own.view == view) && it.is_member(world, *process)
            });
        if healed {
            return true;
        }
        if let Some(next) = self.decide(view)
            && let Some((process, it)) =
                self.back.iter_mut().find(|(_, it)| it.acceptor.is_some_and(|own| own.view == view))
        {
            install(world, it, *process, next);
        }
        false
    }

    /// All who are back are admitted as they now live; nobody is removed.
    fn wish(&self, view: ViewNo) -> Change {
        let wanted = self.back.iter().filter(|(process, it)| {
            Some(*process) != self.leaver
                && self.world.listed(view, *process) != Some(it.incarnation)
        });
        let put = wanted.map(|(process, it)| member(*process, it.incarnation)).collect();
        Change { put, ..Change::default() }
    }

    fn decide(&self, view: ViewNo) -> Option<ViewNo> {
        let world = self.world;
        let seated = self.back.iter().filter(|(process, _)| world.place(view, *process).is_some());
        let mut cores: Vec<Agreement> = seated
            .filter_map(|(process, it)| Some((process, it, it.acceptor?)))
            .map(|(process, it, own)| {
                world.agreement(*process, !it.is_member(world, *process), &own)
            })
            .collect();
        let wish = world.successor(view, &self.wish(view))?;
        if let Some(decided) = talk(world, &mut cores, wish) {
            return Some(decided);
        }
        let first = cores.first_mut()?;
        let mut progress = first.start();
        if progress.free {
            progress = first.propose(world.view(wish));
        }
        if let Some(decided) = progress.decided {
            return Some(world.number(&decided));
        }
        talk(world, &mut cores, wish)
    }
}

/// Everybody tells everybody everything until nothing is new.
fn talk(world: &World, cores: &mut [Agreement], wish: ViewNo) -> Option<ViewNo> {
    loop {
        let mut news = false;
        for from in 0..cores.len() {
            let facts = cores[from].facts(|_| false);
            for to in (0..cores.len()).filter(|&to| to != from) {
                let mut progress = cores[to].learn(&facts);
                if progress.free {
                    progress = cores[to].propose(world.view(wish));
                    progress.news = true;
                }
                if let Some(decided) = progress.decided {
                    return Some(world.number(&decided));
                }
                news |= progress.news | progress.persist;
            }
        }
        if !news {
            return None;
        }
    }
}
