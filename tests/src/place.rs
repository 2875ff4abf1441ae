use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where processes run, if not beside the test: a network of their own, for one.
pub trait Place: std::fmt::Debug + Send + Sync {
    /// Starts a process there.
    ///
    /// # Errors
    /// Those of [`Command::spawn`].
    fn spawn(&self, command: &mut Command) -> io::Result<Child>;

    /// Connects from there.
    ///
    /// # Errors
    /// Those of [`TcpStream::connect`].
    fn connect(&self, to: SocketAddr) -> io::Result<TcpStream>;
}

/// An address on the test's own loopback that leads to one elsewhere; gone when dropped.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Forward {
    /// Opens one to `to`, as it is reached from `place`.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(place: Arc<dyn Place>, to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(near), place) = (near, Arc::clone(&place)) else { continue };
                std::thread::spawn(move || join(near, &*place, to));
            }
        });
        Ok(Self { address, ended })
    }

    /// Where to connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the listener, which then closes. Its connections end with the process they lead to.
        let _ = TcpStream::connect(self.address);
    }
}

/// Until either side ends. A side that cannot be reached is a connection that closes.
fn join(near: TcpStream, place: &dyn Place, to: SocketAddr) {
    let Ok(far) = place.connect(to) else { return };
    let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
    let (Ok(from_near), Ok(from_far)) = (near.try_clone(), far.try_clone()) else { return };
    let back = std::thread::spawn(move || pour(from_far, near));
    pour(from_near, far);
    let _ = back.join();
}

fn pour(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
