use std::sync::Arc;

use bytes::Bytes;
use lampyrid_wire::{
    Channel, CodecError, Credit, Envelope, EnvelopeError, Inbound, Outbound, Peer, ProcessId, Term,
    encode,
};

use crate::{Counter, Counters, Destination, RegistryWire};

/// A message between processes as the cores take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Who sent it.
    pub from: Peer,
    /// In which view.
    pub term: Term,
    /// What it says.
    pub message: RegistryWire,
}

/// A letter on its way to one of this process's actors.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The letter.
    pub letter: Letter,
    /// Held until it has been dealt with.
    pub credit: Credit,
}

impl Mail {
    /// Which actor is to have it.
    #[must_use]
    pub fn destination(&self) -> Destination {
        self.letter.message.destination()
    }
}

/// Why a frame is no message. Its sender is broken, hostile or of another version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// What is in it does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Its envelope is not taken.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Messages of this channel come from members, so they have a term.
    #[error("the envelope carries no term")]
    NoTerm,
}

/// Opens a frame of [`Channel::Registry`].
///
/// # Errors
/// [`MailError`]; the frame was counted as malformed, and its session should end.
pub fn open(inbound: Inbound, counters: &Counters) -> Result<Mail, MailError> {
    let opened = open_uncounted(inbound);
    if opened.is_err() {
        counters.count(Counter::Malformed);
    }
    let (mail, bytes) = opened?;
    counters.received(mail.letter.message.kind(), bytes);
    Ok(mail)
}

fn open_uncounted(inbound: Inbound) -> Result<(Mail, usize), MailError> {
    let envelope = Envelope::received(&inbound)?;
    let term = envelope.term.ok_or(MailError::NoTerm)?;
    let letter = Letter { from: envelope.from, term, message: envelope.open()? };
    Ok((Mail { letter, credit: inbound.credit }, inbound.frame.len()))
}

/// Where a process's messages to itself go: a coordinator is also a member.
pub trait Loopback: Send + Sync + 'static {
    /// Hands the letter to the actor it is meant for; lost if that one is not running.
    fn deliver(&self, mail: Mail);
}

/// Sends the letters of the three actors: to other processes through the links, to this one
/// directly. Sending never waits; what is lost is repeated by the cores.
#[derive(Clone)]
pub struct Post {
    outbound: Arc<dyn Outbound>,
    loopback: Arc<dyn Loopback>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Post")
    }
}

impl Post {
    /// A post office over `outbound` and `loopback`.
    #[must_use]
    pub fn new(
        outbound: Arc<dyn Outbound>,
        loopback: Arc<dyn Loopback>,
        counters: Arc<Counters>,
    ) -> Self {
        Self { outbound, loopback, counters }
    }

    /// The counters of what it sends.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Sends `message` from `from` in `term`.
    pub fn send(&self, from: Peer, to: ProcessId, term: Term, message: RegistryWire) {
        if to == from.process {
            let letter = Letter { from, term, message };
            return self.loopback.deliver(Mail { letter, credit: Credit::none() });
        }
        let kind = message.kind();
        let frame = Envelope::seal(from, Some(term), &message).and_then(|sealed| encode(&sealed));
        let sent = match frame {
            Ok(frame) => {
                let bytes = frame.len();
                self.outbound
                    .send(to, Channel::Registry, Bytes::from(frame))
                    .map(|()| bytes)
                    .map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match sent {
            Ok(bytes) => self.counters.sent(kind, bytes),
            Err(error) => {
                self.counters.count(Counter::SendFailed);
                tracing::debug!(%to, kind = RegistryWire::NAMES[kind], error, "not sent");
            }
        }
    }
}
