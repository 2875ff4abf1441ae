//! Accounts in a store of the host's own, beside the data directory of its node: durable, fenced by
//! ownership epochs, and the same after a restart.
//!
//! `cargo run -p lampyrid --example ledger -- DIRECTORY`: each run pays 10 into an account and moves
//! it to another bubble. What one run leaves the next one finds.
use std::collections::BTreeSet;
use std::fs::{File, create_dir_all};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{env::args, error::Error, time::Duration};

use bytes::Bytes;
use lampyrid::{config::*, *};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

/// By entity: the ownership epoch it has here, and its state.
const STATES: TableDefinition<'_, u128, (u64, &[u8])> = TableDefinition::new("states");

type Stored<T> = Result<T, StoreError>;

pub(crate) struct Ledger {
    states: Database,
    /// Who may be about to leave. In memory: a move that was not decided when the process ended is
    /// given up by the node, and one that was decided is detached again.
    frozen: Mutex<BTreeSet<(EntityId, OwnershipEpoch)>>,
}

impl Ledger {
    pub(crate) fn open(directory: &Path) -> Result<Self, Box<dyn Error>> {
        create_dir_all(directory)?;
        let states = Database::create(directory.join("ledger.redb"))?;
        let begun = states.begin_write()?;
        begun.open_table(STATES)?;
        begun.commit()?;
        // The new file's name has to be durable as well.
        File::open(directory)?.sync_all()?;
        Ok(Self { states, frozen: Mutex::default() })
    }

    fn frozen(&self) -> MutexGuard<'_, BTreeSet<(EntityId, OwnershipEpoch)>> {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self, id: EntityId) -> Result<Option<(OwnershipEpoch, Bytes)>, redb::Error> {
        let row = self.states.begin_read()?.open_table(STATES)?.get(id.0.as_u128())?;
        Ok(row.map(|row| (OwnershipEpoch(row.value().0), Bytes::copy_from_slice(row.value().1))))
    }

    /// Puts a state at that epoch, or removes it, if what is held `fits`; true if it does. Synced
    /// when it returns.
    fn change(
        &self,
        (id, at): (EntityId, OwnershipEpoch),
        fits: impl Fn(Option<OwnershipEpoch>) -> bool,
        state: Option<&[u8]>,
    ) -> Result<bool, redb::Error> {
        let change = self.states.begin_write()?;
        {
            let mut table = change.open_table(STATES)?;
            let held = table.get(id.0.as_u128())?.map(|row| OwnershipEpoch(row.value().0));
            if !fits(held) {
                return Ok(false);
            }
            match state {
                Some(state) => drop(table.insert(id.0.as_u128(), (at.0, state))?),
                None => drop(table.remove(id.0.as_u128())?),
            }
        }
        change.commit()?;
        Ok(true)
    }
}

fn why(error: impl ToString) -> StoreError {
    StoreError { why: error.to_string() }
}

impl EntityStore for Ledger {
    fn attach(&self, id: EntityId, _: BubbleId, at: OwnershipEpoch, state: Bytes) -> Stored<()> {
        // A repetition finds it here and may be older than what was written since.
        let newer = |held: Option<OwnershipEpoch>| held.is_none_or(|held| held < at);
        self.change((id, at), newer, Some(&state)).map(drop).map_err(why)
    }
    fn detach(&self, id: EntityId, at: OwnershipEpoch) {
        let gone = |held: Option<OwnershipEpoch>| held.is_some_and(|held| held <= at);
        // One that stays by mistake does no harm: it is at an epoch that is over.
        if let Err(error) = self.change((id, at), gone, None) {
            eprintln!("{id} was not removed: {error}");
        }
        self.frozen().remove(&(id, at));
    }
    fn freeze(&self, id: EntityId, at: OwnershipEpoch) -> Stored<Bytes> {
        match self.held(id).map_err(why)? {
            Some((held, state)) if held == at => {
                self.frozen().insert((id, at));
                Ok(state)
            }
            _ => Err(why("it is not here at that epoch")),
        }
    }
    fn unfreeze(&self, id: EntityId, at: OwnershipEpoch) {
        self.frozen().remove(&(id, at));
    }
    fn read(&self, id: EntityId) -> Stored<Bytes> {
        let held = self.held(id).map_err(why)?;
        held.map(|(_, state)| state).ok_or_else(|| why("it is not here"))
    }
    fn write(&self, id: EntityId, at: OwnershipEpoch, state: Bytes) -> Stored<()> {
        let fits = |held| held == Some(at) && !self.frozen().contains(&(id, at));
        match self.change((id, at), fits, Some(&state)).map_err(why)? {
            true => Ok(()),
            false => Err(why("it is frozen, or not here at that epoch")),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = args().nth(1).ok_or("which directory?")?;
    let directory = Path::new(&directory);
    let mut config = NodeConfig::new("ledger", Cookie::new(b"a secret the processes share")?);
    config.data_dir = Some(directory.join("node"));
    config.bubbles = Bubbles::Count(0);
    let node = Node::start_with_store(config, Arc::new(Ledger::open(directory)?)).await?;
    tokio::select! { () = node.ready() => {}, end = node.stopped() => return Ok(end?) }
    let [first, second] = ["first branch", "second branch"].map(BubbleId::from_name);
    node.create_bubbles(&[first, second]).await?;
    let (moves, id) = (node.migration(), EntityId::from_name("account of Ann"));
    if let Err(EntityError { reason: Reason::UnknownEntity, .. }) = moves.get(id).await {
        moves.create(first, NewEntities::One(Some(id)), Bytes::from("0")).await?;
    }
    let account = moves.get(id).await?;
    let balance: u64 = std::str::from_utf8(&account.state)?.parse()?;
    eprintln!("found {balance} at epoch {}", account.epoch);
    moves.put(id, Bytes::from((balance + 10).to_string())).await?;
    let to = if account.bubble == first { second } else { first };
    let entities = vec![Expected { id, epoch: Some(account.epoch) }];
    let request = MigrateRequest { entities, to, idempotency_key: None };
    let saga = moves.migrate(request).await?;
    let report = moves.wait(saga, Duration::from_secs(10)).await?.ok_or("it is forgotten")?;
    let moved = moves.get(id).await?;
    eprintln!("left {:?} at epoch {}: {:?}", moved.state, moved.epoch, report.state);
    node.leave();
    Ok(node.stopped().await?)
}
