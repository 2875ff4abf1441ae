use std::collections::HashSet;

use lampyrid_membership::sim::Random;

/// Who has whom in its list of members, and how many different lists anybody ever had.
///
/// A list is known by a sum of its members' marks (64 bits by chance): two lists count as one by
/// mistake about once in a million runs. Members are told apart by place, not by incarnation.
pub(crate) struct Lists {
    count: usize,
    marks: Vec<u64>,
    /// `sees[of * count + whom]`
    sees: Vec<bool>,
    sums: Vec<u64>,
    sizes: Vec<usize>,
    live: Vec<bool>,
    wanted: u64,
    agreeing: usize,
    /// How many are in how many lists, all together.
    entries: usize,
    seen: HashSet<u64>,
    /// Places the network is bad for.
    faulty: Vec<bool>,
    /// Whether anybody healthy took it out of its list.
    removed: Vec<bool>,
}

impl Lists {
    /// Nobody sees anybody; everybody is wanted in the list.
    pub(crate) fn new(count: usize) -> Self {
        let mut random = Random::new(0x1_1575);
        let marks: Vec<u64> = (0..count).map(|_| random.draw()).collect();
        Self {
            count,
            sees: vec![false; count * count],
            sums: vec![0; count],
            sizes: vec![0; count],
            live: vec![true; count],
            wanted: marks.iter().fold(0, |sum, mark| sum ^ mark),
            marks,
            agreeing: 0,
            entries: 0,
            seen: HashSet::new(),
            faulty: vec![false; count],
            removed: vec![false; count],
        }
    }

    /// A process has itself in its list.
    pub(crate) fn started(&mut self, place: usize) {
        self.change(place, std::iter::once((place, true)));
    }

    /// The list of a process changed, by all this at once.
    pub(crate) fn change(&mut self, of: usize, changes: impl Iterator<Item = (usize, bool)>) {
        let agreed = self.live[of] && self.sums[of] == self.wanted;
        for (whom, comes) in changes {
            let sees = &mut self.sees[of * self.count + whom];
            if *sees == comes {
                continue;
            }
            *sees = comes;
            self.sums[of] ^= self.marks[whom];
            if comes {
                self.sizes[of] += 1;
                self.entries += 1;
            } else {
                self.sizes[of] -= 1;
                self.entries -= 1;
                self.removed[whom] |= !self.faulty[of] && whom != of;
            }
        }
        // Alone a process has not joined anything yet.
        if self.sizes[of] > 1 {
            self.seen.insert(self.sums[of]);
        }
        let agrees = self.live[of] && self.sums[of] == self.wanted;
        self.agreeing = self.agreeing + usize::from(agrees) - usize::from(agreed);
    }

    /// It is dead: the right list is without it from now on.
    pub(crate) fn dead(&mut self, place: usize) {
        if std::mem::replace(&mut self.live[place], false) {
            self.wanted ^= self.marks[place];
            self.agreeing = (0..self.count).filter(|&of| self.agrees(of)).count();
        }
    }

    fn agrees(&self, of: usize) -> bool {
        self.live[of] && self.sums[of] == self.wanted
    }

    /// True if every live process has exactly the live ones in its list.
    pub(crate) fn agreed(&self) -> bool {
        self.agreeing == self.live.iter().filter(|&&live| live).count()
    }

    /// True if, as long as nobody has died, 99 % of all that there is to know is known.
    pub(crate) fn nearly_complete(&self) -> bool {
        self.entries * 100 >= self.count * self.count * 99
    }

    /// How many different lists there were since the last time this was forgotten.
    pub(crate) fn seen(&self) -> usize {
        self.seen.len()
    }

    /// Counts lists and removals afresh; those of now are not counted until they change.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
        self.removed.fill(false);
    }

    /// The network is bad for it: what it thinks of others does not count.
    pub(crate) fn set_faulty(&mut self, place: usize) {
        self.faulty[place] = true;
    }

    /// How many faulty places, or how many healthy ones, somebody healthy had and then not, at any
    /// time since the last time this was forgotten.
    pub(crate) fn ever_removed(&self, faulty: bool) -> usize {
        (0..self.count).filter(|&at| self.faulty[at] == faulty && self.removed[at]).count()
    }

    /// How many faulty places no healthy process has in its list now.
    pub(crate) fn faulty_out(&self) -> usize {
        let healthy = |of: &usize| self.live[*of] && !self.faulty[*of];
        (0..self.count)
            .filter(|&whom| self.faulty[whom])
            .filter(|whom| {
                (0..self.count).filter(healthy).all(|of| !self.sees[of * self.count + whom])
            })
            .count()
    }
}
