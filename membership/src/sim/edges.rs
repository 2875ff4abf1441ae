use std::time::Duration;

use lampyrid_wire::{Incarnation, ProcessId};

use super::process::Alarm;
use super::{Event, Sim, Violation};
use crate::{EdgeCore, EdgeEvent, EdgeInput, EdgeOutput, Input, ProbeOutcome, Subject};

/// An edge of a simulated process.
#[derive(Debug)]
pub(super) struct SimEdge {
    core: EdgeCore,
    incarnation: Incarnation,
    attempt: u64,
    pub(super) alarm: Option<Alarm>,
}

impl Sim {
    pub(super) fn watch(
        &mut self,
        place: usize,
        attempt: u64,
        subjects: Vec<Subject>,
    ) -> Result<(), Violation> {
        let clock = self.clock(place);
        let mut started = Vec::new();
        if let Some(run) = &mut self.processes[place].run {
            let mut before = std::mem::take(&mut run.edges);
            for Subject { member, linked } in subjects {
                let same = |edge: &SimEdge| {
                    edge.incarnation == member.incarnation && edge.attempt == attempt
                };
                let edge = match before.remove(&member.process) {
                    Some(edge) if same(&edge) => edge,
                    _ => {
                        let mut out = Vec::new();
                        let core = EdgeCore::new(clock, linked, &mut out);
                        started.push((member.process, out));
                        let incarnation = member.incarnation;
                        SimEdge { core, incarnation, attempt, alarm: None }
                    }
                };
                run.edges.insert(member.process, edge);
            }
        }
        for (subject, out) in started {
            self.perform_edge(place, subject, out)?;
        }
        Ok(())
    }

    pub(super) fn wake_edge(
        &mut self,
        place: usize,
        subject: ProcessId,
        serial: u64,
    ) -> Result<(), Violation> {
        let Some(run) = &mut self.processes[place].run else { return Ok(()) };
        let Some(edge) = run.edges.get_mut(&subject) else { return Ok(()) };
        if edge.alarm.is_none_or(|alarm| alarm.serial != serial) {
            return Ok(());
        }
        edge.alarm = None;
        self.step_edge(place, subject, EdgeInput::Wake)
    }

    pub(super) fn step_edge(
        &mut self,
        place: usize,
        subject: ProcessId,
        input: EdgeInput,
    ) -> Result<(), Violation> {
        let clock = self.clock(place);
        let Some(run) = &mut self.processes[place].run else { return Ok(()) };
        let Some(edge) = run.edges.get_mut(&subject) else { return Ok(()) };
        let mut out = self.spare_edge.pop().unwrap_or_default();
        edge.core.step(clock, input, &mut out);
        self.perform_edge(place, subject, out)
    }

    fn perform_edge(
        &mut self,
        place: usize,
        subject: ProcessId,
        mut out: Vec<EdgeOutput>,
    ) -> Result<(), Violation> {
        self.set_edge_alarm(place, subject);
        let edge = self.processes[place].run.as_ref().and_then(|run| {
            run.edges.get(&subject).map(|edge| (run.boot, edge.attempt, edge.core.round_trip()))
        });
        for output in out.drain(..) {
            let Some((boot, attempt, round_trip)) = edge else { break };
            let event = match output {
                EdgeOutput::Probe(sequence) => EdgeEvent::Probe(sequence),
                EdgeOutput::Verdict(verdict) => EdgeEvent::Verdict(verdict, round_trip),
                EdgeOutput::Connect(limit) => {
                    let (outcome, took) = self.connect(place, subject, limit);
                    self.after(took, Event::Connected { of: place, boot, subject, outcome });
                    continue;
                }
            };
            self.step(place, Input::Edge { subject, attempt, event })?;
        }
        self.spare_edge.push(out);
        Ok(())
    }

    pub(super) fn set_edge_alarm(&mut self, place: usize, subject: ProcessId) {
        let clock = self.clock(place);
        let Some(run) = &self.processes[place].run else { return };
        let Some(edge) = run.edges.get(&subject) else { return };
        let Some(wanted) = edge.core.deadline() else { return };
        if edge.alarm.is_some_and(|set| set.wanted <= wanted) {
            return;
        }
        let late = self.lateness(place, 100);
        let event = Event::WakeEdge { of: place, subject };
        let serial = self.after(wanted.saturating_sub(clock) + late, event);
        let Some(run) = &mut self.processes[place].run else { return };
        if let Some(edge) = run.edges.get_mut(&subject) {
            edge.alarm = Some(Alarm { wanted, serial });
        }
    }

    fn connect(
        &mut self,
        from: usize,
        subject: ProcessId,
        limit: Duration,
    ) -> (ProbeOutcome, Duration) {
        let soon = self.random.between(100, 3_000);
        let Some(to) = self.place(subject) else { return (ProbeOutcome::Refused, soon) };
        if self.processes[to].unplugged || self.network.fails_connect(self.now, from, to) {
            (ProbeOutcome::NoAnswer, limit)
        } else if self.processes[to].run.is_none() {
            (ProbeOutcome::Refused, soon)
        } else {
            // A frozen process's listener accepts as well.
            (ProbeOutcome::Accepted, soon)
        }
    }
}
