//! `recover --as-new-process`: entities of a process whose disk is lost, from a backup of its
//! directory alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use lampyrid_wire::{BubbleId, EntityId, ProcessId};
use serde::Deserialize;
use serde_json::Value;

use super::answers::{Topology, View};
use super::args::RecoverArgs;
use super::audit::{Census, of_view};
use super::client::{Client, ClientError, MovedTo};
use super::confirm::{confirm, tell};
use super::failure::Failure;
use super::{output, target};
use crate::recover::Recovery;

/// The most entities that are shown before it is asked; all of them are printed afterwards.
const MAX_LINES: usize = 20;

/// How a bar stands, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Bar {
    state: String,
}

pub(crate) async fn run(args: RecoverArgs, into: &Path) -> Result<(), Failure> {
    Recovery::check_new(into)?;
    let recovery = Recovery::open(&args.data_dir).await?;
    let (url, source) = target::find_url(args.admin.as_deref(), None)?;
    let first = Client::new(&url, args.access.read()?);
    let first = first.map_err(|detail| Failure::usage(format!("{source}: {detail}")))?;
    let members = of_view(&first).await?;
    is_gone(&first, &members, recovery.process()).await?;
    let owned = recovery.owned().await?;
    let rest = left_out_nowhere(&first, &members, &owned).await?;
    if rest.is_empty() {
        return Err(Failure::failed("nothing_to_take: all entities of the backup live elsewhere"));
    }
    let topology: Topology = first.get("/v1/topology").await?;
    let hosted: BTreeSet<BubbleId> =
        topology.processes.into_iter().flat_map(|process| process.bubbles).collect();
    let moved = rest.iter().filter(|id| owned.get(id).is_some_and(|of| hosted.contains(of)));
    let stake = Stake { owned: owned.len(), rest: &rest, moved: moved.count() };
    confirm(args.yes, &stake.text(&recovery, into))?;
    recovery.salvage(into, rest.clone(), hosted).await?;
    for id in &rest {
        output::line(&id.to_string())?;
    }
    tell(&format!(
        "Start it with --data-dir {} and --join HOST:PORT of a member. The directory it was made \
         from may never be started.\n",
        into.display()
    ))
}

/// The answer to `GET /v1/barred`.
#[derive(Debug, Deserialize)]
struct Bars {
    barred: Vec<Barred>,
}

#[derive(Debug, Deserialize)]
struct Barred {
    process: ProcessId,
}

/// The process of the backup is no member and never will be again, as all members know.
async fn is_gone(first: &Client, members: &[Client], process: ProcessId) -> Result<(), Failure> {
    let view: View = first.get("/v1/view").await?;
    if view.members.iter().any(|member| member.id == process) {
        return Err(Failure::failed(format!(
            "still_member: {process} is in the view. If its disk is not lost, nothing is to be done; \
             if this directory runs already, stop it"
        )));
    }
    for member in members {
        let bar: Bar = member.get(&format!("/v1/barred/{process}")).await?;
        if bar.state != "done" {
            return Err(Failure::failed(format!(
                "not_barred: {} says `{}` of {process}. What it still has would be there twice: \
                 `lampyrid bar {process}` first, which also brings back what was on its way to it",
                member.url(),
                bar.state
            )));
        }
    }
    Ok(())
}

/// Those entities that no member has, and that were seen last on their way to a process that never
/// comes back, or not at all.
async fn left_out_nowhere(
    first: &Client,
    members: &[Client],
    owned: &BTreeMap<EntityId, BubbleId>,
) -> Result<BTreeSet<EntityId>, Failure> {
    let bars: Bars = first.get("/v1/barred").await?;
    let gone: BTreeSet<ProcessId> = bars.barred.into_iter().map(|bar| bar.process).collect();
    let census = Census::take(members).await?;
    let mut rest = BTreeSet::new();
    for id in owned.keys().filter(|id| !census.copies.contains_key(id)) {
        // One that moved while the members were listed is known to the one that it left.
        if !is_elsewhere(members, &gone, *id).await? {
            rest.insert(*id);
        }
    }
    Ok(rest)
}

async fn is_elsewhere(
    members: &[Client],
    gone: &BTreeSet<ProcessId>,
    id: EntityId,
) -> Result<bool, Failure> {
    // Of several that saw it leave, the one that saw it last knows where it is.
    let mut last: Option<MovedTo> = None;
    for member in members {
        match member.get::<Value>(&format!("/v1/entities/{id}")).await {
            Ok(_) => return Ok(true),
            Err(ClientError::Refused { moved_to: Some(to), .. }) => {
                last = Some(last.filter(|known| known.epoch > to.epoch).unwrap_or(to));
            }
            Err(error) if error.is("unknown_entity") => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(last.is_some_and(|to| !gone.contains(&to.process)))
}

/// What the operator has to know before entities are taken from a backup.
struct Stake<'a> {
    owned: usize,
    rest: &'a BTreeSet<EntityId>,
    /// Of these, in bubbles that others host by now.
    moved: usize,
}

impl Stake<'_> {
    fn text(&self, recovery: &Recovery, into: &Path) -> String {
        let Self { owned, rest, moved } = self;
        let mut text = format!("backup of    {}\n", recovery.process());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "new process  {}", into.display());
        let _ = writeln!(text, "entities     {owned} in the backup");
        let _ = writeln!(text, "elsewhere    {}, which are left out", owned - rest.len());
        let _ = writeln!(text, "to be taken  {}, as they were when it was made", rest.len());
        if *moved > 0 {
            let _ =
                writeln!(text, "             {moved} of them in a new bubble: theirs has moved");
        }
        for id in rest.iter().take(MAX_LINES) {
            let _ = writeln!(text, "  {id}");
        }
        if rest.len() > MAX_LINES {
            let more = rest.len() - MAX_LINES;
            let _ = writeln!(text, "  and {more} more, printed when they are taken");
        }
        text.push_str(
            "No member has these or knows where else they went. One that was deleted since the backup\n\
             is there again; what was written or created since is lost. One that moved to a process that\n\
             is not in the view now will be there twice when that one comes back: start all, then this.\n",
        );
        let away = recovery.others();
        if !away.is_empty() {
            text.push_str("Members of its last view, so that none is missed:\n");
        }
        for member in away {
            let _ = writeln!(text, "  {}  {}  {}", member.name, member.process, member.address);
        }
        text
    }
}
