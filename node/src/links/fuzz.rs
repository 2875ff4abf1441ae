//! What fuzzers feed the links with: bytes of whoever connects.

use std::io::Cursor;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use lampyrid_wire::{Versions, decode, encode};

use super::config::Cookie;
use super::handshake_io::Halves;
use super::hello::{Intro, Message, Side, Transcript};
use super::one_sided;
use super::transport::WireStream;

/// All bytes of a connection before whoever is at its other end has proved anything.
///
/// # Panics
/// If anything was taken for a message of somebody who knows the cookie.
pub fn stranger(bytes: &[u8]) {
    if let Some(&first) = bytes.first() {
        let _ = [false, true].map(|secure| one_sided::fault(first, secure));
    }
    for side in [Side::Dialler, Side::Acceptor] {
        let reader = Box::new(Cursor::new(bytes.to_vec()));
        let writer = Box::new(tokio::io::sink());
        let mut halves = Halves::new(WireStream { reader, writer, identity: None });
        let heard = at_once(async {
            let mut transcript = halves.introduce(side, cookie(), &[]).await?;
            halves.hear(&mut transcript, side).await
        });
        assert!(heard.is_err(), "nobody proves a cookie that he does not know");
    }
}

/// A message of the handshake, as it is and again as if it was sealed by somebody who knows the
/// cookie: all that a MAC keeps out has to be survived as well.
///
/// # Panics
/// If what was understood does not mean the same when it is written and read again.
pub fn hello(bytes: &[u8]) {
    let intro = Intro { versions: Versions::OURS, nonce: [7; 32] };
    let transcript = || Transcript::new(cookie(), intro, intro, &[]);
    let opened = transcript().open(Side::Dialler, bytes);
    assert!(opened.is_err(), "nobody seals without the cookie");
    let Ok(sealed) = transcript().seal_bytes(Side::Dialler, bytes.to_vec()) else { return };
    if let Ok(message) = transcript().open(Side::Dialler, &sealed) {
        let again = encode(&message).and_then(|bytes| decode::<Message>(&bytes));
        assert_eq!(again.as_ref(), Ok(&message), "what is written is what was read");
    }
}

fn cookie() -> Cookie {
    match Cookie::new(b"a cookie of fuzzers".to_vec()) {
        Ok(cookie) => cookie,
        Err(error) => unreachable!("{error}"),
    }
}

/// The result of what has all it waits for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("memory never waits"),
    }
}

/// What fuzzers begin with.
#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    use lampyrid_membership::RefusalReason;
    use lampyrid_wire::{BootNonce, ClusterId, Incarnation, Peer, ProcessId};

    use super::hello::{Hello, Statement, Verdict};

    let (process, nonce) = (ProcessId::from_u128(1), BootNonce(7));
    let who = Hello {
        name: "a".to_owned(),
        cluster_name: "lampyrid".to_owned(),
        cluster: Some(ClusterId::from_u128(5)),
        peer: Peer { process, incarnation: Incarnation(1), nonce },
        advertised: "[::1]:7001".parse().unwrap(),
    };
    let stated = Statement { seen: 3, live: Some(2) };
    let full = (Some(RefusalReason::TooManySessions), vec!["10.0.0.1:7001".parse().unwrap()]);
    let messages = [
        ("proof", Message::Proof(who.clone())),
        ("answer", Message::Answer(who.clone(), None, stated, Vec::new())),
        ("full", Message::Answer(who, full.0, stated, full.1)),
        ("confirm", Message::Confirm(None, stated)),
        ("verdict", Message::Verdict(Verdict::Go(4))),
    ];
    let mut seeds = Vec::new();
    let intro = Intro { versions: Versions::OURS, nonce: [7; 32] };
    for (name, message) in messages {
        let mut transcript = Transcript::new(cookie(), intro, intro, &[]);
        let sealed = transcript.seal(Side::Dialler, &message).unwrap();
        let length = u16::try_from(sealed.len()).unwrap().to_be_bytes();
        seeds.push(("stranger", name, [&intro.to_bytes()[..], &length, &sealed].concat()));
        seeds.push(("hello", name, encode(&message).unwrap()));
    }
    seeds.push(("stranger", "http", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()));
    seeds.push(("stranger", "alert", crate::tls::record::alert(70).to_vec()));
    seeds
}
