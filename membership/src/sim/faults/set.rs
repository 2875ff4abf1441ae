use super::super::Random;

/// Something that goes wrong, or is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A process ends at once; its peers' sessions with it are reset.
    Crash,
    /// A machine ends at once: nobody hears anything from it, not even that it ended.
    HostLoss,
    /// All processes end at once; some come back late.
    PowerLoss,
    /// One process, or all, that do not run are started.
    Restart,
    /// A process leaves.
    Leave,
    /// A process stops for a while; what arrives waits.
    Freeze,
    /// The timers of a process are late; messages are not.
    Stall,
    /// The clock of a process jumps forward.
    ClockJump,
    /// Sides that do not hear each other: even, uneven, three of them, two with a bridge, a chain.
    Partition,
    /// Two processes do not hear each other, one way or both.
    BreakLink,
    /// One or two processes lose most of what they send, or of what is sent to them, or both.
    HeavyLoss,
    /// Nothing that a process sends arrives, or nothing sent to it.
    OneWay,
    /// As before, but for 20 s, then not, and so on.
    FlipFlop,
    /// A session ends.
    DropSession,
    /// The network is whole again.
    Mend,
}

/// Every fault and how often it happens beside the others.
const MENU: [(Fault, u64); 15] = [
    (Fault::Crash, 25),
    (Fault::HostLoss, 6),
    (Fault::PowerLoss, 3),
    (Fault::Restart, 32),
    (Fault::Leave, 3),
    (Fault::Freeze, 8),
    (Fault::Stall, 6),
    (Fault::ClockJump, 5),
    (Fault::Partition, 8),
    (Fault::BreakLink, 6),
    (Fault::HeavyLoss, 5),
    (Fault::OneWay, 4),
    (Fault::FlipFlop, 4),
    (Fault::DropSession, 4),
    (Fault::Mend, 14),
];

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultSet(u32);

impl FaultSet {
    /// Crashes, restarts, leaves, freezes, cuts.
    pub const CLASSIC: Self = Self::of(&[
        Fault::Crash,
        Fault::PowerLoss,
        Fault::Restart,
        Fault::Leave,
        Fault::Freeze,
        Fault::Partition,
        Fault::BreakLink,
        Fault::DropSession,
        Fault::Mend,
    ]);

    /// These kinds.
    #[must_use]
    pub const fn of(faults: &[Fault]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < faults.len() {
            bits |= 1 << faults[at] as u32;
            at += 1;
        }
        Self(bits)
    }

    /// Some kinds, by chance; always those that let a cluster come back.
    #[must_use]
    pub fn of_seed(random: &mut Random) -> Self {
        let mut set = Self::of(&[Fault::Restart, Fault::Mend]);
        for (fault, _) in MENU {
            if random.chance(600) {
                set.0 |= Self::of(&[fault]).0;
            }
        }
        set
    }

    /// True if this kind is among them.
    #[must_use]
    pub const fn has(self, fault: Fault) -> bool {
        self.0 & Self::of(&[fault]).0 != 0
    }

    /// One of them, the frequent ones more often; `None` if there are none.
    pub(crate) fn draw(self, random: &mut Random) -> Option<Fault> {
        let total: u64 = MENU.iter().filter(|(fault, _)| self.has(*fault)).map(|(_, w)| w).sum();
        if total == 0 {
            return None;
        }
        let mut left = random.below(total);
        for (fault, weight) in MENU {
            if self.has(fault) {
                if left < weight {
                    return Some(fault);
                }
                left -= weight;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_set_is_drawn_and_all_of_it() {
        let set = FaultSet::of(&[Fault::Crash, Fault::Mend, Fault::Stall]);
        let mut random = Random::new(1);
        let drawn: Vec<Fault> = (0..200).filter_map(|_| set.draw(&mut random)).collect();
        assert!(drawn.iter().all(|&fault| set.has(fault)));
        for fault in [Fault::Crash, Fault::Mend, Fault::Stall] {
            assert!(drawn.contains(&fault));
        }
        assert_eq!(FaultSet::default().draw(&mut random), None);
    }
}
