use std::sync::Arc;

use lampyrid_registry::{Counters, Destination, Loopback, Mail, MailError, RegistryMessage, open};
use lampyrid_wire::{Inbound, ProcessId, Slot};

use crate::{BroadcasterMessage, CoordinatorMessage};

/// Where frames of [`lampyrid_wire::Channel::Registry`] go in: it opens them and passes each to the
/// actor it is meant for. Whatever reaches an actor that is being restarted is lost, as it might
/// have been on the way; its sender repeats it.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// The registry actor.
    pub registry: Slot<RegistryMessage>,
    /// The coordinator actor.
    pub coordinator: Slot<CoordinatorMessage>,
    /// The broadcaster actor.
    pub broadcaster: Slot<BroadcasterMessage>,
    /// Counts what comes in.
    pub counters: Arc<Counters>,
}

impl Gateway {
    /// Takes a frame from a session.
    ///
    /// # Errors
    /// [`MailError`]: no correct peer sends such a frame, the session should end.
    pub fn receive(&self, inbound: Inbound) -> Result<(), MailError> {
        self.deliver(open(inbound, &self.counters)?);
        Ok(())
    }

    /// A session with a process came up: what it may not have had is sent again at once.
    pub fn reachable(&self, process: ProcessId) {
        // An actor that is being restarted sends afresh anyway.
        let _ = self.registry.cast(RegistryMessage::Reachable(process));
        let _ = self.coordinator.cast(CoordinatorMessage::Reachable(process));
        let _ = self.broadcaster.cast(BroadcasterMessage::Reachable(process));
    }
}

impl Loopback for Gateway {
    fn deliver(&self, mail: Mail) {
        let delivered = match mail.destination() {
            Destination::Registry => self.registry.cast(RegistryMessage::Mail(mail)),
            Destination::Coordinator => self.coordinator.cast(CoordinatorMessage::Mail(mail)),
            Destination::Broadcaster => self.broadcaster.cast(BroadcasterMessage::Mail(mail)),
        };
        if delivered.is_err() {
            tracing::debug!("a message came while its actor was not running");
        }
    }
}
