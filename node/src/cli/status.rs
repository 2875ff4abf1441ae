use std::collections::BTreeMap;
use std::fmt::Write;

use lampyrid_wire::ProcessId;
use serde_json::{Value, json};

use super::answers::{Audit, Topology, View};
use super::args::StatusArgs;
use super::client::Client;
use super::failure::Failure;
use super::{output, watch};

pub(crate) async fn run(args: StatusArgs) -> Result<(), Failure> {
    if args.watch {
        return watch::run(args).await;
    }
    args.logs.start()?;
    let client = args.target.client()?;
    if args.json {
        return output::line(&as_json(&client).await?.to_string());
    }
    let view: View = client.get("/v1/view").await?;
    let topology: Topology = client.get("/v1/topology").await?;
    let audit: Audit = client.get("/v1/audit").await?;
    output::print(&screen(&view, &topology, &audit))
}

/// The three answers as they came.
async fn as_json(client: &Client) -> Result<Value, Failure> {
    let view: Value = client.get("/v1/view").await?;
    let topology: Value = client.get("/v1/topology").await?;
    let audit: Value = client.get("/v1/audit").await?;
    Ok(json!({ "view": view, "topology": topology, "audit": audit }))
}

fn screen(view: &View, topology: &Topology, audit: &Audit) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = render(&mut text, view, topology, audit);
    text
}

fn render(
    text: &mut String,
    view: &View,
    topology: &Topology,
    audit: &Audit,
) -> Result<(), std::fmt::Error> {
    let bubbles: BTreeMap<ProcessId, usize> =
        topology.processes.iter().map(|entry| (entry.id, entry.bubbles.len())).collect();
    let id = view.id.as_deref().unwrap_or("none");
    writeln!(text, "process      {} incarnation {}", view.me, view.incarnation)?;
    writeln!(text, "status       {}", view.status)?;
    writeln!(text, "view         epoch {} ({})", view.epoch, id.get(..16).unwrap_or(id))?;
    match view.coordinator {
        Some(coordinator) => writeln!(text, "coordinator  {coordinator}")?,
        None => writeln!(text, "coordinator  none")?,
    }
    for process in &view.waiting_for {
        writeln!(text, "waiting for  {process}")?;
    }
    let width = view.members.iter().map(|m| m.name.chars().count()).max().unwrap_or(0).max(4);
    writeln!(text, "\n  {:width$}  {:36}  inc  bubbles  {:21}  admin", "name", "id", "cluster")?;
    for member in &view.members {
        let mark = if view.coordinator == Some(member.id) { '*' } else { ' ' };
        let bubbles = bubbles.get(&member.id).map_or("-".to_owned(), ToString::to_string);
        let admin = member.admin.as_deref().unwrap_or("-");
        writeln!(
            text,
            "{mark} {:width$}  {}  {:>3}  {bubbles:>7}  {:21}  {admin}",
            member.name, member.id, member.incarnation, member.cluster
        )?;
    }
    let (entities, moves) = (&audit.entities, &audit.migrated);
    let ended = moves.committed + moves.aborted;
    writeln!(
        text,
        "\nentities here  active {}  frozen {}  staged {}",
        entities.active, entities.frozen, entities.staged
    )?;
    writeln!(
        text,
        "moves by this  in flight {}  in doubt {}  committed {}  aborted {}  replayed {}",
        moves.started.saturating_sub(ended),
        moves.in_doubt,
        moves.committed,
        moves.aborted,
        moves.replayed
    )
}
