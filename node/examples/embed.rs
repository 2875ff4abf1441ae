//! A host application with its own store of states.
use std::{env::args, error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use lampyrid::{config::*, *};

/// Lights, for want of a real application: in memory, and each step of ownership is shown.
#[derive(Default)]
struct Lights(MemoryStore);

type Stored<T> = Result<T, StoreError>;

impl EntityStore for Lights {
    fn attach(&self, id: EntityId, to: BubbleId, at: OwnershipEpoch, state: Bytes) -> Stored<()> {
        eprintln!("attach at epoch {at}: {state:?}");
        self.0.attach(id, to, at, state)
    }
    fn detach(&self, id: EntityId, at: OwnershipEpoch) {
        eprintln!("detach at epoch {at}");
        self.0.detach(id, at);
    }
    fn freeze(&self, id: EntityId, at: OwnershipEpoch) -> Stored<Bytes> {
        self.0.freeze(id, at)
    }
    fn unfreeze(&self, id: EntityId, at: OwnershipEpoch) {
        self.0.unfreeze(id, at);
    }
    fn read(&self, id: EntityId) -> Stored<Bytes> {
        self.0.read(id)
    }
    fn write(&self, id: EntityId, at: OwnershipEpoch, state: Bytes) -> Stored<()> {
        self.0.write(id, at, state)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = NodeConfig::new("host", Cookie::new(b"a secret the processes share")?);
    config.bubbles = Bubbles::Count(0);
    config.join = args().skip(1).map(|seed| seed.parse()).collect::<Result<_, _>>()?;
    let node = Node::start_with_store(config, Arc::<Lights>::default()).await?;
    node.subscribe(Arc::new(|event: ViewEvent| {
        let view = event.state.view.as_ref().map(|view| view.epoch().0);
        eprintln!("{:?} in view {view:?}", event.state.status);
    }));
    tokio::select! { () = node.ready() => {}, end = node.stopped() => return Ok(end?) }
    let there = match node.registry().all_bubbles().pop_first() {
        Some(of_another_process) => of_another_process,
        None => node.create_bubble(None).await?,
    };
    let (here, moves) = (node.create_bubble(None).await?, node.migration());
    let ids = moves.create(here, NewEntities::One(None), Bytes::from("on")).await?;
    let entities = ids.into_iter().map(|id| Expected { id, epoch: None }).collect();
    let request = MigrateRequest { entities, to: there, idempotency_key: None };
    let report = moves.wait(moves.migrate(request).await?, Duration::from_secs(5)).await?;
    eprintln!("{:?}", report.map(|saga| saga.entities));
    node.leave();
    Ok(node.stopped().await?)
}
