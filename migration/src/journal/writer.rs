use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Journal, JournalError, JournalSource};
use crate::{Image, Record, fault};

/// Transactions that may wait for a sync; as many as steps may wait for one.
pub(crate) const QUEUE_MAX: usize = 16_384;

/// Transactions that share one sync at most.
const GROUP_MAX: usize = 1_024;

/// The least time from one sync to the next while several transactions share each. A sync costs
/// the machine about as much work as all else of a small move, so where many moves are under way
/// fewer of them leave more for the moves; one that is alone never waits. (Group commit with a
/// delay, after Helland and others, 1987.)
const PACE: Duration = Duration::from_micros(700);

/// How long nothing comes before what is durable is settled.
const SETTLE_AFTER: Duration = Duration::from_millis(250);

/// What the writer says: everything up to that transaction is durable, or it failed.
pub(crate) type Report = Box<dyn Fn(Result<u64, JournalError>) + Send>;

/// The thread that makes transactions durable. What arrives during a sync shares the next one.
/// Dropping this ends the thread when it has done what it was given.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: SyncSender<(u64, Vec<Record>)>,
}

impl Writer {
    /// Starts the thread: it opens the journal (waiting until nobody else has it), replays it, and
    /// then commits and reports.
    pub(crate) fn start(
        source: &JournalSource,
        report: Report,
    ) -> Result<(Self, oneshot::Receiver<Result<Image, JournalError>>), JournalError> {
        let (queue, transactions) = sync_channel(QUEUE_MAX);
        let (replayed, image) = oneshot::channel();
        let source = source.clone();
        std::thread::Builder::new()
            .name("lampyrid-journal".to_owned())
            .spawn(move || {
                let _lease = source.lease.lock().unwrap_or_else(PoisonError::into_inner);
                let opened = (source.open)().and_then(|mut journal| {
                    let image = journal.replay()?;
                    Ok((journal, image))
                });
                match opened {
                    Ok((mut journal, image)) => {
                        if replayed.send(Ok(image)).is_ok() {
                            write(&mut *journal, &transactions, &report);
                        }
                    }
                    Err(error) => {
                        // Nobody left to tell means nobody waits.
                        let _ = replayed.send(Err(error));
                    }
                }
            })
            .map_err(|error| JournalError::Store(error.to_string()))?;
        Ok((Self { queue }, image))
    }

    /// Hands over one transaction. Never waits.
    pub(crate) fn append(&self, number: u64, records: Vec<Record>) -> Result<(), JournalError> {
        self.queue.try_send((number, records)).map_err(|error| match error {
            TrySendError::Full(_) => JournalError::Store("too many transactions wait".to_owned()),
            TrySendError::Disconnected(_) => JournalError::Stopped,
        })
    }
}

fn write(journal: &mut dyn Journal, queue: &Receiver<(u64, Vec<Record>)>, report: &Report) {
    let mut due = None;
    while let Some((mut last, first)) = next(journal, queue, report) {
        if let Some(wait) = due.and_then(|due: Instant| due.checked_duration_since(Instant::now()))
        {
            std::thread::sleep(wait);
        }
        let began = Instant::now();
        let mut group = vec![first];
        while group.len() < GROUP_MAX {
            let Ok((number, records)) = queue.try_recv() else { break };
            last = number;
            group.push(records);
        }
        due = (group.len() > 1).then_some(began + PACE);
        fault::records(&group, false);
        let done = journal.commit(&group);
        if done.is_ok() {
            fault::records(&group, true);
        }
        let failed = done.is_err();
        report(done.map(|()| last));
        if failed {
            return;
        }
    }
}

/// The next transaction. What is durable is settled once nothing has come for a while, and at the
/// end.
fn next(
    journal: &mut dyn Journal,
    queue: &Receiver<(u64, Vec<Record>)>,
    report: &Report,
) -> Option<(u64, Vec<Record>)> {
    match queue.recv_timeout(SETTLE_AFTER) {
        Ok(next) => return Some(next),
        Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => {
            // Nobody is left to be told of an error, and all of it is durable anyway.
            let _ = journal.settle();
            return None;
        }
    }
    if let Err(error) = journal.settle() {
        report(Err(error));
        return None;
    }
    queue.recv().ok()
}
