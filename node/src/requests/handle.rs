use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use lampyrid_membership::{Status, View, ViewHandle};
use lampyrid_migration::{MigrationHandle, MovedTo, Reason};
use lampyrid_wire::{
    BootNonce, Channel, Clock, EntityId, Envelope, Inbound, Outbound, Peer, ProcessId, SendError,
    encode,
};
use tokio::sync::watch;

use super::counters::{Gauge, RequestCounters, count};
use super::desk::Desk;
use super::error::AskError;
use super::handler::RequestHandler;
use super::message::{Outcome, RequestMessage};
use super::pending::Pending;
use super::places::Places;
use super::seen::Seen;
use super::{MAX_ASK_LIMIT, MAX_REQUEST_BYTES};
use crate::FollowError;
use crate::follow::{Follower, Next};

/// What requests need of the rest of a process.
pub(crate) struct RequestsArguments {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) view: ViewHandle,
    pub(crate) nonce: BootNonce,
    pub(crate) entities: MigrationHandle,
    pub(crate) outbound: Arc<dyn Outbound>,
    pub(crate) handler: Option<Arc<dyn RequestHandler>>,
    pub(crate) counters: Arc<RequestCounters>,
    /// Turns true when the process ends.
    pub(crate) ended: watch::Receiver<bool>,
}

/// Brings requests to where an entity is. Clones are handles on the same.
#[derive(Clone)]
pub struct Requests(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) with: RequestsArguments,
    pub(super) desk: Desk,
    pending: Pending,
    places: Places,
    seen: Seen,
}

/// For those who are held by what this holds.
#[derive(Clone)]
pub(crate) struct WeakRequests(Weak<Inner>);

impl WeakRequests {
    /// A frame came in.
    pub(crate) fn receive(&self, inbound: Inbound) {
        if let Some(inner) = self.0.upgrade() {
            Requests(inner).receive(inbound);
        }
    }

    /// A view was installed.
    pub(crate) fn view(&self, view: &View) {
        if let Some(inner) = self.0.upgrade() {
            inner.seen.keep(|process| view.member(process).is_some());
        }
    }

    /// A session is over.
    pub(crate) fn lost(&self, peer: ProcessId) {
        if let Some(inner) = self.0.upgrade() {
            inner.pending.lost(peer);
        }
    }
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Requests")
    }
}

/// What came of asking one process once.
enum Asked {
    /// That process said so.
    Told(Outcome),
    /// It could not be sent to just now.
    Unsent,
    /// It is not to be tried again.
    Failed(AskError),
}

impl Requests {
    pub(crate) fn new(with: RequestsArguments) -> Self {
        Self(Arc::new(Inner {
            with,
            desk: Desk::default(),
            pending: Pending::default(),
            places: Places::default(),
            seen: Seen::default(),
        }))
    }

    pub(crate) fn downgrade(&self) -> WeakRequests {
        WeakRequests(Arc::downgrade(&self.0))
    }

    /// The entities of this process.
    #[must_use]
    pub fn entities(&self) -> &MigrationHandle {
        &self.0.with.entities
    }

    /// Asks an entity, wherever it is: the [`RequestHandler`] of the process that serves it answers.
    /// A request whose entity moves follows it; while the entity is on its way, the call waits. At
    /// most one handler carries a request out; a request whose answer is lost is not repeated.
    ///
    /// At most `limit` ([`super::MAX_ASK_LIMIT`] if that is less) and the time for a question to all
    /// members (1 s) pass. Dropping the future drops the answer; the handler may have been asked.
    ///
    /// # Errors
    /// [`AskError`], which says whether a handler may have carried the request out.
    pub async fn ask(&self, id: EntityId, body: Bytes, limit: Duration) -> Result<Bytes, AskError> {
        let counters = &self.0.with.counters;
        let _under_way = Gauge::raise(&counters.asking);
        let asked = self.follow(id, body, limit.min(MAX_ASK_LIMIT)).await;
        count(if asked.is_ok() { &counters.answered } else { &counters.unanswered });
        asked
    }

    async fn follow(&self, id: EntityId, body: Bytes, limit: Duration) -> Result<Bytes, AskError> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(AskError::TooLarge { bytes: body.len() });
        }
        let Inner { with, places, .. } = &*self.0;
        let clock = &with.clock;
        let until = clock.now() + limit;
        let mut follower = Follower::new(until);
        let mut next = match places.get(id) {
            Some(place) => follower.remembered(place),
            None => Next::Locate,
        };
        loop {
            next = match next {
                Next::Locate if !self.is_active() => {
                    return Err(FollowError::NoAnswer(Reason::Isolated).into());
                }
                Next::Locate => {
                    let found = with.entities.whereabouts(id).await;
                    let found = found.map_err(FollowError::NoAnswer)?;
                    follower.located(clock.now(), found)
                }
                Next::Ask(place) => {
                    let asked = self.ask_at(place, id, body.clone(), until).await;
                    if !matches!(asked, Asked::Told(Outcome::Answered(_))) {
                        places.forget(id);
                    }
                    match asked {
                        Asked::Told(Outcome::Answered(answer)) => {
                            places.note(id, place);
                            return Ok(answer);
                        }
                        Asked::Told(Outcome::Refused(error)) => {
                            follower.refused(clock.now(), error)
                        }
                        Asked::Told(Outcome::Moving) => follower.moving(clock.now()),
                        Asked::Told(Outcome::NoHandler) => {
                            return Err(AskError::NoHandler(place.process));
                        }
                        Asked::Told(Outcome::Failed) => {
                            return Err(AskError::HandlerFailed(place.process));
                        }
                        Asked::Told(Outcome::TooLarge(bytes)) => {
                            return Err(AskError::AnswerTooLarge { process: place.process, bytes });
                        }
                        Asked::Unsent => follower.unreached(clock.now()),
                        Asked::Failed(error) => return Err(error),
                    }
                }
                Next::Wait(pause) => {
                    clock.sleep_until(clock.now() + pause).await;
                    Next::Locate
                }
                Next::Fail(error) => return Err(error.seen_in(&with.view.current()).into()),
            };
        }
    }

    async fn ask_at(&self, place: MovedTo, id: EntityId, body: Bytes, until: Duration) -> Asked {
        let Inner { with, pending, .. } = &*self.0;
        let process = place.process;
        let limit = until.saturating_sub(with.clock.now());
        let late = || Asked::Failed(AskError::TimedOut(process));
        let me = self.me();
        if process == me.process {
            let served = self.serve(me, id, limit, body).await;
            return served.map_or_else(late, Asked::Told);
        }
        let Some((noted, reply)) = pending.note(process) else {
            return Asked::Failed(AskError::Overloaded);
        };
        let message = RequestMessage::Ask { number: noted.number, entity: id, limit, body };
        match self.send(process, &message) {
            Ok(()) => {}
            Err(SendError::TooLarge { bytes, .. }) => {
                return Asked::Failed(AskError::TooLarge { bytes });
            }
            Err(_) => return Asked::Unsent,
        }
        tokio::select! {
            reply = reply => match reply {
                Ok(outcome) => Asked::Told(outcome),
                Err(_) => Asked::Failed(AskError::Lost(process)),
            },
            () = with.clock.sleep_until(until) => late(),
        }
    }

    fn receive(&self, inbound: Inbound) {
        let from = inbound.from;
        match open(&inbound) {
            Some(RequestMessage::Answer { number, outcome }) => {
                if !self.0.pending.answered(from.process, number, outcome) {
                    tracing::debug!(%from, number, "an answer that nobody waits for was dropped");
                }
            }
            Some(RequestMessage::Ask { number, .. }) if !self.0.seen.is_new(from, number) => {
                tracing::debug!(%from, number, "a repeated request was dropped");
            }
            Some(RequestMessage::Ask { number, entity, limit, body }) => {
                let this = self.clone();
                let limit = limit.min(MAX_ASK_LIMIT);
                // Bounded by the desk, which it passes first.
                tokio::spawn(async move { this.reply(from, number, entity, limit, body).await });
            }
            None => {
                count(&self.0.with.counters.refused);
                tracing::warn!(%from, "a message about requests made no sense and was dropped");
            }
        }
    }

    pub(super) fn send(&self, to: ProcessId, message: &RequestMessage) -> Result<(), SendError> {
        let state = self.0.with.view.current();
        let term = state.view.as_ref().map(|view| view.term());
        let frame = Envelope::seal(self.me(), term, message).and_then(|sealed| encode(&sealed));
        let Ok(frame) = frame else {
            return Err(SendError::TooLarge { bytes: 0, limit: MAX_REQUEST_BYTES });
        };
        self.0.with.outbound.send(to, Channel::Requests, frame.into())
    }

    pub(super) fn me(&self) -> Peer {
        let me = &self.0.with.view.current().me;
        Peer { process: me.process, incarnation: me.incarnation, nonce: self.0.with.nonce }
    }

    pub(super) fn is_active(&self) -> bool {
        self.0.with.view.status() == Status::Active
    }
}

fn open(inbound: &Inbound) -> Option<RequestMessage> {
    Envelope::received(inbound).ok()?.open().ok()
}
