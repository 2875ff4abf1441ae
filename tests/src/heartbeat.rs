//! What many systems do instead of membership: every member sends a heartbeat to one coordinator
//! each second and is acknowledged; one that was silent for three is dropped from the list, which
//! the coordinator sends to all that are left. For comparison only: it does nothing for the loss of
//! the coordinator, and nothing keeps two lists from differing.
//!
//! `heartbeat-baseline coordinator` prints `{"event":"listening","address":..}`;
//! `heartbeat-baseline member ADDRESS NUMBER` prints each list it gets. Both print
//! `{"event":"bytes","sent":..,"received":..}` for every line on stdin.
#![allow(clippy::expect_used, reason = "a program for tests: what fails here fails the test")]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Between two heartbeats of a member.
const INTERVAL: Duration = Duration::from_secs(1);

/// Silence after which a member counts as gone.
const LIMIT: Duration = Duration::from_secs(3);

/// Names a member: as long as a process id, an incarnation and a term are in a real message.
const IDENTITY_BYTES: usize = 16 + 8 + 8 + 16;

static SENT: AtomicU64 = AtomicU64::new(0);
static RECEIVED: AtomicU64 = AtomicU64::new(0);

#[tokio::main]
async fn main() {
    std::thread::spawn(report);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["coordinator"] => coordinate().await,
        ["member", address, number] => {
            belong(address, number.parse().expect("a number")).await;
        }
        _ => panic!("coordinator, or member ADDRESS NUMBER"),
    }
}

/// What the coordinator's connections tell it.
enum News {
    Joined(u64, OwnedWriteHalf),
    Beat(u64, u64),
}

async fn coordinate() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    print(&json!({ "event": "listening", "address": address.to_string() }));
    let (tell, news) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(hear(stream, tell.clone()));
        }
    });
    keep_list(news).await;
}

async fn hear(stream: TcpStream, tell: UnboundedSender<News>) {
    stream.set_nodelay(true).expect("a socket");
    let (mut from, to) = stream.into_split();
    let Some((member, _)) = receive(&mut from).await.and_then(|frame| parse(&frame)) else {
        return;
    };
    let mut sent = tell.send(News::Joined(member, to));
    // That a connection ends tells nothing here: silence is all that counts.
    while sent.is_ok() {
        let Some((member, number)) = receive(&mut from).await.and_then(|frame| parse(&frame))
        else {
            return;
        };
        sent = tell.send(News::Beat(member, number));
    }
}

struct Known {
    heard: Instant,
    to: OwnedWriteHalf,
}

async fn keep_list(mut news: UnboundedReceiver<News>) {
    let mut members: BTreeMap<u64, Known> = BTreeMap::new();
    loop {
        let next = members.values().map(|known| known.heard + LIMIT).min();
        let silence = async {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        let changed = tokio::select! {
            Some(news) = news.recv() => match news {
                News::Joined(member, to) => {
                    members.insert(member, Known { heard: Instant::now(), to });
                    true
                }
                News::Beat(member, number) => {
                    if let Some(known) = members.get_mut(&member) {
                        known.heard = Instant::now();
                        send(&mut known.to, &frame(member, number)).await;
                    }
                    false
                }
            },
            () = silence => {
                let now = Instant::now();
                members.retain(|_, known| known.heard + LIMIT > now);
                true
            }
        };
        if changed {
            publish(&mut members).await;
        }
    }
}

async fn publish(members: &mut BTreeMap<u64, Known>) {
    let list: Vec<u64> = members.keys().copied().collect();
    print(&json!({ "event": "list", "members": list }));
    let frame: Vec<u8> = list.iter().flat_map(|&member| frame(member, 0)).collect();
    for known in members.values_mut() {
        send(&mut known.to, &frame).await;
    }
}

async fn belong(address: &str, number: u64) {
    let stream = TcpStream::connect(address).await.expect("the coordinator listens");
    stream.set_nodelay(true).expect("a socket");
    let (mut from, mut to) = stream.into_split();
    tokio::spawn(async move {
        for beat in 0.. {
            send(&mut to, &frame(number, beat)).await;
            tokio::time::sleep(INTERVAL).await;
        }
    });
    let own = frame(number, 0).len();
    while let Some(got) = receive(&mut from).await {
        let is_list = got.len() != own || parse(&got).is_some_and(|(_, beat)| beat == 0);
        if is_list {
            let list: Vec<u64> =
                got.chunks(own).filter_map(parse).map(|(member, _)| member).collect();
            print(&json!({ "event": "list", "members": list }));
        }
    }
}

/// A member's identity and a number.
fn frame(member: u64, number: u64) -> Vec<u8> {
    let mut frame = member.to_be_bytes().to_vec();
    frame.resize(IDENTITY_BYTES, 0);
    frame.extend(number.to_be_bytes());
    frame
}

fn parse(frame: &[u8]) -> Option<(u64, u64)> {
    let number = |at: usize| Some(u64::from_be_bytes(frame.get(at..at + 8)?.try_into().ok()?));
    Some((number(0)?, number(IDENTITY_BYTES)?))
}

/// A frame and its length before it. What cannot be sent is lost.
async fn send(to: &mut OwnedWriteHalf, frame: &[u8]) {
    let length = u32::try_from(frame.len()).expect("short");
    let whole = [&length.to_be_bytes()[..], frame].concat();
    if to.write_all(&whole).await.is_ok() {
        SENT.fetch_add(whole.len() as u64, Ordering::Relaxed);
    }
}

async fn receive(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = from.read_u32().await.ok()?;
    let mut frame = vec![0; usize::try_from(length).ok()?.min(1 << 20)];
    from.read_exact(&mut frame).await.ok()?;
    RECEIVED.fetch_add(4 + u64::from(length), Ordering::Relaxed);
    Some(frame)
}

/// Answers each line on stdin with what was sent and received so far.
fn report() {
    for _ in std::io::stdin().lines().map_while(Result::ok) {
        let (sent, received) = (SENT.load(Ordering::Relaxed), RECEIVED.load(Ordering::Relaxed));
        print(&json!({ "event": "bytes", "sent": sent, "received": received }));
    }
    // Whoever started this has gone.
    std::process::exit(0);
}

fn print(line: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
