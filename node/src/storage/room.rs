/// Room to begin with: enough for a store to be opened, and for some small changes.
const LEAST_BYTES: usize = 64 * 1024;

/// As much as the largest state of an entity takes.
const MOST_BYTES: usize = 1024 * 1024;

/// How much room must be there before a store that found none is opened again. Little at first,
/// since whoever makes room on a full disk may not have much to give. More after each time that was
/// not enough, because a store that is opened too early fails again at once, and is ready and
/// refused by turns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Room {
    wanted: Option<usize>,
    next: usize,
}

impl Room {
    /// None is looked for.
    pub(crate) const fn new() -> Self {
        Self { wanted: None, next: LEAST_BYTES }
    }

    /// What must be free before the store is opened; `None` if nobody has found too little.
    pub(crate) const fn wanted(&self) -> Option<usize> {
        self.wanted
    }

    /// The store found none.
    pub(crate) fn lacked(&mut self) {
        self.wanted = Some(self.next);
        self.next = (self.next * 2).min(MOST_BYTES);
    }

    /// What was wanted is free.
    pub(crate) fn found(&mut self) {
        self.wanted = None;
    }

    /// The store took something that needs room.
    pub(crate) fn proved(&mut self) {
        self.next = LEAST_BYTES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_doubles_until_it_proves_enough() {
        let mut room = Room::new();
        assert_eq!(room.wanted(), None);
        let mut wanted = || {
            room.lacked();
            let wanted = room.wanted();
            room.found();
            assert_eq!(room.wanted(), None);
            wanted.map(|bytes| bytes / 1024)
        };
        let tries: Vec<_> = std::iter::repeat_with(&mut wanted).take(6).collect();
        assert_eq!(tries, [64, 128, 256, 512, 1024, 1024].map(Some));
        room.proved();
        room.lacked();
        assert_eq!(room.wanted(), Some(LEAST_BYTES));
    }
}
