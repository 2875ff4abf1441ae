use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tappers::Tun;

use super::Unavailable;
use crate::place::Place;

/// Tells the namespaces of one test process apart while they have names. Held while there is a name:
/// the first use of `ip netns` in a machine prepares a directory and must have no rival in that.
static MADE: Mutex<u64> = Mutex::new(0);

/// Room for packets that the carrier has not fetched yet.
const QUEUE_LENGTH: &str = "5000";

/// A network namespace. It lasts as long as this value or a process in it.
#[derive(Debug)]
pub struct Namespace {
    handle: File,
}

impl Namespace {
    /// A new one, with nothing but its loopback.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn new() -> Result<Self, Unavailable> {
        let namespace = Self { handle: Self::make()? };
        namespace.enter(|| ip(&["link", "set", "lo", "up"])).map_err(Unavailable::Namespace)??;
        Ok(namespace)
    }

    fn make() -> Result<File, Unavailable> {
        let mut number = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        *number += 1;
        // The name is there for a moment only: it is how one gets hold of the namespace.
        let name = format!("lampyrid-{}-{number}", std::process::id());
        ip(&["netns", "add", &name])?;
        let handle = File::open(format!("/run/netns/{name}"));
        ip(&["netns", "del", &name])?;
        handle.map_err(Unavailable::Namespace)
    }

    /// Runs `work` on a thread within the namespace: sockets and processes made there belong to
    /// it, wherever they are used later.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    ///
    /// # Panics
    /// If `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let within = || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.handle.as_fd(), network)?;
            Ok(work())
        };
        std::thread::scope(|scope| scope.spawn(within).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Gives it an address and a device through which all others of the network are reached.
    pub(super) fn attach(&self, address: Ipv4Addr) -> Result<Tun, Unavailable> {
        let make = || {
            let mut tun = Tun::new().map_err(Unavailable::Tun)?;
            tun.set_nonblocking(true).map_err(Unavailable::Tun)?;
            let name = tun.name().map_err(Unavailable::Tun)?.name().to_string_lossy().into_owned();
            ip(&["address", "add", &format!("{address}/24"), "dev", &name])?;
            ip(&["link", "set", &name, "txqueuelen", QUEUE_LENGTH, "up"])?;
            Ok(tun)
        };
        self.enter(make).map_err(Unavailable::Namespace)?
    }
}

impl Place for Namespace {
    fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.enter(|| command.spawn())?
    }

    fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.enter(|| TcpStream::connect(to))?
    }
}

fn ip(arguments: &[&str]) -> Result<(), Unavailable> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(Unavailable::Namespace)?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Unavailable::Ip { command: arguments.join(" "), reason })
}
