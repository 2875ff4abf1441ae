//! The built-in workload: something to look at, and load for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use lampyrid_migration::{BatchError, EntityRecord, Expected, MigrateRequest, StatusFilter};
use lampyrid_wire::{BubbleId, EntityId};
use rand::seq::IndexedRandom;
use tokio::time::MissedTickBehavior;

use crate::admin::Backend;

/// The time in which `rate` entities move.
const PERIOD: Duration = Duration::from_secs(1);

/// Each second `rate` entities of this process cross into a random other bubble, here or elsewhere.
/// While nothing can move (isolated, overloaded, no other bubble) nothing is tried until the next
/// second. Never returns; dropping it stops it between two requests.
pub async fn drift(backend: &dyn Backend, rate: u32) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if backend.views().permit().is_err() {
            continue;
        }
        if let Err(error) = step(backend, usize::try_from(rate).unwrap_or(usize::MAX)).await {
            tracing::debug!(%error, "the drift pauses");
        }
    }
}

async fn step(backend: &dyn Backend, count: usize) -> Result<(), BatchError> {
    let bubbles: Vec<BubbleId> =
        backend.topology().processes.into_iter().flat_map(|entry| entry.bubbles).collect();
    for (to, entities) in plan(&bubbles, &sample(backend, count).await) {
        let entities = entities.into_iter().map(|id| Expected { id, epoch: None }).collect();
        backend.migrate(MigrateRequest { entities, to, idempotency_key: None }).await?;
    }
    Ok(())
}

/// Active entities from a random place in the listing on, and from its start if that is near the
/// end: ids are random, so this is a fair enough draw that reads no more than it takes.
async fn sample(backend: &dyn Backend, count: usize) -> Vec<EntityRecord> {
    let list = async |after, limit| {
        backend.list(StatusFilter::Active, after, limit).await.unwrap_or_default().entities
    };
    let mut found = list(Some(EntityId::random()), count).await;
    if found.len() < count {
        let rest = list(None, count).await;
        found.extend(rest.into_iter().take(count - found.len()));
    }
    found.sort_unstable_by_key(|record| record.id);
    found.dedup_by_key(|record| record.id);
    found
}

/// For each entity a bubble that it is not in.
fn plan(bubbles: &[BubbleId], entities: &[EntityRecord]) -> BTreeMap<BubbleId, Vec<EntityId>> {
    let mut batches: BTreeMap<BubbleId, Vec<EntityId>> = BTreeMap::new();
    for entity in entities {
        let others: Vec<_> = bubbles.iter().filter(|bubble| **bubble != entity.bubble).collect();
        if let Some(to) = others.choose(&mut rand::rng()) {
            batches.entry(**to).or_default().push(entity.id);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lampyrid_migration::EntityStatus;
    use lampyrid_wire::OwnershipEpoch;

    use super::*;

    fn entity(id: u128, bubble: u128) -> EntityRecord {
        EntityRecord {
            id: EntityId::from_u128(id),
            bubble: BubbleId::from_u128(bubble),
            epoch: OwnershipEpoch(0),
            status: EntityStatus::Active,
            state: Bytes::new(),
        }
    }

    #[test]
    fn everything_goes_into_another_bubble() {
        let bubbles: Vec<_> = (1..=3).map(BubbleId::from_u128).collect();
        let entities: Vec<_> = (0..60).map(|id| entity(id, 1 + id % 3)).collect();
        let plan = plan(&bubbles, &entities);
        assert_eq!(plan.values().map(Vec::len).sum::<usize>(), 60);
        for record in &entities {
            assert!(!plan.get(&record.bubble).is_some_and(|ids| ids.contains(&record.id)));
        }
    }

    #[test]
    fn with_one_bubble_nothing_moves() {
        assert!(plan(&[BubbleId::from_u128(1)], &[entity(1, 1)]).is_empty());
    }
}
