use lampyrid_migration::{Image, PartPhase};
use lampyrid_wire::ProcessId;

/// What a data directory holds when its process parts from others. Counts of entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stake {
    /// Owned here; they stay, and are served again.
    pub owned: u64,
    /// Decided to move to another process that has not acknowledged: in doubt. The copies here are
    /// never served; each is at its destination, or will be once both are in one cluster.
    pub sent: u64,
    /// Staged here by another process that has not said whether they moved: in doubt. They are not
    /// served until that one says so.
    pub staged: u64,
}

impl Stake {
    pub(crate) fn of(image: &Image, me: ProcessId) -> Self {
        let sent = image.parts.values().map(|row| match &row.phase {
            PartPhase::Committed { snapshots, .. } if row.destination != me => snapshots.len(),
            _ => 0,
        });
        let staged = image.stagings.values().map(|row| row.entities.len());
        Self {
            owned: image.entities.len() as u64,
            sent: sent.sum::<usize>() as u64,
            staged: staged.sum::<usize>() as u64,
        }
    }
}
