use std::sync::mpsc::{Receiver, TryRecvError, channel};

use super::JournalError;
use super::index::Index;
use super::take::Take;

/// What is done in the background.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Where that is: a thread of its own, unless a test wants it elsewhere.
pub(crate) type Background = fn(Job) -> Result<(), JournalError>;

/// Lets the store take what it is given, one after the other, and knows what the store holds.
///
/// Dropping it waits for what is under way: whoever opens the store next has it alone.
#[derive(Debug)]
pub(crate) struct Taker(State);

#[derive(Debug)]
enum State {
    Idle(Index),
    Busy(Receiver<Result<Index, JournalError>>),
    /// It is not known what the store holds.
    Failed,
}

impl Taker {
    pub(crate) fn new(index: Index) -> Self {
        Self(State::Idle(index))
    }

    /// Bytes of the log, and those that are live.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> (u64, u64) {
        match &self.0 {
            State::Idle(index) => (index.total_bytes(), index.live_bytes()),
            State::Busy(_) | State::Failed => (0, 0),
        }
    }

    /// Lets the store take this now, after what is under way.
    ///
    /// # Errors
    /// The store's, also about what was under way. Nothing else is to be taken then.
    pub(crate) fn run(&mut self, take: Take) -> Result<(), JournalError> {
        let mut index = self.index()?;
        take.run(&mut index)?;
        self.0 = State::Idle(index);
        Ok(())
    }

    /// Lets the store begin to take this, after what is under way.
    ///
    /// # Errors
    /// As [`Taker::run`], but about this only later.
    pub(crate) fn begin(&mut self, take: Take, background: Background) -> Result<(), JournalError> {
        let mut index = self.index()?;
        let (done, result) = channel();
        background(Box::new(move || {
            let taken = take.run(&mut index).map(|()| index);
            // Nobody waits for it any more if the journal is gone.
            let _ = done.send(taken);
        }))?;
        self.0 = State::Busy(result);
        Ok(())
    }

    /// True if something was under way and has been taken since. Never waits.
    ///
    /// # Errors
    /// As [`Taker::run`].
    pub(crate) fn poll(&mut self) -> Result<bool, JournalError> {
        let State::Busy(result) = &self.0 else { return Ok(false) };
        match result.try_recv() {
            Ok(taken) => self.done(taken).map(|()| true),
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => self.done(Err(given_up())).map(|()| true),
        }
    }

    /// The same, after waiting for it.
    ///
    /// # Errors
    /// As [`Taker::run`].
    pub(crate) fn wait(&mut self) -> Result<bool, JournalError> {
        let State::Busy(result) = &self.0 else { return Ok(false) };
        let taken = result.recv().unwrap_or_else(|_| Err(given_up()));
        self.done(taken).map(|()| true)
    }

    fn done(&mut self, taken: Result<Index, JournalError>) -> Result<(), JournalError> {
        self.0 = State::Failed;
        self.0 = State::Idle(taken?);
        Ok(())
    }

    fn index(&mut self) -> Result<Index, JournalError> {
        self.wait()?;
        match std::mem::replace(&mut self.0, State::Failed) {
            State::Idle(index) => Ok(index),
            State::Busy(_) | State::Failed => Err(given_up()),
        }
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        // Its outcome is read from the store when that is opened again.
        let _ = self.wait();
    }
}

fn given_up() -> JournalError {
    JournalError::Store("the store gave up while it took the redo log".to_owned())
}

/// A thread for each, some ten a second at most.
pub(crate) fn in_thread(job: Job) -> Result<(), JournalError> {
    let thread = std::thread::Builder::new().name("lampyrid-take".to_owned());
    thread.spawn(job).map(drop).map_err(|error| JournalError::Store(error.to_string()))
}

/// At once, so that the same happens each time.
#[cfg(any(test, feature = "testkit"))]
pub(crate) fn at_once(job: Job) -> Result<(), JournalError> {
    job();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::store_file::StoreFile;
    use super::*;
    use crate::journal::redo::Pending;

    fn take() -> Take {
        let backend = redb::backends::InMemoryBackend::new();
        let database = redb::Database::builder().create_with_backend(backend).unwrap();
        let store = std::sync::Arc::new(StoreFile::from(database));
        Take { store, rows: Pending::new(), token: Some(2), dead_bytes: 0 }
    }

    #[test]
    fn a_store_that_gave_up_is_an_error_now_and_afterwards() {
        let mut taker = Taker::new(Index::starting_at(0));
        taker.begin(take(), |job| in_thread(Box::new(move || drop(job)))).unwrap();
        assert!(taker.wait().is_err());
        assert!(taker.run(take()).is_err());
        assert_eq!(taker.poll(), Ok(false));
    }

    #[test]
    fn what_cannot_be_begun_is_an_error_at_once() {
        let mut taker = Taker::new(Index::starting_at(0));
        assert!(taker.begin(take(), |_| Err(given_up())).is_err());
        assert!(taker.run(take()).is_err());
    }

    #[test]
    fn what_is_under_way_is_over_before_the_next_begins() {
        let mut taker = Taker::new(Index::starting_at(0));
        assert_eq!(taker.wait(), Ok(false));
        taker.begin(take(), in_thread).unwrap();
        taker.begin(take(), in_thread).unwrap();
        taker.run(take()).unwrap();
        assert_eq!(taker.poll(), Ok(false));
    }
}
