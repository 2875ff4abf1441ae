//! Twins of devices: readings come in at any process and follow a twin to where it lives now, also
//! while it moves.
//!
//! `cargo run -p lampyrid --features testkit --example twins`: three processes in this one.
use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use lampyrid::testkit::{Cluster, Plan};
use lampyrid::{
    EntityError, EntityId, EntityRequest, Expected, MigrateRequest, NewEntities, Node,
    RequestHandler, Requests, async_trait,
};
use tokio::sync::Mutex;

const TWINS: usize = 8;
const READINGS: u32 = 40;
const LIMIT: Duration = Duration::from_secs(10);

/// The state of a twin: how many readings it has had.
fn count(state: &[u8]) -> u32 {
    state.try_into().map(u32::from_be_bytes).unwrap_or(0)
}

/// Takes readings for the twins of one process, one after the other.
#[derive(Default)]
struct Readings(Mutex<()>);

#[async_trait]
impl RequestHandler for Readings {
    async fn answer(&self, request: EntityRequest, here: &Requests) -> Result<Bytes, EntityError> {
        let _in_turn = self.0.lock().await;
        let twin = here.entities().get(request.entity.id).await?;
        let next = Bytes::copy_from_slice(&(count(&twin.state) + 1).to_be_bytes());
        // Refused if it leaves just now: then the reading goes after it.
        here.entities().put(twin.id, next.clone()).await.map(|_| next)
    }
}

/// Sends every twin that is here on to the next process.
async fn shuffle(cluster: &Cluster, node: &Node, twins: &[EntityId]) -> Result<(), Box<dyn Error>> {
    let here = node.member().process;
    let others = cluster.running().map(|node| node.member().process).filter(|id| *id != here);
    let to = others.filter_map(|id| node.registry().bubbles_of(id)?.pop_first()).next();
    let mut entities = Vec::new();
    for &id in twins {
        if node.migration().get(id).await.is_ok() {
            entities.push(Expected { id, epoch: None });
        }
    }
    if let (Some(to), false) = (to, entities.is_empty()) {
        // Not waited for: readings come in while they are on their way.
        node.migration().migrate(MigrateRequest { entities, to, idempotency_key: None }).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let plan = Plan::new(3).equip(|_, builder| builder.requests(Arc::<Readings>::default()));
    let cluster = plan.start().await?;
    let first = cluster.node(0);
    let home =
        first.registry().bubbles_of(first.member().process).and_then(|mut all| all.pop_first());
    let home = home.ok_or("it hosts a bubble")?;
    let none = Bytes::copy_from_slice(&0_u32.to_be_bytes());
    let twins = first.migration().create(home, NewEntities::Many(TWINS), none).await?;
    cluster.auditor().expect(twins.iter().copied());
    for reading in 1..=READINGS {
        for (number, &twin) in twins.iter().enumerate() {
            let from = cluster.node((number + reading as usize) % 3);
            let answer = from.ask(twin, Bytes::new(), LIMIT).await?;
            assert_eq!(count(&answer), reading, "each counts once");
        }
        shuffle(&cluster, cluster.node(reading as usize % 3), &twins).await?;
    }
    let findings = cluster.auditor().audit(cluster.running()).await?;
    assert!(findings.is_sound(), "{findings:?}");
    eprintln!("{TWINS} twins had {READINGS} readings each, wherever they were");
    Ok(())
}
