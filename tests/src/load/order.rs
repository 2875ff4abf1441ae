use std::path::PathBuf;
use std::time::Duration;

use lampyrid::{Audit, BubbleId, EntityId, EntityStatus, ProcessId};
use serde::{Deserialize, Serialize};

use super::Tally;

/// An order or an answer with its number.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line<T> {
    /// The answer has that of the order.
    pub number: u64,
    /// What is said.
    pub body: T,
}

/// How a mover starts; its first line of input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// Shown to people.
    pub name: String,
    /// Everything durable.
    pub data_dir: PathBuf,
    /// Another mover's address, to join its cluster.
    pub join: Option<String>,
    /// Bubbles on the first start.
    pub bubbles: usize,
    /// Certificate, key and authority for mutual TLS, or none.
    pub tls: Option<[PathBuf; 3]>,
    /// Whether to keep [`Mark`]s.
    pub marks: bool,
}

/// What a mover says of itself: its first line of output once it is bound, its second once it is
/// ready.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Started {
    /// Which process.
    pub process: ProcessId,
    /// Where others reach it.
    pub address: String,
    /// Base URL of its admin HTTP.
    pub admin: String,
    /// What it hosts, sorted; empty in the first line.
    pub bubbles: Vec<BubbleId>,
}

/// What a mover is told to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Creates entities here, of that many bytes; answered with [`Answer::Count`].
    Create {
        /// In which bubble.
        bubble: BubbleId,
        /// How many.
        count: usize,
        /// Of state.
        bytes: usize,
    },
    /// Notes which entities are active here, for the moves that follow; answered with
    /// [`Answer::Count`].
    Collect,
    /// Moves noted entities; the next request goes when one is answered. Until all have moved or
    /// the time is up; answered with [`Answer::Tally`].
    Move {
        /// Where to.
        to: BubbleId,
        /// How many, at most.
        moves: usize,
        /// Entities in one request.
        batch: usize,
        /// Requests at once.
        in_flight: usize,
        /// No further request after that.
        limit: Duration,
    },
    /// Moves noted entities one a request, so many a second whatever becomes of them; times count
    /// from when a request was due. Answered with [`Answer::Tally`].
    Offer {
        /// Where to.
        to: BubbleId,
        /// Requests a second.
        rate: u64,
        /// How many.
        moves: usize,
    },
    /// Moves random entities of those that are here to random bubbles; answered with
    /// [`Answer::Tally`].
    Roam {
        /// Where to.
        to: Vec<BubbleId>,
        /// Entities in one request.
        batch: usize,
        /// Requests at once.
        in_flight: usize,
        /// No further request after that.
        limit: Duration,
    },
    /// How many bubbles it can reach, its own included; answered with [`Answer::Count`].
    Bubbles,
    /// How many have moved so far by that order; answered with [`Answer::Count`].
    Committed(u64),
    /// What was used and counted so far; answered with [`Answer::Usage`].
    Usage,
    /// Writes a number into an entity's state of that length; answered with [`Answer::Written`].
    Put {
        /// Which.
        entity: EntityId,
        /// The number.
        value: u64,
        /// Of state.
        bytes: usize,
    },
    /// Lists everything that is held here after that id, with the numbers in the states; answered
    /// with [`Answer::Page`].
    Dump(Option<EntityId>),
    /// Kills an actor of the tree, by its name in the metrics; answered with [`Answer::Count`] of
    /// kills, one.
    Kill(String),
    /// Gives all marks kept so far, once; answered with [`Answer::Marks`].
    Marks,
}

/// What a mover answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// How many.
    Count(u64),
    /// What became of moves.
    Tally(Tally),
    /// What was used.
    Usage(Usage),
    /// Acknowledged, or why not; and the process where the entity is, if that is known.
    Written(Result<(), (String, Option<ProcessId>)>),
    /// Part of a listing, and after which id it goes on.
    Page(Vec<Held>, Option<EntityId>),
    /// Moments.
    Marks(Vec<Mark>),
    /// It could not be done.
    Failed(String),
}

/// What a mover's node has counted.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Entities and moves.
    pub audit: Audit,
    /// Messages of migration sent.
    pub messages: u64,
    /// Bytes of them, encoded.
    pub message_bytes: u64,
    /// Bytes written to the sockets of all links, framing included.
    pub link_bytes: u64,
    /// Transactions of the journal.
    pub transactions: u64,
}

/// An entity's copy at a process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Held {
    /// Which.
    pub id: EntityId,
    /// How often it has moved.
    pub epoch: u64,
    /// What it may do.
    pub status: EntityStatus,
    /// The number in its state; of active ones only.
    pub value: Option<u64>,
}

/// A moment in a part of a saga, on the clock that all processes of a machine share.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mark {
    /// Which part.
    pub part: String,
    /// What happened.
    pub kind: MarkKind,
    /// How many entities.
    pub entities: u64,
    /// Since the machine's start.
    pub at: Duration,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// The entities serve nothing from here.
    Frozen,
    /// They are active at the destination, durably.
    Active,
}
