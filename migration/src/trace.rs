//! What happens to each part of a saga, at level `trace`: enough to follow one from process to
//! process, and to measure between moments on a clock that they share. Costs a comparison while
//! nobody listens.

use tracing::Level;

use crate::{Message, PartId, Record, Write};

/// The target of these events.
const TARGET: &str = "lampyrid_migration::part";

/// A step wrote a record of a part: what it says holds from here, and is durable a sync later.
pub(crate) fn recorded(record: &Record) {
    if !tracing::enabled!(target: TARGET, Level::TRACE) {
        return;
    }
    for write in &record.writes {
        if let Write::Part(part, Some(row)) = write {
            let (what, entities) = (record.kind, row.entities.len());
            tracing::trace!(target: TARGET, %part, ?what, entities, "recorded");
        }
    }
}

/// A message on a part went out: what it says is durable.
pub(crate) fn sent(message: &Message) {
    if !tracing::enabled!(target: TARGET, Level::TRACE) {
        return;
    }
    if let Some(part) = part_of(message) {
        tracing::trace!(target: TARGET, %part, what = message.name(), "sent");
    }
}

fn part_of(message: &Message) -> Option<&PartId> {
    match message {
        Message::Stage { part, .. }
        | Message::Staged { part, .. }
        | Message::Commit { part, .. }
        | Message::Activated { part, .. }
        | Message::Abort { part }
        | Message::UnknownStage { part, .. } => Some(part),
        _ => None,
    }
}
