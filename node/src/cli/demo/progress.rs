use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep_until};

use super::tally::Tally;

/// How often the bar moves.
const FRAME: Duration = Duration::from_millis(100);

/// How often a line is written where there is no terminal.
const LINE: Duration = Duration::from_secs(1);

/// What people see while it runs, on stderr: a bar on a terminal, plain lines elsewhere.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    length: Duration,
}

impl Progress {
    pub(crate) fn new(length: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
            let bar = ProgressBar::new(millis);
            // A template that does not parse leaves the default one.
            if let Ok(style) = ProgressStyle::with_template("[{bar:40}] {percent:>3}%  {msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Self { bar, length }
    }

    /// Says what happens now.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // Nobody may be left to read it.
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    /// Shows the moves until a moment.
    pub(crate) async fn follow(&self, start: Instant, tally: &Tally, until: Instant) {
        let pause = if self.bar.is_some() { FRAME } else { LINE };
        loop {
            let now = Instant::now();
            self.show(now - start, tally);
            if now >= until {
                return;
            }
            sleep_until(until.min(now + pause)).await;
        }
    }

    fn show(&self, elapsed: Duration, tally: &Tally) {
        let text = format!("{} entities moved", tally.committed());
        match &self.bar {
            Some(bar) => {
                bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
                bar.set_message(text);
            }
            None => {
                self.say(&format!("{:.0} of {:.0?}: {text}", elapsed.as_secs_f64(), self.length));
            }
        }
    }

    /// Removes the bar.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
