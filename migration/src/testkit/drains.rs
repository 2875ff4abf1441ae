use std::collections::BTreeSet;

use lampyrid_wire::{BubbleId, ProcessId};

use super::check::{Violation, violation};
use super::crash::Comeback;
use super::world::{Asked, BUBBLES, World, bubble_of};
use crate::Request;

/// What goes wrong while a process is drained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DrainTrouble {
    /// Nothing.
    None,
    /// A process is crashed when its disk comes to that transaction, before or after it is durable,
    /// and comes back.
    Crash(usize, u64, bool),
    /// That member takes nothing: no message reaches it until it is out of the view, some looks
    /// later.
    Silent(usize),
}

/// One of four processes is drained. `None` when the trouble did not come.
///
/// # Errors
/// The first broken invariant.
pub fn run_drain(seed: u64, trouble: DrainTrouble) -> Result<Option<usize>, Violation> {
    let mut world = World::new(seed, 4, None);
    world.register_pending();
    for _ in 0..12 {
        world.create(0);
    }
    world.settle(None)?;
    if let DrainTrouble::Crash(process, transaction, after) = trouble {
        world.crash_soon(process, transaction, after);
    }
    world.request(0, Request::Drain, Asked::Other);
    if let DrainTrouble::Silent(process) = trouble {
        world.comeback = Comeback::NextView;
        world.silence(process)?;
    }
    let mut tries = 0;
    loop {
        world.quiesce()?;
        if world.registry.drained.contains(&0) {
            break;
        }
        tries += 1;
        if tries > 4 {
            return violation(format!(
                "the drain does not end: {:?}",
                world.processes[0].disk.moves
            ));
        }
        if world.processes[0].disk.drain.is_none() {
            // It died before that was recorded, or after it was over: then it is asked again.
            world.request(0, Request::Drain, Asked::Other);
        }
    }
    let crashed = world.crashes.is_empty();
    world.check()?;
    let disk = &world.processes[0].disk;
    if disk.entities.len() + disk.bubbles.len() + disk.stagings.len() > 0 {
        return violation("something is left of what was drained".to_owned());
    }
    let hosts: BTreeSet<ProcessId> =
        (0..BUBBLES).filter_map(|n| world.host_of(bubble_of(0, n))).collect();
    if trouble == DrainTrouble::None && hosts.len() != BUBBLES {
        return violation(format!("{BUBBLES} bubbles went to {hosts:?}"));
    }
    world.crash(0);
    let mut members = world.view.members.clone();
    members.remove(&world.processes[0].id);
    world.next_view(members);
    let everywhere: BTreeSet<BubbleId> =
        world.processes[1..].iter().flat_map(|process| process.disk.bubbles.clone()).collect();
    for bubble in (0..4).flat_map(|home| (0..BUBBLES).map(move |n| bubble_of(home, n))) {
        if world.host_of(bubble).is_none() || !everywhere.contains(&bubble) {
            return violation(format!("{bubble:?} is hosted by nobody"));
        }
    }
    Ok(crashed.then_some(hosts.len()))
}

impl World {
    /// Nothing reaches that process; after a while it is out of the view.
    fn silence(&mut self, silent: usize) -> Result<(), Violation> {
        for round in 0..200 {
            self.net.retain(|frame| frame.to != silent);
            self.turn()?;
            self.advance();
            if round == 150 {
                let mut members = self.view.members.clone();
                members.remove(&self.processes[silent].id);
                self.next_view(members);
            }
        }
        // It comes back as another life of itself.
        self.crash(silent);
        Ok(())
    }
}
