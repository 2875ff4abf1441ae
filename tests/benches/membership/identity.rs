use serde::{Deserialize, Serialize};

/// A member as foca and the heartbeat know it: where it is, and which of its lives this is. The
/// smallest that works on an IPv4 network: six bytes and a number that is one byte at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Id {
    /// An IPv4 address; here it is the place.
    address: [u8; 4],
    port: [u8; 2],
    /// Raised whenever the cluster took it for dead although it was not.
    life: u16,
}

const PORT: [u8; 2] = 7946_u16.to_be_bytes();

impl Id {
    /// The first life of the process at a place.
    pub(crate) fn of(place: usize) -> Self {
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        Self { address: number.to_be_bytes(), port: PORT, life: 1 }
    }

    /// Where it is.
    pub(crate) fn place(self) -> usize {
        usize::try_from(u32::from_be_bytes(self.address)).unwrap_or(usize::MAX)
    }
}

impl foca::Identity for Id {
    type Addr = ([u8; 4], [u8; 2]);

    /// As its own example does: the next life rejoins by itself.
    fn renew(&self) -> Option<Self> {
        Some(Self { life: self.life.wrapping_add(1), ..*self })
    }

    fn addr(&self) -> Self::Addr {
        (self.address, self.port)
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.life > adversary.life
    }
}
