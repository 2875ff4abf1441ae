use std::fmt;
use std::time::Duration;

use lampyrid_migration::{Expected, StatusFilter};
use lampyrid_wire::{BubbleId, EntityId, OwnershipEpoch, ProcessId};
use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde_json::value::RawValue;

use super::limits::MAX_WAIT_MS;
use super::problem::Problem;

/// How long a caller waits for the outcome of what it starts; `None` if it does not.
pub(crate) fn wait(wait_ms: Option<u64>) -> Result<Option<Duration>, Problem> {
    match wait_ms {
        Some(wait) if wait > MAX_WAIT_MS => Err(Problem::over_limit("wait_ms", MAX_WAIT_MS, wait)),
        wait => Ok(wait.map(Duration::from_millis)),
    }
}

/// `POST /v1/entities`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct Create {
    pub(crate) bubble: BubbleId,
    #[serde(default)]
    pub(crate) id: Option<EntityId>,
    #[serde(default)]
    pub(crate) count: Option<usize>,
    pub(crate) state: Box<RawValue>,
}

/// `PUT /v1/entities/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct Put {
    pub(crate) state: Box<RawValue>,
}

/// `GET /v1/entities`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    #[serde(default)]
    pub(crate) status: Option<StatusFilter>,
    #[serde(default)]
    pub(crate) after: Option<EntityId>,
    #[serde(default)]
    pub(crate) limit: Option<usize>,
}

/// `POST /v1/migrations`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct Migrate {
    pub(crate) entities: Vec<Wanted>,
    pub(crate) to: BubbleId,
    #[serde(default)]
    pub(crate) idempotency_key: Option<String>,
    #[serde(default)]
    pub(crate) wait_ms: Option<u64>,
}

/// `POST /v1/bubbles/{id}/move`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct MoveBubble {
    pub(crate) to_process: ProcessId,
    #[serde(default)]
    pub(crate) wait_ms: Option<u64>,
}

/// `POST /v1/drain`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct Drain {
    #[serde(default)]
    pub(crate) wait_ms: Option<u64>,
}

/// An entity to move: its id, or an object with the epoch it is expected to have.
pub(crate) struct Wanted(pub(crate) Expected);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedObject {
    id: EntityId,
    #[serde(default)]
    expected_epoch: Option<OwnershipEpoch>,
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WantedVisitor)
    }
}

/// By hand, because an untagged enum would not say which field is wrong.
struct WantedVisitor;

impl<'de> Visitor<'de> for WantedVisitor {
    type Value = Wanted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entity id, or an object with `id` and `expected_epoch`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Wanted, E> {
        let id = text.parse().map_err(E::custom)?;
        Ok(Wanted(Expected { id, epoch: None }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Wanted, A::Error> {
        let object = WantedObject::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Wanted(Expected { id: object.id, epoch: object.expected_epoch }))
    }
}
