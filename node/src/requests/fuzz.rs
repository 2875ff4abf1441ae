//! What fuzzers feed requests with: bytes of an authenticated peer.

use lampyrid_wire::{decode, encode};

use super::RequestMessage;

/// A message of the channel of requests.
///
/// # Panics
/// If what was understood does not mean the same when it is written and read again.
pub fn request(bytes: &[u8]) {
    if let Ok(message) = decode::<RequestMessage>(bytes) {
        let again = encode(&message).and_then(|bytes| decode::<RequestMessage>(&bytes));
        assert_eq!(again.as_ref(), Ok(&message), "what is written is what was read");
    }
}

/// What fuzzers begin with.
#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    use std::time::Duration;

    use bytes::Bytes;
    use lampyrid_migration::{EntityError, MovedTo, Reason};
    use lampyrid_wire::{BubbleId, EntityId, OwnershipEpoch, ProcessId};

    use super::message::Outcome;

    let (process, bubble) = (ProcessId::from_u128(1), BubbleId::from_u128(2));
    let place = MovedTo { process, bubble, epoch: OwnershipEpoch(3) };
    let gone = EntityError { reason: Reason::UnknownEntity, moved_to: Some(place) };
    let answer = |outcome| RequestMessage::Answer { number: 1, outcome };
    let ask = RequestMessage::Ask {
        number: 1,
        entity: EntityId::from_u128(4),
        limit: Duration::from_millis(1_500),
        body: Bytes::from_static(b"what"),
    };
    let messages = [
        ("ask", ask),
        ("answered", answer(Outcome::Answered(Bytes::from_static(b"that")))),
        ("refused", answer(Outcome::Refused(gone))),
        ("too_large", answer(Outcome::TooLarge(1 << 40))),
    ];
    messages.map(|(name, message)| ("request", name, encode(&message).unwrap())).into()
}
