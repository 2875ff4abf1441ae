/// Rules that can be broken on purpose, to show that the tests would notice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Flaw {
    /// A destination activates on COMMIT whatever staging it names.
    CommitWithoutStage,
    /// Staged and discarded copies count as seen.
    SeenCountsStaged,
    /// A decided part is taken as ended when the view removes its destination.
    EndOnRemoval,
    /// Recovery removes the entities of a decided part by id alone, whatever their epoch.
    RedoByEntityAlone,
    /// A source answers unknown while PREPARE is open.
    UnknownWhilePrepared,
    /// Messages leave before the records they depend on are durable. (Of the shell, not the core.)
    SendBeforeSync,
    /// A destination activates all it staged, not the list of COMMIT.
    CommitWithoutList,
    /// Messages carry the view of PREPARE in place of the current one.
    PrepareViewAsTerm,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::CommitWithoutStage,
        Self::SeenCountsStaged,
        Self::EndOnRemoval,
        Self::RedoByEntityAlone,
        Self::UnknownWhilePrepared,
        Self::SendBeforeSync,
        Self::CommitWithoutList,
        Self::PrepareViewAsTerm,
    ];
}
