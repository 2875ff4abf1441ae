use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_membership::ViewEvent;
use lampyrid_wire::{Alarm, BootNonce, BubbleId, Clock, Peer, ProcessId};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::{
    Counter, Hooks, Mail, Post, RegistryCore, RegistryError, RegistryHandle, RegistryInput,
    RegistryOutput, Standing,
};

/// What the registry actor takes.
#[derive(Debug)]
pub enum RegistryMessage {
    /// The view or the status changed.
    View(ViewEvent),
    /// A session with a process came up.
    Reachable(ProcessId),
    /// A message from a process.
    Mail(Mail),
    /// A caller replaces this process's set; `None` unregisters.
    Register {
        /// The new set.
        bubbles: Option<std::collections::BTreeSet<BubbleId>>,
        /// How long it may take.
        limit: Duration,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<(), RegistryError>>,
    },
    /// The alarm rang.
    Wake,
}

impl ractor::Message for RegistryMessage {}

/// What the registry actor is started with; the same at every restart.
#[derive(Clone)]
pub struct RegistryArguments {
    /// The only source of time.
    pub clock: Arc<dyn Clock>,
    /// This start of the process.
    pub nonce: BootNonce,
    /// What it publishes to, and goes on from after a restart; also names view and slot.
    pub handle: RegistryHandle,
    /// How it sends.
    pub post: Post,
    /// Its surroundings.
    pub hooks: Arc<dyn Hooks>,
}

/// Carries messages and timers to and from [`RegistryCore`].
#[derive(Debug, Clone, Copy, Default)]
pub struct RegistryActor;

/// The state of the running actor.
pub struct RegistryState {
    arguments: RegistryArguments,
    core: RegistryCore,
    alarm: Alarm,
    callers: BTreeMap<u64, oneshot::Sender<Result<(), RegistryError>>>,
    next_token: u64,
}

impl std::fmt::Debug for RegistryState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RegistryState").field(&self.core).finish()
    }
}

impl Actor for RegistryActor {
    type Msg = RegistryMessage;
    type State = RegistryState;
    type Arguments = RegistryArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<RegistryMessage>,
        arguments: RegistryArguments,
    ) -> Result<RegistryState, ActorProcessingErr> {
        let mut out = Vec::new();
        let (replica, own) = arguments.handle.stored();
        let now = arguments.clock.now();
        // The slot before the view: an event that comes between is then queued, not lost.
        arguments.handle.slot().fill(myself.clone());
        let standing = Standing::from(&*arguments.handle.view().current());
        let core = RegistryCore::new(now, standing, replica, own, &mut out);
        let mut state = RegistryState {
            arguments,
            core,
            alarm: Alarm::new(),
            callers: BTreeMap::new(),
            next_token: 0,
        };
        state.perform(out);
        state.set_alarm(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<RegistryMessage>,
        message: RegistryMessage,
        state: &mut RegistryState,
    ) -> Result<(), ActorProcessingErr> {
        let (input, _credit) = match message {
            RegistryMessage::View(event) => {
                (RegistryInput::View(Standing::from(&*event.state)), None)
            }
            RegistryMessage::Reachable(process) => (RegistryInput::Reachable(process), None),
            RegistryMessage::Mail(mail) => (RegistryInput::Letter(mail.letter), Some(mail.credit)),
            RegistryMessage::Register { bubbles, limit, reply } => {
                (state.register(bubbles, limit, reply), None)
            }
            RegistryMessage::Wake => {
                state.alarm.rang();
                state.arguments.post.counters().count(Counter::Alarms);
                (RegistryInput::Wake, None)
            }
        };
        let mut out = Vec::new();
        state.core.step(state.arguments.clock.now(), input, &mut out);
        state.perform(out);
        state.set_alarm(&myself);
        Ok(())
    }
}

impl RegistryState {
    fn register(
        &mut self,
        bubbles: Option<std::collections::BTreeSet<BubbleId>>,
        limit: Duration,
        reply: oneshot::Sender<Result<(), RegistryError>>,
    ) -> RegistryInput {
        let token = self.next_token;
        self.next_token += 1;
        self.callers.insert(token, reply);
        let given_up = self.core.releases(bubbles.as_ref());
        let occupied =
            given_up.into_iter().find(|&bubble| self.arguments.hooks.has_entities(bubble));
        let permitted = self.arguments.handle.view().permit().is_ok();
        RegistryInput::Register { token, bubbles, occupied, permitted, limit }
    }

    fn perform(&mut self, out: Vec<RegistryOutput>) {
        let RegistryArguments { nonce, handle, post, hooks, .. } = &self.arguments;
        let (process, incarnation) = self.core.standing().me;
        let me = Peer { process, incarnation, nonce: *nonce };
        for output in out {
            match output {
                RegistryOutput::Install(replica, own) => handle.install(replica, own),
                RegistryOutput::Send(to, term, message) => post.send(me, to, term, message),
                RegistryOutput::Answer(token, answer) => {
                    if let Some(caller) = self.callers.remove(&token) {
                        // A caller that has gone away does not want the answer.
                        let _ = caller.send(answer);
                    }
                }
                RegistryOutput::Claimed(bubble, by) => {
                    tracing::warn!(%bubble, %by, "the bubble is hosted by another process");
                    hooks.claimed(bubble, by);
                }
                RegistryOutput::NewerView(peer, term) => hooks.newer_view(peer, term),
                RegistryOutput::Refused => post.counters().count(Counter::Stale),
                RegistryOutput::Kept(overflow) => {
                    post.counters().count(Counter::Held);
                    if overflow {
                        post.counters().count(Counter::HeldOverflow);
                    }
                }
            }
        }
    }

    fn set_alarm(&mut self, myself: &ActorRef<RegistryMessage>) {
        let myself = myself.clone();
        self.alarm.set(&self.arguments.clock, self.core.deadline(), move || {
            // Gone means stopped: nobody waits for the alarm any more.
            let _ = myself.cast(RegistryMessage::Wake);
        });
    }
}
