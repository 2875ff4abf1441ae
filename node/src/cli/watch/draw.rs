//! The model as lines of text, as many as the terminal has room for.

use std::collections::BTreeMap;
use std::time::Duration;

use lampyrid_wire::ProcessId;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

use super::model::Model;
use crate::cli::answers::{Audit, View};

/// From so many lines on, the parts are set apart by blank ones.
const ROOMY: usize = 20;

/// The most lines that the reason of a failure may take.
const MAX_TROUBLE_LINES: usize = 3;

/// A longer name is cut, so that the id stays on the screen.
const MAX_NAME: usize = 24;

/// Draws everything. What there is no room for is left out: members and events first, and of these
/// it is said how many.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let (height, width) = (usize::from(frame.area().height), usize::from(frame.area().width));
    let gap = usize::from(height >= ROOMY);
    let trouble = trouble(model);
    // Words are not broken, so it may take a line more than its length says.
    let trouble_height = trouble
        .as_ref()
        .map_or(0, |text| (text.chars().count().div_ceil(width.max(1)) + 1).min(MAX_TROUBLE_LINES));
    let state = state(&model.look().view);
    let figures = figures(model);
    let fixed = 1 + trouble_height + state.len() + figures.len() + gap;
    let (members, events) = share(
        height.saturating_sub(fixed),
        gap + 1 + model.look().view.members.len(),
        gap + 1 + model.events().count(),
    );
    let members = members_in(model, members, gap);
    let events = events_in(model, events, gap);
    let mut rest = frame.area();
    let title_at = top(&mut rest, 1);
    let trouble_at = top(&mut rest, trouble_height);
    let state_at = top(&mut rest, state.len());
    let members_at = top(&mut rest, members.len());
    let figures_at = top(&mut rest, figures.len() + gap);
    frame.render_widget(title(model), title_at);
    if let Some(text) = trouble {
        let style = Style::new().fg(Color::Red).bold();
        frame
            .render_widget(Paragraph::new(text).style(style).wrap(Wrap { trim: true }), trouble_at);
    }
    // What is old is told from what is now.
    let style = if model.trouble().is_some() { Style::new().dim() } else { Style::new() };
    frame.render_widget(Paragraph::new(state).style(style), state_at);
    frame.render_widget(Paragraph::new(members).style(style), members_at);
    let figures: Vec<_> = blank(gap).chain(figures).collect();
    frame.render_widget(Paragraph::new(figures).style(style), figures_at);
    frame.render_widget(Paragraph::new(events), rest);
}

/// How many lines members and events get of those that are left. Where both do not fit, events
/// keep a third.
fn share(room: usize, members: usize, events: usize) -> (usize, usize) {
    let kept = events.min(room / 3);
    let members = members.min(room - kept);
    (members, events.min(room - members))
}

/// Takes so many lines from the top of what is left, or as many as there are.
fn top(rest: &mut Rect, lines: usize) -> Rect {
    let height = u16::try_from(lines).unwrap_or(u16::MAX).min(rest.height);
    let taken = Rect { height, ..*rest };
    rest.y += height;
    rest.height -= height;
    taken
}

fn blank<'a>(lines: usize) -> impl Iterator<Item = Line<'a>> {
    std::iter::repeat_n(Line::default(), lines)
}

fn title(model: &Model) -> Line<'_> {
    let text = format!("q ends  every {:?}  {}", model.interval(), model.look().url);
    Line::from(text).style(Style::new().reversed())
}

fn trouble(model: &Model) -> Option<String> {
    let (why, age) = model.trouble()?;
    Some(format!("{why}; last answer {} ago, trying again", rough(age)))
}

fn state(view: &View) -> Vec<Line<'_>> {
    let name = |id: ProcessId| {
        view.members.iter().find(|member| member.id == id).map_or("-", |member| &member.name)
    };
    let id = view.id.as_deref().unwrap_or("none");
    let id = id.get(..16).unwrap_or(id);
    let coordinator = match view.coordinator {
        Some(coordinator) => format!("{} {coordinator}", name(coordinator)),
        None => "none".to_owned(),
    };
    let status =
        Line::from(format!("status       {} in view epoch {} ({id})", view.status, view.epoch));
    let status = if view.status == "active" { status } else { status.bold() };
    let mut lines = vec![
        status,
        Line::from(format!(
            "process      {} {} incarnation {}",
            name(view.me),
            view.me,
            view.incarnation
        )),
        Line::from(format!("coordinator  {coordinator}")),
    ];
    if !view.waiting_for.is_empty() {
        lines.push(Line::from(format!("waiting for  {} processes", view.waiting_for.len())));
    }
    lines
}

fn members_in(model: &Model, lines: usize, gap: usize) -> Vec<Line<'_>> {
    let view = &model.look().view;
    let all = view.members.len();
    let Some(rows) = lines.checked_sub(gap + 1) else { return Vec::new() };
    // The last row says how many there is no room for.
    let whole = if all <= rows { all } else { rows.saturating_sub(1) };
    let bubbles: BTreeMap<ProcessId, usize> =
        model.look().topology.processes.iter().map(|e| (e.id, e.bubbles.len())).collect();
    let widths = view.members.iter().map(|member| member.name.chars().count());
    let width = widths.max().unwrap_or(0).clamp(4, MAX_NAME);
    let head = format!("  {:width$}  {:36}  inc  bubbles", "name", "id");
    let mut shown: Vec<Line<'_>> = blank(gap).chain([Line::from(head).bold()]).collect();
    for member in view.members.iter().take(whole) {
        let mark = if view.coordinator == Some(member.id) { '*' } else { ' ' };
        let bubbles = bubbles.get(&member.id).map_or("-".to_owned(), ToString::to_string);
        let note = if member.id == view.me { "  this process" } else { "" };
        shown.push(Line::from(format!(
            "{mark} {:width$.width$}  {}  {:>3}  {bubbles:>7}{note}",
            member.name, member.id, member.incarnation
        )));
    }
    if whole < all && rows > 0 {
        shown.push(Line::from(format!("  and {} more", all - whole)));
    }
    shown
}

fn figures(model: &Model) -> Vec<Line<'_>> {
    let look = model.look();
    let unknown = || "not known: the process did not say".to_owned();
    let (entities, moves) = match &look.audit {
        Some(Audit { entities, migrated }) => {
            let ended = migrated.committed + migrated.aborted;
            let in_flight = migrated.started.saturating_sub(ended);
            (
                format!(
                    "active {}  frozen {}  staged {}",
                    entities.active, entities.frozen, entities.staged
                ),
                format!(
                    "in flight {in_flight}  in doubt {}  committed {}  aborted {}",
                    migrated.in_doubt, migrated.committed, migrated.aborted
                ),
            )
        }
        None => (unknown(), unknown()),
    };
    let rates = model.rates();
    let rates = format!(
        "moves {}  messages {} / {}  bytes {} / {} (out / in)",
        scaled(rates.moves),
        scaled(rates.messages_sent),
        scaled(rates.messages_received),
        scaled(rates.bytes_sent),
        scaled(rates.bytes_received)
    );
    let restarts = match &look.figures {
        None => unknown(),
        Some(figures) if figures.restarts.is_empty() => "none".to_owned(),
        Some(figures) => {
            let each =
                figures.restarts.iter().map(|(actor, restarts)| format!("{actor} {restarts}"));
            each.collect::<Vec<_>>().join("  ")
        }
    };
    [
        ("entities here", entities),
        ("moves by this", moves),
        ("per second", rates),
        ("restarts", restarts),
    ]
    .map(|(name, text)| Line::from(format!("{name:13}  {text}")))
    .into()
}

fn events_in(model: &Model, lines: usize, gap: usize) -> Vec<Line<'_>> {
    let Some(rows) = lines.checked_sub(gap + 1) else { return Vec::new() };
    let head = match model.events_broken() {
        Some(why) => format!("events (the stream broke, trying again: {why})"),
        None => "events".to_owned(),
    };
    let events = model.events().take(rows).map(|(age, told)| {
        Line::from(format!("{:>4}  {:11}  {}", rough(age), told.kind, told.text))
    });
    blank(gap).chain([Line::from(head).bold()]).chain(events).collect()
}

/// An age in its largest unit.
fn rough(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3_600),
    }
}

/// A rate in few characters.
fn scaled(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate >= 1e6 => format!("{:.1}M", rate / 1e6),
        Some(rate) if rate >= 1e3 => format!("{:.1}k", rate / 1e3),
        Some(rate) => format!("{rate:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::super::model::Input;
    use super::super::model::samples::{event, id, look};
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Three members, two looks and an event.
    fn model(members: usize) -> Model {
        let start = Instant::now();
        let mut model = Model::new(seconds(1), look(members, 10), start);
        let view = json!({"epoch": 7, "status": "active", "members": [1, 2, 3]});
        model.step(start, event("view", view));
        model.step(start + seconds(2), Input::Looked(Box::new(look(members, 4_010))));
        model
    }

    fn shown(model: &Model, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>())
            .map(|row| row.trim_end().to_owned())
            .collect()
    }

    #[test]
    fn everything_is_on_the_screen() {
        let wanted = [
            "q ends  every 1s  http://127.0.0.1:8001",
            "status       active in view epoch 7 (0123456789abcdef)",
            "process      member-0 00000000-0000-4000-8000-000000000000 incarnation 1",
            "coordinator  member-1 00000001-0000-4000-8000-000000000001",
            "",
            "  name      id                                    inc  bubbles",
            "  member-0  00000000-0000-4000-8000-000000000000    1        1  this process",
            "* member-1  00000001-0000-4000-8000-000000000001    1        1",
            "  member-2  00000002-0000-4000-8000-000000000002    1        1",
            "",
            "entities here  active 30  frozen 2  staged 1",
            "moves by this  in flight 5  in doubt 3  committed 4010  aborted 4",
            "per second     moves 2.0k  messages 4.0k / 0.0  bytes 0.0 / 0.0 (out / in)",
            "restarts       none",
            "",
            "events",
            "  2s  view         epoch 7, 3 members, active",
        ];
        let shown = shown(&model(3), 90, 24);
        assert_eq!(shown[..wanted.len()], wanted, "{shown:#?}");
    }

    #[test]
    fn what_cannot_be_reached_is_said_over_the_last_answers() {
        let mut model = model(3);
        let now = Instant::now() + seconds(62);
        let why = "cannot reach http://127.0.0.1:8001/v1/view: Connection refused (os error 111)";
        model.step(now, Input::Unreachable(why.to_owned()));
        model.step(now, Input::EventsBroken("it has ended".to_owned()));
        let shown = shown(&model, 60, 24).join("\n");
        for part in [
            "cannot reach http://127.0.0.1:8001/v1/view:",
            "trying again",
            "ago",
            "* member-1",
            "per second     moves -",
            "events (the stream broke, trying again: it has ended)",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }

    #[test]
    fn a_very_small_terminal_has_the_status_first() {
        let mut model = model(3);
        let lines = shown(&model, 20, 5);
        assert_eq!(lines[1], "status       active", "{lines:#?}");
        assert!(lines[2].starts_with("process"), "{lines:#?}");
        model.step(Instant::now(), Input::Unreachable("cannot reach it at all".to_owned()));
        let lines = shown(&model, 20, 5);
        assert!(lines[1].starts_with("cannot reach"), "{lines:#?}");
        for (width, height) in [(1, 1), (2, 3), (0, 0), (200, 1), (1, 60)] {
            shown_without_panic(&model, width, height);
        }
    }

    fn shown_without_panic(model: &Model, width: u16, height: u16) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
    }

    #[test]
    fn members_that_find_no_room_are_counted() {
        for members in [30, 2_048] {
            let lines = shown(&model(members), 80, 24);
            let rows = lines
                .iter()
                .filter(|line| line.get(1..).is_some_and(|l| l.starts_with(" member-")))
                .count();
            let rest = format!("  and {} more", members - rows);
            assert!(rows > 3 && lines.contains(&rest), "{lines:#?}");
            // Figures and events keep their room.
            assert!(lines.iter().any(|line| line.starts_with("restarts")), "{lines:#?}");
            assert!(lines.iter().any(|line| line.contains("epoch 7, 3 members")), "{lines:#?}");
        }
    }

    #[test]
    fn names_cannot_write_to_the_terminal() {
        let mut look = look(2, 0);
        look.view.members[1].name = format!("a\u{1b}[2J\r\n{}", "long".repeat(100));
        let model = Model::new(seconds(1), look, Instant::now());
        let lines = shown(&model, 100, 24);
        let row = lines.iter().find(|line| line.starts_with("* a")).unwrap();
        assert!(!lines.concat().contains(char::is_control), "{lines:#?}");
        assert!(row.contains(&id(1)), "{row}");
    }

    #[test]
    fn what_is_not_known_is_not_shown_as_a_number() {
        let mut look = look(2, 0);
        (look.audit, look.figures, look.view.coordinator) = (None, None, None);
        look.view.status = "isolated".to_owned();
        look.view.waiting_for = vec![look.view.me];
        let text = shown(&Model::new(seconds(1), look, Instant::now()), 80, 24).join("\n");
        for part in ["status       isolated", "coordinator  none", "waiting for  1 processes"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.matches("not known").count(), 3, "{text}");
    }
}
