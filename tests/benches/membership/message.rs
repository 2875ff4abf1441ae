use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What the heartbeat sends, in about the fewest bytes that do: one for the kind, eight for a
/// version, six for a member (an IPv4 address and a port, as foca's identities here have).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// Take me in.
    Join,
    /// I live, and have that version of the list.
    Beat { version: u64 },
    /// The answer to a beat.
    Ack,
    /// The list; the first coordinates.
    List { version: u64, members: Vec<usize> },
    /// The answer to a list.
    Taken { version: u64 },
    /// The answer to a beat of somebody who is not in the list.
    NotIn,
}

const PORT: u16 = 7946;

impl Message {
    /// The bytes that go over the network.
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Join => bytes.put_u8(0),
            Self::Beat { version } => {
                bytes.put_u8(1);
                bytes.put_u64(*version);
            }
            Self::Ack => bytes.put_u8(2),
            Self::List { version, members } => {
                bytes.reserve(9 + members.len() * 6);
                bytes.put_u8(3);
                bytes.put_u64(*version);
                for member in members {
                    bytes.put_u32(u32::try_from(*member).unwrap_or(u32::MAX));
                    bytes.put_u16(PORT);
                }
            }
            Self::Taken { version } => {
                bytes.put_u8(4);
                bytes.put_u64(*version);
            }
            Self::NotIn => bytes.put_u8(5),
        }
        bytes.freeze()
    }

    /// What the bytes say, if anything.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        match bytes.try_get_u8().ok()? {
            0 => Some(Self::Join),
            1 => Some(Self::Beat { version: bytes.try_get_u64().ok()? }),
            2 => Some(Self::Ack),
            3 => {
                let version = bytes.try_get_u64().ok()?;
                let mut members = Vec::with_capacity(bytes.len() / 6);
                while bytes.has_remaining() {
                    let member = bytes.try_get_u32().ok()?;
                    bytes.try_get_u16().ok()?;
                    members.push(usize::try_from(member).ok()?);
                }
                Some(Self::List { version, members })
            }
            4 => Some(Self::Taken { version: bytes.try_get_u64().ok()? }),
            5 => Some(Self::NotIn),
            _ => None,
        }
    }
}
