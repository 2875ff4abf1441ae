//! Twins of devices: readings come in at any process and follow a twin to where it lives now, also
//! while it moves.
//!
//! `cargo run -p lampyrid --features testkit --example twins`: three processes in this one.
use std::{error::Error, time::Duration};

use bytes::Bytes;
use lampyrid::testkit::{Cluster, Plan};
use lampyrid::{EntityId, Expected, MigrateRequest, NewEntities, Node, Place};

const TWINS: usize = 8;
const READINGS: u32 = 40;
const LIMIT: Duration = Duration::from_secs(10);

/// The state of a twin: how many readings it has had.
fn count(state: &[u8]) -> u32 {
    state.try_into().map(u32::from_be_bytes).unwrap_or(0)
}

/// Where a request is answered. Between machines this is a call of the host's own: `place.admin`
/// tells where.
fn at<'a>(cluster: &'a Cluster, place: &Place) -> Option<&'a Node> {
    cluster.running().find(|node| node.member().process == place.process)
}

/// One reading, brought to the twin from whichever process it came in at.
async fn report(cluster: &Cluster, from: &Node, twin: EntityId) -> Result<u32, Box<dyn Error>> {
    let answer = from.follow(twin, LIMIT, async |place| {
        // One that has ended meanwhile has no answer; here all run.
        let moves = at(cluster, &place).unwrap_or(from).migration();
        let known = moves.get(twin).await?;
        let next = count(&known.state) + 1;
        moves.put(twin, Bytes::copy_from_slice(&next.to_be_bytes())).await.map(|_| next)
    });
    Ok(answer.await?)
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
    let cluster = Plan::new(3).start().await?;
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
            assert_eq!(report(&cluster, from, twin).await?, reading, "each counts once");
        }
        shuffle(&cluster, cluster.node(reading as usize % 3), &twins).await?;
    }
    let findings = cluster.auditor().audit(cluster.running()).await?;
    assert!(findings.is_sound(), "{findings:?}");
    eprintln!("{TWINS} twins had {READINGS} readings each, wherever they were");
    Ok(())
}
