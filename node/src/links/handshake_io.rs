use std::io;

use lampyrid_membership::RefusalReason;
use ractor_cluster::{BoxRead, BoxWrite};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

use super::config::Cookie;
use super::handshake::HandshakeError;
use super::hello::{INTRO_BYTES, Intro, MAC_BYTES, Message, SealError, Side, Transcript};
use super::limits::{MAX_HELLO_BYTES, READ_BUFFER_BYTES};
use super::transport::WireStream;

/// A frame of length zero instead of an answer: the cookie is another. It tells a stranger no more
/// than the closed connection would.
const BAD_COOKIE: u16 = 0;

/// A connection during its handshake: bounded messages in and out.
pub(crate) struct Halves {
    pub(crate) reader: BufReader<BoxRead>,
    pub(crate) writer: BoxWrite,
}

impl Halves {
    pub(crate) fn new(wire: WireStream) -> Self {
        let reader = BufReader::with_capacity(READ_BUFFER_BYTES, wire.reader);
        Self { reader, writer: wire.writer }
    }

    /// Tells a dialler that its cookie is another.
    pub(crate) async fn turn_away(&mut self) -> Result<(), HandshakeError> {
        self.write(&BAD_COOKIE.to_be_bytes()).await
    }

    pub(crate) async fn introduce(
        &mut self,
        side: Side,
        cookie: Cookie,
        binding: &[u8],
    ) -> Result<Transcript, HandshakeError> {
        let mine = Intro::fresh();
        match side {
            Side::Dialler => {
                self.write(&mine.to_bytes()).await?;
                let theirs = self.intro(false).await?;
                compatible(mine, theirs)?;
                Ok(Transcript::new(cookie, mine, theirs, binding))
            }
            Side::Acceptor => {
                let theirs = self.intro(true).await?;
                // Sent whatever their version: it is how they learn that ours differs.
                self.write(&mine.to_bytes()).await?;
                compatible(mine, theirs)?;
                Ok(Transcript::new(cookie, theirs, mine, binding))
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
            Ok(length) if bytes[..length].starts_with(&crate::tls::record::ALERT) => {
                return Err(HandshakeError::OneSided("it demands TLS and this process has none"));
            }
            Ok(length) => self.reader.read_exact(&mut bytes[length..]).await?,
            Err(error) => return Err(error.into()),
        };
        Intro::from_bytes(&bytes).ok_or(HandshakeError::Garbage("it is no lampyrid process"))
    }

    pub(crate) async fn say(
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

    pub(crate) async fn hear(
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
    let (ours, theirs) = (mine.versions, theirs.versions);
    // Which one both speak matters as soon as there are two that differ in anything.
    ours.common(theirs).map(|_| ()).ok_or(HandshakeError::Versions { ours, theirs })
}
