use std::sync::Arc;

use lampyrid_membership::{ViewEvent, ViewHandle};
use lampyrid_registry::{Counter, Hooks, Mail, Post, RegistryMessage, Standing};
use lampyrid_wire::{Alarm, BootNonce, Clock, Credit, Peer, ProcessId, Slot};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{
    BroadcasterConfig, BroadcasterCore, BroadcasterInput, BroadcasterOutput, CoordinatorMessage,
    Order, Publication, Report, wall_millis,
};

/// What the broadcaster actor takes.
#[derive(Debug)]
pub enum BroadcasterMessage {
    /// The view or the status changed.
    View(ViewEvent),
    /// A session with a process came up.
    Reachable(ProcessId),
    /// A message from a process.
    Mail(Mail),
    /// From the coordinator: bring this to everybody.
    Publish(Publication),
    /// The alarm rang.
    Wake,
}

impl ractor::Message for BroadcasterMessage {}

/// What the broadcaster actor is started with; the same at every restart.
#[derive(Clone)]
pub struct BroadcasterArguments {
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
    pub slot: Slot<BroadcasterMessage>,
    /// Where it finds the coordinator.
    pub coordinator: Slot<CoordinatorMessage>,
    /// Where it finds the registry.
    pub registry: Slot<RegistryMessage>,
    /// Its settings.
    pub config: BroadcasterConfig,
}

/// Carries messages and timers to and from [`BroadcasterCore`].
#[derive(Debug, Clone, Copy, Default)]
pub struct BroadcasterActor;

/// The state of the running actor.
pub struct BroadcasterState {
    arguments: BroadcasterArguments,
    core: BroadcasterCore,
    alarm: Alarm,
}

impl std::fmt::Debug for BroadcasterState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BroadcasterState").field(&self.core).finish()
    }
}

impl Actor for BroadcasterActor {
    type Msg = BroadcasterMessage;
    type State = BroadcasterState;
    type Arguments = BroadcasterArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<BroadcasterMessage>,
        arguments: BroadcasterArguments,
    ) -> Result<BroadcasterState, ActorProcessingErr> {
        // The slot before the view: an event that comes between is then queued, not lost.
        arguments.slot.fill(myself);
        let standing = Standing::from(&*arguments.view.current());
        let core = BroadcasterCore::new(arguments.config.clone(), standing);
        if arguments.coordinator.cast(CoordinatorMessage::Republish).is_err() {
            tracing::debug!("the coordinator is not running; it publishes when it is");
        }
        Ok(BroadcasterState { arguments, core, alarm: Alarm::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<BroadcasterMessage>,
        message: BroadcasterMessage,
        state: &mut BroadcasterState,
    ) -> Result<(), ActorProcessingErr> {
        let (input, credit) = match message {
            BroadcasterMessage::View(event) => {
                (BroadcasterInput::View(Standing::from(&*event.state)), Credit::none())
            }
            BroadcasterMessage::Reachable(process) => {
                (BroadcasterInput::Reachable(process), Credit::none())
            }
            BroadcasterMessage::Mail(mail) => (BroadcasterInput::Letter(mail.letter), mail.credit),
            BroadcasterMessage::Publish(publication) => {
                (BroadcasterInput::Publish(publication), Credit::none())
            }
            BroadcasterMessage::Wake => {
                state.alarm.rang();
                state.arguments.post.counters().count(Counter::Alarms);
                (BroadcasterInput::Wake, Credit::none())
            }
        };
        let clock = &state.arguments.clock;
        let (now, wall) = (clock.now(), wall_millis(clock.wall()));
        let permitted = state.arguments.view.permit().is_ok();
        let mut out = Vec::new();
        state.core.step(now, wall, permitted, input, &mut out);
        state.perform(out, &credit);
        let alarm = myself.clone();
        state.alarm.set(&state.arguments.clock, state.core.deadline(), move || {
            // Gone means stopped: nobody waits for the alarm any more.
            let _ = alarm.cast(BroadcasterMessage::Wake);
        });
        Ok(())
    }
}

impl BroadcasterState {
    fn perform(&mut self, out: Vec<BroadcasterOutput>, credit: &Credit) {
        let BroadcasterArguments { nonce, post, hooks, coordinator, registry, .. } =
            &self.arguments;
        let (process, incarnation) = self.core.standing().me;
        let me = Peer { process, incarnation, nonce: *nonce };
        for output in out {
            let delivered = match output {
                BroadcasterOutput::Send(to, term, message) => {
                    post.send(me, to, term, message);
                    Ok(())
                }
                BroadcasterOutput::Store(letter) => {
                    post.counters().set_skews(self.core.clock().skews().clone());
                    registry.cast(RegistryMessage::Mail(Mail { letter, credit: credit.clone() }))
                }
                BroadcasterOutput::Acknowledged(version) => {
                    coordinator.cast(CoordinatorMessage::Acknowledged(version))
                }
                BroadcasterOutput::Report(report) => {
                    self.report(&report);
                    Ok(())
                }
                BroadcasterOutput::NewerView(peer, term) => {
                    hooks.newer_view(peer, term);
                    Ok(())
                }
                BroadcasterOutput::Refused => {
                    post.counters().count(Counter::Stale);
                    Ok(())
                }
                BroadcasterOutput::Kept(overflow) => {
                    post.counters().count(Counter::Held);
                    if overflow {
                        post.counters().count(Counter::HeldOverflow);
                    }
                    Ok(())
                }
            };
            if delivered.is_err() {
                tracing::debug!("the actor meant is being restarted; the message is repeated");
            }
        }
    }

    fn report(&self, report: &Report) {
        let counters = self.arguments.post.counters();
        match report {
            Report::Order(peer, order) => {
                let counter = match order {
                    Order::Next => return,
                    Order::Gap(_) => Counter::Gap,
                    Order::Duplicate => Counter::Duplicate,
                    Order::Reordered | Order::Superseded | Order::TooManySenders => {
                        Counter::Reordered
                    }
                };
                counters.count(counter);
                tracing::debug!(%peer, ?order, "an update came out of order");
            }
            Report::Late(peer, age_ms) => {
                counters.count(Counter::Late);
                tracing::warn!(%peer, age_ms, "an update came late");
            }
            Report::Skew(peer, skew) => {
                counters.count(Counter::Skew);
                let ahead_ms = skew.ahead_ms;
                tracing::warn!(%peer, ahead_ms, "a peer's wall clock is beyond the tolerance");
            }
        }
    }
}
