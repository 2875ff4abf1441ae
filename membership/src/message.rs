use std::net::SocketAddr;
use std::sync::Arc;

use lampyrid_wire::{Member, Term};
use serde::{Deserialize, Serialize};

use crate::agreement::{BallotFacts, Change};
use crate::cut::ReportFacts;
use crate::{Stamp, View};

/// What members, acceptors and joiners say to one another. The sender's [`Stamp`] stands beside it;
/// a message of another view than the receiver's never reaches a rule. Short names on the wire:
/// most of these are sent several times a second on every edge.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Protocol {
    /// Are you there? Answered at once.
    #[serde(rename = "p")]
    Probe {
        /// Number within the edge.
        sequence: u64,
        /// The attempt under which the sender observes; ends its reports of earlier ones.
        attempt: u64,
    },
    /// The answer to the probe of that number.
    #[serde(rename = "a")]
    Answer {
        /// The probe's number.
        sequence: u64,
    },
    /// What the sender knows of the undecided successor of its view.
    #[serde(rename = "f")]
    Facts(Arc<Facts>),
    /// The newest view the sender has installed, to one who has installed its predecessor.
    #[serde(rename = "d")]
    Decided {
        /// The predecessor.
        before: Stamp,
        /// What leads from it to the sender's view.
        change: Change,
    },
    /// The newest view the sender has installed.
    #[serde(rename = "v")]
    View(Arc<View>),
    /// "I have installed the view that the stamp names."
    #[serde(rename = "i")]
    Installed,
    /// "You know a newer view than I do": answered with it.
    #[serde(rename = "q")]
    Query,
    /// A process that is not listed (at this incarnation) asks to be.
    #[serde(rename = "j")]
    Join {
        /// Its record.
        member: Member,
        /// The newest view it has seen.
        seen: Option<Term>,
        /// How often this incarnation has asked anybody.
        asked: u32,
    },
    /// The asked process cannot help.
    #[serde(rename = "r")]
    JoinRefused {
        /// Why.
        reason: JoinRefusal,
        /// Whom else to ask.
        hints: Vec<SocketAddr>,
    },
}

impl Protocol {
    /// Its name in counts.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Probe { .. } => "probe",
            Self::Answer { .. } => "answer",
            Self::Facts(_) => "facts",
            Self::Decided { .. } => "decided",
            Self::View(_) => "view",
            Self::Installed => "installed",
            Self::Query => "query",
            Self::Join { .. } => "join",
            Self::JoinRefused { .. } => "join_refused",
        }
    }
}

/// What is known of the successor of a view before it is decided. Facts only accumulate, so that
/// loss, repetition and reordering of messages do no harm, and everybody may pass on everything.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Who cannot reach whom, and who leaves.
    pub reports: ReportFacts,
    /// Who waits to be admitted.
    pub waiting: Vec<Announcement>,
    /// Promises and votes.
    pub ballots: BallotFacts,
}

impl Facts {
    /// True if they say nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reports == ReportFacts::default() && self.waiting.is_empty() && self.ballots.is_empty()
    }
}

/// A process that asked a member to be admitted, or started again. Of two about one process the
/// one with the higher (incarnation, asked, gone) holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Announcement {
    /// Its record.
    pub member: Member,
    /// How often it had asked.
    pub asked: u32,
    /// It has not asked again for too long.
    pub gone: bool,
}

/// Why a process that was asked to announce a joiner did not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum JoinRefusal {
    /// It is itself not a member.
    #[error("the process asked is itself not a member")]
    NotMember,
    /// It is not in touch with a quorum.
    #[error("the process asked is isolated")]
    Isolated,
    /// The joiner has seen a newer view than the asked process.
    #[error("the process asked knows an older view only")]
    Stale,
    /// The view is full.
    #[error("the view has as many members as it may have")]
    Full,
    /// Name or admin URL are longer than [`crate::limits::MAX_TEXT`].
    #[error("the joiner's name or admin URL is too long")]
    RecordTooLarge,
    /// Too many wait already.
    #[error("as many processes wait to join as may")]
    TooManyWaiting,
    /// The joiner belongs to another cluster.
    #[error("the joiner belongs to another cluster")]
    OtherCluster,
}
