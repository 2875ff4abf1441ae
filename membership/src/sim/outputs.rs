use super::process::Running;
use super::{Event, Sim, Violation};
use crate::{AcceptorState, AcceptorStore, Output};

impl Sim {
    pub(super) fn perform(&mut self, place: usize, mut out: Vec<Output>) -> Result<(), Violation> {
        // An edge monitor speaks up only when the step that woke it is done.
        let mut edges = self.spare.pop().unwrap_or_default();
        for output in out.drain(..) {
            if self.processes[place].run.is_none() {
                // It crashed between two outputs, or left.
                break;
            }
            match output {
                Output::Watch { .. } | Output::Edge { .. } => edges.push(output),
                output => self.carry_out(place, output)?,
            }
        }
        self.spare.push(out);
        for output in edges.drain(..) {
            self.carry_out(place, output)?;
        }
        self.spare.push(edges);
        self.set_alarm(place);
        Ok(())
    }

    fn carry_out(&mut self, place: usize, output: Output) -> Result<(), Violation> {
        let id = self.processes[place].id;
        match output {
            Output::Persist(state) => self.save(place, &state)?,
            Output::Send { to, stamp, message } => {
                self.checker.sent(id, stamp.map(|stamp| stamp.epoch), &message)?;
                self.transmit(place, to, stamp, message);
            }
            Output::Keep(members) => self.keep(place, &members),
            Output::Seek(addresses) => self.seek(place, &addresses),
            Output::SetCluster(cluster) => self.with(place, |run| run.cluster = Some(cluster)),
            Output::SetIncarnation(incarnation) => {
                self.say(|| format!("{place} becomes {incarnation}"));
                self.with(place, |run| run.peer.incarnation = incarnation);
                self.end_sessions(place);
            }
            Output::Watch { attempt, subjects } => self.watch(place, attempt, subjects)?,
            Output::Edge { subject, input } => self.step_edge(place, subject, input)?,
            Output::Publish { state, change } => {
                self.stirred = true;
                self.say(|| {
                    let size = state.view.as_ref().map_or(0, |view| view.size());
                    let epoch = state.view.as_ref().map_or(0, |view| view.epoch().0);
                    format!("{place} is {:?}, epoch {epoch} of {size}", state.status)
                });
                self.checker.shown(&state)?;
                if let (Some(change), Some(run)) = (change, &mut self.processes[place].run) {
                    let epoch = change.view.epoch();
                    if epoch <= run.told {
                        return Err(Violation::ToldBackwards(id, epoch, run.told));
                    }
                    run.told = epoch;
                }
                self.with(place, |run| run.shown = Some(state));
            }
            Output::HoldUntil(_) => {}
            Output::Left => {
                self.say(|| format!("{place} has left"));
                self.crash(place);
            }
            Output::Stop(reason) => return Err(Violation::Stopped(id, reason)),
        }
        Ok(())
    }

    pub(super) fn with(&mut self, place: usize, change: impl FnOnce(&mut Running)) {
        if let Some(run) = &mut self.processes[place].run {
            change(run);
        }
    }

    /// A durable write; in bad times the process dies just before or just after it.
    fn save(&mut self, place: usize, state: &AcceptorState) -> Result<(), Violation> {
        let dies = self.chaotic && self.random.chance(self.plan.crashes_per_write);
        if dies && self.random.chance(700) {
            let soon = self.random.between(1_000, 80_000);
            self.after(soon, Event::Restart(place));
        }
        if dies && self.random.chance(500) {
            self.crash(place);
            return Ok(());
        }
        self.checker.persisted(state)?;
        self.say(|| {
            let vote = state.voted.as_ref().map(|vote| (vote.rank, vote.value.id()));
            let epoch = state.view.as_ref().map_or(0, |view| view.epoch().0);
            format!("{place} saves epoch {epoch}, promise {:?}, vote {vote:?}", state.promised)
        });
        if self.processes[place].disk.save(state).is_err() || dies {
            self.crash(place);
        }
        Ok(())
    }
}
