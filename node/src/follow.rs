//! A call that follows an entity: to where it is now, and after it if it moves meanwhile.

use std::time::Duration;

use lampyrid_membership::ViewState;
use lampyrid_migration::{EntityError, MovedTo, Presence, Reason, Whereabouts};
use lampyrid_wire::{BubbleId, EntityId, OwnershipEpoch, ProcessId};

/// How often a call goes on to another process at most. An entity that moves more often than it can
/// be asked is one that its host moves too often.
pub const MAX_HOPS: u32 = 8;

/// The first pause while an entity is on its way; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(5);

/// The longest such pause: not longer than a move that goes well.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Where to ask for an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The process.
    pub process: ProcessId,
    /// True if it is this one: ask [`crate::Node::migration`].
    pub here: bool,
    /// Its admin URL, if it has one and the view tells.
    pub admin: Option<String>,
    /// The bubble the entity is in there.
    pub bubble: BubbleId,
    /// Its ownership epoch there.
    pub epoch: OwnershipEpoch,
}

/// Why a call found no entity to answer it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// No member has it, or knows where it went. If a process is down, it may have it.
    #[error("no member of the view has that entity, or knows where it went")]
    UnknownEntity,
    /// It was on its way for as long as the caller would wait.
    #[error("the entity is on its way to process {to}, and was not there in time")]
    Moving {
        /// Where it is going, or was last seen.
        to: ProcessId,
    },
    /// It went on from wherever it was asked, [`MAX_HOPS`] times.
    #[error("the entity moved on {MAX_HOPS} times while it was asked")]
    TooManyHops,
    /// It is at a process that is not in the view: it is served again when that one is back.
    #[error("the entity is at process {at}, which is not in the view; it comes back with it")]
    Away {
        /// Where it is.
        at: ProcessId,
    },
    /// It was found in a process that could not be sent to in time. It was not asked.
    #[error("the entity is at process {at}, which could not be reached in time")]
    Unreachable {
        /// Where it is.
        at: ProcessId,
    },
    /// It was found and refused.
    #[error(transparent)]
    Refused(EntityError),
    /// This process could not look.
    #[error("this process could not look for the entity: {0}")]
    NoAnswer(Reason),
}

impl FollowError {
    /// The same, as far as the view tells more.
    pub(crate) fn seen_in(self, state: &ViewState) -> Self {
        match self {
            Self::Moving { to: at } | Self::Unreachable { at }
                if state.view.as_ref().is_some_and(|view| view.member(at).is_none()) =>
            {
                Self::Away { at }
            }
            error => error,
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look where it is.
    Locate,
    /// Ask there.
    Ask(MovedTo),
    /// Wait, then look again.
    Wait(Duration),
    /// Give up.
    Fail(FollowError),
}

/// The rules of following, without clock or I/O.
#[derive(Debug)]
pub(crate) struct Follower {
    hops: u32,
    pause: Duration,
    last: Option<ProcessId>,
    /// When to give up.
    until: Duration,
}

impl Follower {
    pub(crate) fn new(until: Duration) -> Self {
        Self { hops: 0, pause: PAUSE_FIRST, last: None, until }
    }

    /// It was there when it was asked before.
    pub(crate) fn remembered(&mut self, place: MovedTo) -> Next {
        self.go(place)
    }

    /// It is where it was asked, and on its way elsewhere.
    pub(crate) fn moving(&mut self, now: Duration) -> Next {
        self.wait(now)
    }

    /// The process that it was last at could not be sent to.
    pub(crate) fn unreached(&mut self, now: Duration) -> Next {
        match (self.wait(now), self.last) {
            (Next::Fail(_), Some(at)) => Next::Fail(FollowError::Unreachable { at }),
            (next, _) => next,
        }
    }

    /// It was looked for.
    pub(crate) fn located(&mut self, now: Duration, found: Option<Whereabouts>) -> Next {
        match found {
            // Nobody has it just now, but it may be between two.
            None if self.last.is_some() => self.wait(now),
            None => Next::Fail(FollowError::UnknownEntity),
            Some(Whereabouts { place, presence: Presence::Serving }) => self.go(place),
            Some(Whereabouts { place, .. }) => {
                self.last = Some(place.process);
                self.wait(now)
            }
        }
    }

    /// It was asked at a place, and refused.
    pub(crate) fn refused(&mut self, now: Duration, error: EntityError) -> Next {
        match (&error.reason, error.moved_to) {
            (Reason::UnknownEntity, Some(place)) => self.go(place),
            (Reason::UnknownEntity, None) => self.wait(now),
            (Reason::AlreadyMoving { .. }, _) => self.wait(now),
            _ => Next::Fail(FollowError::Refused(error)),
        }
    }

    fn go(&mut self, place: MovedTo) -> Next {
        if self.hops > MAX_HOPS {
            return Next::Fail(FollowError::TooManyHops);
        }
        self.hops += 1;
        self.last = Some(place.process);
        Next::Ask(place)
    }

    fn wait(&mut self, now: Duration) -> Next {
        let Some(left) = self.until.checked_sub(now).filter(|left| !left.is_zero()) else {
            return Next::Fail(match self.last {
                Some(to) => FollowError::Moving { to },
                None => FollowError::UnknownEntity,
            });
        };
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Next::Wait(pause)
    }
}

impl crate::Node {
    /// Calls `ask` where the entity is, and again where it has gone if it has moved meanwhile, until
    /// an answer comes or `limit` is over. While the entity is on its way the call waits. `ask` gets
    /// the place, and gives the answer of that process: a refusal with `moved_to` or
    /// [`Reason::AlreadyMoving`] is followed, any other is returned. For hosts with a way of their own
    /// to ask another process; [`crate::Node::ask`] brings requests there itself.
    ///
    /// Cancellation safe as far as `ask` is.
    ///
    /// # Errors
    /// [`FollowError`]. Whether `ask` had an effect where its answer was lost is for it to say.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// # use lampyrid::config::{Cookie, NodeConfig};
    /// use lampyrid::{EntityError, Node, Reason};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = Node::start(NodeConfig::new("a", Cookie::random())).await?;
    /// # node.ready().await;
    /// # let bubble = node.create_bubble(None).await?;
    /// # let one = lampyrid::NewEntities::One(None);
    /// # let id = node.migration().create(bubble, one, "lit".into()).await?[0];
    /// let limit = Duration::from_secs(5);
    /// let entity = node.follow(id, limit, async |place| match place.here {
    ///     true => node.migration().get(id).await,
    ///     // Here the host asks `place.process` in its own way, at `place.admin` for one.
    ///     false => Err(EntityError { reason: Reason::Isolated, moved_to: None }),
    /// });
    /// assert_eq!(entity.await?.state, "lit");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn follow<T, Asked>(
        &self,
        id: EntityId,
        limit: Duration,
        mut ask: impl FnMut(Place) -> Asked,
    ) -> Result<T, FollowError>
    where
        Asked: Future<Output = Result<T, EntityError>>,
    {
        let clock = self.clock();
        let mut follower = Follower::new(clock.now() + limit);
        let mut next = Next::Locate;
        loop {
            next = match next {
                Next::Locate => {
                    let found = self.migration().whereabouts(id).await;
                    let found = found.map_err(FollowError::NoAnswer)?;
                    follower.located(clock.now(), found)
                }
                Next::Ask(place) => match ask(self.place(place)).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => follower.refused(clock.now(), error),
                },
                Next::Wait(pause) => {
                    clock.sleep_until(clock.now() + pause).await;
                    Next::Locate
                }
                Next::Fail(error) => return Err(error.seen_in(&self.view().current())),
            };
        }
    }

    fn place(&self, place: MovedTo) -> Place {
        let state = self.view().current();
        let member = state.view.as_ref().and_then(|view| view.member(place.process).cloned());
        Place {
            process: place.process,
            here: place.process == state.me.process,
            admin: member.and_then(|member| member.admin),
            bubble: place.bubble,
            epoch: place.epoch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(process: u128, epoch: u64) -> MovedTo {
        let (process, bubble) = (ProcessId::from_u128(process), BubbleId::from_u128(1));
        MovedTo { process, bubble, epoch: OwnershipEpoch(epoch) }
    }

    fn found(process: u128, presence: Presence) -> Option<Whereabouts> {
        Some(Whereabouts { place: place(process, 1), presence })
    }

    fn gone(to: Option<MovedTo>) -> EntityError {
        EntityError { reason: Reason::UnknownEntity, moved_to: to }
    }

    const LIMIT: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_asked_where_it_serves_and_where_it_has_gone() {
        let mut follower = Follower::new(LIMIT);
        let next = follower.located(Duration::ZERO, found(2, Presence::Serving));
        assert_eq!(next, Next::Ask(place(2, 1)));
        let next = follower.refused(Duration::ZERO, gone(Some(place(3, 2))));
        assert_eq!(next, Next::Ask(place(3, 2)));
    }

    #[test]
    fn while_it_is_on_its_way_the_call_waits_and_then_says_where_to() {
        let mut follower = Follower::new(LIMIT);
        let moving = Reason::AlreadyMoving { to: BubbleId::from_u128(1) };
        follower.located(Duration::ZERO, found(2, Presence::Serving));
        let error = EntityError { reason: moving, moved_to: None };
        assert_eq!(follower.refused(Duration::ZERO, error), Next::Wait(PAUSE_FIRST));
        let next = follower.located(Duration::ZERO, found(3, Presence::Forwarded));
        assert_eq!(next, Next::Wait(PAUSE_FIRST * 2));
        assert_eq!(follower.located(Duration::ZERO, None), Next::Wait(PAUSE_FIRST * 4));
        let to = ProcessId::from_u128(3);
        assert_eq!(follower.located(LIMIT, None), Next::Fail(FollowError::Moving { to }));
    }

    #[test]
    fn one_that_cannot_be_reached_is_looked_for_again_and_named_in_the_end() {
        let mut follower = Follower::new(LIMIT);
        assert_eq!(follower.remembered(place(2, 1)), Next::Ask(place(2, 1)));
        assert_eq!(follower.unreached(Duration::ZERO), Next::Wait(PAUSE_FIRST));
        assert_eq!(follower.moving(Duration::ZERO), Next::Wait(PAUSE_FIRST * 2));
        let at = ProcessId::from_u128(2);
        assert_eq!(follower.unreached(LIMIT), Next::Fail(FollowError::Unreachable { at }));
    }

    #[test]
    fn hops_are_bounded_and_other_refusals_are_returned() {
        let mut follower = Follower::new(LIMIT);
        follower.located(Duration::ZERO, found(1, Presence::Serving));
        let ends = (0..=MAX_HOPS).map(|n| {
            follower.refused(Duration::ZERO, gone(Some(place(u128::from(n), u64::from(n)))))
        });
        assert_eq!(ends.last(), Some(Next::Fail(FollowError::TooManyHops)));
        let mut follower = Follower::new(LIMIT);
        let error = EntityError { reason: Reason::Isolated, moved_to: None };
        let refused = follower.refused(Duration::ZERO, error.clone());
        assert_eq!(refused, Next::Fail(FollowError::Refused(error)));
        assert_eq!(
            Follower::new(LIMIT).located(Duration::ZERO, None),
            Next::Fail(FollowError::UnknownEntity)
        );
    }
}
