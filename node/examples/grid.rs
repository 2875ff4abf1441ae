//! A small world: a grid of cells over three processes, and walkers that cross from cell to cell.
//! Cells are bubbles, walkers are entities; which process has which cell follows from the view.
//!
//! `cargo run -p lampyrid --features testkit --example grid`: all three in this one process.
use std::{collections::BTreeMap, error::Error, time::Duration};

use bytes::Bytes;
use lampyrid::testkit::{Cluster, Plan};
use lampyrid::{BubbleId, EntityId, Expected, MigrateRequest, NewEntities, Node, StatusFilter};

const SIDE: u8 = 3;
/// Steps across one cell.
const CELL: u8 = 5;
const WALKERS: u8 = 60;
const TICKS: usize = 25;

/// Where a walker is and where it goes: its state.
#[derive(Clone, Copy)]
struct Walker {
    at: [u8; 2],
    step: [i8; 2],
}

impl Walker {
    fn read(state: &[u8]) -> Option<Self> {
        let &[x, y, dx, dy] = state else { return None };
        Some(Self { at: [x, y], step: [dx as i8, dy as i8] })
    }

    fn state(self) -> Bytes {
        let Self { at: [x, y], step: [dx, dy] } = self;
        Bytes::copy_from_slice(&[x, y, dx as u8, dy as u8])
    }

    fn cell(self) -> BubbleId {
        cell(self.at[0] / CELL, self.at[1] / CELL)
    }

    /// One step; walls are walked away from.
    fn walked(mut self) -> Self {
        for (at, step) in self.at.iter_mut().zip(&mut self.step) {
            *at =
                at.checked_add_signed(*step).filter(|at| *at < SIDE * CELL).unwrap_or_else(|| {
                    *step = -*step;
                    at.saturating_add_signed(*step)
                });
        }
        self
    }
}

fn name(x: u8, y: u8) -> String {
    format!("cell {x} {y}")
}

fn cell(x: u8, y: u8) -> BubbleId {
    BubbleId::from_name(&name(x, y))
}

fn host(cluster: &Cluster, bubble: BubbleId) -> Option<&Node> {
    cluster
        .running()
        .find(|node| node.registry().find_process(bubble) == Some(node.member().process))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Plan::new(3).bubbles(0).start().await?;
    let view = cluster.node(0).view().current().view.clone().ok_or("it is in a view")?;
    for node in cluster.running() {
        // Every process would choose the same one for a cell.
        let me = Some(node.member().process);
        let cells = (0..SIDE).flat_map(|x| (0..SIDE).map(move |y| (x, y)));
        let mine = cells.filter(|&(x, y)| view.ring(&name(x, y)).first() == me);
        let mine: Vec<BubbleId> = mine.map(|(x, y)| cell(x, y)).collect();
        node.create_bubbles(&mine).await?;
    }
    let all = usize::from(SIDE) * usize::from(SIDE);
    let known = || cluster.running().all(|node| node.registry().all_bubbles().len() == all);
    cluster.until("all know all cells", known).await?;

    for number in 0..WALKERS {
        let at = [number % (SIDE * CELL), number / 3 % (SIDE * CELL)];
        let walker = Walker { at, step: [1 + (number % 2) as i8, (number % 3) as i8 - 1] };
        let node = host(&cluster, walker.cell()).ok_or("each cell has a host")?;
        let id = EntityId::from_name(&format!("walker {number}"));
        let new = NewEntities::One(Some(id));
        node.migration().create(walker.cell(), new, walker.state()).await?;
        cluster.auditor().expect([id]);
    }

    let mut crossed = 0;
    for tick in 1..=TICKS {
        for node in cluster.running() {
            crossed += step(node).await?;
        }
        let findings = cluster.auditor().audit(cluster.running()).await?;
        assert!(findings.is_settled(), "tick {tick}: {findings:?}");
    }
    eprintln!(
        "{WALKERS} walkers made {TICKS} steps and crossed {crossed} borders; none is lost or doubled"
    );
    Ok(())
}

/// One step of all walkers of a process.
async fn step(node: &Node) -> Result<usize, Box<dyn Error>> {
    let moves = node.migration();
    let mut crossing: BTreeMap<BubbleId, Vec<Expected>> = BTreeMap::new();
    for walker in moves.list(StatusFilter::Active, None, 10_000).await?.entities {
        let entity = moves.get(walker.id).await?;
        let before = Walker::read(&entity.state).ok_or("a walker")?;
        let after = before.walked();
        moves.put(walker.id, after.state()).await?;
        if after.cell() != before.cell() {
            let walker = Expected { id: walker.id, epoch: None };
            crossing.entry(after.cell()).or_default().push(walker);
        }
    }
    let crossed = crossing.values().map(Vec::len).sum();
    for (to, entities) in crossing {
        let request = MigrateRequest { entities, to, idempotency_key: None };
        let saga = moves.migrate(request).await?;
        moves.wait(saga, Duration::from_secs(10)).await?;
    }
    Ok(crossed)
}
