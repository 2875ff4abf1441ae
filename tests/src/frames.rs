//! Frames of ractor_cluster from one process to another, each acknowledged by a reply, and nothing
//! else: what moves on the same links can cost at best. For comparison only.
//!
//! `frames-baseline serve` prints `{"address":..}`; `frames-baseline send ADDRESS BYTES IN_FLIGHT
//! SECONDS` prints `{"frames":..,"seconds":..,"p50_us":..,"p99_us":..}`. Both run over a stream
//! with a buffered reader, as the links do.
#![allow(clippy::expect_used, reason = "a program for tests: what fails here fails the test")]
#![allow(missing_docs, reason = "derived for the actor's messages")]

use std::io::Write;
use std::time::{Duration, Instant};

use lampyrid_tests::load::Latencies;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, pg};
use ractor_cluster::node::NodeConnectionMode;
use ractor_cluster::{
    BoxRead, BoxWrite, ClusterBidiStream, IncomingEncryptionMode, NodeServer, NodeServerMessage,
    RactorClusterMessage,
};
use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const GROUP: &str = "sink";

/// As the links have it.
const BUFFER: usize = 64 * 1024;

/// How long one frame may take.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(RactorClusterMessage)]
enum Frame {
    #[rpc]
    Data(Vec<u8>, RpcReplyPort<u64>),
}

struct Sink;

impl Actor for Sink {
    type Msg = Frame;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<Frame>, (): ()) -> Result<(), ActorProcessingErr> {
        pg::join(GROUP.to_owned(), vec![me.get_cell()]);
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Frame>,
        Frame::Data(bytes, reply): Frame,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(reply.send(bytes.len() as u64)?)
    }
}

struct Stream(TcpStream);

impl ClusterBidiStream for Stream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (reader, writer) = self.0.into_split();
        (Box::new(BufReader::with_capacity(BUFFER, reader)), Box::new(writer))
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve().await,
        ["send", address, bytes, in_flight, seconds] => {
            let number = |text: &str| text.parse::<usize>().expect("a number");
            let time = Duration::from_secs(number(seconds) as u64);
            send(address, number(bytes), number(in_flight), time).await;
        }
        _ => panic!("serve, or send ADDRESS BYTES IN_FLIGHT SECONDS"),
    }
}

async fn node(name: &str) -> ActorRef<NodeServerMessage> {
    let server = NodeServer::new(
        0,
        "for measurements only".to_owned(),
        name.to_owned(),
        name.to_owned(),
        Some(IncomingEncryptionMode::Raw),
        Some(NodeConnectionMode::Isolated),
    );
    Actor::spawn(None, server, ()).await.expect("it starts").0
}

/// Until its standard input ends.
async fn serve() {
    let server = node("sink").await;
    Actor::spawn(None, Sink, ()).await.expect("it starts");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    print(&json!({ "address": address.to_string() }));
    let (tell, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().lines().count();
        let _ = tell.send(());
    });
    let accept = async {
        while let Ok((stream, _)) = listener.accept().await {
            open(&server, stream, true);
        }
    };
    tokio::select! { () = accept => {}, _ = ended => {} }
}

fn open(server: &ActorRef<NodeServerMessage>, stream: TcpStream, is_server: bool) {
    stream.set_nodelay(true).expect("a socket");
    let stream = Box::new(Stream(stream));
    server
        .cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server })
        .expect("it runs");
}

async fn send(address: &str, bytes: usize, in_flight: usize, time: Duration) {
    let server = node("source").await;
    open(&server, TcpStream::connect(address).await.expect("it listens"), false);
    let sink = loop {
        match pg::get_members(&GROUP.to_owned()).pop() {
            Some(cell) => break ActorRef::<Frame>::from(cell),
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let start = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..in_flight {
        let sink = sink.clone();
        senders.spawn(async move {
            let mut took = Latencies::default();
            while start.elapsed() < time {
                let began = Instant::now();
                let answer = sink.call(|reply| Frame::Data(vec![7; bytes], reply), Some(LIMIT));
                let answer = answer.await.expect("the link stands").expect("an answer in time");
                assert_eq!(answer, bytes as u64);
                took.record(began.elapsed());
            }
            took
        });
    }
    let mut all = Latencies::default();
    while let Some(one) = senders.join_next().await {
        all.merge(&one.expect("it ran"));
    }
    let micros = |share| all.at(share).as_micros() as u64;
    print(&json!({
        "frames": all.count(), "seconds": start.elapsed().as_secs_f64(),
        "p50_us": micros(0.5), "p99_us": micros(0.99),
    }));
    // A stop would take the node's actors down one by one: the measurement is over.
    std::process::exit(0);
}

fn print(line: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody reads");
}
