use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::counters::{LinkCounters, count};

/// Fails both halves of a stream from outside. This is how a session is closed: stopping the
/// substrate's session instead would leave socket and queue behind when the peer takes nothing.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    tripped: AtomicBool,
    state: Mutex<SwitchState>,
}

#[derive(Debug, Default)]
struct SwitchState {
    why: Option<&'static str>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Switch {
    /// Fails the stream; the first reason counts.
    pub(crate) fn trip(&self, why: &'static str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.why.get_or_insert(why);
        self.tripped.store(true, Ordering::Release);
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    pub(crate) fn is_tripped(&self) -> bool {
        self.tripped.load(Ordering::Acquire)
    }

    pub(crate) fn why(&self) -> Option<&'static str> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).why
    }

    fn check(&self) -> io::Result<()> {
        if self.is_tripped() { Err(self.error()) } else { Ok(()) }
    }

    fn error(&self) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, self.why().unwrap_or("closed"))
    }

    /// Has the waiting half woken when the switch trips; an error if it has tripped already.
    fn register(
        &self,
        half: fn(&mut SwitchState) -> &mut Option<Waker>,
        cx: &Context<'_>,
    ) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.why {
            Some(why) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)),
            None => {
                let waker = half(&mut state);
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Ok(())
            }
        }
    }
}

/// The stream of an authenticated session, as the substrate takes it.
pub(crate) struct SessionStream {
    pub(crate) label: String,
    pub(crate) reader: GuardedReader,
    pub(crate) writer: GuardedWriter,
}

impl ClusterBidiStream for SessionStream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        (Box::new(self.reader), Box::new(self.writer))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }
}

/// Reads with a limit on silence. Dropping it fails the writing half too, so that the socket goes
/// when the substrate's reader has gone, even if a write to a frozen peer is stuck.
pub(crate) struct GuardedReader {
    inner: BufReader<BoxRead>,
    switch: Arc<Switch>,
    counters: Arc<LinkCounters>,
    limit: Duration,
    last_read: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl GuardedReader {
    pub(crate) fn new(
        inner: BufReader<BoxRead>,
        switch: Arc<Switch>,
        counters: Arc<LinkCounters>,
        limit: Duration,
    ) -> Self {
        let last_read = Instant::now();
        let sleep = Box::pin(tokio::time::sleep_until(last_read + limit));
        Self { inner, switch, counters, limit, last_read, sleep }
    }
}

impl AsyncRead for GuardedReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.switch.check()?;
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut self.inner).poll_read(cx, buffer) {
            self.last_read = Instant::now();
            count(&self.counters.stream_bytes_in, (buffer.filled().len() - before) as u64);
            return Poll::Ready(result);
        }
        self.switch.register(|state| &mut state.reader, cx)?;
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let deadline = self.last_read + self.limit;
            if Instant::now() >= deadline {
                count(&self.counters.silent, 1);
                self.switch.trip("nothing was read for too long");
                return Poll::Ready(Err(self.switch.error()));
            }
            // The timer is moved when it fires, not at every read.
            self.sleep.as_mut().reset(deadline);
        }
    }
}

impl Drop for GuardedReader {
    fn drop(&mut self) {
        self.switch.trip("the connection ended");
    }
}

/// Writes until the switch trips.
pub(crate) struct GuardedWriter {
    inner: BoxWrite,
    switch: Arc<Switch>,
    counters: Arc<LinkCounters>,
}

impl GuardedWriter {
    pub(crate) fn new(inner: BoxWrite, switch: Arc<Switch>, counters: Arc<LinkCounters>) -> Self {
        Self { inner, switch, counters }
    }

    fn guard<T>(&self, cx: &Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_pending() {
            self.switch.register(|state| &mut state.writer, cx)?;
        }
        poll
    }
}

impl AsyncWrite for GuardedWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.switch.check()?;
        let poll = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &poll {
            count(&self.counters.stream_bytes_out, *written as u64);
        }
        self.guard(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.switch.check()?;
        let poll = Pin::new(&mut self.inner).poll_flush(cx);
        self.guard(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.guard(cx, poll)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn halves(limit: Duration) -> (GuardedReader, GuardedWriter, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(16);
        let (reader, writer) = tokio::io::split(ours);
        let switch = Arc::new(Switch::default());
        let counters = Arc::new(LinkCounters::default());
        let reader: BoxRead = Box::new(reader);
        let reader = BufReader::new(reader);
        (
            GuardedReader::new(reader, Arc::clone(&switch), Arc::clone(&counters), limit),
            GuardedWriter::new(Box::new(writer), switch, counters),
            theirs,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn silence_fails_both_halves_and_a_byte_in_time_prevents_it() {
        let (mut reader, mut writer, mut theirs) = halves(Duration::from_secs(5));
        let read = tokio::spawn(async move {
            assert_eq!(reader.read_u8().await.unwrap(), 7);
            (reader.read_u8().await.unwrap_err().kind(), reader)
        });
        tokio::time::sleep(Duration::from_secs(4)).await;
        theirs.write_u8(7).await.unwrap();
        let started = Instant::now();
        let (kind, _reader) = read.await.unwrap();
        assert_eq!(kind, io::ErrorKind::ConnectionAborted);
        assert_eq!(started.elapsed().as_secs(), 5);
        assert!(writer.write_all(&[1]).await.is_err());
    }

    #[tokio::test]
    async fn tripping_wakes_a_stuck_writer() {
        let (reader, mut writer, _theirs) = halves(Duration::from_secs(5));
        let stuck = tokio::spawn(async move { writer.write_all(&[0; 64]).await });
        tokio::task::yield_now().await;
        drop(reader);
        assert!(stuck.await.unwrap().is_err());
    }
}
