//! What two processes say before they trust each other, as plain data and MACs; who says what when
//! is in `handshake`.
//!
//! Both begin with an [`Intro`] of fixed size. From then on every message is sealed: an
//! HMAC-SHA256, keyed with the cookie, over everything both sides have said so far (both nonces,
//! both hellos) and the role of the speaker, so nothing can be replayed, reflected or mixed from two
//! handshakes. The cookie itself never leaves the process.
//!
//! The dialler proves itself first and the acceptor tells nothing about itself to a stranger. The
//! dialler does show its hello and one MAC to whoever listens at the address, who may try cookies
//! against it offline: that is why a cookie has to be long and random.

use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use lampyrid_membership::RefusalReason;
use lampyrid_wire::{ClusterId, Peer, Versions, decode, encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::config::Cookie;
use super::limits::MAX_HELLO_BYTES;

const MAGIC: [u8; 8] = *b"LAMPYRID";
pub(crate) const INTRO_BYTES: usize = 8 + 2 + 2 + 32;
pub(crate) const MAC_BYTES: usize = 32;

/// What each frame of a session carries in front, so that the receiver knows which session it came
/// through. Each side has its own; both are known to the two ends only.
pub(crate) type Token = [u8; 16];

/// The first thing each side sends: who speaks which versions, before anything is said in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Intro {
    pub(crate) versions: Versions,
    pub(crate) nonce: [u8; 32],
}

impl Intro {
    pub(crate) fn fresh() -> Self {
        Self { versions: spoken(), nonce: rand::random() }
    }

    pub(crate) fn to_bytes(self) -> [u8; INTRO_BYTES] {
        let mut bytes = [0; INTRO_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.versions.oldest.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.versions.newest.to_be_bytes());
        bytes[12..].copy_from_slice(&self.nonce);
        bytes
    }

    /// `None`: whoever it is, it is no lampyrid process.
    pub(crate) fn from_bytes(bytes: &[u8; INTRO_BYTES]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (oldest, rest) = rest.split_first_chunk::<2>()?;
        let (newest, nonce) = rest.split_first_chunk::<2>()?;
        let nonce = nonce.first_chunk::<32>()?;
        let [oldest, newest] = [oldest, newest].map(|version| u16::from_be_bytes(*version));
        (*magic == MAGIC).then_some(Self { versions: Versions { oldest, newest }, nonce: *nonce })
    }
}

/// The versions that this process says it speaks.
#[cfg(not(feature = "fault-points"))]
const fn spoken() -> Versions {
    Versions::OURS
}

/// The same, or for tests of other releases what `LAMPYRID_TEST_PROTOCOL` says: `OLDEST-NEWEST`.
#[cfg(feature = "fault-points")]
fn spoken() -> Versions {
    let claimed = std::env::var("LAMPYRID_TEST_PROTOCOL").ok();
    let claimed = claimed.as_deref().and_then(|text| text.split_once('-'));
    claimed.map_or(Versions::OURS, |(oldest, newest)| Versions {
        oldest: oldest.parse().unwrap_or_default(),
        newest: newest.parse().unwrap_or_default(),
    })
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The side that opened the connection.
    Dialler,
    /// The side that accepted it.
    Acceptor,
}

impl Side {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }

    const fn label(self) -> &'static [u8] {
        match self {
            Self::Dialler => b"dialler",
            Self::Acceptor => b"acceptor",
        }
    }
}

/// Who a process says it is. To be believed as far as the cookie is: any holder of the cookie can
/// claim any id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// What the process is called; with TLS its certificate has to say so, too.
    pub(crate) name: String,
    pub(crate) cluster_name: String,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) peer: Peer,
    pub(crate) advertised: SocketAddr,
}

/// What the side that does not arbitrate knows of its sessions with the side that does; see
/// `LinkCore` for the rule it serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Statement {
    /// The highest decision it has heard.
    pub(crate) seen: u64,
    /// The decision of the session that it holds, if it holds one.
    pub(crate) live: Option<u64>,
}

/// The messages after the intros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Dialler: who I am.
    Proof(Hello),
    /// Acceptor: who I am and, now that I know you, whether I refuse; for want of room, who else
    /// may have some.
    Answer(Hello, Option<RefusalReason>, Statement, Vec<SocketAddr>),
    /// Dialler: the same; its MAC is the first of the dialler's that covers the acceptor's hello.
    Confirm(Option<RefusalReason>, Statement),
    /// The arbiter: what becomes of this connection.
    Verdict(Verdict),
}

/// What the arbiter decides about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// It is the session of the pair from now on; every older one is over.
    Go(u64),
    /// Another connection stands.
    Duplicate,
    /// No session.
    Refused(RefusalReason),
}

/// Why a sealed message is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SealError {
    /// The MAC is wrong: another cookie, or bytes were changed.
    Mac,
    /// The MAC is right and the message makes no sense.
    Malformed,
    /// It does not fit.
    TooLong,
}

/// Everything said so far, and the key to seal what comes next.
pub(crate) struct Transcript {
    key: Cookie,
    said: Vec<u8>,
}

impl Transcript {
    /// `binding` ties it to the connection below, if that has secrets of its own.
    pub(crate) fn new(key: Cookie, dialler: Intro, acceptor: Intro, binding: &[u8]) -> Self {
        Self { key, said: [&dialler.to_bytes()[..], &acceptor.to_bytes(), binding].concat() }
    }

    /// The message and its MAC, to be sent.
    pub(crate) fn seal(&mut self, side: Side, message: &Message) -> Result<Vec<u8>, SealError> {
        let bytes = encode(message).map_err(|_| SealError::Malformed)?;
        self.seal_bytes(side, bytes)
    }

    /// The same of a message that is bytes already.
    pub(super) fn seal_bytes(
        &mut self,
        side: Side,
        mut bytes: Vec<u8>,
    ) -> Result<Vec<u8>, SealError> {
        if bytes.len() + MAC_BYTES > MAX_HELLO_BYTES {
            return Err(SealError::TooLong);
        }
        self.absorb(side, &bytes);
        bytes.extend_from_slice(&self.mac(b"seal").finalize().into_bytes());
        Ok(bytes)
    }

    /// The message out of what was received. The comparison takes constant time, and nothing is
    /// decoded before the MAC has been checked.
    pub(crate) fn open(&mut self, side: Side, bytes: &[u8]) -> Result<Message, SealError> {
        let (body, mac) = bytes.split_last_chunk::<MAC_BYTES>().ok_or(SealError::Malformed)?;
        self.absorb(side, body);
        self.mac(b"seal").verify_slice(mac).map_err(|_| SealError::Mac)?;
        decoded(body)
    }

    /// The token that `side` puts on its frames.
    pub(crate) fn token(&self, side: Side) -> Token {
        let mac = self.mac(b"token").chain_update(side.label()).finalize().into_bytes();
        let mut token = Token::default();
        token.copy_from_slice(&mac[..size_of::<Token>()]);
        token
    }

    fn absorb(&mut self, side: Side, body: &[u8]) {
        self.said.extend_from_slice(side.label());
        self.said.extend_from_slice(&(body.len() as u64).to_be_bytes());
        self.said.extend_from_slice(body);
    }

    fn mac(&self, purpose: &[u8]) -> Hmac<Sha256> {
        self.key.mac(purpose).chain_update(&self.said)
    }
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SealError> {
    decode(bytes).map_err(|_| SealError::Malformed)
}

impl Cookie {
    /// A MAC under this cookie for one purpose.
    pub(crate) fn mac(&self, purpose: &[u8]) -> Hmac<Sha256> {
        // Hashed first: a key of the digest's block size cannot be refused.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&Sha256::digest(self.secret()));
        Hmac::<Sha256>::new(&block.into())
            .chain_update(b"lampyrid/")
            .chain_update(purpose)
            .chain_update(b"/")
    }

    /// The secret for the substrate's own handshake, derived so that breaking that one (its
    /// challenge is 32 bits of MD5) does not give the cookie away.
    pub(crate) fn for_substrate(&self) -> String {
        let mac = self.mac(b"substrate").finalize().into_bytes();
        mac.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::{BootNonce, Incarnation, ProcessId};

    use super::*;

    fn cookie(text: &str) -> Cookie {
        Cookie::new(text.as_bytes().to_vec()).unwrap()
    }

    fn hello() -> Hello {
        Hello {
            name: "n".repeat(crate::config::MAX_NAME_BYTES),
            cluster_name: "x".repeat(super::super::limits::MAX_CLUSTER_NAME_BYTES),
            cluster: Some(ClusterId::from_u128(5)),
            peer: Peer {
                process: ProcessId::from_u128(1),
                incarnation: Incarnation(u64::MAX),
                nonce: BootNonce(u64::MAX),
            },
            advertised: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap(),
        }
    }

    fn pair(a: &str, b: &str) -> (Transcript, Transcript) {
        let (dialler, acceptor) = (Intro::fresh(), Intro::fresh());
        (
            Transcript::new(cookie(a), dialler, acceptor, b"one"),
            Transcript::new(cookie(b), dialler, acceptor, b"one"),
        )
    }

    #[test]
    fn both_sides_read_each_other_and_agree_on_the_tokens() {
        let (mut ours, mut theirs) = pair("correct horse", "correct horse");
        let proof = Message::Proof(hello());
        let sealed = ours.seal(Side::Dialler, &proof).unwrap();
        assert_eq!(theirs.open(Side::Dialler, &sealed).unwrap(), proof);
        let answer = Message::Answer(
            hello(),
            Some(RefusalReason::TooManySessions),
            Statement { seen: u64::MAX, live: Some(u64::MAX) },
            vec![hello().advertised; super::super::limits::MAX_HINTED],
        );
        let sealed = theirs.seal(Side::Acceptor, &answer).unwrap();
        assert_eq!(ours.open(Side::Acceptor, &sealed).unwrap(), answer);
        assert_eq!(ours.token(Side::Dialler), theirs.token(Side::Dialler));
        assert_ne!(ours.token(Side::Dialler), ours.token(Side::Acceptor));
    }

    #[test]
    fn another_cookie_another_role_and_a_changed_byte_are_noticed() {
        let proof = Message::Proof(hello());
        let (mut ours, mut theirs) = pair("correct horse", "battery staple");
        let sealed = ours.seal(Side::Dialler, &proof).unwrap();
        assert_eq!(theirs.open(Side::Dialler, &sealed), Err(SealError::Mac));

        let (mut ours, mut theirs) = pair("correct horse", "correct horse");
        let sealed = ours.seal(Side::Dialler, &proof).unwrap();
        assert_eq!(theirs.open(Side::Acceptor, &sealed), Err(SealError::Mac), "reflected");

        for at in 0..sealed.len() {
            let (mut ours, mut theirs) = pair("correct horse", "correct horse");
            let mut sealed = ours.seal(Side::Dialler, &proof).unwrap();
            sealed[at] ^= 1;
            assert_eq!(theirs.open(Side::Dialler, &sealed), Err(SealError::Mac));
        }
    }

    #[test]
    fn a_message_of_one_handshake_is_worth_nothing_in_another() {
        let proof = Message::Proof(hello());
        let (mut ours, _) = pair("correct horse", "correct horse");
        let (_, mut others) = pair("correct horse", "correct horse");
        let sealed = ours.seal(Side::Dialler, &proof).unwrap();
        assert_eq!(others.open(Side::Dialler, &sealed), Err(SealError::Mac));
    }

    #[test]
    fn a_hello_relayed_into_another_secured_connection_is_worth_nothing() {
        let (dialler, acceptor) = (Intro::fresh(), Intro::fresh());
        let mut ours = Transcript::new(cookie("correct horse"), dialler, acceptor, b"to a thief");
        let mut theirs = Transcript::new(cookie("correct horse"), dialler, acceptor, b"to a peer");
        let sealed = ours.seal(Side::Dialler, &Message::Proof(hello())).unwrap();
        assert_eq!(theirs.open(Side::Dialler, &sealed), Err(SealError::Mac));
    }

    #[test]
    fn the_cookie_is_never_shown() {
        assert!(!format!("{:?}", cookie("correct horse")).contains("correct"));
    }

    #[test]
    fn an_intro_survives_and_garbage_is_none() {
        let intro = Intro::fresh();
        assert_eq!(Intro::from_bytes(&intro.to_bytes()), Some(intro));
        assert_eq!(Intro::from_bytes(b"GET / HTTP/1.1\r\nHost: localhost:80\r\n\r\n      "), None);
    }
}
