use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections that say nothing.
const IDLE: usize = 1_000;
/// That say half a hello.
const HALF: usize = 100;
/// That send half a request, to the admin HTTP.
const STUCK: usize = 100;
/// That send garbage, a second.
const GARBAGE: u32 = 1_000;

/// Between two looks at which connections were closed and have to be made anew.
const LOOK: Duration = Duration::from_millis(500);

/// Between two connects of those that stay: as many a second as garbage.
const PACE: Duration = Duration::from_millis(1);

/// How long one connect may take.
const CONNECT: Duration = Duration::from_secs(1);

/// Everybody who has no business here, for as long as it is asked for.
pub(super) struct Crowd {
    stop: Arc<AtomicBool>,
    came: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    pub(super) fn start(cluster: SocketAddr, admin: SocketAddr) -> Self {
        let (stop, came) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&came));
        let holding = std::thread::spawn(move || {
            let mut kinds = [
                Held::new(cluster, IDLE, b""),
                Held::new(cluster, HALF, b"LAMPYRID\0\x03half a nonce"),
                Held::new(admin, STUCK, b"GET /v1/view HTTP/1.1\r\nHost: "),
            ];
            while !stopped.load(Ordering::Relaxed) {
                for kind in &mut kinds {
                    counted.fetch_add(kind.fill(), Ordering::Relaxed);
                }
                std::thread::sleep(LOOK);
            }
        });
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&came));
        let throwing = std::thread::spawn(move || {
            let start = Instant::now();
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                let due = start + Duration::from_secs(1) / GARBAGE * number;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if let Ok(mut stream) = TcpStream::connect_timeout(&cluster, CONNECT) {
                    // It may have been thrown out already.
                    let _ = stream.write_all(&[0x5a; 64]);
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                number += 1;
            }
        });
        Self { stop, came, threads: vec![holding, throwing] }
    }

    /// How many connections there were.
    pub(super) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("it does not panic");
        }
        self.came.load(Ordering::Relaxed)
    }
}

/// Connections of one kind, made anew when they are closed.
struct Held {
    to: SocketAddr,
    said: &'static [u8],
    streams: Vec<Option<TcpStream>>,
}

impl Held {
    fn new(to: SocketAddr, count: usize, said: &'static [u8]) -> Self {
        Self { to, said, streams: (0..count).map(|_| None).collect() }
    }

    /// How many had to be made.
    fn fill(&mut self) -> u64 {
        let mut made = 0;
        for place in &mut self.streams {
            if place.as_mut().is_some_and(is_open) {
                continue;
            }
            std::thread::sleep(PACE);
            *place = TcpStream::connect_timeout(&self.to, CONNECT).ok();
            if let Some(stream) = place {
                let _ = stream.write_all(self.said);
                stream.set_nonblocking(true).expect("it is a socket");
                made += 1;
            }
        }
        made
    }
}

fn is_open(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 256];
    match stream.read(&mut bytes) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// As many open files as the system allows.
pub(super) fn raise_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the soft limit can be raised");
}
