//! Actors that are killed in the middle of whatever they do, one after the other, in three processes
//! that move entities all the time. Nothing else notices: the view stays, no entity is lost or doubled.
//!
//! `cargo run -p lampyrid --features testkit --example supervision -- 20`: so many kills.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{env::args, error::Error, time::Duration};

use bytes::Bytes;
use lampyrid::testkit::{Cluster, Plan};
use lampyrid::{EntityId, Expected, MigrateRequest, NewEntities, Node, StatusFilter};

const ENTITIES: usize = 90;
const LIMIT: Duration = Duration::from_secs(30);

/// A restart storm ends a process: ten within ten seconds. Kills of one are further apart.
const PACE: Duration = Duration::from_millis(400);

/// All restarts of a process.
fn restarts(node: &Node) -> u64 {
    node.restarts().iter().map(|(_, count)| count).sum()
}

/// Moves whatever is here to the next process, again and again.
async fn churn(cluster: &Cluster, at: usize, ended: &AtomicBool, moved: &AtomicUsize) {
    let (node, next) = (cluster.node(at), cluster.node((at + 1) % 3).member().process);
    while !ended.load(Ordering::Relaxed) {
        let page = node.migration().list(StatusFilter::Active, None, 10).await;
        let entities: Vec<EntityId> =
            page.iter().flat_map(|page| &page.entities).map(|e| e.id).collect();
        let to = node.registry().bubbles_of(next).and_then(|mut all| all.pop_first());
        let (Some(to), false) = (to, entities.is_empty()) else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let entities: Vec<_> =
            entities.into_iter().map(|id| Expected { id, epoch: None }).collect();
        let count = entities.len();
        let request = MigrateRequest { entities, to, idempotency_key: None };
        // While its actor is being restarted a process says so, and is asked again.
        if let Ok(saga) = node.migration().migrate(request).await
            && node.migration().wait(saga, LIMIT).await.is_ok()
        {
            moved.fetch_add(count, Ordering::Relaxed);
        }
    }
}

async fn kill(cluster: &Cluster, kills: usize) -> Result<(), Box<dyn Error>> {
    for number in 0..kills {
        let node = cluster.node(number % 3);
        // All but the links: over this network there are none.
        let actors: Vec<_> = node
            .restarts()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| *name != "links")
            .collect();
        let (before, name) = (restarts(node), actors[number / 3 % actors.len()]);
        node.kill_actor(name);
        cluster.until(&format!("{name} is restarted"), || restarts(node) > before).await?;
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kills = args().nth(1).map_or(Ok(15), |text| text.parse())?;
    let cluster = Plan::new(3).start().await?;
    let view = cluster.node(0).view().current().view.clone();
    let first = cluster.node(0);
    let home =
        first.registry().bubbles_of(first.member().process).and_then(|mut all| all.pop_first());
    let home = home.ok_or("it hosts a bubble")?;
    let ids = first.migration().create(home, NewEntities::Many(ENTITIES), Bytes::new()).await?;
    cluster.auditor().expect(ids);
    let (ended, moved) = (AtomicBool::new(false), AtomicUsize::new(0));
    let killing = async {
        let done = kill(&cluster, kills).await;
        ended.store(true, Ordering::Relaxed);
        done
    };
    let churn = |at| churn(&cluster, at, &ended, &moved);
    let (done, ..) = tokio::join!(killing, churn(0), churn(1), churn(2));
    done?;
    cluster.settled().await?;
    assert_eq!(cluster.node(0).view().current().view, view, "the view has stayed");
    let findings = loop {
        let findings = cluster.auditor().audit(cluster.running()).await?;
        assert!(findings.is_sound(), "{findings:?}");
        if findings.moving.is_empty() {
            break findings;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let all: u64 = cluster.running().map(restarts).sum();
    assert!(all >= kills as u64, "each restart is counted");
    let moved = moved.into_inner();
    eprintln!(
        "{kills} kills, {all} restarts, {moved} moves: one view, {} entities, each once",
        findings.active
    );
    Ok(())
}
