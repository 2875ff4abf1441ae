use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use lampyrid_wire::{Member, ProcessId, Term};
use serde::{Deserialize, Serialize};

use crate::{Rank, View, Vote};

/// What members, acceptors and joiners say to one another. The sender's (cluster, epoch, view)
/// stands in the envelope; a message of another view than the receiver's never reaches a rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Protocol {
    /// Are you there? Answered at once.
    Probe {
        /// Number within the edge.
        sequence: u64,
        /// The attempt under which the sender observes; ends its reports of earlier ones.
        attempt: u64,
    },
    /// The answer to the probe of that number.
    Answer {
        /// The probe's number.
        sequence: u64,
    },
    /// All that the sender has to report in this view; replaces nothing but earlier attempts.
    Reports(Reports),
    /// Others cannot reach `subject`: probe it afresh.
    Reinforce {
        /// The member in doubt.
        subject: ProcessId,
    },
    /// Phase 1: promise this rank.
    Prepare {
        /// The proposer's rank.
        rank: Rank,
    },
    /// Phase 1 answer: promised, and this is the vote of the highest rank given.
    Promise {
        /// The rank promised.
        rank: Rank,
        /// The vote, if any was given in this view.
        voted: Option<Vote>,
    },
    /// Either phase's refusal: a higher rank was promised.
    Reject {
        /// The rank refused.
        rank: Rank,
        /// The rank promised.
        promised: Rank,
    },
    /// Phase 2: vote for this view.
    Accept {
        /// The proposer's rank.
        rank: Rank,
        /// The proposed successor, with full member records.
        value: Arc<View>,
    },
    /// Phase 2 answer: voted.
    Voted {
        /// The rank voted in.
        rank: Rank,
    },
    /// The newest view the sender has installed.
    View(Arc<View>),
    /// "I have installed the view that the envelope names."
    Installed,
    /// "You know a newer view than I do": answered with it.
    Query,
    /// A process that is not listed (at this incarnation) asks to be.
    Join {
        /// Its record.
        member: Member,
        /// The newest view it has seen.
        seen: Option<Term>,
    },
    /// The asked process cannot help.
    JoinRefused {
        /// Why.
        reason: JoinRefusal,
        /// Whom else to ask.
        hints: Vec<SocketAddr>,
    },
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

/// One observer's reports. Within an attempt they only grow.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Reports {
    /// The observer's attempt.
    pub attempt: u64,
    /// Members it cannot reach.
    pub down: BTreeSet<ProcessId>,
    /// Members that said they leave.
    pub leaving: BTreeSet<ProcessId>,
    /// Processes that asked it to be admitted, or announced a higher incarnation.
    pub waiting: Vec<Member>,
}
