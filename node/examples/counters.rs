//! Counters that answer requests wherever they live: a host that is run once in each of several
//! processes, takes commands on its input and ends with it.
//!
//! `cargo run -p lampyrid --example counters` prints where it listens; in a second terminal
//! `cargo run -p lampyrid --example counters -- ADDRESS` joins it. Commands: `new`, `add ID N`,
//! `move ID`. `add` works in both, wherever the counter is.
use std::{env::args, error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use lampyrid::{config::*, *};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::sync::Mutex;

const LIMIT: Duration = Duration::from_secs(10);

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

fn encoded(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// Adds. One request after the other: each reads a state and writes the next one.
#[derive(Default)]
struct Adder(Mutex<()>);

#[async_trait]
impl RequestHandler for Adder {
    async fn answer(&self, request: EntityRequest, here: &Requests) -> Result<Bytes, EntityError> {
        let _in_turn = self.0.lock().await;
        let counter = here.entities().get(request.entity.id).await?;
        let total = encoded(number(&counter.state).wrapping_add(number(&request.body)));
        // Durable before the answer. If the counter leaves just now this is refused, and the request
        // goes after it.
        here.entities().put(counter.id, total.clone()).await.map(|_| total)
    }
}

async fn obey(node: &Node, command: &[&str]) -> Result<String, Box<dyn Error>> {
    let me = node.member().process;
    let mine = || node.registry().bubbles_of(me).and_then(|mut all| all.pop_first());
    Ok(match *command {
        ["new"] => {
            let bubble = mine().ok_or("no bubble here")?;
            let ids = node.migration().create(bubble, NewEntities::One(None), encoded(0)).await?;
            ids.iter().map(EntityId::to_string).collect()
        }
        ["add", id, more] => {
            let total = node.ask(id.parse()?, encoded(more.parse()?), LIMIT).await?;
            number(&total).to_string()
        }
        ["move", id] => {
            let id = id.parse()?;
            let bubbles = node.registry().all_bubbles().into_iter();
            let mut others =
                bubbles.filter(|bubble| node.registry().find_process(*bubble) != Some(me));
            let to = others.next().ok_or("no other process")?;
            let entities = vec![Expected { id, epoch: None }];
            let request = MigrateRequest { entities, to, idempotency_key: None };
            let saga = node.migration().migrate(request).await?;
            let report =
                node.migration().wait(saga, LIMIT).await?.ok_or("the move is forgotten")?;
            report.entities.iter().map(|moved| format!("{:?}", moved.outcome)).collect()
        }
        _ => return Err("commands are: new, add ID N, move ID".into()),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = NodeConfig::new("counters", Cookie::new(b"a secret the processes share")?);
    config.join = args().skip(1).map(|seed| seed.parse()).collect::<Result<_, _>>()?;
    let node = Node::builder(config).requests(Arc::<Adder>::default()).start().await?;
    tokio::select! { () = node.ready() => {}, end = node.stopped() => return Ok(end?) }
    eprintln!("at {}", node.member().address);
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            end = node.stopped() => return Ok(end?),
        };
        let Some(line) = line else { break };
        match obey(&node, &line.split_whitespace().collect::<Vec<_>>()).await {
            Ok(answer) => eprintln!("{answer}"),
            Err(error) => eprintln!("error: {error}"),
        }
    }
    node.leave();
    node.stopped().await?;
    // A runtime that ends waits for the thread that reads stdin, which may be for ever.
    std::process::exit(0)
}
