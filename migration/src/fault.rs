//! Points at which a test ends this process without warning: before and after every durable record
//! and every message. Compiled to nothing without the feature `fault-points`.
//!
//! `LAMPYRID_FAULT_POINT=source.commit.after` aborts there the first time, `...:3` the third time.

use crate::{Message, Record};

/// All points that moves of entities come by.
pub const FAULT_POINTS: &[&str] = &[
    "source.prepare.before",
    "source.prepare.after",
    "source.commit.before",
    "source.commit.after",
    "source.end.before",
    "source.end.after",
    "source.abort.before",
    "source.abort.after",
    "source.local.before",
    "source.local.after",
    "destination.stage.before",
    "destination.stage.after",
    "destination.activate.before",
    "destination.activate.after",
    "destination.discard.before",
    "destination.discard.after",
    "entity.create.before",
    "entity.create.after",
    "entity.put.before",
    "entity.put.after",
    "entity.delete.before",
    "entity.delete.after",
    "send.stage.before",
    "send.stage.after",
    "send.staged.before",
    "send.staged.after",
    "send.commit.before",
    "send.commit.after",
    "send.activated.before",
    "send.activated.after",
    "send.abort.before",
    "send.abort.after",
    "send.doubt.before",
    "send.doubt.after",
    "send.doubt_answers.before",
    "send.doubt_answers.after",
];

/// Those that only the move of a whole bubble comes by.
pub const BUBBLE_FAULT_POINTS: &[&str] = &[
    "bubble.move.before",
    "bubble.move.after",
    "bubble.release.before",
    "bubble.release.after",
    "bubble.take.before",
    "bubble.take.after",
    "bubble.host.before",
    "bubble.host.after",
    "send.take_bubble.before",
    "send.take_bubble.after",
    "send.taking_bubble.before",
    "send.taking_bubble.after",
    "send.host_bubble.before",
    "send.host_bubble.after",
    "send.bubble_hosted.before",
    "send.bubble_hosted.after",
];

/// The records of these transactions are about to be made durable, or just were.
#[cfg(not(feature = "fault-points"))]
pub(crate) fn records(_transactions: &[Vec<Record>], _after: bool) {}

/// A message is about to be sent, or just was.
#[cfg(not(feature = "fault-points"))]
pub(crate) fn message(_message: &Message, _after: bool) {}

/// The records of these transactions are about to be made durable, or just were.
#[cfg(feature = "fault-points")]
pub(crate) fn records(transactions: &[Vec<Record>], after: bool) {
    use crate::RecordKind as Kind;
    for record in transactions.iter().flatten() {
        let name = match record.kind {
            Kind::Prepare => "source.prepare",
            Kind::Commit => "source.commit",
            Kind::End => "source.end",
            Kind::Abort => "source.abort",
            Kind::Local => "source.local",
            Kind::Stage => "destination.stage",
            Kind::Activate => "destination.activate",
            Kind::Discard => "destination.discard",
            Kind::MoveBubble => "bubble.move",
            Kind::ReleaseBubble => "bubble.release",
            Kind::TakeBubble => "bubble.take",
            Kind::HostBubble => "bubble.host",
            Kind::Create => "entity.create",
            Kind::Put => "entity.put",
            Kind::Delete => "entity.delete",
            _ => continue,
        };
        armed::reach(name, after);
    }
}

/// A message is about to be sent, or just was.
#[cfg(feature = "fault-points")]
pub(crate) fn message(message: &Message, after: bool) {
    armed::reach(&format!("send.{}", message.name()), after);
}

#[cfg(feature = "fault-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static POINT: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);

    fn parse(text: &str) -> (String, u64) {
        let (name, count) = text.split_once(':').unwrap_or((text, "1"));
        (name.to_owned(), count.parse().unwrap_or(1))
    }

    /// Ends the process at once if this is the point, for the given time.
    pub(super) fn reach(name: &str, after: bool) {
        let read = || std::env::var("LAMPYRID_FAULT_POINT").ok().map(|text| parse(&text));
        let Some((point, count)) = POINT.get_or_init(read) else { return };
        let here = point
            .strip_prefix(name)
            .is_some_and(|when| when == if after { ".after" } else { ".before" });
        if here && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *count {
            std::process::abort();
        }
    }
}
