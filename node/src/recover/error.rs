use std::path::PathBuf;

use lampyrid_membership::ForceRefusal;
use lampyrid_wire::Member;

use crate::storage::StorageError;

/// Why a process was not led into another cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The data directory is missing, in use, damaged, or not to be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// By the rules.
    #[error(transparent)]
    Refused(#[from] ForceRefusal),
    /// Others of the last view are there: the cluster is not lost, or what is left of it has to be
    /// stopped first.
    #[error("{}", answered(.0))]
    Answered(Vec<Member>),
    /// The new directory is there already.
    #[error("{} is there already: name a directory that is not", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// A directory could not be made or named.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A blocking task was cut off: the runtime shuts down.
    #[error("the runtime is shutting down")]
    RuntimeStopped,
}

impl RecoverError {
    /// The reason in one word, for scripts.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Storage(StorageError::Missing { .. }) => "no_data_directory",
            Self::Storage(StorageError::Store(lampyrid_migration::OpenError::InUse { .. })) => {
                "data_directory_in_use"
            }
            Self::Storage(_) => "storage",
            Self::Refused(refusal) => refusal.code(),
            Self::Answered(_) => "member_answered",
            Self::Exists { .. } => "directory_exists",
            Self::Io { .. } => "io",
            Self::RuntimeStopped => "runtime_stopped",
        }
    }
}

fn answered(members: &[Member]) -> String {
    let each = members.iter().map(|member| {
        format!("{} ({}) answers at {}", member.name, member.process, member.address)
    });
    each.collect::<Vec<_>>().join("; ")
}
