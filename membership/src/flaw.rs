/// A rule left out on purpose, so that the simulator can prove that it would notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(any(test, feature = "testkit")), allow(unreachable_pub))]
pub enum Flaw {
    /// Promises and votes do not survive a crash.
    ForgetfulAcceptor,
    /// Any half is a quorum, tie-breaker or not.
    AnyHalf,
    /// Answers are counted against the members believed alive instead of the view being left.
    LiveSetQuorum,
    /// The first vote seen forces, instead of the one of the highest rank.
    FirstVoteSeen,
    /// Votes found in phase 1 force nothing.
    NoSelection,
    /// A proposer changes its value within one rank.
    TwoValuesOneRank,
}

/// The flaws of a core: none, outside tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Flaws {
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) flaw: Option<Flaw>,
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
