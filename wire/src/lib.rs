//! What every other crate speaks in: identifiers, terms, the injected clock, the versioned message
//! envelope with its codec, and the two seams between an actor and the links.
//!
//! Message enums do not live here; they live in the crates that own them.

mod alarm;
mod clock;
mod codec;
mod envelope;
mod ids;
mod link;
mod member;
mod slot;
mod term;
mod versions;

pub use alarm::Alarm;
pub use clock::{Clock, ManualClock, SystemClock};
pub use codec::{CodecError, decode, encode};
pub use envelope::{Envelope, EnvelopeError, MAX_FRAME_BYTES};
pub use ids::{
    BootNonce, BubbleId, ClusterId, EntityId, Incarnation, ParseIdError, ProcessId, SagaId, StageId,
};
pub use link::{Channel, Credit, Inbound, Outbound, Peer, SendError};
pub use member::Member;
pub use slot::{NotRunning, Slot};
pub use term::{Epoch, OwnershipEpoch, Term, ViewId};
pub use versions::{OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, Versions};
