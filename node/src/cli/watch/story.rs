use serde_json::Value;

use super::event_reader::Event;
use crate::cli::answers::View;

/// An event in words; names of members are those of `view`.
pub(super) fn tell(event: &Event, view: &View) -> String {
    let data = &event.data;
    let number = |name: &str| data[name].as_u64().unwrap_or_default();
    let count = |name: &str| data[name].as_array().map_or(0, Vec::len);
    match event.kind.as_str() {
        "gap" => "events were left out; the current state follows".to_owned(),
        _ if data.is_null() => "too large to be shown".to_owned(),
        "view" => {
            let status = data["status"].as_str().unwrap_or("?");
            format!("epoch {}, {} members, {status}", number("epoch"), count("members"))
        }
        "coordinator" => match data["coordinator"].as_str() {
            Some(id) => format!("{} since epoch {}", name_of(id, view), number("epoch")),
            None => "none".to_owned(),
        },
        "topology" => {
            let processes = data["processes"].as_array().map(Vec::as_slice).unwrap_or_default();
            let bubbles: usize =
                processes.iter().filter_map(|entry| Some(entry["bubbles"].as_array()?.len())).sum();
            format!("{} processes, {bubbles} bubbles", processes.len())
        }
        "migration" => format!(
            "{} {}: committed {}  aborted {}  pending {}",
            short(data["saga"].as_str().unwrap_or("?")),
            text(&data["state"]),
            number("committed"),
            number("aborted"),
            number("pending"),
        ),
        // A newer process may tell more.
        _ => String::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("?").replace('_', " ")
}

/// The beginning of an id, enough to tell it from the others on one screen.
fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

fn name_of(id: &str, view: &View) -> String {
    let member = view.members.iter().find(|member| member.id.to_string() == id);
    member.map_or_else(|| short(id).to_owned(), |member| member.name.clone())
}
