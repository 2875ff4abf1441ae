use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are no message, or a message that cannot be bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The value does not encode; a programming error in the message type.
    #[error("the message does not encode: {0}")]
    Encode(String),
    /// The bytes are not such a message; the sender is broken, hostile or of another version.
    #[error("the bytes are not such a message: {0}")]
    Decode(String),
    /// The bytes go on behind the end of the message.
    #[error("{0} bytes follow the end of the message")]
    TrailingBytes(usize),
}

/// Encodes as MessagePack, structs as arrays.
///
/// # Errors
/// [`CodecError::Encode`] if the type has no MessagePack form.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    rmp_serde::to_vec(value).map_err(|error| CodecError::Encode(error.to_string()))
}

/// Decodes what [`encode`] made; anything behind it is an error.
///
/// # Errors
/// [`CodecError::Decode`] or [`CodecError::TrailingBytes`]; nothing was changed.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let mut rest = bytes;
    let value =
        rmp_serde::from_read(&mut rest).map_err(|error| CodecError::Decode(error.to_string()))?;
    if rest.is_empty() { Ok(value) } else { Err(CodecError::TrailingBytes(rest.len())) }
}
