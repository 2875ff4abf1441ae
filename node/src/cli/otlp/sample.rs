use std::str::FromStr;

use lampyrid_wire::SagaId;

/// Bits of a trace id that are random for sure: the last seven bytes, as in the W3C's trace context.
/// Ids of sagas are UUIDs of version 4, of which the byte before is not: its first two bits are fixed.
const RANDOM_BITS: u32 = 56;

/// Which sagas are traced. The same in every process that has the same ratio, as it depends on the
/// saga's id alone; a higher ratio takes all that a lower one takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Sagas whose random bits are below are left out.
    threshold: u64,
}

/// Why a text is none.
#[derive(Debug, thiserror::Error)]
#[error("a share is a number from 0 (nothing) to 1 (every move)")]
pub(crate) struct SampleError;

impl Sample {
    /// One move of a hundred.
    pub(crate) const DEFAULT_RATIO: f64 = 0.01;

    /// That share, from 0 to 1.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "from 0 to 2^56"
    )]
    pub(crate) fn new(ratio: f64) -> Self {
        let all = (1_u64 << RANDOM_BITS) as f64;
        Self { threshold: ((1.0 - ratio.clamp(0.0, 1.0)) * all).round() as u64 }
    }

    /// Whether that saga is traced.
    pub(super) fn takes(self, saga: SagaId) -> bool {
        let random = saga.0.as_u64_pair().1 & ((1 << RANDOM_BITS) - 1);
        random >= self.threshold
    }
}

impl FromStr for Sample {
    type Err = SampleError;

    fn from_str(text: &str) -> Result<Self, SampleError> {
        match text.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(Self::new(ratio)),
            _ => Err(SampleError),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn taken(ratio: &str, sagas: &[SagaId]) -> usize {
        let sample: Sample = ratio.parse().unwrap();
        sagas.iter().filter(|saga| sample.takes(**saga)).count()
    }

    #[test]
    fn the_share_is_that_of_ids_as_sagas_have_them() {
        // Random, but the same in every run.
        let id = |at: u32| {
            let name = Uuid::new_v5(&Uuid::NAMESPACE_OID, &at.to_be_bytes());
            SagaId(uuid::Builder::from_random_bytes(*name.as_bytes()).into_uuid())
        };
        let sagas: Vec<SagaId> = (0..20_000).map(id).collect();
        assert_eq!((taken("0", &sagas), taken("1", &sagas)), (0, sagas.len()));
        for (ratio, share) in [("0.01", 200), ("0.1", 2_000), ("0.5", 10_000)] {
            let count = taken(ratio, &sagas);
            assert!(count.abs_diff(share) < share / 4, "{ratio}: {count}");
        }
        let (less, more) = (Sample::new(0.1), Sample::new(0.3));
        assert!(sagas.iter().all(|saga| !less.takes(*saga) || more.takes(*saga)));
    }

    #[test]
    fn a_share_is_from_nothing_to_all() {
        for text in ["-0.1", "1.1", "NaN", "inf", "1%", ""] {
            assert!(text.parse::<Sample>().is_err(), "{text}");
        }
    }
}
