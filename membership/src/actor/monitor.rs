use std::sync::Arc;

use lampyrid_wire::{Alarm, Clock, Member};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Counters, MembershipMessage};
use crate::{EdgeCore, EdgeEvent, EdgeInput, EdgeOutput, LinkControl, Pace};

/// The actor around one [`EdgeCore`]: observes one member on behalf of the membership actor, which
/// supervises it and through which its probes go.
#[derive(Debug)]
pub(super) struct EdgeMonitor;

pub(super) struct MonitorArguments {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) links: Arc<dyn LinkControl>,
    pub(super) membership: ActorRef<MembershipMessage>,
    pub(super) counters: Arc<Counters>,
    pub(super) member: Member,
    pub(super) linked: bool,
    pub(super) attempt: u64,
    pub(super) pace: Pace,
}

/// What a monitor is told.
#[derive(Debug)]
pub(super) struct EdgeMessage(pub(super) EdgeInput);

impl ractor::Message for EdgeMessage {}

pub(super) struct MonitorState {
    arguments: MonitorArguments,
    core: EdgeCore,
    alarm: Alarm,
}

impl Actor for EdgeMonitor {
    type Msg = EdgeMessage;
    type State = MonitorState;
    type Arguments = MonitorArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<EdgeMessage>,
        arguments: MonitorArguments,
    ) -> Result<MonitorState, ActorProcessingErr> {
        let mut out = Vec::new();
        let core = EdgeCore::new(arguments.clock.now(), arguments.linked, arguments.pace, &mut out);
        let mut state = MonitorState { arguments, core, alarm: Alarm::new() };
        state.perform(&myself, out);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<EdgeMessage>,
        EdgeMessage(input): EdgeMessage,
        state: &mut MonitorState,
    ) -> Result<(), ActorProcessingErr> {
        if input == EdgeInput::Wake {
            Counters::add(&state.arguments.counters.timers, 1);
            state.alarm.rang();
        }
        let mut out = Vec::new();
        state.core.step(state.arguments.clock.now(), input, &mut out);
        state.perform(&myself, out);
        Ok(())
    }
}

impl MonitorState {
    fn perform(&mut self, myself: &ActorRef<EdgeMessage>, out: Vec<EdgeOutput>) {
        for output in out {
            match output {
                EdgeOutput::Probe(sequence) => self.report(EdgeEvent::Probe(sequence)),
                EdgeOutput::Verdict(verdict) => {
                    self.report(EdgeEvent::Verdict(verdict, self.core.round_trip()));
                }
                EdgeOutput::Connect(limit) => {
                    let probe = self.arguments.links.probe(self.arguments.member.address, limit);
                    let myself = myself.clone();
                    tokio::spawn(async move {
                        let outcome = probe.await;
                        // A monitor that is gone has no use for it.
                        let _ = myself.cast(EdgeMessage(EdgeInput::Connected(outcome)));
                    });
                }
            }
        }
        let myself = myself.clone();
        self.alarm.set(&self.arguments.clock, self.core.deadline(), move || {
            let _ = myself.cast(EdgeMessage(EdgeInput::Wake));
        });
    }

    fn report(&self, event: EdgeEvent) {
        let message = MembershipMessage::Edge {
            subject: self.arguments.member.process,
            attempt: self.arguments.attempt,
            event,
        };
        // A membership actor that is gone takes its monitors with it.
        let _ = self.arguments.membership.cast(message);
    }
}
