use super::super::{Direction, Sim};
use crate::sim::sessions::Pair;

/// How many of 1,000 messages a place in trouble loses.
const HEAVY: u64 = 800;

impl Sim {
    /// Cuts the processes in two sides that do not hear each other.
    pub fn partition_into(&mut self, side: impl Fn(usize) -> bool) {
        self.change_network(|network| network.partition(|place| usize::from(side(place))));
    }

    /// Two processes do not hear each other any more.
    pub fn break_link(&mut self, a: usize, b: usize) {
        self.change_network(|network| {
            network.block(a, b);
            network.block(b, a);
        });
    }

    /// Ends everything that was done to the network.
    pub fn mend(&mut self) {
        self.change_network(super::super::Network::mend);
    }

    pub(super) fn partition_somehow(&mut self) {
        let count = self.places();
        let bits = self.random.draw();
        let side = |place: usize| usize::from(bits >> place & 1 == 0);
        let place = self.random.index(count);
        match self.random.below(6) {
            0 | 1 => {
                self.say(|| format!("partition {:b}", bits & ((1 << count) - 1)));
                self.change_network(|network| network.partition(side));
            }
            2 => {
                self.say(|| format!("partition in halves at {place}"));
                let half = |at: usize| usize::from((at + place) % count < count / 2);
                self.change_network(|network| network.partition(half));
            }
            3 => {
                self.say(|| "partition in three".to_owned());
                let third = |at: usize| (bits >> (2 * at) & 3).min(2) as usize;
                self.change_network(|network| network.partition(third));
            }
            4 => {
                self.say(|| format!("{place} is the bridge of {bits:b}"));
                self.change_network(|network| network.bridge(|at| side(at) == 1, place));
            }
            _ => {
                self.say(|| "chain".to_owned());
                self.change_network(super::super::Network::chain);
            }
        }
    }

    pub(super) fn break_somehow(&mut self, one: usize) {
        let other = self.random.index(self.places());
        let both = self.random.chance(600);
        self.say(|| format!("link {one}-{other} breaks, both ways: {both}"));
        self.change_network(|network| {
            network.block(one, other);
            if both {
                network.block(other, one);
            }
        });
    }

    pub(super) fn lose_heavily(&mut self, one: usize) {
        let directions = self.some_directions();
        let other = self.random.chance(300).then(|| self.random.index(self.places()));
        for place in [Some(one), other].into_iter().flatten() {
            self.say(|| format!("{place} loses most, {directions:?}"));
            for &direction in directions {
                self.change_network(|network| network.set_loss(place, direction, HEAVY));
            }
        }
    }

    pub(super) fn cut_one_way(&mut self, one: usize) {
        let direction = self.one_direction();
        self.say(|| format!("{one} loses all, {direction:?}"));
        self.change_network(|network| network.set_loss(one, direction, 1_000));
    }

    pub(super) fn flip_somehow(&mut self, one: usize) {
        let direction = self.one_direction();
        let start = self.now.saturating_sub(self.random.between(0, 20_000_000));
        self.say(|| format!("{one} flips {direction:?} since {start:?}"));
        self.change_network(|network| network.flip_flop(one, direction, start));
    }

    fn one_direction(&mut self) -> Direction {
        if self.random.chance(500) { Direction::Outgoing } else { Direction::Incoming }
    }

    fn some_directions(&mut self) -> &'static [Direction] {
        const BOTH: [Direction; 2] = [Direction::Outgoing, Direction::Incoming];
        match self.random.below(3) {
            0 => &BOTH[..1],
            1 => &BOTH[1..],
            _ => &BOTH,
        }
    }

    pub(super) fn drop_session(&mut self, one: usize) {
        let neighbours = &self.processes[one].neighbours;
        if neighbours.is_empty() {
            return;
        }
        let chosen = self.random.index(neighbours.len());
        if let Some(&other) = self.processes[one].neighbours.iter().nth(chosen) {
            self.say(|| format!("session {one}-{other} drops"));
            self.close_session(Pair::of(one, other));
        }
    }
}
