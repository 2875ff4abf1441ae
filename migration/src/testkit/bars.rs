use lampyrid_wire::{EntityId, ProcessId};

use super::check::{Violation, violation};
use super::world::{Asked, World};
use crate::Request;

/// How far a move has come when its destination is lost for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// COMMIT did not arrive.
    Staged,
    /// It was activated, and the acknowledgement did not arrive.
    Activated,
    /// The same, and it has moved on to a third process.
    MovedOn,
    /// It was on its way to a third process: staged there, and not decided.
    MovingOn,
}

impl World {
    /// True if a running process has it that this one is out for good.
    pub(crate) fn is_barred(&self, process: ProcessId) -> bool {
        let mut disks = self.processes.iter().map(|it| &it.disk);
        disks.any(|disk| disk.barred.get(&process).is_some_and(|row| row.complete))
    }

    /// Delivers and syncs until nothing is on its way, dropping what `lost` says.
    fn run_dropping(&mut self, lost: impl Fn(usize, &str) -> bool) {
        loop {
            for process in 0..self.processes.len() {
                self.sync(process, usize::MAX);
            }
            if self.net.is_empty() {
                return;
            }
            for frame in std::mem::take(&mut self.net) {
                if !lost(frame.to, frame.message.name()) {
                    self.deliver(frame);
                }
            }
        }
    }
}

/// A process is lost for good at that moment of a move to it, is barred, and comes back after all.
/// Gives the process that has the entity in the end, and its epoch.
///
/// # Errors
/// The first broken invariant.
pub fn run_bar(lost: Lost) -> Result<(usize, u64), Violation> {
    let mut world = World::new(1, 4, None);
    world.register_pending();
    world.create(0);
    world.run_dropping(|_, _| false);
    let id: EntityId = *world.truth.keys().next().unwrap_or(&EntityId::from_u128(0));
    world.migrate(0, &[id], (1, 0));
    match lost {
        Lost::Staged => world.run_dropping(|_, name| name == "commit"),
        Lost::Activated => world.run_dropping(|_, name| name == "activated"),
        Lost::MovedOn | Lost::MovingOn => {
            world.run_dropping(|_, name| name == "activated");
            world.migrate(1, &[id], (2, 0));
            let cut = lost == Lost::MovingOn;
            world.run_dropping(|to, name| {
                (to == 0 && name == "activated") || (cut && name == "staged")
            });
        }
    }
    let process = world.processes[1].id;
    world.request(0, Request::Bar(process), Asked::Other);
    if !world.processes[0].disk.barred.is_empty() {
        return violation("a member was barred".to_owned());
    }
    world.crash(1);
    let mut members = world.view.members.clone();
    members.remove(&process);
    world.next_view(members);
    world.request(0, Request::Bar(process), Asked::Other);
    world.quiesce()?;
    let rows = [0, 2, 3].map(|n| world.processes[n].disk.barred.get(&process).copied());
    if !rows.iter().all(|row| row.is_some_and(|row| row.complete)) {
        return violation(format!("not all members have it: {rows:?}"));
    }
    // It runs again, and even in a view it would not be heard.
    world.rise(1);
    let mut members = world.view.members.clone();
    members.insert(process, world.processes[1].incarnation);
    world.next_view(members);
    for _ in 0..40 {
        for frame in std::mem::take(&mut world.net) {
            world.now = world.now.max(frame.at);
            world.deliver(frame);
        }
        for process in 0..4 {
            world.sync(process, usize::MAX);
        }
        world.check()?;
        world.advance();
    }
    world.crash(1);
    let mut members = world.view.members.clone();
    members.remove(&process);
    world.next_view(members);
    world.quiesce()?;
    let owners =
        [0, 2, 3].into_iter().filter(|n| world.processes[*n].disk.entities.contains_key(&id));
    let owners: Vec<usize> = owners.collect();
    let [owner] = owners[..] else { return violation(format!("owned by {owners:?}")) };
    let epoch = world.processes[owner].disk.entities.get(&id).map_or(0, |row| row.epoch.0);
    // It moves as ever, but not there.
    let before = epoch;
    world.migrate(owner, &[id], (3, 0));
    world.quiesce()?;
    let after = world.processes[3].disk.entities.get(&id).map_or(0, |row| row.epoch.0);
    match after == before + 1 {
        true => Ok((owner, epoch)),
        false => violation(format!("{id:?} cannot be moved: {after} after {before}")),
    }
}
