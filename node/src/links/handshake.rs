use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lampyrid_membership::{LinkEvent, RefusalReason};
use lampyrid_wire::{Peer, ProcessId, Versions};
use tokio::sync::oneshot;
use tokio_rustls::rustls;

use super::actor::LinksMessage;
use super::handshake_io::Halves;
use super::hello::{Hello, Message, SealError, Side, Statement, Token, Transcript, Verdict};
use super::limits::IDLE_LIMIT;
use super::link_core::{Basis, Card, ConnId, LinkCore};
use super::session::Session;
use super::shared::Shared;
use super::stream::{GuardedReader, GuardedWriter, SessionStream, Switch};
use super::tls::Identity;
use super::transport::WireStream;
use super::usage::Usage;
use crate::tls::describe;

/// Why a handshake led to no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// Connected and closed without a byte: a probe.
    #[error("it was closed without a word")]
    Silent,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// A certificate is not accepted, by either side.
    #[error("TLS: {0}")]
    Certificate(String),
    /// Only one of the two speaks TLS.
    #[error("{0}: give both processes --tls-cert, --tls-key and --tls-ca, or neither")]
    OneSided(&'static str),
    /// No version of the protocol that both speak.
    #[error(
        "it speaks version {theirs} of the protocol and this process {ours}: update the older one; \
         releases that follow one another understand each other"
    )]
    Versions {
        /// This process's.
        ours: Versions,
        /// The other's.
        theirs: Versions,
    },
    /// Bytes that no lampyrid process sends.
    #[error("{0}")]
    Garbage(&'static str),
    /// The other side refused us, or neither can have the other.
    #[error("refused: {0}")]
    Refused(RefusalReason),
    /// We refused what is the matter with the other side alone.
    #[error("refused it: {0}")]
    Declined(RefusalReason),
    /// The other side has no room; these others may have some.
    #[error("refused: {reason}", reason = RefusalReason::TooManySessions)]
    Full(Vec<SocketAddr>),
    /// It is this very process.
    #[error("it is this process itself")]
    Ourselves,
    /// Another connection with the same peer stands.
    #[error("another connection with {0} stands")]
    Duplicate(ProcessId),
    /// The links are being restarted.
    #[error("the links are not running")]
    NotRunning,
}

impl HandshakeError {
    /// What it is counted as, and told of, where somebody was refused.
    pub(crate) fn refusal(&self) -> Option<RefusalReason> {
        match self {
            Self::Refused(reason) | Self::Declined(reason) => Some(*reason),
            Self::Versions { .. } => Some(RefusalReason::Version),
            Self::Certificate(_) => Some(RefusalReason::Certificate),
            Self::OneSided(_) => Some(RefusalReason::Tls),
            Self::Full(_) => Some(RefusalReason::TooManySessions),
            _ => None,
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        use rustls::{AlertDescription, Error};
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            None => Self::Io(error),
            Some(Error::AlertReceived(AlertDescription::ProtocolVersion)) => {
                Self::OneSided("it speaks no TLS and this process does")
            }
            Some(
                fault @ (Error::InvalidCertificate(_)
                | Error::NoCertificatesPresented
                | Error::AlertReceived(_)),
            ) => Self::Certificate(describe(fault)),
            Some(_) => Self::Garbage("it speaks no proper TLS"),
        }
    }
}

impl From<SealError> for HandshakeError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Mac => Self::Refused(RefusalReason::Cookie),
            SealError::Malformed => Self::Garbage("its hello makes no sense"),
            SealError::TooLong => Self::Garbage("our hello does not fit"),
        }
    }
}

/// The handshake of one connection, either side. Dropping it gives the connection up at any point;
/// a session that was already decided is then cleared away by its own time limit.
pub(crate) struct Handshake {
    pub(crate) shared: Arc<Shared>,
    pub(crate) side: Side,
    /// The other end of the TCP connection.
    pub(crate) address: SocketAddr,
    /// Set when the peer has proved itself.
    pub(crate) authenticated: Arc<AtomicBool>,
}

impl Handshake {
    /// Introduces both processes to each other and delivers the session to the links; the peer.
    pub(crate) async fn run(self, mut wire: WireStream) -> Result<ProcessId, HandshakeError> {
        let identity = wire.identity.take();
        let identity = identity.as_ref();
        let mut halves = Halves::new(wire);
        let cookie = self.shared.config.cookie.clone();
        let mut transcript =
            halves.introduce(self.side, cookie, identity.map_or(&[], Identity::binding)).await?;
        let desired = self.shared.desired();
        let mine = Hello {
            name: self.shared.config.name.clone(),
            cluster_name: self.shared.config.cluster_name.clone(),
            cluster: desired.cluster,
            peer: desired.me,
            advertised: self.shared.config.advertised,
        };
        let (theirs, stated) = match self.side {
            Side::Dialler => self.prove(&mut halves, &mut transcript, &mine, identity).await?,
            Side::Acceptor => self.answer(&mut halves, &mut transcript, &mine, identity).await?,
        };
        let tokens = (transcript.token(self.side), transcript.token(self.side.other()));
        let card = Card {
            peer: theirs.peer,
            as_me: mine.peer,
            dialled: (self.side == Side::Dialler).then_some(self.address),
            advertised: theirs.advertised,
        };
        let conn = self.decide(&mut halves, &mut transcript, card, stated).await?;
        let proven = identity.map(|_| theirs.name);
        self.deliver(conn, theirs.peer, proven, tokens, halves)?;
        Ok(theirs.peer.process)
    }

    /// The dialler's part: proof, answer, confirmation.
    async fn prove(
        &self,
        halves: &mut Halves,
        transcript: &mut Transcript,
        mine: &Hello,
        identity: Option<&Identity>,
    ) -> Result<(Hello, Statement), HandshakeError> {
        halves.say(transcript, self.side, &Message::Proof(mine.clone())).await?;
        let Message::Answer(theirs, refused, stated, others) =
            halves.hear(transcript, self.side).await?
        else {
            return Err(HandshakeError::Garbage("it spoke out of turn"));
        };
        self.authenticated.store(true, Ordering::Release);
        let (refusal, statement) = self.judge(mine, &theirs, identity).await?;
        halves.say(transcript, self.side, &Message::Confirm(refusal, statement)).await?;
        if let (None, Some(RefusalReason::TooManySessions)) = (refusal, refused) {
            return Err(HandshakeError::Full(others));
        }
        agreed(mine, &theirs, refusal, refused)?;
        Ok((theirs, stated))
    }

    /// The acceptor's part. Nothing is said about us before the dialler has proved itself.
    async fn answer(
        &self,
        halves: &mut Halves,
        transcript: &mut Transcript,
        mine: &Hello,
        identity: Option<&Identity>,
    ) -> Result<(Hello, Statement), HandshakeError> {
        let heard = halves.hear(transcript, self.side).await;
        if let Err(HandshakeError::Refused(RefusalReason::Cookie)) = heard {
            halves.turn_away().await?;
        }
        let Message::Proof(theirs) = heard? else {
            return Err(HandshakeError::Garbage("it spoke out of turn"));
        };
        self.authenticated.store(true, Ordering::Release);
        let (refusal, statement) = self.judge(mine, &theirs, identity).await?;
        let others = match refusal {
            Some(RefusalReason::TooManySessions) => self.shared.others(theirs.peer.process),
            _ => Vec::new(),
        };
        let answer = Message::Answer(mine.clone(), refusal, statement, others);
        halves.say(transcript, self.side, &answer).await?;
        let Message::Confirm(refused, stated) = halves.hear(transcript, self.side).await? else {
            return Err(HandshakeError::Garbage("it spoke out of turn"));
        };
        agreed(mine, &theirs, refusal, refused)?;
        Ok((theirs, stated))
    }

    /// Whether we refuse an authenticated peer, and what to state to it.
    async fn judge(
        &self,
        mine: &Hello,
        theirs: &Hello,
        identity: Option<&Identity>,
    ) -> Result<(Option<RefusalReason>, Statement), HandshakeError> {
        // First of all: under another's name it could claim anything, our own id as well.
        if identity.is_some_and(|identity| !identity.names(&theirs.name)) {
            return Ok((Some(RefusalReason::Certificate), Statement::default()));
        }
        if theirs.peer.process == mine.peer.process {
            if theirs.peer.nonce != mine.peer.nonce {
                (self.shared.hooks.on_event)(LinkEvent::OwnId(theirs.peer));
            }
            return Ok((Some(RefusalReason::OwnId), Statement::default()));
        }
        if theirs.cluster_name != mine.cluster_name {
            return Ok((Some(RefusalReason::ClusterName), Statement::default()));
        }
        if theirs.cluster.is_some() && mine.cluster.is_some() && theirs.cluster != mine.cluster {
            return Ok((Some(RefusalReason::ClusterId), Statement::default()));
        }
        if self.shared.config.barred.contains(theirs.peer.process) {
            return Ok((Some(RefusalReason::Barred), Statement::default()));
        }
        self.ask(|reply| LinksMessage::Consider(theirs.peer, reply)).await
    }

    /// The verdict: ours, or the peer's and whether we can follow it.
    async fn decide(
        &self,
        halves: &mut Halves,
        transcript: &mut Transcript,
        card: Card,
        stated: Statement,
    ) -> Result<ConnId, HandshakeError> {
        let process = card.peer.process;
        let ours = LinkCore::arbitrates(&card.as_me, &card.peer);
        let basis = if ours {
            Basis::Ours(stated)
        } else {
            match halves.hear(transcript, self.side).await? {
                Message::Verdict(Verdict::Go(decision)) => Basis::Theirs(decision),
                Message::Verdict(Verdict::Duplicate) => {
                    return Err(HandshakeError::Duplicate(process));
                }
                Message::Verdict(Verdict::Refused(why)) => {
                    return Err(HandshakeError::Refused(why));
                }
                _ => return Err(HandshakeError::Garbage("it spoke out of turn")),
            }
        };
        let (verdict, conn) = self.ask(|reply| LinksMessage::Settle(card, basis, reply)).await?;
        if ours {
            let said = halves.say(transcript, self.side, &Message::Verdict(verdict)).await;
            if let (Err(_), Some(conn)) = (&said, conn) {
                self.tell(LinksMessage::Broken(conn, "the verdict could not be sent"))?;
            }
            said?;
        }
        match verdict {
            Verdict::Go(_) => conn.ok_or(HandshakeError::NotRunning),
            Verdict::Duplicate => Err(HandshakeError::Duplicate(process)),
            Verdict::Refused(why) if ours => Err(declined(why)),
            Verdict::Refused(why) => Err(HandshakeError::Refused(why)),
        }
    }

    fn deliver(
        &self,
        conn: ConnId,
        peer: Peer,
        proven: Option<String>,
        tokens: (Token, Token),
        halves: Halves,
    ) -> Result<(), HandshakeError> {
        let counters = &self.shared.counters;
        let switch = Arc::new(Switch::default());
        let reader = GuardedReader::new(
            halves.reader,
            Arc::clone(&switch),
            Arc::clone(counters),
            IDLE_LIMIT,
        );
        let writer = GuardedWriter::new(halves.writer, Arc::clone(&switch), Arc::clone(counters));
        let usage = Usage::new(Arc::clone(&self.shared.config.clock));
        let counters = Arc::clone(counters);
        let session =
            Session::new(conn, peer, self.address, tokens, switch, usage, counters).called(proven);
        let stream = SessionStream { label: super::substrate::label(conn), reader, writer };
        let dialled = self.side == Side::Dialler;
        self.tell(LinksMessage::Delivered(Arc::new(session), Box::new(stream), dialled))
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> LinksMessage,
    ) -> Result<T, HandshakeError> {
        let (reply, answer) = oneshot::channel();
        self.tell(question(reply))?;
        // The links answer at once or are gone, and the whole handshake has a limit.
        answer.await.map_err(|_| HandshakeError::NotRunning)
    }

    fn tell(&self, message: LinksMessage) -> Result<(), HandshakeError> {
        self.shared.slot.cast(message).map_err(|_| HandshakeError::NotRunning)
    }
}

fn agreed(
    mine: &Hello,
    theirs: &Hello,
    ours: Option<RefusalReason>,
    other: Option<RefusalReason>,
) -> Result<(), HandshakeError> {
    use RefusalReason::{Barred, OwnId};
    match (ours.map(declined), other) {
        (None, None) => Ok(()),
        _ if ours.or(other) == Some(OwnId) && mine.peer == theirs.peer => {
            Err(HandshakeError::Ourselves)
        }
        (Some(error @ HandshakeError::Refused(_)), _) => Err(error),
        // Told to end for good, one believes its own cluster alone.
        (_, Some(Barred)) if theirs.cluster.is_none() => {
            Err(HandshakeError::Garbage("it bars us and is of no cluster"))
        }
        (_, Some(reason)) => Err(HandshakeError::Refused(reason)),
        (Some(error), None) => Err(error),
    }
}

/// Our own refusal. Whoever is refused for one of these two ends: we must not take what we say of
/// the other side for what it says of us.
fn declined(reason: RefusalReason) -> HandshakeError {
    match reason {
        RefusalReason::Barred | RefusalReason::Twin => HandshakeError::Declined(reason),
        reason => HandshakeError::Refused(reason),
    }
}

#[cfg(test)]
mod tests {
    use RefusalReason::{Barred, ClusterId, OwnId, Twin};
    use lampyrid_wire::{BootNonce, Incarnation};

    use super::*;

    fn hello(process: u128, cluster: Option<u128>) -> Hello {
        Hello {
            name: "a".to_owned(),
            cluster_name: "c".to_owned(),
            cluster: cluster.map(lampyrid_wire::ClusterId::from_u128),
            peer: Peer {
                process: ProcessId::from_u128(process),
                incarnation: Incarnation(1),
                nonce: BootNonce(1),
            },
            advertised: "127.0.0.1:1".parse().unwrap(),
        }
    }

    #[test]
    fn what_the_other_side_says_of_us_is_never_what_we_say_of_it() {
        let (me, other) = (hello(1, Some(9)), hello(2, Some(9)));
        assert!(agreed(&me, &other, None, None).is_ok());
        for reason in [Barred, Twin] {
            let told = agreed(&me, &other, None, Some(reason));
            assert!(matches!(told, Err(HandshakeError::Refused(why)) if why == reason));
            let said = agreed(&me, &other, Some(reason), None);
            assert!(matches!(said, Err(HandshakeError::Declined(why)) if why == reason));
            // Both are right.
            let both = agreed(&me, &other, Some(Twin), Some(reason));
            assert!(matches!(both, Err(HandshakeError::Refused(why)) if why == reason));
        }
        let ourselves = agreed(&me, &me, Some(OwnId), Some(OwnId));
        assert!(matches!(ourselves, Err(HandshakeError::Ourselves)));
    }

    #[test]
    fn only_a_process_of_our_cluster_bars_us() {
        let me = hello(1, Some(9));
        let foreign = agreed(&me, &hello(2, Some(8)), Some(ClusterId), Some(Barred));
        assert!(matches!(foreign, Err(HandshakeError::Refused(ClusterId))));
        let of_none = agreed(&me, &hello(2, None), None, Some(Barred));
        assert!(matches!(of_none, Err(HandshakeError::Garbage(_))));
    }
}
