use std::time::Duration;

use super::look::Look;

/// What happens in a second, from the difference between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    /// Of entities, committed.
    pub(super) moves: Option<f64>,
    pub(super) messages_sent: Option<f64>,
    pub(super) messages_received: Option<f64>,
    pub(super) bytes_sent: Option<f64>,
    pub(super) bytes_received: Option<f64>,
}

impl Rates {
    /// There is no rate where a look lacks the figure, or where it fell: then the process was
    /// started again, and counts from 0.
    pub(super) fn between(before: &Look, after: &Look, time: Duration) -> Self {
        if before.view.incarnation != after.view.incarnation || before.view.me != after.view.me {
            return Self::default();
        }
        let rate = |figure: &dyn Fn(&Look) -> Option<u64>| {
            let difference = figure(after)?.checked_sub(figure(before)?)?;
            (!time.is_zero()).then(|| difference as f64 / time.as_secs_f64())
        };
        Self {
            moves: rate(&|look| Some(look.audit.as_ref()?.migrated.committed)),
            messages_sent: rate(&|look| Some(look.figures.as_ref()?.messages_sent)),
            messages_received: rate(&|look| Some(look.figures.as_ref()?.messages_received)),
            bytes_sent: rate(&|look| Some(look.figures.as_ref()?.bytes_sent)),
            bytes_received: rate(&|look| Some(look.figures.as_ref()?.bytes_received)),
        }
    }
}
