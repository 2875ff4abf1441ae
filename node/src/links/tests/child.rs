//! The process under test: this test binary, run again, with its links driven over stdin and
//! reporting over stdout. Every report is a line that begins with `@`.

use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lampyrid_membership::{LinkControl, LinkEvent, View};
use lampyrid_wire::{
    BootNonce, Channel, ClusterId, Inbound, Incarnation, Member, Outbound, Peer, ProcessId,
    SystemClock,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;

use super::super::{
    Bounds, Cookie, LinksConfig, LinksHandle, LinksHooks, Plain, Tls, TlsFiles, Transport,
};
use super::concerns::Concerns;

pub(super) const VARIABLE: &str = "LAMPYRID_LINKS_CHILD";

/// `name;cert;key;ca`, if it has TLS.
pub(super) const TLS_VARIABLE: &str = "LAMPYRID_LINKS_CHILD_TLS";

/// What it calls itself, and what secures it.
fn transport(clock: &Arc<SystemClock>) -> (String, Arc<dyn Transport>) {
    let Ok(given) = std::env::var(TLS_VARIABLE) else {
        return ("plain".to_owned(), Arc::new(Plain));
    };
    let words: Vec<&str> = given.split(';').collect();
    let [name, files @ ..] = &words[..] else { panic!("a name expected") };
    let [cert, key, ca] = files else { panic!("3 files expected") };
    let files = TlsFiles { cert: cert.into(), key: key.into(), ca: ca.into() };
    let tls = Tls::unchecked(files, Arc::<SystemClock>::clone(clock));
    ((*name).to_owned(), Arc::new(tls))
}

fn say(line: &str) {
    // The parent gone: stdin ends too, and with it this process.
    let _ = writeln!(std::io::stdout(), "@{line}");
}

/// Restarts the links whenever they end, as the node's supervisor does.
struct Keeper;

impl Actor for Keeper {
    type Msg = KeeperMessage;
    type State = LinksHandle;
    type Arguments = LinksHandle;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        links: LinksHandle,
    ) -> Result<LinksHandle, ActorProcessingErr> {
        links.spawn_linked(myself.get_cell()).await?;
        Ok(links)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        _: KeeperMessage,
        _: &mut LinksHandle,
    ) -> Result<(), ActorProcessingErr> {
        let children = myself.get_children();
        children.iter().for_each(|links| links.kill());
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        links: &mut LinksHandle,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(..) | SupervisionEvent::ActorTerminated(..) = event {
            links.spawn_linked(myself.get_cell()).await?;
            say("RESTARTED");
        }
        Ok(())
    }
}

struct KeeperMessage;
impl ractor::Message for KeeperMessage {}

#[derive(Clone)]
struct Inbox {
    held: Arc<Mutex<Vec<Inbound>>>,
    hold: Arc<AtomicBool>,
    discard: Arc<AtomicBool>,
    /// Set once the links exist: to echo.
    links: Arc<OnceLock<LinksHandle>>,
    echoes: Arc<tokio::sync::Semaphore>,
    /// Set once they run: they get the frames instead.
    concerns: Arc<OnceLock<Concerns>>,
    view: Arc<Mutex<Option<Arc<View>>>>,
}

/// First bytes of a frame to be echoed, and of its echo.
const PING: u8 = 200;
const PONG: u8 = 201;
/// First byte of a frame at which the hook panics.
pub(super) const POISON: u8 = 202;

fn channel(name: &str) -> Channel {
    *Channel::ALL.iter().find(|c| c.name() == name).unwrap()
}

fn process(text: &str) -> ProcessId {
    ProcessId::from_u128(text.parse().unwrap())
}

fn name(peer: &Peer) -> String {
    format!("{}.{}", peer.process.0.as_u128(), peer.incarnation)
}

fn hooks(inbox: &Inbox) -> LinksHooks {
    let (inbox, concerns) = (inbox.clone(), Arc::clone(&inbox.concerns));
    LinksHooks {
        on_event: Arc::new(move |event| match event {
            LinkEvent::Up(peer) => {
                say(&format!("UP {}", name(&peer)));
                if let Some(concerns) = concerns.get() {
                    concerns.up(peer);
                }
            }
            LinkEvent::Down(peer) => say(&format!("DOWN {}", name(&peer))),
            LinkEvent::Refused { reason, .. } => say(&format!("REFUSED {reason:?}")),
            LinkEvent::OwnId(peer) => say(&format!("OWNID {}", name(&peer))),
        }),
        on_frame: Arc::new(move |channel, inbound| {
            if let Some(concerns) = inbox.concerns.get() {
                return concerns.frame(channel, inbound);
            }
            let first = inbound.frame.first().copied().unwrap_or_default();
            let length = inbound.frame.len();
            assert_ne!(first, POISON, "as the test wants it");
            if first == PING {
                let pong = Bytes::from_static(&[PONG]);
                inbox.links.get().unwrap().send(inbound.from.process, channel, pong).unwrap();
            } else if first == PONG {
                inbox.echoes.add_permits(1);
            } else if inbox.discard.load(SeqCst) {
            } else if inbox.hold.load(SeqCst) {
                inbox.held.lock().unwrap().push(inbound);
            } else {
                say(&format!("IN {} {} {length} {first}", name(&inbound.from), channel.name()));
            }
        }),
    }
}

/// Runs until stdin ends.
pub(super) async fn run(arguments: &str) {
    let words: Vec<&str> = arguments.split(';').collect();
    let [id, incarnation, nonce, cookie, cluster_name, cluster, port, ref bounds @ ..] = words[..]
    else {
        panic!("more arguments expected");
    };
    let bounds: Vec<usize> = bounds.iter().map(|text| text.parse().unwrap()).collect();
    let [sessions, for_members, on_demand, idle] = bounds[..] else { panic!("4 bounds expected") };
    let idle = Duration::from_millis(idle as u64);
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
    let advertised = listener.local_addr().unwrap();
    let me = Peer {
        process: process(id),
        incarnation: Incarnation(incarnation.parse().unwrap()),
        nonce: BootNonce(nonce.parse().unwrap()),
    };
    let clock = Arc::new(SystemClock::new());
    let (name, transport) = transport(&clock);
    let config = LinksConfig {
        name,
        listener: Arc::new(listener),
        me,
        advertised,
        cluster_name: cluster_name.to_owned(),
        cluster: cluster.parse().ok().map(ClusterId::from_u128),
        cookie: Cookie::new(cookie.as_bytes().to_vec()).unwrap(),
        lives: super::super::Lives::default(),
        barred: lampyrid_membership::Barred::default(),
        transport,
        clock,
        seed: me.nonce.0,
        bounds: Bounds { sessions, for_members, on_demand, idle },
    };
    let inbox = Inbox {
        held: Arc::default(),
        hold: Arc::default(),
        discard: Arc::default(),
        links: Arc::default(),
        echoes: Arc::new(tokio::sync::Semaphore::new(0)),
        concerns: Arc::default(),
        view: Arc::default(),
    };
    let links = LinksHandle::new(config, hooks(&inbox)).unwrap();
    inbox.links.get_or_init(|| links.clone());
    let (keeper, _) = Actor::spawn(None, Keeper, links.clone()).await.unwrap();
    say(&format!("LISTEN {advertised}"));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["concerns"] => {
                let view = inbox.view.lock().unwrap().clone().unwrap();
                let concerns = Concerns::start(me, view, links.clone()).await;
                assert!(inbox.concerns.set(concerns).is_ok());
                say("STARTED");
            }
            ["crash"] => keeper.cast(KeeperMessage).unwrap(),
            // In the background, so that pings can run beside it.
            ["pump", to, on, length, count] => {
                let frame = Bytes::from(vec![0; length.parse().unwrap()]);
                let (to, on, count) = (process(to), channel(on), count.parse().unwrap());
                tokio::spawn(pump(links.clone(), to, on, frame, count));
            }
            _ => obey(&links, &inbox, &words).await,
        }
    }
}

/// Sends so many, waiting for room; then says how long it took.
async fn pump(links: LinksHandle, to: ProcessId, on: Channel, frame: Bytes, count: u32) {
    let started = Instant::now();
    for _ in 0..count {
        while links.send(to, on, frame.clone()).is_err() {
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
    }
    say(&format!("PUMPED {}", started.elapsed().as_micros()));
}

async fn obey(links: &LinksHandle, inbox: &Inbox, words: &[&str]) {
    match words {
        ["keep", members @ ..] => links.keep(members.iter().map(|text| member(text)).collect()),
        ["seek", addresses @ ..] => {
            links.seek(addresses.iter().map(|text| text.parse().unwrap()).collect());
        }
        ["view", members @ ..] => {
            let mut members: Vec<Member> = members.iter().map(|text| member(text)).collect();
            members.sort_unstable();
            let first = View::first(ClusterId::from_u128(1), "test", members[0].clone());
            let view = Arc::new(first.successor(members).unwrap());
            *inbox.view.lock().unwrap() = Some(Arc::clone(&view));
            links.set_view(view);
        }
        ["registered"] => {
            say(&format!("REGISTERED {}", inbox.concerns.get().unwrap().registered()))
        }
        ["register", bubble] => {
            let took = inbox.concerns.get().unwrap().register(bubble.parse().unwrap()).await;
            say(&format!("STORED {}", took.as_micros()));
        }
        ["host", bubble] => {
            let host = inbox.concerns.get().unwrap().host_of(bubble.parse().unwrap());
            say(&format!("HOST {}", host.unwrap_or_default()));
        }
        ["move", to] => {
            let (outcome, took) = inbox.concerns.get().unwrap().move_one(process(to)).await;
            say(&format!("MOVED {outcome} {}", took.as_micros()));
        }
        ["incarnation", number] => links.set_incarnation(Incarnation(number.parse().unwrap())),
        ["cluster", number] => links.set_cluster(ClusterId::from_u128(number.parse().unwrap())),
        ["send", to, on, length, first] => {
            let mut frame = vec![0; length.parse().unwrap()];
            if let Some(byte) = frame.first_mut() {
                *byte = first.parse().unwrap();
            }
            match links.send(process(to), channel(on), Bytes::from(frame)) {
                Ok(()) => say("SENT"),
                Err(error) => say(&format!("UNSENT {error:?}")),
            }
        }
        // Until it is refused, or so many; then how many were sent.
        ["flood", to, on, length, count] => {
            let frame = Bytes::from(vec![0; length.parse().unwrap()]);
            let sent = (0..count.parse::<u32>().unwrap())
                .take_while(|_| links.send(process(to), channel(on), frame.clone()).is_ok())
                .count();
            say(&format!("FLOODED {sent}"));
        }
        // So many round trips, one after the other.
        ["ping", to, on, count] => {
            let mut times = Vec::new();
            for _ in 0..count.parse::<u32>().unwrap() {
                let sent = Instant::now();
                links.send(process(to), channel(on), Bytes::from_static(&[PING])).unwrap();
                inbox.echoes.acquire().await.unwrap().forget();
                times.push(sent.elapsed());
            }
            times.sort_unstable();
            let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
            say(&format!("PINGED p50 {median:?} p99 {p99:?}"));
        }
        ["discard"] => {
            inbox.discard.store(true, SeqCst);
            say("DISCARDING");
        }
        ["hold"] => {
            inbox.hold.store(true, SeqCst);
            say("HOLDING");
        }
        ["held"] => say(&format!("HELD {}", inbox.held.lock().unwrap().len())),
        ["release"] => {
            let held = std::mem::take(&mut *inbox.held.lock().unwrap());
            say(&format!("RELEASED {}", held.len()));
        }
        ["probe", address] => {
            let limit = Duration::from_secs(5);
            let outcome = links.probe(address.parse().unwrap(), limit).await;
            say(&format!("PROBED {outcome:?}"));
        }
        ["count"] => {
            let counters = links.counters();
            let of = |counter: &std::sync::atomic::AtomicU64| counter.load(SeqCst);
            say(&format!(
                "COUNT sessions={} handshakes={} accepted={} ups={} garbage={} duplicates={} \
                 evicted={} unattributed={} overruns={} no_room={}",
                of(&counters.sessions),
                of(&counters.handshakes),
                of(&counters.accepted),
                of(&counters.ups),
                of(&counters.garbage),
                of(&counters.duplicates),
                of(&counters.evicted),
                of(&counters.unattributed),
                of(&counters.overruns),
                of(&counters.no_room),
            ));
        }
        other => panic!("{other:?}"),
    }
}

/// `id.incarnation@address`
fn member(text: &str) -> Member {
    let (who, address) = text.split_once('@').unwrap();
    let (id, incarnation) = who.split_once('.').unwrap();
    Member {
        process: process(id),
        incarnation: Incarnation(incarnation.parse().unwrap()),
        name: id.to_owned(),
        address: address.parse().unwrap(),
        admin: None,
    }
}
