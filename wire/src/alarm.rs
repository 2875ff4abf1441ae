use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::Clock;

/// The one timer of an actor: set to its core's next deadline after every step. With no deadline
/// there is no task and no timer, which is what lets an idle cluster be silent.
#[derive(Debug, Default)]
pub struct Alarm {
    deadline: Option<Duration>,
    task: Option<JoinHandle<()>>,
    fired: u64,
}

impl Alarm {
    /// An alarm that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the alarm to `deadline` on `clock`, in place of what it was set to; `None` clears it.
    /// `ring` runs once when the time has come; it should only cast a message. After it rang,
    /// call [`Alarm::rang`] before setting it again.
    pub fn set(
        &mut self,
        clock: &Arc<dyn Clock>,
        deadline: Option<Duration>,
        ring: impl FnOnce() + Send + 'static,
    ) {
        if deadline == self.deadline {
            return;
        }
        self.clear();
        let Some(at) = deadline else { return };
        self.deadline = deadline;
        let sleep = clock.sleep_until(at);
        self.task = Some(tokio::spawn(async move {
            sleep.await;
            ring();
        }));
    }

    /// Notes that the alarm rang, so that the same deadline may be set again.
    pub fn rang(&mut self) {
        self.fired += 1;
        self.clear();
    }

    /// How often it rang: the figure behind "an idle cluster runs no timer".
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.fired
    }

    fn clear(&mut self) {
        self.deadline = None;
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clear();
    }
}
