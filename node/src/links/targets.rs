use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use lampyrid_membership::RefusalReason;
use lampyrid_wire::{Incarnation, ProcessId};

use super::limits::{FIRST_BACKOFF, LAST_BACKOFF, MAX_DIALS};

mod extra;

/// How a dial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialOutcome {
    /// There is a session with that process: this one, or another connection that stands.
    Settled(ProcessId),
    /// Nothing came of it.
    Failed,
    /// It was refused.
    Refused(RefusalReason),
    /// It was refused for want of room; these other members may have some.
    Full(Vec<SocketAddr>),
    /// It is this very process.
    Ourselves,
}

/// A target, as far as it matters to whether it is to be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A session with at least that life of a member.
    Member(ProcessId, Incarnation),
    /// A session with at least that life of a member that something is to be sent to.
    OnDemand(ProcessId, Incarnation),
    /// A session with whoever is at the address; with who was found there last.
    Sought(SocketAddr, Option<ProcessId>),
    /// A session with anybody, when who was sought has no room.
    Hinted,
}

/// Why an address is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Aim {
    /// A member to keep a session with.
    Member(ProcessId),
    /// A member that something is to be sent to.
    OnDemand(ProcessId),
    /// Whoever is there.
    Sought(SocketAddr),
    /// Whoever is there, named by somebody sought who has no room.
    Hinted(SocketAddr),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    address: SocketAddr,
    /// At least this life of the member; zero for what is sought.
    incarnation: Incarnation,
    attempts: u32,
    not_before: Duration,
    /// It turned out to be ourselves: not dialled again.
    parked: bool,
    /// Who was found there last.
    reached: Option<ProcessId>,
    /// When it is given up; only what is wanted on demand ever is.
    until: Option<Duration>,
}

impl Target {
    fn new(address: SocketAddr, incarnation: Incarnation) -> Self {
        Self {
            address,
            incarnation,
            attempts: 0,
            not_before: Duration::ZERO,
            parked: false,
            reached: None,
            until: None,
        }
    }

    fn wish(&self, aim: &Aim) -> Wish {
        match *aim {
            Aim::Member(process) => Wish::Member(process, self.incarnation),
            Aim::OnDemand(process) => Wish::OnDemand(process, self.incarnation),
            Aim::Sought(address) => Wish::Sought(address, self.reached),
            Aim::Hinted(_) => Wish::Hinted,
        }
    }
}

/// What is to be dialled, and when next. Backoff doubles from 20 ms to 1 s, less a jitter that
/// depends only on seed, address and attempt.
#[derive(Debug)]
pub(crate) struct Targets {
    seed: u64,
    targets: BTreeMap<Aim, Target>,
    flights: BTreeSet<SocketAddr>,
}

impl Targets {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, targets: BTreeMap::new(), flights: BTreeSet::new() }
    }

    /// Replaces all targets of members. One that stays the same keeps its backoff.
    pub(crate) fn keep(
        &mut self,
        members: impl Iterator<Item = (ProcessId, SocketAddr, Incarnation)>,
    ) {
        let new = members.map(|(process, address, incarnation)| {
            (Aim::Member(process), Target::new(address, incarnation))
        });
        self.replace(|aim| matches!(aim, Aim::Member(_)), new.collect());
    }

    /// Replaces all targets that are sought. With nothing sought, no hint is followed either.
    pub(crate) fn seek(&mut self, addresses: impl Iterator<Item = SocketAddr>) {
        let new: BTreeMap<Aim, Target> = addresses
            .map(|address| (Aim::Sought(address), Target::new(address, Incarnation::default())))
            .collect();
        if new.is_empty() {
            self.follow_hints(&[]);
        }
        self.replace(|aim| matches!(aim, Aim::Sought(_)), new);
    }

    fn replace(&mut self, kind: fn(&Aim) -> bool, mut new: BTreeMap<Aim, Target>) {
        for (aim, target) in &mut new {
            if let Some(old) = self.targets.get(aim)
                && (old.address, old.incarnation) == (target.address, target.incarnation)
            {
                *target = old.clone();
            }
        }
        self.targets.retain(|aim, _| !kind(aim));
        self.targets.append(&mut new);
    }

    fn seeks(&self, address: SocketAddr) -> bool {
        self.targets.contains_key(&Aim::Sought(address))
    }

    pub(crate) fn keeps(&self, process: ProcessId) -> bool {
        self.targets.contains_key(&Aim::Member(process))
    }

    /// A dial of `address` ended. Whatever came of it, the next one waits longer; a session that
    /// stood resets that when it ends.
    pub(crate) fn dial_ended(&mut self, now: Duration, address: SocketAddr, outcome: &DialOutcome) {
        self.flights.remove(&address);
        if let DialOutcome::Full(others) = outcome
            && self.seeks(address)
        {
            self.follow_hints(others);
        }
        let seed = self.seed;
        for target in self.targets.values_mut().filter(|target| target.address == address) {
            target.attempts = target.attempts.saturating_add(1);
            target.not_before = now + backoff(seed, address, target.attempts);
            target.parked |= *outcome == DialOutcome::Ourselves;
            if let DialOutcome::Settled(process) = *outcome {
                target.reached = Some(process);
            }
        }
    }

    /// A session that served these targets ended; after a stable one the first dial is immediate.
    pub(crate) fn session_ended(
        &mut self,
        stable: bool,
        process: ProcessId,
        addresses: &[SocketAddr],
    ) {
        let aims = addresses.iter().map(|&address| Aim::Sought(address));
        for aim in aims.chain([Aim::Member(process), Aim::OnDemand(process)]) {
            if stable && let Some(target) = self.targets.get_mut(&aim) {
                target.attempts = 0;
                target.not_before = Duration::ZERO;
            }
        }
    }

    /// The addresses to dial now; they count as dialled from here.
    pub(crate) fn due(&mut self, now: Duration, wanted: impl Fn(Wish) -> bool) -> Vec<SocketAddr> {
        let mut due = Vec::new();
        for (aim, target) in &self.targets {
            if self.flights.len() >= MAX_DIALS {
                break;
            }
            if !target.parked
                && target.not_before <= now
                && wanted(target.wish(aim))
                && self.flights.insert(target.address)
            {
                due.push(target.address);
            }
        }
        due
    }

    /// When the next dial is due. A target without a free dial waits for one to end instead.
    pub(crate) fn deadline(&self, wanted: impl Fn(Wish) -> bool) -> Option<Duration> {
        if self.flights.len() >= MAX_DIALS {
            return None;
        }
        self.targets
            .iter()
            .filter(|(aim, target)| {
                !target.parked
                    && !self.flights.contains(&target.address)
                    && wanted(target.wish(aim))
            })
            .map(|(_, target)| target.not_before)
            .min()
    }
}

/// The wait after so many attempts: doubling, with up to a quarter taken off.
fn backoff(seed: u64, address: SocketAddr, attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let full = FIRST_BACKOFF.saturating_mul(1 << doublings).min(LAST_BACKOFF);
    let host = match address.ip() {
        std::net::IpAddr::V4(ip) => u64::from(u32::from(ip)),
        std::net::IpAddr::V6(ip) => u128::from(ip) as u64 ^ (u128::from(ip) >> 64) as u64,
    };
    let dice = mix(seed ^ mix(host ^ (u64::from(address.port()) << 32)) ^ u64::from(attempts));
    full - full.mul_f64((dice >> 11) as f64 / (1_u64 << 53) as f64 / 4.0)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): spreads a counter over 64 bits.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_a_second_and_differs_between_processes() {
        let address = "127.0.0.1:4000".parse().unwrap();
        for attempts in 1..40 {
            let full = (20 << (attempts - 1).min(16)).min(1_000);
            let wait = backoff(7, address, attempts as u32).as_millis();
            assert!(wait <= full && wait >= full * 3 / 4 - 1, "{attempts}: {wait}");
            assert_eq!(backoff(7, address, attempts as u32), backoff(7, address, attempts as u32));
        }
        assert_ne!(backoff(7, address, 9), backoff(8, address, 9));
    }
}
