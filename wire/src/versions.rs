use std::fmt;

/// The newest version of the messages between processes, which this release speaks best. Raise it
/// with every change of a message's shape.
pub const PROTOCOL_VERSION: u16 = 4;

/// The oldest version that this release still speaks: of the release before, so that a cluster can
/// be updated one process after the other. Raise it when the code for an older one is taken out.
pub const OLDEST_PROTOCOL_VERSION: u16 = 4;

/// The versions of the protocol that a process speaks, from the oldest to the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

impl Versions {
    /// Those of this release.
    pub const OURS: Self = Self { oldest: OLDEST_PROTOCOL_VERSION, newest: PROTOCOL_VERSION };

    /// The version that both speak best; `None` if there is none that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }

    /// True if that version is among them.
    #[must_use]
    pub const fn include(self, version: u16) -> bool {
        self.oldest <= version && version <= self.newest
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.oldest, self.newest) {
            (oldest, newest) if oldest == newest => write!(f, "{newest}"),
            (oldest, newest) => write!(f, "{oldest} to {newest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(oldest: u16, newest: u16) -> Versions {
        Versions { oldest, newest }
    }

    #[test]
    fn the_newest_that_both_speak_is_spoken() {
        for (ours, theirs, common) in [
            (versions(4, 5), versions(5, 6), Some(5)),
            (versions(4, 5), versions(3, 4), Some(4)),
            (versions(4, 5), versions(4, 5), Some(5)),
            (versions(4, 5), versions(1, 9), Some(5)),
            (versions(4, 5), versions(6, 7), None),
            (versions(4, 5), versions(1, 3), None),
            // Nonsense has nothing in common with anybody.
            (versions(4, 5), versions(9, 1), None),
        ] {
            assert_eq!(ours.common(theirs), common, "{ours}, {theirs}");
            assert_eq!(theirs.common(ours), common, "{theirs}, {ours}");
        }
        assert!(Versions::OURS.include(PROTOCOL_VERSION) && !versions(4, 5).include(6));
        assert_eq!(
            (versions(4, 4).to_string(), versions(4, 5).to_string()),
            ("4".into(), "4 to 5".into())
        );
    }
}
