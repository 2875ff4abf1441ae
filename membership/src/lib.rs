//! Who is in: rings, edge monitors, cut detection, agreement, views.
//!
//! The rules are plain state machines (`agreement`, `cut`, `edge`, and the `core` that joins them);
//! the actors around them only carry messages, timers and durable writes.
//!
//! A process starts it in this order: [`start_identity`] on its store raises the incarnation, once a
//! start; a [`ViewHandle`] and a [`MembershipPort`] are made, and subscribers added; the links get
//! [`MembershipPort::link`] and [`MembershipPort::inbound`] as their hooks; then a supervisor starts
//! [`MembershipActor`] with [`MembershipArguments`], which it may use again for every restart. The
//! links may run before or after. [`MembershipArguments::ended`] tells when the process has to go.

mod actor;
mod agreement;
mod barred;
mod core;
mod cut;
mod edge;
mod fence;
mod flaw;
mod force;
pub mod frame;
mod handle;
pub mod limits;
mod links;
mod message;
mod places;
mod ring;
#[cfg(any(test, feature = "testkit"))]
pub mod sim;
mod stamp;
mod store;
mod topology;
mod view;

pub use actor::{
    Counters, Ended, MembershipActor, MembershipArguments, MembershipConfig, MembershipError,
    MembershipMessage, MembershipPort, MembershipState, Subscriber,
};
pub use agreement::{
    Agreement, BallotFacts, Cast, Change, Progress, Rank, ValueId, ValueRef, Vote, VoteRef,
};
pub use barred::Barred;
pub use core::{EdgeEvent, Input, MembershipCore, Output, Start, StopReason, Subject};
pub use cut::ReportFacts;
pub use edge::{EdgeCore, EdgeInput, EdgeOutput, Pace, Verdict};
pub use fence::Fence;
#[cfg(any(test, feature = "testkit"))]
pub use flaw::Flaw;
pub use force::{ForceRefusal, MAX_PARENTS};
pub use handle::{Isolated, Status, ViewEvent, ViewHandle, ViewState};
pub use links::{LinkControl, LinkEvent, ProbeOutcome, RefusalReason};
pub use message::{Announcement, Facts, JoinRefusal, Protocol};
pub use places::Places;
pub use ring::{COORDINATOR_ROLE, Ring};
pub use stamp::Stamp;
pub use store::{AcceptorState, AcceptorStore, AcceptorStoreError, MemoryStore, start_identity};
pub use topology::Topology;
pub use view::{View, ViewChange};
