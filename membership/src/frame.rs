//! How messages of membership lie on the wire.

use lampyrid_wire::{CodecError, PROTOCOL_VERSION, Versions, decode, encode};

use crate::{Protocol, Stamp};

/// Encodes a message of the membership channel: protocol version, the sender's stamp, the message.
/// Who sent it is the session's to know.
///
/// # Errors
/// [`CodecError::Encode`] if the message has no encoding.
pub fn seal(stamp: Option<Stamp>, message: &Protocol) -> Result<Vec<u8>, CodecError> {
    encode(&(PROTOCOL_VERSION, stamp, message))
}

/// Decodes what [`seal`] made.
///
/// # Errors
/// [`CodecError`] if the bytes are no such message, or one of another version.
pub fn open(frame: &[u8]) -> Result<(Option<Stamp>, Protocol), CodecError> {
    let (version, stamp, message): (u16, Option<Stamp>, Protocol) = decode(frame)?;
    if !Versions::OURS.include(version) {
        let what = format!("protocol version {version}, not {}", Versions::OURS);
        return Err(CodecError::Decode(what));
    }
    Ok((stamp, message))
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::Epoch;

    use super::*;

    #[test]
    fn an_exchange_on_an_edge_is_short() {
        let stamp = Some(Stamp { epoch: Epoch(200), digest: [9; 8] });
        let probe = Protocol::Probe { sequence: 40_000, attempt: 0 };
        let answer = Protocol::Answer { sequence: 40_000 };
        let bytes = [probe, answer].map(|message| {
            let frame = seal(stamp, &message).unwrap();
            assert_eq!(open(&frame).unwrap(), (stamp, message));
            frame.len()
        });
        assert!(bytes.iter().sum::<usize>() <= 2 * 23, "{bytes:?}");
    }

    #[test]
    fn another_version_and_cut_bytes_are_errors() {
        let frame = seal(None, &Protocol::Query).unwrap();
        for length in 0..frame.len() {
            assert!(open(&frame[..length]).is_err());
        }
        let other = encode(&(PROTOCOL_VERSION + 1, None::<Stamp>, Protocol::Query)).unwrap();
        assert!(open(&other).is_err());
    }
}
