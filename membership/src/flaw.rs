/// A rule left out on purpose, so that simulator and model checker can prove that they would notice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(not(any(test, feature = "testkit")), allow(unreachable_pub, dead_code))]
pub enum Flaw {
    /// Promises and votes do not survive a crash.
    ForgetfulAcceptor,
    /// Any half is a classic quorum, tie-breaker or not.
    AnyHalf,
    /// Answers are counted against the members believed alive instead of the view being left.
    LiveSetQuorum,
    /// The first vote seen forces, instead of the highest rank or a sufficient number.
    FirstVoteSeen,
    /// Votes found in phase 1 force nothing: recovery without selection.
    NoSelection,
    /// A proposer changes its value within one rank.
    TwoValuesOneRank,
    /// A fast vote is given after a promise.
    FastVoteAfterPromise,
    /// N - floor(N/4) fast votes decide.
    FastQuorumTooSmall,
    /// A half of fast votes decides.
    HalfIsFastQuorum,
    /// The half that holds the tie-breaker of the *proposed* view decides.
    TieBreakerOfProposal,
    /// A promise that comes twice counts twice.
    DuplicateCounted,
    /// A process and its next incarnation count as two.
    CountsIncarnations,
    /// A disk that was wiped keeps its process id.
    WipedDiskKeepsId,
    /// Whoever has the coordinator's process id coordinates, whatever its incarnation.
    CoordinatorByProcess,
    /// A process that has installed the next view answers messages of the one before.
    AnswersPastEpoch,
    /// Observers that are themselves in the cut report nothing implicitly.
    NoImplicitReports,
}

/// The flaws of a core: none, outside tests.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Flaws {
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) flaw: Option<Flaw>,
    /// What [`Flaw::CountsIncarnations`] adds to the own place.
    pub(crate) offset: u16,
}

impl Flaws {
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn has(self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    #[cfg(not(any(test, feature = "testkit")))]
    #[allow(clippy::unused_self)]
    pub(crate) const fn has(self, _flaw: Flaw) -> bool {
        false
    }
}
