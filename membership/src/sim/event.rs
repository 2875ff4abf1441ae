use std::time::Duration;

use lampyrid_wire::{Peer, ProcessId, Term};

use super::Sim;
use super::sessions::Pair;
use crate::{LinkEvent, ProbeOutcome, Protocol};

/// Something that is going to happen.
#[derive(Debug)]
pub(super) enum Event {
    /// A message arrives.
    Deliver(Letter),
    /// The links tell a process of a session.
    Link { to: usize, boot: u64, event: LinkEvent },
    /// An alarm of a core; it counts if the process has set none since.
    Wake { of: usize },
    /// An alarm of an edge; likewise.
    WakeEdge { of: usize, subject: ProcessId },
    /// A connect that an edge asked for has ended.
    Connected { of: usize, boot: u64, subject: ProcessId, outcome: ProbeOutcome },
    /// A session that nothing could be read from for too long ends.
    Idle { pair: Pair, session: u64 },
    /// A process dials another.
    Dial { of: usize, boot: u64, to: usize },
    /// The next fault.
    Fault,
    /// A process that has crashed comes back.
    Restart(usize),
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) pair: Pair,
    pub(super) session: u64,
    pub(super) to: usize,
    /// The start of the receiver it was sent to.
    pub(super) boot: u64,
    pub(super) from: Peer,
    pub(super) term: Option<Term>,
    pub(super) message: Box<Protocol>,
    /// Arrives even if its session has ended: it was read, but waited before it was handled.
    pub(super) outlives: bool,
}

impl Event {
    /// The process that must run for it to happen.
    pub(super) fn process(&self) -> Option<usize> {
        match self {
            Self::Deliver(letter) => Some(letter.to),
            Self::Link { to, .. } => Some(*to),
            Self::Wake { of }
            | Self::WakeEdge { of, .. }
            | Self::Connected { of, .. }
            | Self::Dial { of, .. } => Some(*of),
            Self::Idle { .. } | Self::Fault | Self::Restart(_) => None,
        }
    }
}

impl Sim {
    /// An event of a frozen process waits; an alarm stays the one that was set last.
    pub(super) fn postpone(&mut self, until: Duration, serial: u64, event: Event) {
        let alarm = match &event {
            Event::Wake { of } => Some((*of, None)),
            Event::WakeEdge { of, subject } => Some((*of, Some(*subject))),
            _ => None,
        };
        let again = self.queue.push(until, event);
        let Some((of, subject)) = alarm else { return };
        let Some(run) = &mut self.processes[of].run else { return };
        let alarm = match subject {
            None => &mut run.alarm,
            Some(subject) => match run.edges.get_mut(&subject) {
                Some(edge) => &mut edge.alarm,
                None => return,
            },
        };
        if let Some(alarm) = alarm
            && alarm.serial == serial
        {
            alarm.serial = again;
        }
    }
}
