use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;

/// Ctrl-C and the polite request to end. From its creation on, neither ends the process by itself.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

/// Which of them came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caught {
    Interrupt,
    Terminate,
    Hangup,
}

impl Signals {
    pub(crate) fn catch() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: one(SignalKind::interrupt())?,
            terminate: one(SignalKind::terminate())?,
            hangup: None,
        })
    }

    /// The end of the terminal, or of its session, as well. Most commands just go then; who has
    /// changed the terminal, or has processes of its own, has to put that right first.
    pub(crate) fn with_hangup(self) -> Result<Self, Failure> {
        Ok(Self { hangup: Some(one(SignalKind::hangup())?), ..self })
    }

    /// The next one. Cancellation safe: none is lost.
    pub(crate) async fn next(&mut self) -> Caught {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.terminate.recv() => Caught::Terminate,
            _ = hangup => Caught::Hangup,
        }
    }
}

fn one(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::failed(format!("cannot catch signals: {error}")))
}
