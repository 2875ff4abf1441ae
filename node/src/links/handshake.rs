use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lampyrid_membership::{LinkEvent, RefusalReason};
use lampyrid_wire::{Peer, ProcessId};
use ractor_cluster::{BoxRead, BoxWrite};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::oneshot;

use super::actor::LinksMessage;
use super::hello::{
    Hello, INTRO_BYTES, Intro, MAC_BYTES, Message, SealError, Side, Statement, Transcript, Verdict,
};
use super::limits::{IDLE_LIMIT, MAX_HELLO_BYTES, READ_BUFFER_BYTES};
use super::link_core::{Basis, Card, ConnId, LinkCore};
use super::session::Session;
use super::shared::Shared;
use super::stream::{GuardedReader, GuardedWriter, SessionStream, Switch};
use super::transport::WireStream;

/// Why a handshake led to no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// Connected and closed without a byte: a probe.
    #[error("it was closed without a word")]
    Silent,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// Bytes that no lampyrid process sends.
    #[error("{0}")]
    Garbage(&'static str),
    /// Either side refused.
    #[error("refused: {0}")]
    Refused(RefusalReason),
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

impl From<SealError> for HandshakeError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Mac => Self::Refused(RefusalReason::Cookie),
            SealError::Malformed => Self::Garbage("its hello makes no sense"),
            SealError::TooLong => Self::Garbage("our hello does not fit"),
        }
    }
}

/// A frame of length zero instead of an answer: the cookie is another. It tells a stranger no more
/// than the closed connection would.
const BAD_COOKIE: u16 = 0;

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

struct Halves {
    reader: BufReader<BoxRead>,
    writer: BoxWrite,
}

impl Handshake {
    /// Introduces both processes to each other and delivers the session to the links; the peer.
    pub(crate) async fn run(self, wire: WireStream) -> Result<ProcessId, HandshakeError> {
        let mut halves = Halves {
            reader: BufReader::with_capacity(READ_BUFFER_BYTES, wire.reader),
            writer: wire.writer,
        };
        let mut transcript = halves.introduce(self.side, &self.shared).await?;
        let desired = self.shared.desired();
        let mine = Hello {
            cluster_name: self.shared.config.cluster_name.clone(),
            cluster: desired.cluster,
            peer: desired.me,
            advertised: self.shared.config.advertised,
        };
        let (theirs, stated) = match self.side {
            Side::Dialler => self.prove(&mut halves, &mut transcript, &mine).await?,
            Side::Acceptor => self.answer(&mut halves, &mut transcript, &mine).await?,
        };
        let tokens = (transcript.token(self.side), transcript.token(self.side.other()));
        let card = Card {
            peer: theirs.peer,
            as_me: mine.peer,
            dialled: (self.side == Side::Dialler).then_some(self.address),
            advertised: theirs.advertised,
        };
        let conn = self.decide(&mut halves, &mut transcript, card, stated).await?;
        self.deliver(conn, theirs.peer, tokens, halves)?;
        Ok(theirs.peer.process)
    }

    /// The dialler's part: proof, answer, confirmation.
    async fn prove(
        &self,
        halves: &mut Halves,
        transcript: &mut Transcript,
        mine: &Hello,
    ) -> Result<(Hello, Statement), HandshakeError> {
        halves.say(transcript, self.side, &Message::Proof(mine.clone())).await?;
        let Message::Answer(theirs, refused, stated) = halves.hear(transcript, self.side).await?
        else {
            return Err(HandshakeError::Garbage("it spoke out of turn"));
        };
        self.authenticated.store(true, Ordering::Release);
        let (refusal, statement) = self.judge(mine, &theirs).await?;
        halves.say(transcript, self.side, &Message::Confirm(refusal, statement)).await?;
        agreed(mine, &theirs, refusal.or(refused))?;
        Ok((theirs, stated))
    }

    /// The acceptor's part. Nothing is said about us before the dialler has proved itself.
    async fn answer(
        &self,
        halves: &mut Halves,
        transcript: &mut Transcript,
        mine: &Hello,
    ) -> Result<(Hello, Statement), HandshakeError> {
        let heard = halves.hear(transcript, self.side).await;
        if let Err(HandshakeError::Refused(RefusalReason::Cookie)) = heard {
            halves.writer.write_all(&BAD_COOKIE.to_be_bytes()).await?;
            halves.writer.flush().await?;
        }
        let Message::Proof(theirs) = heard? else {
            return Err(HandshakeError::Garbage("it spoke out of turn"));
        };
        self.authenticated.store(true, Ordering::Release);
        let (refusal, statement) = self.judge(mine, &theirs).await?;
        let answer = Message::Answer(mine.clone(), refusal, statement);
        halves.say(transcript, self.side, &answer).await?;
        let Message::Confirm(refused, stated) = halves.hear(transcript, self.side).await? else {
            return Err(HandshakeError::Garbage("it spoke out of turn"));
        };
        agreed(mine, &theirs, refusal.or(refused))?;
        Ok((theirs, stated))
    }

    /// Whether we refuse an authenticated peer, and what to state to it.
    async fn judge(
        &self,
        mine: &Hello,
        theirs: &Hello,
    ) -> Result<(Option<RefusalReason>, Statement), HandshakeError> {
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
            Verdict::Refused(why) => Err(HandshakeError::Refused(why)),
        }
    }

    fn deliver(
        &self,
        conn: ConnId,
        peer: Peer,
        tokens: (super::hello::Token, super::hello::Token),
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
        let session = Session::new(conn, peer, self.address, tokens, switch, Arc::clone(counters));
        let stream = SessionStream { label: super::actor::label(conn), reader, writer };
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
    refusal: Option<RefusalReason>,
) -> Result<(), HandshakeError> {
    match refusal {
        None => Ok(()),
        Some(RefusalReason::OwnId) if mine.peer == theirs.peer => Err(HandshakeError::Ourselves),
        Some(reason) => Err(HandshakeError::Refused(reason)),
    }
}

impl Halves {
    async fn introduce(
        &mut self,
        side: Side,
        shared: &Shared,
    ) -> Result<Transcript, HandshakeError> {
        let cookie = shared.config.cookie.clone();
        let mine = Intro::fresh();
        match side {
            Side::Dialler => {
                self.write(&mine.to_bytes()).await?;
                let theirs = self.intro(false).await?;
                compatible(mine, theirs)?;
                Ok(Transcript::new(cookie, mine, theirs))
            }
            Side::Acceptor => {
                let theirs = self.intro(true).await?;
                // Sent whatever their version: it is how they learn that ours differs.
                self.write(&mine.to_bytes()).await?;
                compatible(mine, theirs)?;
                Ok(Transcript::new(cookie, theirs, mine))
            }
        }
    }

    async fn intro(&mut self, may_be_silent: bool) -> Result<Intro, HandshakeError> {
        let mut bytes = [0; INTRO_BYTES];
        let first = self.reader.read(&mut bytes).await;
        match first {
            Ok(0) if may_be_silent => return Err(HandshakeError::Silent),
            Err(error) if may_be_silent && error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(HandshakeError::Silent);
            }
            Ok(length) => self.reader.read_exact(&mut bytes[length..]).await?,
            Err(error) => return Err(error.into()),
        };
        Intro::from_bytes(&bytes).ok_or(HandshakeError::Garbage("it is no lampyrid process"))
    }

    async fn say(
        &mut self,
        transcript: &mut Transcript,
        side: Side,
        message: &Message,
    ) -> Result<(), HandshakeError> {
        let sealed = transcript.seal(side, message)?;
        // `seal` keeps to MAX_HELLO_BYTES, which fits.
        let length = u16::try_from(sealed.len()).map_err(|_| SealError::TooLong)?;
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&sealed);
        self.write(&bytes).await
    }

    async fn hear(
        &mut self,
        transcript: &mut Transcript,
        side: Side,
    ) -> Result<Message, HandshakeError> {
        let length = self.reader.read_u16().await?;
        if length == BAD_COOKIE && side == Side::Dialler {
            return Err(HandshakeError::Refused(RefusalReason::Cookie));
        }
        let length = usize::from(length);
        if !(MAC_BYTES..=MAX_HELLO_BYTES).contains(&length) {
            return Err(HandshakeError::Garbage("its hello is too short or too long"));
        }
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).await?;
        Ok(transcript.open(side.other(), &bytes)?)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        self.writer.write_all(bytes).await?;
        Ok(self.writer.flush().await?)
    }
}

fn compatible(mine: Intro, theirs: Intro) -> Result<(), HandshakeError> {
    if mine.version == theirs.version {
        Ok(())
    } else {
        Err(HandshakeError::Refused(RefusalReason::Version))
    }
}
