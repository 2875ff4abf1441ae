use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lampyrid_wire::{Channel, Incarnation, Member, ProcessId};
use ractor::{Actor, ActorId, ActorRef};

use super::monitor::{EdgeMessage, EdgeMonitor, MonitorArguments};
use super::port::locked;
use super::{Counters, Ended, MembershipError, MembershipMessage, MembershipState};
use crate::{
    AcceptorState, Input, Output, Protocol, Stamp, StopReason, Subject, ViewChange, ViewEvent,
    ViewState, frame,
};

/// Crashes of monitors that are mended here; one more is a matter for the supervisor.
const MAX_MONITOR_RESTARTS: u32 = 16;

#[derive(Default)]
pub(super) struct Monitors {
    running: BTreeMap<ProcessId, Monitor>,
    restarts: u32,
}

struct Monitor {
    actor: ActorRef<EdgeMessage>,
    member: Member,
    attempt: u64,
}

impl Monitor {
    fn key(&self) -> (ProcessId, Incarnation, u64) {
        (self.member.process, self.member.incarnation, self.attempt)
    }
}

impl MembershipState {
    /// One step of the core, and all that follows from it.
    pub(super) async fn step(
        &mut self,
        myself: &ActorRef<MembershipMessage>,
        input: Input,
    ) -> Result<(), MembershipError> {
        if self.over {
            return Ok(());
        }
        let mut out = Vec::new();
        self.core.step(self.arguments.clock.now(), input, &mut out);
        self.perform(myself, out).await
    }

    /// Carries outputs out, in order.
    pub(super) async fn perform(
        &mut self,
        myself: &ActorRef<MembershipMessage>,
        out: Vec<Output>,
    ) -> Result<(), MembershipError> {
        let mut outputs = out.into_iter();
        while let Some(output) = outputs.next() {
            self.carry_out(myself, output).await?;
            if self.over {
                break;
            }
            // How long the disk took sets the pace; the core hears of it once the step is done.
            if outputs.len() == 0
                && let Some(took) = self.synced.take()
            {
                let mut more = Vec::new();
                self.core.step(self.arguments.clock.now(), Input::Synced(took), &mut more);
                outputs = more.into_iter();
            }
        }
        let myself = myself.clone();
        let deadline = if self.over { None } else { self.core.deadline() };
        self.alarm.set(&self.arguments.clock, deadline, move || {
            let _ = myself.cast(MembershipMessage::Wake);
        });
        Ok(())
    }

    async fn carry_out(
        &mut self,
        myself: &ActorRef<MembershipMessage>,
        output: Output,
    ) -> Result<(), MembershipError> {
        let links = &self.arguments.links;
        match output {
            Output::Persist(state) => return self.persist(*state).await,
            Output::Send { to, stamp, message } => self.send(to, stamp, &message),
            Output::Keep(members) => links.keep(members),
            Output::Seek(addresses) => links.seek(addresses),
            Output::SetCluster(cluster) => links.set_cluster(cluster),
            Output::SetIncarnation(incarnation) => links.set_incarnation(incarnation),
            Output::Watch { attempt, subjects } => {
                return self.watch(myself, attempt, subjects).await;
            }
            Output::Edge { subject, input } => {
                if let Some(monitor) = self.monitors.running.get(&subject) {
                    // One that has just crashed is started afresh.
                    let _ = monitor.actor.cast(EdgeMessage(input));
                }
            }
            Output::Publish { state, change } => self.publish(state, change),
            Output::HoldUntil(moment) => self.arguments.handle.hold_until(moment),
            Output::Left => self.end(Ended::Left),
            Output::Stop(reason) => self.end(Ended::Stopped(reason)),
        }
        Ok(())
    }

    /// One durable write, off the runtime's threads. If it fails nothing that depends on it may
    /// happen, and nobody knows what is on disk: membership is over.
    async fn persist(&mut self, state: AcceptorState) -> Result<(), MembershipError> {
        let store = Arc::clone(&self.arguments.store);
        let before = self.arguments.clock.now();
        let saved = tokio::task::spawn_blocking(move || store.save(&state))
            .await
            .map_err(|_| MembershipError::WriteCutOff)?;
        Counters::add(&self.arguments.counters.writes, 1);
        let took = self.arguments.clock.now().saturating_sub(before);
        self.synced = Some(self.synced.map_or(took, |longest| longest.max(took)));
        if let Err(error) = saved {
            self.end(Ended::Stopped(StopReason::StoreFailed(error)));
        }
        Ok(())
    }

    fn send(&self, to: ProcessId, stamp: Option<Stamp>, message: &Protocol) {
        let counters = &self.arguments.counters;
        let frame = match frame::seal(stamp, message) {
            Ok(frame) => Bytes::from(frame),
            Err(error) => {
                tracing::error!(%error, "a membership message could not be encoded");
                return;
            }
        };
        let bytes = frame.len();
        match self.arguments.outbound.send(to, Channel::Membership, frame) {
            Ok(()) => {
                Counters::add(&counters.frames_sent, 1);
                Counters::add(&counters.bytes_sent, bytes);
            }
            Err(error) => {
                Counters::add(&counters.frames_not_sent, 1);
                tracing::debug!(%error, "a membership message was not sent");
            }
        }
    }

    fn publish(&self, state: ViewState, change: Option<ViewChange>) {
        if let Some(change) = &change {
            Counters::add(&self.arguments.counters.views, 1);
            tracing::info!(epoch = %change.view.epoch(), members = change.view.size(),
                joined = change.joined.len(), left = change.left.len(),
                coordinator = %change.coordinator, "a view was installed");
        }
        tracing::info!(status = ?state.status, waiting_for = state.waiting_for.len(), "membership");
        let state = Arc::new(state);
        self.arguments.handle.publish(Arc::clone(&state));
        let subscribers = {
            let mut audience = locked(&self.arguments.port.audience);
            if let Some(change) = &change {
                audience.told = Some(Arc::clone(&change.view));
            }
            audience.welcomed.clone()
        };
        for subscriber in subscribers {
            subscriber(ViewEvent { state: Arc::clone(&state), change: change.clone() });
        }
    }

    /// Tells new subscribers the current state.
    pub(super) fn welcome(&self) {
        let state = self.arguments.handle.current();
        let (new, told) = {
            let mut audience = locked(&self.arguments.port.audience);
            let new = std::mem::take(&mut audience.new);
            audience.welcomed.extend(new.iter().cloned());
            (new, audience.told.clone())
        };
        for subscriber in new {
            let change = told.clone().map(|view| ViewChange::between(None, view));
            subscriber(ViewEvent { state: Arc::clone(&state), change });
        }
    }

    fn end(&mut self, ended: Ended) {
        self.over = true;
        // From now on nothing here speaks for the status.
        self.arguments.handle.hold_until(Some(std::time::Duration::ZERO));
        for (_, monitor) in std::mem::take(&mut self.monitors.running) {
            monitor.actor.stop(None);
        }
        if let Ended::Stopped(reason) = &ended {
            tracing::error!(%reason, "membership ended");
        }
        (self.arguments.ended)(ended);
        self.answer_leavers();
    }

    pub(super) fn answer_leavers(&mut self) {
        if self.over {
            for reply in self.leavers.drain(..) {
                // The caller may have given up waiting.
                let _ = reply.send(());
            }
        }
    }

    /// Starts and stops monitors until exactly these are observed.
    async fn watch(
        &mut self,
        myself: &ActorRef<MembershipMessage>,
        attempt: u64,
        subjects: Vec<Subject>,
    ) -> Result<(), MembershipError> {
        let mut running = std::mem::take(&mut self.monitors.running);
        for Subject { member, linked } in subjects {
            match running.remove(&member.process) {
                Some(monitor) if monitor.key() == (member.process, member.incarnation, attempt) => {
                    self.monitors.running.insert(member.process, monitor);
                }
                other => {
                    if let Some(monitor) = other {
                        monitor.actor.stop(None);
                    }
                    self.start_monitor(myself, member, linked, attempt).await?;
                }
            }
        }
        for monitor in running.into_values() {
            monitor.actor.stop(None);
        }
        Ok(())
    }

    async fn start_monitor(
        &mut self,
        myself: &ActorRef<MembershipMessage>,
        member: Member,
        linked: bool,
        attempt: u64,
    ) -> Result<(), MembershipError> {
        let arguments = MonitorArguments {
            clock: Arc::clone(&self.arguments.clock),
            links: Arc::clone(&self.arguments.links),
            membership: myself.clone(),
            counters: Arc::clone(&self.arguments.counters),
            member: member.clone(),
            linked,
            attempt,
            pace: self.arguments.config.pace,
        };
        let (actor, _) = Actor::spawn_linked(None, EdgeMonitor, arguments, myself.get_cell())
            .await
            .map_err(|_| MembershipError::MonitorStorm(self.monitors.restarts))?;
        self.monitors.running.insert(member.process, Monitor { actor, member, attempt });
        Ok(())
    }

    /// A monitor ended. If it was not stopped from here it crashed, and is started afresh.
    pub(super) async fn monitor_gone(
        &mut self,
        myself: &ActorRef<MembershipMessage>,
        id: ActorId,
    ) -> Result<(), MembershipError> {
        let running = &self.monitors.running;
        let Some(process) =
            running.iter().find(|(_, monitor)| monitor.actor.get_id() == id).map(|(&p, _)| p)
        else {
            return Ok(());
        };
        let Some(monitor) = self.monitors.running.remove(&process) else { return Ok(()) };
        self.monitors.restarts += 1;
        Counters::add(&self.arguments.counters.monitor_restarts, 1);
        if self.monitors.restarts > MAX_MONITOR_RESTARTS {
            return Err(MembershipError::MonitorStorm(self.monitors.restarts));
        }
        let linked =
            self.arguments.port.sessions().iter().any(|peer| {
                (peer.process, peer.incarnation) == (process, monitor.member.incarnation)
            });
        self.start_monitor(myself, monitor.member, linked, monitor.attempt).await
    }
}
