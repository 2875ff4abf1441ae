use lampyrid_wire::{Epoch, Term};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The sender's term in short, in every message of membership: the epoch, and a digest that binds
/// (cluster id, epoch, view id). One epoch has one view, so equal stamps mean the same view; a
/// probe a quarter second on every edge need not carry 60 bytes to say so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// The view's number.
    pub epoch: Epoch,
    /// The first bytes of SHA-256 over cluster id, epoch and view id.
    #[serde(with = "serde_bytes")]
    pub digest: [u8; 8],
}

impl From<Term> for Stamp {
    fn from(term: Term) -> Self {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(term.cluster.as_bytes())
            .chain_update(term.epoch.0.to_be_bytes())
            .chain_update(term.view.0)
            .finalize()
            .into();
        let mut digest = [0; 8];
        digest.copy_from_slice(&hash[..8]);
        Self { epoch: term.epoch, digest }
    }
}

/// How a message's stamp stands to the receiver's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// Of the same view.
    Current,
    /// Of an older view, or of none.
    Stale,
    /// Of a newer view.
    Newer,
    /// One epoch, two views: not of the history this process belongs to.
    Foreign,
}

impl Standing {
    pub(crate) fn compare(message: Option<Stamp>, own: Option<Stamp>) -> Self {
        match (message, own) {
            (None, None) => Self::Current,
            (None, Some(_)) => Self::Stale,
            (Some(_), None) => Self::Newer,
            (Some(message), Some(own)) if message.epoch < own.epoch => Self::Stale,
            (Some(message), Some(own)) if message.epoch > own.epoch => Self::Newer,
            (Some(message), Some(own)) if message == own => Self::Current,
            (Some(_), Some(_)) => Self::Foreign,
        }
    }
}
