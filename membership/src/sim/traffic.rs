use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use lampyrid_wire::{Envelope, Peer, Term, encode};

use crate::Protocol;

/// What a message weighs as the links hand it over: the encoded envelope. The links add 4 bytes of
/// length and what TCP and TLS add.
fn wire_bytes(from: Peer, term: Option<Term>, message: &Protocol) -> usize {
    let sealed = Envelope::seal(from, term, message);
    sealed.and_then(|envelope| encode(&envelope)).map_or(0, |frame| frame.len())
}

/// What one place sent and was sent in one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Bytes sent.
    pub bytes: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that arrived.
    pub received: u64,
}

/// How many messages of one kind were sent, and what they weighed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kind {
    name: String,
    messages: u64,
    bytes: u64,
}

/// Counts what is sent, by place and second of simulated time. Off until asked for: encoding every
/// message costs more than most steps.
#[derive(Debug, Default)]
pub struct Traffic {
    since: Option<Duration>,
    places: Vec<Vec<Load>>,
    kinds: HashMap<Discriminant<Protocol>, Kind>,
}

impl Traffic {
    pub(super) fn from(now: Duration, places: usize) -> Self {
        Self { since: Some(now), places: vec![Vec::new(); places], kinds: HashMap::new() }
    }

    fn load(&mut self, now: Duration, place: usize) -> Option<&mut Load> {
        let second = usize::try_from(now.checked_sub(self.since?)?.as_secs()).ok()?;
        let seconds = self.places.get_mut(place)?;
        if seconds.len() <= second {
            seconds.resize(second + 1, Load::default());
        }
        seconds.get_mut(second)
    }

    pub(super) fn sent(
        &mut self,
        now: Duration,
        place: usize,
        from: Peer,
        term: Option<Term>,
        message: &Protocol,
    ) {
        if self.since.is_none() {
            return;
        }
        let bytes = wire_bytes(from, term, message) as u64;
        let kind = self.kinds.entry(discriminant(message)).or_insert_with(|| {
            let whole = format!("{message:?}");
            let name = whole.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            Kind { name: name.to_owned(), ..Kind::default() }
        });
        kind.messages += 1;
        kind.bytes += bytes;
        if let Some(load) = self.load(now, place) {
            load.sent += 1;
            load.bytes += bytes;
        }
    }

    pub(super) fn received(&mut self, now: Duration, place: usize) {
        if let Some(load) = self.load(now, place) {
            load.received += 1;
        }
    }

    /// What a place sent and was sent, second by second since counting began; seconds at the end
    /// in which nothing passed are left out.
    #[must_use]
    pub fn of(&self, place: usize) -> &[Load] {
        self.places.get(place).map_or(&[], Vec::as_slice)
    }

    /// Messages and bytes sent by kind of message, by name.
    #[must_use]
    pub fn kinds(&self) -> Vec<(String, u64, u64)> {
        let kinds = self.kinds.values();
        let mut all: Vec<_> =
            kinds.map(|kind| (kind.name.clone(), kind.messages, kind.bytes)).collect();
        all.sort_unstable();
        all
    }
}
