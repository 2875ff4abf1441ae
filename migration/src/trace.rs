//! What happens to moves. At level `debug`, a line for each step of a part and each saga, with the
//! fields `saga` and `view`, by which the logs of several processes are joined. At level `trace`
//! every record and message of a part: to measure between moments on a clock that processes share.
//! Costs a comparison while nobody listens.

use lampyrid_wire::{Epoch, SagaId};
use tracing::Level;

use crate::{Message, PartId, Record, RecordKind, SagaReport, SagaState, Write};

/// The target of the lines at `debug`.
const MOVES: &str = "lampyrid_migration::saga";

/// The target of the events at `trace`.
const PARTS: &str = "lampyrid_migration::part";

/// A step wrote a record of a part: what it says holds from here, and is durable a sync later.
pub(crate) fn recorded(view: Epoch, record: &Record) {
    if tracing::enabled!(target: MOVES, Level::DEBUG) {
        for write in &record.writes {
            told(view.0, record.kind, write);
        }
    }
    if !tracing::enabled!(target: PARTS, Level::TRACE) {
        return;
    }
    for write in &record.writes {
        if let Write::Part(part, Some(row)) = write {
            let (what, entities) = (record.kind, row.entities.len());
            tracing::trace!(target: PARTS, %part, ?what, entities, saga = %part.saga, view = view.0, "recorded");
        }
    }
}

/// One line for people.
fn told(view: u64, kind: RecordKind, write: &Write) {
    match write {
        Write::Saga(saga, Some(row)) if kind == RecordKind::Admit => {
            let (entities, to) = (row.entities.len(), row.to);
            tracing::debug!(target: MOVES, %saga, view, %to, entities, "a move was started");
        }
        Write::Part(part, Some(row)) => {
            let (entities, to) = (row.entities.len(), row.destination);
            let what = match kind {
                RecordKind::Prepare => "a part of a move was prepared",
                RecordKind::Commit => "a part of a move was decided",
                RecordKind::End => "a part of a move has arrived",
                RecordKind::Abort => "a part of a move was aborted",
                RecordKind::Local => "a part of a move was done here",
                RecordKind::Reinstall => "a part of a move was taken back",
                _ => return,
            };
            let (saga, part) = (part.saga, part.part);
            tracing::debug!(target: MOVES, %saga, view, part, %to, entities, "{what}");
        }
        Write::Staging(part, Some(row)) if kind == RecordKind::Stage => {
            came(view, part, row.entities.len(), "a part of a move was staged");
        }
        Write::Staging(part, _) if kind == RecordKind::Discard => {
            came(view, part, 0, "staged copies of a move were discarded");
        }
        Write::Activation(part, Some(row)) if kind == RecordKind::Activate => {
            came(view, part, row.entities.len(), "a part of a move was activated");
        }
        _ => {}
    }
}

/// One line at a destination.
fn came(view: u64, part: &PartId, entities: usize, what: &'static str) {
    let PartId { source, saga, part } = part;
    tracing::debug!(target: MOVES, %saga, view, part, %source, entities, "{what}");
}

/// A saga is over or in doubt.
pub(crate) fn changed(view: Epoch, saga: SagaId, report: impl FnOnce() -> Option<SagaReport>) {
    if !tracing::enabled!(target: MOVES, Level::DEBUG) {
        return;
    }
    let what = match report().map(|report| report.state) {
        Some(SagaState::Done) => "a move is over",
        Some(SagaState::InDoubt) => "a move is in doubt",
        Some(SagaState::Running) | None => return,
    };
    tracing::debug!(target: MOVES, %saga, view = view.0, "{what}");
}

/// A message on a part went out: what it says is durable.
pub(crate) fn sent(view: Epoch, message: &Message) {
    if !tracing::enabled!(target: PARTS, Level::TRACE) {
        return;
    }
    if let Some(part) = message.part() {
        let what = message.name();
        tracing::trace!(target: PARTS, %part, what, saga = %part.saga, view = view.0, "sent");
    }
}
