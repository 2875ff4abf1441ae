use std::collections::BTreeSet;
use std::time::Duration;

use super::Random;

/// How long a flip-flopping place is cut off, and then how long it is not.
pub const FLIP: Duration = Duration::from_secs(20);

/// One delivery on a local network takes so long, at least and at most.
const LAN: (Duration, Duration) = (Duration::from_micros(100), Duration::from_micros(4_000));

/// Which messages of a place something concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Those it sends.
    Outgoing,
    /// Those sent to it.
    Incoming,
}

/// What one place suffers in one direction.
#[derive(Debug, Clone, Copy, Default)]
struct Trouble {
    /// How many of 1,000 messages are lost.
    loss: u64,
    /// Cut from this moment for [`FLIP`], fine for [`FLIP`], and so on.
    flips_from: Option<Duration>,
}

impl Trouble {
    fn cuts(self, now: Duration) -> bool {
        let running = self.flips_from.and_then(|from| now.checked_sub(from));
        running.is_some_and(|since| (since.as_micros() / FLIP.as_micros()).is_multiple_of(2))
    }
}

/// What lies between places, whatever protocol runs over it: delays, losses, cuts. All chance
/// comes from one seed; nothing here knows messages or sessions. Places are numbered from zero.
#[derive(Debug, Clone)]
pub struct Network {
    random: Random,
    delays: (Duration, Duration),
    /// Directions in which nothing passes.
    blocked: BTreeSet<(usize, usize)>,
    /// The groups each place belongs to; two places hear each other if they share one. Two suffice
    /// for sides, for a bridge between two sides and for a chain.
    groups: Vec<[usize; 2]>,
    outgoing: Vec<Trouble>,
    incoming: Vec<Trouble>,
}

impl Network {
    /// A local network without faults between so many places.
    #[must_use]
    pub fn new(seed: u64, places: usize) -> Self {
        Self {
            random: Random::new(seed),
            delays: LAN,
            blocked: BTreeSet::new(),
            groups: vec![[0, 0]; places],
            outgoing: vec![Trouble::default(); places],
            incoming: vec![Trouble::default(); places],
        }
    }

    /// How many places.
    #[must_use]
    pub fn places(&self) -> usize {
        self.groups.len()
    }

    /// One more place without faults; its number is returned.
    pub fn add_place(&mut self) -> usize {
        self.groups.push([0, 0]);
        self.outgoing.push(Trouble::default());
        self.incoming.push(Trouble::default());
        self.groups.len() - 1
    }

    /// From now on a delivery takes from `least` to `most` (uniform).
    pub fn set_delays(&mut self, least: Duration, most: Duration) {
        self.delays = (least, most.max(least));
    }

    /// How long this delivery takes.
    pub fn latency(&mut self, _from: usize, _to: usize) -> Duration {
        let (least, most) = self.delays;
        let spread = u64::try_from((most - least).as_micros()).unwrap_or(u64::MAX - 1);
        least + Duration::from_micros(self.random.below(spread + 1))
    }

    /// True if this message arrives; every call is one message and may draw chance.
    pub fn delivers(&mut self, now: Duration, from: usize, to: usize) -> bool {
        self.is_open(now, from, to) && !self.loses(from, to)
    }

    /// True if something sent now that way may pass, losses by chance aside.
    #[must_use]
    pub fn is_open(&self, now: Duration, from: usize, to: usize) -> bool {
        let grouped = {
            let (a, b) = (self.groups[from], self.groups[to]);
            a[0] == b[0] || a[0] == b[1] || a[1] == b[0] || a[1] == b[1]
        };
        grouped
            && !self.outgoing[from].cuts(now)
            && !self.incoming[to].cuts(now)
            && (self.blocked.is_empty() || !self.blocked.contains(&(from, to)))
    }

    /// True if that way suffers anything at this moment: then silence on it says nothing.
    #[must_use]
    pub fn is_troubled(&self, now: Duration, from: usize, to: usize) -> bool {
        !self.is_open(now, from, to) || self.outgoing[from].loss + self.incoming[to].loss > 0
    }

    /// True if a connection cannot be made now: either way is cut, or the one packet that goes
    /// each way is lost. A second one is sent too late for any connect limit here.
    pub fn fails_connect(&mut self, now: Duration, from: usize, to: usize) -> bool {
        !self.delivers(now, from, to) || !self.delivers(now, to, from)
    }

    fn loses(&mut self, from: usize, to: usize) -> bool {
        [self.outgoing[from].loss, self.incoming[to].loss]
            .into_iter()
            .any(|loss| loss > 0 && self.random.chance(loss))
    }

    /// Nothing passes that way any more.
    pub fn block(&mut self, from: usize, to: usize) {
        self.blocked.insert((from, to));
    }

    /// What was blocked that way passes again.
    pub fn unblock(&mut self, from: usize, to: usize) {
        self.blocked.remove(&(from, to));
    }

    /// So many of 1,000 messages that a place sends, or that are sent to it, are lost.
    pub fn set_loss(&mut self, place: usize, direction: Direction, per_mille: u64) {
        self.trouble(place, direction).loss = per_mille;
    }

    /// Whatever a place sends, or is sent, is cut from `start` for [`FLIP`], passes for [`FLIP`],
    /// is cut again, and so on.
    pub fn flip_flop(&mut self, place: usize, direction: Direction, start: Duration) {
        self.trouble(place, direction).flips_from = Some(start);
    }

    fn trouble(&mut self, place: usize, direction: Direction) -> &mut Trouble {
        match direction {
            Direction::Outgoing => &mut self.outgoing[place],
            Direction::Incoming => &mut self.incoming[place],
        }
    }

    /// Cuts the places in sides that do not hear each other. Replaces any partition before.
    pub fn partition(&mut self, side: impl Fn(usize) -> usize) {
        for (place, groups) in self.groups.iter_mut().enumerate() {
            *groups = [side(place); 2];
        }
    }

    /// Two halves that do not hear each other, and one place that both hear.
    pub fn bridge(&mut self, second: impl Fn(usize) -> bool, bridge: usize) {
        self.partition(|place| usize::from(second(place)));
        if let Some(groups) = self.groups.get_mut(bridge) {
            *groups = [0, 1];
        }
    }

    /// Each place hears only the one before it and the one after it.
    pub fn chain(&mut self) {
        for (place, groups) in self.groups.iter_mut().enumerate() {
            *groups = [place, place + 1];
        }
    }

    /// No partition any more; all else stays.
    pub fn join(&mut self) {
        self.groups.fill([0, 0]);
    }

    /// Ends everything that was done to it; delays stay as they are set.
    pub fn mend(&mut self) {
        self.blocked.clear();
        self.join();
        self.outgoing.fill(Trouble::default());
        self.incoming.fill(Trouble::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn open(network: &Network, from: usize, to: usize) -> bool {
        network.is_open(seconds(1), from, to)
    }

    #[test]
    fn a_block_is_one_way() {
        let mut network = Network::new(1, 2);
        network.block(0, 1);
        assert!(!open(&network, 0, 1) && open(&network, 1, 0));
        assert!(network.fails_connect(seconds(1), 1, 0));
        network.unblock(0, 1);
        assert!(!network.fails_connect(seconds(1), 1, 0));
    }

    #[test]
    fn partitions_bridges_and_chains() {
        let mut network = Network::new(1, 5);
        network.partition(|place| place / 2);
        assert!(open(&network, 0, 1) && !open(&network, 1, 2) && open(&network, 3, 2));
        network.bridge(|place| place > 2, 2);
        assert!(open(&network, 0, 2) && open(&network, 2, 4) && !open(&network, 1, 3));
        network.chain();
        assert!(open(&network, 1, 0) && open(&network, 1, 2) && !open(&network, 0, 2));
        network.mend();
        assert!((0..5).all(|a| (0..5).all(|b| open(&network, a, b))));
    }

    #[test]
    fn a_flip_flop_cuts_one_direction_every_other_twenty_seconds() {
        let mut network = Network::new(1, 2);
        network.flip_flop(0, Direction::Incoming, seconds(10));
        for (at, passes) in [(9, true), (10, false), (29, false), (30, true), (51, false)] {
            assert_eq!(network.is_open(seconds(at), 1, 0), passes, "{at}");
            assert!(network.is_open(seconds(at), 0, 1));
        }
    }

    #[test]
    fn losses_are_as_many_as_asked_for_and_delays_as_long() {
        let mut network = Network::new(7, 2);
        network.set_loss(1, Direction::Incoming, 800);
        let arrived = (0..10_000).filter(|_| network.delivers(seconds(1), 0, 1)).count();
        assert!((1_800..2_200).contains(&arrived), "{arrived}");
        assert!((0..100).all(|_| network.delivers(seconds(1), 1, 0)));
        network.set_delays(seconds(1), seconds(2));
        assert!((0..100).all(|_| (seconds(1)..=seconds(2)).contains(&network.latency(0, 1))));
    }
}
