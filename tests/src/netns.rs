//! Processes in networks of their own, and links between them that break as they are told.
//!
//! Each process gets a network namespace with one address and one TUN device. Behind the devices a
//! thread of the test carries the packets from one to the other, or drops or keeps them back: so
//! cuts, one-way loss, random loss and delay need no packet filter and no queueing discipline of
//! the kernel, are told apart by pair and direction, and follow a seed. What the processes see is
//! an ordinary network on which packets get lost.
//!
//! Namespaces have no names and devices belong to their namespace: all of it is gone with the
//! test, however that ends. Nothing is added to the network of the machine.

mod link;
mod namespace;
mod switch;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

pub use link::{Carried, Links};
pub use namespace::Namespace;
use switch::Switch;

use crate::place::Place;

/// The most places of one network.
pub const MAX_PLACES: usize = 16;

/// Where the processes listen for each other; each has its own address.
const PORT: u16 = 7_000;

/// Set to anything: a machine that cannot run these tests fails them instead of skipping.
const DEMAND: &str = "LAMPYRID_DEMAND_NETNS";

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// A namespace could not be made or entered: no `ip`, or no right to it.
    #[error("no network namespace: {0}")]
    Namespace(std::io::Error),
    /// `ip` refused something within the namespace.
    #[error("`ip {command}` failed: {reason}")]
    Ip {
        /// Its arguments.
        command: String,
        /// What it said.
        reason: String,
    },
    /// A TUN device could not be made: no `/dev/net/tun`, or no right to it.
    #[error("no TUN device: {0}")]
    Tun(std::io::Error),
}

/// Some places and the links between them.
#[derive(Debug)]
pub struct Network {
    places: Vec<Arc<Namespace>>,
    links: Arc<Links>,
    _switch: Switch,
}

impl Network {
    /// Makes `size` places, each linked with each. Random loss follows `seed`.
    ///
    /// # Errors
    /// [`Unavailable`]; nothing is left behind.
    ///
    /// # Panics
    /// With more than [`MAX_PLACES`].
    pub fn new(size: usize, seed: u64) -> Result<Self, Unavailable> {
        assert!(size <= MAX_PLACES, "{size} places");
        let mut places = Vec::new();
        let mut devices = Vec::new();
        for at in 0..size {
            let place = Namespace::new()?;
            devices.push(place.attach(address(at))?);
            places.push(Arc::new(place));
        }
        let links = Arc::new(Links::new(size));
        let switch = Switch::start(devices, Arc::clone(&links), seed);
        Ok(Self { places, links, _switch: switch })
    }

    /// The same, or nothing where the machine does not permit it. Says so where it is seen: past
    /// the capture of a test's output.
    ///
    /// # Panics
    /// Instead of giving nothing, if the environment has `LAMPYRID_DEMAND_NETNS`.
    #[must_use]
    pub fn or_skip(size: usize, seed: u64) -> Option<Self> {
        match Self::new(size, seed) {
            Ok(network) => Some(network),
            Err(error) if std::env::var_os(DEMAND).is_some() => panic!("{error}"),
            Err(error) => {
                let test = std::thread::current().name().unwrap_or("a test").to_owned();
                let line = format!("\n*** SKIPPED: {test} did NOT run: {error} ***\n");
                let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
                None
            }
        }
    }

    /// One of the places.
    #[must_use]
    pub fn place(&self, at: usize) -> Arc<dyn Place> {
        Arc::<Namespace>::clone(&self.places[at])
    }

    /// The same, to do other things in it.
    #[must_use]
    pub fn namespace(&self, at: usize) -> &Namespace {
        &self.places[at]
    }

    /// The links between them.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }
}

/// Where a process at that place listens.
#[must_use]
pub fn listen(at: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(address(at)), PORT)
}

/// The address of a place. Seen within the namespaces only.
#[must_use]
pub fn address(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(at + 1).unwrap_or(u8::MAX))
}

/// The place with that address.
fn place_of(address: Ipv4Addr) -> Option<usize> {
    match address.octets() {
        [10, 77, 0, last] => usize::from(last).checked_sub(1),
        _ => None,
    }
}
