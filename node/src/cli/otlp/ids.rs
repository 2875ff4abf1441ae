//! Names of traces and spans. All follow from the saga and the part, so every process finds the same
//! ones without being told: nothing has to travel with messages.

use lampyrid_migration::PartId;
use lampyrid_wire::SagaId;
use opentelemetry::trace::{SpanId, TraceId};
use sha2::{Digest, Sha256};

/// A saga is one trace, and both have 128 bits.
pub(super) fn trace(saga: SagaId) -> TraceId {
    TraceId::from(saga.0.as_u128())
}

/// The span of the whole saga: the parent of all others.
pub(super) fn root(saga: SagaId) -> SpanId {
    span(saga, "migration", &[])
}

/// What a destination does for a part. STAGE may be answered by several refusals, so its attempt
/// counts as well.
pub(super) fn stage(part: &PartId, attempt: u32) -> SpanId {
    span(part.saga, "stage", &[part.part, attempt])
}

pub(super) fn activate(part: &PartId) -> SpanId {
    span(part.saga, "activate", &[part.part])
}

fn span(saga: SagaId, name: &str, numbers: &[u32]) -> SpanId {
    let mut hash = Sha256::new().chain_update(saga.0.as_bytes()).chain_update(name);
    for number in numbers {
        hash.update(number.to_be_bytes());
    }
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.finalize()[..8]);
    // Nought means that there is no span.
    SpanId::from(u64::from_be_bytes(bytes).max(1))
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::ProcessId;

    use super::*;

    #[test]
    fn ids_follow_from_saga_part_and_phase() {
        let saga = SagaId::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);
        assert_eq!(trace(saga).to_string(), "0123456789ab4def8123456789abcdef");
        let part = |part| PartId { source: ProcessId::from_u128(1), saga, part };
        let all = [
            root(saga),
            stage(&part(0), 0),
            stage(&part(0), 1),
            stage(&part(1), 0),
            activate(&part(0)),
        ];
        for (at, id) in all.iter().enumerate() {
            assert!(!all[..at].contains(id), "{at}");
        }
        assert_eq!(root(saga), root(saga));
        assert_ne!(root(saga), root(SagaId::from_u128(1)));
        let elsewhere = PartId { source: ProcessId::from_u128(2), ..part(0) };
        assert_eq!(activate(&elsewhere), activate(&part(0)), "the saga says whose it is");
    }
}
