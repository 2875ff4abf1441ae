use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What happens to the packets from one place to another.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    passage: Passage,
    /// Percent of the packets that get lost at random.
    loss: u32,
    delay: Duration,
    carried: Carried,
}

#[derive(Debug, Clone, Copy, Default)]
enum Passage {
    #[default]
    Open,
    Cut,
    /// Open and cut in turns, beginning with cut.
    Flipping {
        since: Instant,
        cut: Duration,
        open: Duration,
    },
}

/// How many packets a link was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Passed on.
    pub passed: u64,
    /// Lost.
    pub lost: u64,
}

/// What the carrier does with one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Passed {
        /// By how much later.
        after: Duration,
    },
}

/// All links of a network, each direction of each pair by itself. Changes take effect with the
/// next packet.
#[derive(Debug)]
pub struct Links {
    size: usize,
    links: Mutex<Vec<Link>>,
}

impl Links {
    pub(super) fn new(size: usize) -> Self {
        Self { size, links: Mutex::new(vec![Link::default(); size * size]) }
    }

    /// Nothing gets from `from` to `to` any more; the other direction is as it was.
    pub fn cut_one_way(&self, from: usize, to: usize) {
        self.change(from, to, |link| link.passage = Passage::Cut);
    }

    /// Nothing gets through between two places.
    pub fn cut(&self, a: usize, b: usize) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts whatever leads from one group to another.
    pub fn split(&self, groups: &[&[usize]]) {
        for (index, group) in groups.iter().enumerate() {
            for other in &groups[index + 1..] {
                for &a in *group {
                    other.iter().for_each(|&b| self.cut(a, b));
                }
            }
        }
    }

    /// From now on a pair is cut for `cut`, open for `open`, and so on in turns.
    pub fn flip(&self, a: usize, b: usize, cut: Duration, open: Duration) {
        let since = Instant::now();
        for (from, to) in [(a, b), (b, a)] {
            let passage = Passage::Flipping { since, cut, open };
            self.change(from, to, |link| link.passage = passage);
        }
    }

    /// That many percent of the packets of one direction get lost, at random.
    pub fn lose(&self, from: usize, to: usize, percent: u32) {
        self.change(from, to, |link| link.loss = percent);
    }

    /// Every packet of one direction arrives that much later.
    pub fn delay(&self, from: usize, to: usize, delay: Duration) {
        self.change(from, to, |link| link.delay = delay);
    }

    /// All is well again.
    pub fn heal(&self) {
        for link in self.lock().iter_mut() {
            *link = Link { carried: link.carried, ..Link::default() };
        }
    }

    /// What one direction has carried so far.
    #[must_use]
    pub fn carried(&self, from: usize, to: usize) -> Carried {
        self.lock()[from * self.size + to].carried
    }

    /// Decides on one packet. `die` is at random, 0 to 99.
    pub(super) fn fate(&self, from: usize, to: usize, die: u32) -> Fate {
        if from >= self.size || to >= self.size {
            return Fate::Lost;
        }
        let mut links = self.lock();
        let link = &mut links[from * self.size + to];
        if link.passage.is_cut() || die < link.loss {
            link.carried.lost += 1;
            return Fate::Lost;
        }
        link.carried.passed += 1;
        Fate::Passed { after: link.delay }
    }

    fn change(&self, from: usize, to: usize, change: impl FnOnce(&mut Link)) {
        change(&mut self.lock()[from * self.size + to]);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passage {
    fn is_cut(self) -> bool {
        match self {
            Self::Open => false,
            Self::Cut => true,
            Self::Flipping { since, cut, open } => {
                let turn = (cut + open).as_nanos().max(1);
                since.elapsed().as_nanos() % turn < cut.as_nanos()
            }
        }
    }
}
