use std::sync::Arc;

use lampyrid_membership::{Status, View, ViewChange, ViewEvent, ViewHandle, ViewState};
use lampyrid_wire::{Clock, ClusterId, Member};

/// The view of one process as a test says that it is. Each change is published in its handle and
/// given back as the event that subscribed actors are to be told.
///
/// ```
/// use std::sync::Arc;
///
/// use lampyrid::testkit::{ManualClock, ManualView, member};
/// use lampyrid::{ClusterId, Status};
///
/// let (clock, cluster) = (Arc::new(ManualClock::new()), ClusterId::from_u128(1));
/// let mut view = ManualView::new(clock, cluster, member(1));
/// assert_eq!(view.handle().status(), Status::Joining);
///
/// // What an actor is told, and what it reads through its handle.
/// let event = view.set_members(vec![member(1), member(2)]);
/// assert_eq!(event.state.view.as_ref().map(|view| view.size()), Some(2));
/// assert_eq!(view.handle().status(), Status::Active);
///
/// view.isolate();
/// assert!(view.handle().permit().is_err(), "nothing may be changed now");
/// view.reconnect();
/// view.set_members(vec![member(2)]);
/// assert_eq!(view.handle().status(), Status::Isolated, "the view goes on without it");
/// ```
#[derive(Debug)]
pub struct ManualView {
    handle: ViewHandle,
    cluster: ClusterId,
}

impl ManualView {
    /// A process that is in no view yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, cluster: ClusterId, me: Member) -> Self {
        let state = ViewState { me, status: Status::Joining, view: None, waiting_for: Vec::new() };
        Self { handle: ViewHandle::new(clock, state), cluster }
    }

    /// What actors are started with.
    #[must_use]
    pub fn handle(&self) -> &ViewHandle {
        &self.handle
    }

    /// The next view has these members. The process is active if it is among them, at its
    /// incarnation, and isolated if not. The first view has the first of them alone as its founder,
    /// so a longer list is its successor already.
    ///
    /// # Panics
    /// If there are no members, or one twice: no such view exists.
    pub fn set_members(&mut self, members: Vec<Member>) -> ViewEvent {
        let before = self.handle.current().view.clone();
        let next = match &before {
            Some(view) => view.successor(members),
            None => match members.split_first() {
                Some((founder, [])) => Some(View::first(self.cluster, "test", founder.clone())),
                Some((founder, _)) => {
                    View::first(self.cluster, "test", founder.clone()).successor(members)
                }
                None => None,
            },
        };
        assert!(next.is_some(), "a view has members, each once");
        let view = next.map(Arc::new);
        let me = &self.handle.current().me;
        let listed = |view: &Arc<View>| view.lists(me.process, me.incarnation);
        let status = match view.as_ref().is_some_and(listed) {
            true => Status::Active,
            false => Status::Isolated,
        };
        let change = view.clone().map(|view| ViewChange::between(before.as_deref(), view));
        self.publish(ViewState { me: me.clone(), status, view, waiting_for: Vec::new() }, change)
    }

    /// The process has lost touch with its quorum; the view stays.
    pub fn isolate(&mut self) -> ViewEvent {
        self.set_status(Status::Isolated)
    }

    /// It is in touch again.
    pub fn reconnect(&mut self) -> ViewEvent {
        self.set_status(Status::Active)
    }

    fn set_status(&mut self, status: Status) -> ViewEvent {
        let state = ViewState { status, ..(*self.handle.current()).clone() };
        self.publish(state, None)
    }

    fn publish(&self, state: ViewState, change: Option<ViewChange>) -> ViewEvent {
        let state = Arc::new(state);
        self.handle.publish(Arc::clone(&state));
        ViewEvent { state, change }
    }
}
