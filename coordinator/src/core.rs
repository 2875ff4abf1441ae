mod reign;
#[cfg(test)]
mod tests;

use std::time::Duration;

use lampyrid_registry::{Fence, Held, Letter, RegistryWire, Standing, Version, first_invalid};
use lampyrid_wire::{ProcessId, Term};

use crate::Publication;
use reign::Reign;

/// How soon to look again for leave to act while there is work and none is given.
const RECHECK: Duration = Duration::from_millis(100);

/// The coordinator's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorConfig {
    /// The least time between the starts of two broadcasts of changes.
    pub cooldown: Duration,
    /// How long a new coordinator waits for all members before it broadcasts what it has gathered.
    pub gather: Duration,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self { cooldown: Duration::from_secs(1), gather: Duration::from_millis(500) }
    }
}

/// What happens to the coordinator of one process.
#[derive(Debug, Clone)]
pub enum CoordinatorInput {
    /// The view or the status changed.
    View(Standing),
    /// A session with a process came up: what was sent to it before may not have left.
    Reachable(ProcessId),
    /// A message from a process (itself included).
    Letter(Letter),
    /// A quorum of the view has stored this broadcast.
    Acknowledged(Version),
    /// The broadcaster was restarted and knows of no broadcast.
    Republish,
    /// The time that [`CoordinatorCore::deadline`] named has come.
    Wake,
}

/// What the shell is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoordinatorOutput {
    /// Send to a process.
    Send(ProcessId, Term, RegistryWire),
    /// Broadcast; and keep its sequence, so that the next life of the actor goes on behind it.
    Publish(Publication),
    /// A process is in a newer view.
    NewerView(ProcessId, Term),
    /// A message was refused as stale.
    Refused,
    /// A message from a newer view is kept; true if another gave way to it.
    Kept(bool),
    /// A registration that no correct process sends was ignored.
    Malformed(ProcessId),
}

/// Serialises the registry's changes while this process coordinates its view.
///
/// Between two consecutive views of the same coordinator nobody else can have acted, so it goes on
/// with what it has. Otherwise it gathers: what a member says it holds is taken at once; what is
/// asked for anew waits until every member has answered or is out of the view, because somebody not
/// yet heard of may hold it. So a registration that was once acknowledged survives, although its
/// host is slow to answer, and the registry can be read meanwhile.
#[derive(Debug, Clone)]
pub struct CoordinatorCore {
    config: CoordinatorConfig,
    standing: Standing,
    permitted: bool,
    next_sequence: u64,
    reign: Option<Reign>,
    /// Set while there is work due and no leave to do it.
    recheck: Option<Duration>,
    held: Held,
}

impl CoordinatorCore {
    /// A core that knows nothing of the registry yet. `next_sequence` lies behind every sequence
    /// that earlier ones of this life of the process have published.
    #[must_use]
    pub fn new(
        now: Duration,
        permitted: bool,
        config: CoordinatorConfig,
        standing: Standing,
        next_sequence: u64,
        out: &mut Vec<CoordinatorOutput>,
    ) -> Self {
        let mut core = Self {
            config,
            standing: standing.clone(),
            permitted,
            next_sequence,
            reign: None,
            recheck: None,
            held: Held::default(),
        };
        core.step(now, permitted, CoordinatorInput::View(standing), out);
        core
    }

    /// When it wants [`CoordinatorInput::Wake`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        if self.recheck.is_some() {
            return self.recheck;
        }
        self.reign.as_ref().filter(|_| self.standing.is_active())?.deadline()
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Takes one input; appends what is to be done. `permitted`: membership gives leave to act.
    pub fn step(
        &mut self,
        now: Duration,
        permitted: bool,
        input: CoordinatorInput,
        out: &mut Vec<CoordinatorOutput>,
    ) {
        self.permitted = permitted;
        match input {
            CoordinatorInput::View(standing) => self.view(now, standing, out),
            CoordinatorInput::Reachable(process) => {
                if let Some(reign) = &mut self.reign {
                    reign.reachable(now, process);
                }
            }
            CoordinatorInput::Letter(letter) => self.letter(letter, out),
            CoordinatorInput::Acknowledged(version) => {
                if let Some(reign) = &mut self.reign {
                    reign.acknowledge(version);
                }
            }
            CoordinatorInput::Republish => {
                if let Some(reign) = &mut self.reign {
                    reign.republish();
                }
            }
            CoordinatorInput::Wake => {}
        }
        self.drive(now, out);
    }

    fn view(&mut self, now: Duration, standing: Standing, out: &mut Vec<CoordinatorOutput>) {
        if standing.precedes(&self.standing) {
            return;
        }
        self.standing = standing;
        let Some(view) = self.standing.coordinates() else {
            self.reign = None;
            return self.replay(out);
        };
        self.reign = match self.reign.take() {
            Some(reign) if reign.term() == view.term() => Some(reign),
            Some(mut reign) if reign.leads_to(view) => {
                reign.go_on(now, view);
                Some(reign)
            }
            _ => Some(Reign::new(now, view, self.next_sequence, self.config.clone())),
        };
        self.replay(out);
    }

    fn replay(&mut self, out: &mut Vec<CoordinatorOutput>) {
        for letter in self.held.release() {
            self.letter(letter, out);
        }
    }

    fn letter(&mut self, letter: Letter, out: &mut Vec<CoordinatorOutput>) {
        let from = letter.from.process;
        match self.standing.fence((from, letter.from.incarnation), letter.term) {
            Fence::Current => {}
            Fence::Newer => {
                out.push(CoordinatorOutput::NewerView(from, letter.term));
                return out.push(CoordinatorOutput::Kept(self.held.keep(letter)));
            }
            Fence::Stale => {
                out.push(CoordinatorOutput::Refused);
                if let Some(term) = self.standing.term() {
                    out.push(CoordinatorOutput::Send(from, term, RegistryWire::Stale));
                }
                return;
            }
            Fence::Foreign => return,
        }
        let Some(reign) = &mut self.reign else { return };
        let (registration, round) = match letter.message {
            RegistryWire::Register(registration) => (registration, None),
            RegistryWire::Gathered { round, registration } => (registration, Some(round)),
            _ => return,
        };
        let bubbles = registration.bubbles.as_ref();
        if bubbles.is_some_and(|bubbles| first_invalid(bubbles.keys()).is_some()) {
            return out.push(CoordinatorOutput::Malformed(from));
        }
        reign.take(from, letter.from.incarnation, registration, round);
    }

    /// Does what is due, if it may.
    fn drive(&mut self, now: Duration, out: &mut Vec<CoordinatorOutput>) {
        self.recheck = None;
        let Some(reign) = self.reign.as_mut().filter(|_| self.standing.is_active()) else { return };
        if self.permitted {
            reign.drive(now, &mut self.next_sequence, out);
        } else if reign.deadline().is_some() {
            self.recheck = Some(now + RECHECK);
        }
    }
}
