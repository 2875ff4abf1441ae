use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::event_reader::Event;
use super::look::Look;
use super::rates::Rates;
use super::story::tell;

/// Events that are kept: more than any terminal has lines for.
const MAX_EVENTS: usize = 200;

/// What can happen while a process is watched.
#[derive(Debug)]
pub(super) enum Input {
    Looked(Box<Look>),
    /// A look brought nothing, and why.
    Unreachable(String),
    /// A stream of events was opened; there may be none for long.
    EventsOpened,
    Event(Event),
    /// The stream of events ended, and why. It will be opened again.
    EventsBroken(String),
    Key(KeyEvent),
    /// Time has passed.
    Tick,
}

/// An event as it is shown.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) at: Instant,
    pub(super) kind: String,
    pub(super) text: String,
}

/// All that is shown. It is told the time and does nothing by itself.
#[derive(Debug)]
pub(super) struct Model {
    interval: Duration,
    now: Instant,
    look: Look,
    looked_at: Instant,
    rates: Rates,
    trouble: Option<String>,
    events: VecDeque<Told>,
    events_broken: Option<String>,
    is_over: bool,
}

impl Model {
    pub(super) fn new(interval: Duration, look: Look, now: Instant) -> Self {
        Self {
            interval,
            now,
            look,
            looked_at: now,
            rates: Rates::default(),
            trouble: None,
            events: VecDeque::new(),
            events_broken: None,
            is_over: false,
        }
    }

    pub(super) fn step(&mut self, now: Instant, input: Input) {
        self.now = now;
        match input {
            Input::Looked(look) => {
                let time = now.saturating_duration_since(self.looked_at);
                self.rates = Rates::between(&self.look, &look, time);
                self.look = *look;
                self.looked_at = now;
                self.trouble = None;
            }
            Input::Unreachable(why) => {
                self.trouble = Some(why);
                // Nothing is known about now.
                self.rates = Rates::default();
            }
            Input::Event(event) => {
                let text = tell(&event, &self.look.view);
                self.events.truncate(MAX_EVENTS - 1);
                self.events.push_front(Told { at: now, kind: event.kind, text });
            }
            Input::EventsOpened => self.events_broken = None,
            Input::EventsBroken(why) => self.events_broken = Some(why),
            Input::Key(key) => self.is_over |= ends(key),
            Input::Tick => {}
        }
    }

    /// True once it was asked to end.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// The last answers.
    pub(super) fn look(&self) -> &Look {
        &self.look
    }

    pub(super) fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Why the last look brought nothing, and how old the answers are that are shown.
    pub(super) fn trouble(&self) -> Option<(&str, Duration)> {
        let why = self.trouble.as_deref()?;
        Some((why, self.now.saturating_duration_since(self.looked_at)))
    }

    /// The newest first, with their ages.
    pub(super) fn events(&self) -> impl Iterator<Item = (Duration, &Told)> {
        self.events.iter().map(|told| (self.now.saturating_duration_since(told.at), told))
    }

    /// Why no events come just now.
    pub(super) fn events_broken(&self) -> Option<&str> {
        self.events_broken.as_deref()
    }
}

/// In the mode that the terminal is in, ctrl-C is a key like the others.
fn ends(key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

/// Looks and events for tests of what is made of them.
#[cfg(test)]
pub(super) mod samples {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::watch::figures::Figures;

    pub(in crate::cli::watch) fn id(n: usize) -> String {
        format!("0000000{}-0000-4000-8000-{n:012}", n % 10)
    }

    /// A view of so many members, with a bubble each; the second coordinates, the first answers.
    pub(in crate::cli::watch) fn look(members: usize, committed: u64) -> Look {
        let member = |n: usize| {
            json!({
                "id": id(n), "incarnation": 1, "name": format!("member-{n}"),
                "cluster": "127.0.0.1:7001", "admin": null,
            })
        };
        let view = json!({
            "epoch": 7, "id": "0123456789abcdef0123", "status": "active", "self": id(0),
            "incarnation": 1, "coordinator": id(1),
            "members": (0..members).map(member).collect::<Vec<_>>(),
        });
        let entry = |n: usize| json!({ "id": id(n), "bubbles": [id(n)] });
        let topology = json!({ "processes": (0..members).map(entry).collect::<Vec<_>>() });
        let audit = json!({
            "entities": { "active": 30, "frozen": 2, "staged": 1 },
            "migrated": {
                "started": committed + 9, "committed": committed, "aborted": 4, "in_doubt": 3,
                "replayed": 0,
            },
        });
        Look {
            url: "http://127.0.0.1:8001".to_owned(),
            view: serde_json::from_value(view).unwrap(),
            topology: serde_json::from_value(topology).unwrap(),
            audit: Some(serde_json::from_value(audit).unwrap()),
            figures: Some(Figures { messages_sent: committed * 2, ..Figures::default() }),
        }
    }

    pub(in crate::cli::watch) fn event(kind: &str, data: Value) -> Input {
        Input::Event(Event { id: Some(1), kind: kind.to_owned(), data })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::samples::{event, id, look};
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn rates_are_differences_between_looks_of_one_life() {
        let start = Instant::now();
        let mut model = Model::new(seconds(1), look(3, 10), start);
        assert_eq!(model.rates().moves, None);
        model.step(start + seconds(2), Input::Looked(Box::new(look(3, 30))));
        assert_eq!(model.rates().moves, Some(10.0));
        assert_eq!(model.rates().messages_sent, Some(20.0));
        let mut again = look(3, 40);
        again.view.incarnation = 2;
        model.step(start + seconds(3), Input::Looked(Box::new(again)));
        assert_eq!(*model.rates(), Rates::default(), "it counts anew");
        let mut silent = look(3, 50);
        (silent.view.incarnation, silent.audit) = (2, None);
        model.step(start + seconds(4), Input::Looked(Box::new(silent)));
        assert_eq!(model.rates().moves, None);
        assert_eq!(model.rates().messages_sent, Some(20.0));
    }

    #[test]
    fn trouble_lasts_until_the_next_answer() {
        let start = Instant::now();
        let mut model = Model::new(seconds(1), look(3, 0), start);
        model.step(start + seconds(1), Input::Unreachable("no answer".to_owned()));
        model.step(start + seconds(5), Input::Tick);
        assert_eq!(model.trouble(), Some(("no answer", seconds(5))));
        model.step(start + seconds(6), Input::Looked(Box::new(look(3, 0))));
        assert_eq!(model.trouble(), None);
    }

    #[test]
    fn the_last_events_are_kept_and_told_in_words() {
        let start = Instant::now();
        let mut model = Model::new(seconds(1), look(3, 0), start);
        model.step(start, Input::EventsBroken("it has ended".to_owned()));
        assert_eq!(model.events_broken(), Some("it has ended"));
        model.step(start, Input::EventsOpened);
        assert_eq!(model.events_broken(), None);
        for epoch in 0..MAX_EVENTS + 50 {
            let view = json!({"epoch": epoch, "status": "active", "members": [1, 2]});
            model.step(start, event("view", view));
        }
        assert_eq!(model.events().count(), MAX_EVENTS);
        for (kind, data, text) in [
            ("coordinator", json!({"epoch": 7, "coordinator": id(1)}), "member-1 since epoch 7"),
            ("coordinator", json!({"epoch": 7, "coordinator": null}), "none"),
            (
                "topology",
                json!({"processes": [{"bubbles": [1, 2]}, {"bubbles": [3]}]}),
                "2 processes, 3 bubbles",
            ),
            (
                "migration",
                json!({"saga": id(4), "state": "in_doubt", "committed": 1, "aborted": 2, "pending": 3}),
                "00000004 in doubt: committed 1  aborted 2  pending 3",
            ),
            ("gap", json!({}), "events were left out; the current state follows"),
            ("topology", json!(null), "too large to be shown"),
            ("of a newer process", json!({"a": 1}), ""),
        ] {
            model.step(start + seconds(3), event(kind, data));
            let (age, told) = model.events().next().unwrap();
            assert_eq!((age, told.kind.as_str(), told.text.as_str()), (seconds(0), kind, text));
        }
    }

    #[test]
    fn only_the_keys_that_end_it_end_it() {
        let start = Instant::now();
        let after = |code, modifiers| {
            let mut model = Model::new(seconds(1), look(3, 0), start);
            model.step(start, Input::Key(KeyEvent::new(code, modifiers)));
            model.is_over()
        };
        assert!(after(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(after(KeyCode::Esc, KeyModifiers::NONE));
        assert!(after(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!after(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!after(KeyCode::Enter, KeyModifiers::NONE));
    }
}
