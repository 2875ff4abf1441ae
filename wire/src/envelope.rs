use serde::{Deserialize, Serialize};

use crate::{CodecError, Inbound, PROTOCOL_VERSION, Peer, Term, Versions, decode, encode};

/// The largest frame that may be sent or taken, in bytes: one entity of the largest size (1 MiB)
/// and room for what surrounds it.
pub const MAX_FRAME_BYTES: usize = 2 * 1024 * 1024;

/// What surrounds every message between processes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// The version of the protocol in which the message is.
    pub version: u16,
    /// Who sent it.
    pub from: Peer,
    /// The sender's view when it sent this; `None` while it has none (a process that joins).
    pub term: Option<Term>,
    /// The message of the channel's own type, encoded.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// Why the envelope of a frame is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// It names another sender than the session.
    #[error("the envelope says it is from {0}, the session is another's")]
    Forged(Peer),
    /// The sender speaks a version that this release does not.
    #[error("protocol version {0} is not ours")]
    Version(u16),
}

impl Envelope {
    /// The envelope of a frame, if the session's peer has sent it in a version that is spoken here.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn received(inbound: &Inbound) -> Result<Self, EnvelopeError> {
        let envelope: Self = decode(&inbound.frame)?;
        if envelope.from != inbound.from {
            return Err(EnvelopeError::Forged(envelope.from));
        }
        if !Versions::OURS.include(envelope.version) {
            return Err(EnvelopeError::Version(envelope.version));
        }
        Ok(envelope)
    }

    /// Encodes `message` and puts it into an envelope.
    ///
    /// # Errors
    /// [`CodecError::Encode`] if the message has no encoding.
    pub fn seal<T: Serialize>(
        from: Peer,
        term: Option<Term>,
        message: &T,
    ) -> Result<Self, CodecError> {
        Ok(Self { version: PROTOCOL_VERSION, from, term, body: encode(message)? })
    }

    /// Takes the message out.
    ///
    /// # Errors
    /// [`CodecError`] if the body is no `T`.
    pub fn open<T: serde::de::DeserializeOwned>(&self) -> Result<T, CodecError> {
        decode(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BootNonce, Incarnation, ProcessId};

    fn sealed() -> Envelope {
        let from = Peer {
            process: ProcessId::from_u128(7),
            incarnation: Incarnation(1),
            nonce: BootNonce(9),
        };
        Envelope::seal(from, None, &("hello", 5_u32)).unwrap()
    }

    #[test]
    fn what_goes_in_comes_out() {
        let bytes = encode(&sealed()).unwrap();
        let back: Envelope = decode(&bytes).unwrap();
        assert_eq!(back, sealed());
        assert_eq!(back.open::<(String, u32)>().unwrap(), ("hello".to_owned(), 5));
    }

    #[test]
    fn cut_or_lengthened_bytes_are_errors() {
        let mut bytes = encode(&sealed()).unwrap();
        for length in 0..bytes.len() {
            assert!(decode::<Envelope>(&bytes[..length]).is_err());
        }
        bytes.push(0);
        assert_eq!(decode::<Envelope>(&bytes).unwrap_err(), CodecError::TrailingBytes(1));
    }
}
