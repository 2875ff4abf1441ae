use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Incarnation, ProcessId};

/// One incarnation of a process, with what others need to reach it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub process: ProcessId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// A name for people.
    pub name: String,
    /// Where other processes connect.
    pub address: SocketAddr,
    /// Base URL of its admin HTTP, if it serves one: `http://127.0.0.1:41002`.
    pub admin: Option<String>,
}

impl Member {
    /// (process, incarnation): what "this very life of the process" means everywhere.
    #[must_use]
    pub fn key(&self) -> (ProcessId, Incarnation) {
        (self.process, self.incarnation)
    }
}
