use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lampyrid_membership::{ViewEvent, ViewHandle};
use lampyrid_registry::{Counter, Hooks, Mail, Post, Standing, Version};
use lampyrid_wire::{Alarm, BootNonce, Clock, Peer, ProcessId, Slot};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{
    BroadcasterMessage, CoordinatorConfig, CoordinatorCore, CoordinatorInput, CoordinatorOutput,
};

/// What the coordinator actor takes.
#[derive(Debug)]
pub enum CoordinatorMessage {
    /// The view or the status changed.
    View(ViewEvent),
    /// A session with a process came up.
    Reachable(ProcessId),
    /// A message from a process.
    Mail(Mail),
    /// From the broadcaster: a quorum has stored this version.
    Acknowledged(Version),
    /// From the broadcaster: it was restarted and knows of no broadcast.
    Republish,
    /// The alarm rang.
    Wake,
}

impl ractor::Message for CoordinatorMessage {}

/// What the coordinator actor is started with; the same at every restart.
#[derive(Clone)]
pub struct CoordinatorArguments {
    /// The only source of time.
    pub clock: Arc<dyn Clock>,
    /// This start of the process.
    pub nonce: BootNonce,
    /// The view and the leave to act in it.
    pub view: ViewHandle,
    /// How it sends.
    pub post: Post,
    /// Its surroundings.
    pub hooks: Arc<dyn Hooks>,
    /// Where it is found.
    pub slot: Slot<CoordinatorMessage>,
    /// Where it finds the broadcaster.
    pub broadcaster: Slot<BroadcasterMessage>,
    /// The number of the next broadcast. It outlives the actor, so that no number names two states.
    pub sequence: Arc<AtomicU64>,
    /// Its settings.
    pub config: CoordinatorConfig,
}

/// Carries messages and timers to and from [`CoordinatorCore`].
#[derive(Debug, Clone, Copy, Default)]
pub struct CoordinatorActor;

/// The state of the running actor.
pub struct CoordinatorState {
    arguments: CoordinatorArguments,
    core: CoordinatorCore,
    alarm: Alarm,
}

impl std::fmt::Debug for CoordinatorState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CoordinatorState").field(&self.core).finish()
    }
}

impl Actor for CoordinatorActor {
    type Msg = CoordinatorMessage;
    type State = CoordinatorState;
    type Arguments = CoordinatorArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<CoordinatorMessage>,
        arguments: CoordinatorArguments,
    ) -> Result<CoordinatorState, ActorProcessingErr> {
        // The slot before the view: an event that comes between is then queued, not lost.
        arguments.slot.fill(myself.clone());
        let mut out = Vec::new();
        let core = CoordinatorCore::new(
            arguments.clock.now(),
            arguments.view.permit().is_ok(),
            arguments.config.clone(),
            Standing::from(&*arguments.view.current()),
            arguments.sequence.load(Ordering::Acquire),
            &mut out,
        );
        let mut state = CoordinatorState { arguments, core, alarm: Alarm::new() };
        state.perform(out);
        state.set_alarm(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<CoordinatorMessage>,
        message: CoordinatorMessage,
        state: &mut CoordinatorState,
    ) -> Result<(), ActorProcessingErr> {
        let (input, _credit) = match message {
            CoordinatorMessage::View(event) => {
                (CoordinatorInput::View(Standing::from(&*event.state)), None)
            }
            CoordinatorMessage::Reachable(process) => (CoordinatorInput::Reachable(process), None),
            CoordinatorMessage::Mail(mail) => {
                (CoordinatorInput::Letter(mail.letter), Some(mail.credit))
            }
            CoordinatorMessage::Acknowledged(version) => {
                (CoordinatorInput::Acknowledged(version), None)
            }
            CoordinatorMessage::Republish => (CoordinatorInput::Republish, None),
            CoordinatorMessage::Wake => {
                state.alarm.rang();
                state.arguments.post.counters().count(Counter::Alarms);
                (CoordinatorInput::Wake, None)
            }
        };
        let permitted = state.arguments.view.permit().is_ok();
        let mut out = Vec::new();
        state.core.step(state.arguments.clock.now(), permitted, input, &mut out);
        state.perform(out);
        state.set_alarm(&myself);
        Ok(())
    }
}

impl CoordinatorState {
    fn perform(&mut self, out: Vec<CoordinatorOutput>) {
        let CoordinatorArguments { nonce, post, hooks, broadcaster, sequence, .. } =
            &self.arguments;
        let (process, incarnation) = self.core.standing().me;
        let me = Peer { process, incarnation, nonce: *nonce };
        for output in out {
            match output {
                CoordinatorOutput::Send(to, term, message) => post.send(me, to, term, message),
                CoordinatorOutput::Publish(publication) => {
                    sequence.store(publication.version.sequence + 1, Ordering::Release);
                    post.counters().count(Counter::Broadcasts);
                    tracing::debug!(version = %publication.version, "the registry is broadcast");
                    if broadcaster.cast(BroadcasterMessage::Publish(publication)).is_err() {
                        // It asks for the state when it is back.
                        tracing::debug!("the broadcaster is not running");
                    }
                }
                CoordinatorOutput::NewerView(peer, term) => hooks.newer_view(peer, term),
                CoordinatorOutput::Refused => post.counters().count(Counter::Stale),
                CoordinatorOutput::Kept(overflow) => {
                    post.counters().count(Counter::Held);
                    if overflow {
                        post.counters().count(Counter::HeldOverflow);
                    }
                }
                CoordinatorOutput::Malformed(peer) => {
                    post.counters().count(Counter::Malformed);
                    tracing::warn!(%peer, "a registration without sense was ignored");
                }
            }
        }
    }

    fn set_alarm(&mut self, myself: &ActorRef<CoordinatorMessage>) {
        let myself = myself.clone();
        self.alarm.set(&self.arguments.clock, self.core.deadline(), move || {
            // Gone means stopped: nobody waits for the alarm any more.
            let _ = myself.cast(CoordinatorMessage::Wake);
        });
    }
}
