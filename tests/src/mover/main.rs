//! A host application whose entities are numbers with padding. It moves and writes them as it is
//! told on stdin, through the embedding API, and says on stdout what came of it; see
//! `lampyrid_tests::load`. The end of stdin ends it at once.
#![allow(clippy::expect_used, reason = "a program for tests: what fails here fails the test")]

mod closed;
mod held;
mod marks;
mod moves;
mod open;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use lampyrid::admin::{AdminListener, AdminServer};
use lampyrid::config::{Bubbles, Cookie, NodeConfig, TlsFiles};
use lampyrid::{NewEntities, Node};
use lampyrid_tests::load::{Answer, COOKIE, Line, Order, Setup, Started, Usage};
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::marks::Marks;
use crate::moves::Moves;

/// Entities created by one request.
const CREATE_MAX: usize = 10_000;

// Several of these share a machine of few cores: more threads in each only get in each other's way.
#[tokio::main(worker_threads = 1)]
async fn main() {
    let mut first = String::new();
    std::io::stdin().read_line(&mut first).expect("stdin is open");
    let setup: Setup = serde_json::from_str(&first).expect("a setup");
    let marks = Marks::start(setup.marks);
    let (node, _server) = start(setup).await;
    let me = node.member();
    let address = me.address.to_string();
    let admin = me.admin.clone().unwrap_or_default();
    let mut started = Started { process: me.process, address, admin, bubbles: Vec::new() };
    print(&started);
    let moves = Arc::new(Moves::new(Arc::clone(&node)));
    let orders = read();
    tokio::select! {
        () = node.ready() => {}
        end = node.stopped() => panic!("it stopped before it was ready: {end:?}"),
    }
    started.bubbles = node.migration().hosted_bubbles().await.expect("bubbles");
    print(&started);
    tokio::select! {
        () = obey(orders, &moves, &marks) => {}
        end = node.stopped() => panic!("it stopped: {end:?}"),
    }
}

async fn start(setup: Setup) -> (Arc<Node>, AdminServer) {
    let listener = AdminListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let listener = listener.expect("a port on loopback");
    let cookie = Cookie::new(COOKIE).expect("it is long enough");
    let mut config = NodeConfig::new(setup.name, cookie);
    config.admin_url = Some(format!("http://{}", listener.address()));
    config.data_dir = Some(setup.data_dir);
    config.bubbles = Bubbles::Count(setup.bubbles);
    config.tls = setup.tls.map(|[cert, key, ca]| TlsFiles { cert, key, ca });
    config.join = setup.join.iter().map(|seed| seed.parse().expect("an address")).collect();
    let node = Arc::new(Node::start(config).await.expect("it starts"));
    let server = listener.serve(Arc::<Node>::clone(&node), None);
    (node, server)
}

/// The orders, read by a thread of their own: reading stdin blocks.
fn read() -> UnboundedReceiver<Line<Order>> {
    let (sender, orders) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let order = serde_json::from_str(&line).expect("an order");
            if sender.send(order).is_err() {
                return;
            }
        }
    });
    orders
}

async fn obey(mut orders: UnboundedReceiver<Line<Order>>, moves: &Arc<Moves>, marks: &Marks) {
    while let Some(Line { number, body }) = orders.recv().await {
        let (moves, marks) = (Arc::clone(moves), marks.clone());
        tokio::spawn(async move {
            let body = follow(number, body, &moves, &marks).await;
            print(&Line { number, body });
        });
    }
}

async fn follow(number: u64, order: Order, moves: &Arc<Moves>, marks: &Marks) -> Answer {
    let node = &moves.node;
    match order {
        Order::Create { bubble, count, bytes } => {
            for done in (0..count).step_by(CREATE_MAX) {
                let new = NewEntities::Many(CREATE_MAX.min(count - done));
                if let Err(error) =
                    node.migration().create(bubble, new, held::state(0, bytes)).await
                {
                    return Answer::Failed(error.to_string());
                }
            }
            Answer::Count(count as u64)
        }
        Order::Collect => match held::active(node).await {
            Ok(ids) => Answer::Count(moves.note(ids)),
            Err(why) => Answer::Failed(why),
        },
        Order::Move { to, moves: most, batch, in_flight, limit } => {
            let wish = closed::Wish { to: vec![to], batch, in_flight, limit };
            Answer::Tally(closed::noted(moves, number, &wish, most).await)
        }
        Order::Roam { to, batch, in_flight, limit } => {
            let wish = closed::Wish { to, batch, in_flight, limit };
            Answer::Tally(closed::random(moves, number, &wish).await)
        }
        Order::Offer { to, rate, moves: most } => {
            Answer::Tally(open::offer(moves, number, to, rate, most).await)
        }
        Order::Bubbles => Answer::Count(node.registry().all_bubbles().len() as u64),
        Order::Committed(order) => Answer::Count(moves.committed(order)),
        Order::Usage => usage(node).await,
        Order::Put { entity, value, bytes } => held::put(node, entity, value, bytes).await,
        Order::Dump(after) => held::page(node, after).await,
        Order::Kill(name) => {
            node.kill_actor(&name);
            Answer::Count(1)
        }
        Order::Marks => Answer::Marks(marks.take()),
    }
}

async fn usage(node: &Node) -> Answer {
    let audit = match node.migration().audit().await {
        Ok(audit) => audit,
        Err(reason) => return Answer::Failed(reason.to_string()),
    };
    let counted = node.migration().counters();
    let link_bytes =
        node.link_counters().stream_bytes_out.load(std::sync::atomic::Ordering::Relaxed);
    Answer::Usage(Usage {
        audit,
        messages: counted.messages_sent(),
        message_bytes: counted.bytes_sent(),
        link_bytes,
        transactions: counted.transactions(),
    })
}

fn print(line: &impl Serialize) {
    let mut text = serde_json::to_vec(line).expect("it encodes");
    text.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&text).and_then(|()| out.flush()).expect("the harness listens");
}
