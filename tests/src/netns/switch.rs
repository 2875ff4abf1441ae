use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tappers::Tun;

use super::link::{Fate, Links};
use super::place_of;

/// How long the carrier sleeps when nothing comes: within that it sees that it shall end.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// Packets fetched from one device before the next has its turn.
const BATCH: usize = 64;

/// Packets kept back at once; more are lost, as in any queue that is full.
const MAX_KEPT: usize = 100_000;

/// Room for one packet; the devices' own limit is 1,500 bytes.
const PACKET_BYTES: usize = 2_048;

/// The thread that carries the packets; ends when dropped.
#[derive(Debug)]
pub(super) struct Switch {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    pub(super) fn start(devices: Vec<Tun>, links: Arc<Links>, seed: u64) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let random = StdRng::seed_from_u64(seed);
        let mut carrier = Carrier { devices, links, random, kept: BTreeMap::new(), number: 0 };
        let over = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                carrier.wait();
                carrier.fetch();
                carrier.deliver();
            }
        });
        Self { ended, thread: Some(thread) }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Carrier {
    devices: Vec<Tun>,
    links: Arc<Links>,
    random: StdRng,
    /// Packets on their way by when they arrive and in the order they came, with the place.
    kept: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    number: u64,
}

impl Carrier {
    fn wait(&self) {
        let now = Instant::now();
        let next = self.kept.keys().next().map(|(due, _)| due.saturating_duration_since(now));
        let limit = next.map_or(LONGEST_SLEEP, |next| next.min(LONGEST_SLEEP));
        let mut readable: Vec<_> =
            self.devices.iter().map(|device| PollFd::new(device, PollFlags::IN)).collect();
        // An error (a signal came) is a short sleep.
        let _ = poll(&mut readable, Timespec::try_from(limit).ok().as_ref());
    }

    fn fetch(&mut self) {
        let mut packet = [0_u8; PACKET_BYTES];
        for from in 0..self.devices.len() {
            for _ in 0..BATCH {
                // Nothing there now; a device that is broken delivers nothing either.
                let Ok(length) = self.devices[from].recv(&mut packet) else { break };
                self.route(from, &packet[..length]);
            }
        }
    }

    fn route(&mut self, from: usize, packet: &[u8]) {
        let Some(to) = destination(packet) else { return };
        let die = self.random.random_range(0..100);
        match self.links.fate(from, to, die) {
            Fate::Lost => {}
            Fate::Passed { after } if after.is_zero() => self.hand_over(to, packet),
            Fate::Passed { after } if self.kept.len() < MAX_KEPT => {
                self.number += 1;
                let due = Instant::now() + after;
                self.kept.insert((due, self.number), (to, packet.to_vec()));
            }
            Fate::Passed { .. } => {}
        }
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        while let Some(next) = self.kept.first_entry().filter(|next| next.key().0 <= now) {
            let (to, packet) = next.remove();
            self.hand_over(to, &packet);
        }
    }

    fn hand_over(&self, to: usize, packet: &[u8]) {
        // A device that takes nothing loses packets, as any does.
        let _ = self.devices[to].send(packet);
    }
}

/// The place an IPv4 packet is for; the devices' talk of other kinds goes nowhere.
fn destination(packet: &[u8]) -> Option<usize> {
    if packet.first()? >> 4 != 4 {
        return None;
    }
    let octets: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    place_of(Ipv4Addr::from(octets))
}
