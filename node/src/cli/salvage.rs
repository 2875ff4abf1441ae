//! `recover --as-new-process`: entities of a process whose disk is lost, from a backup of its
//! directory alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use lampyrid_wire::{EntityId, OwnershipEpoch, ProcessId};
use serde::Deserialize;
use serde_json::Value;

use super::answers::View;
use super::args::RecoverArgs;
use super::audit::{Census, of_view};
use super::client::{Client, ClientError};
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
    let recovery = Recovery::open(&args.data_dir).await?;
    let (url, source) = target::find_url(args.admin.as_deref(), None)?;
    let first = Client::new(&url, args.access.read()?);
    let first = first.map_err(|detail| Failure::usage(format!("{source}: {detail}")))?;
    let members = of_view(&first).await?;
    is_gone(&first, &members, recovery.process()).await?;
    let owned = recovery.owned().await?;
    let rest = left_out_nowhere(&members, recovery.process(), &owned).await?;
    confirm(args.yes, &stake(&recovery, into, &owned, &rest))?;
    recovery.salvage(into, rest.clone()).await?;
    for id in &rest {
        output::line(&id.to_string())?;
    }
    tell(&format!(
        "Start it with --data-dir {} and --join HOST:PORT of a member. The directory it was made \
         from may never be started.\n",
        into.display()
    ))
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

/// Those entities that no member has, and none has seen leave for anybody but the lost process.
async fn left_out_nowhere(
    members: &[Client],
    lost: ProcessId,
    owned: &BTreeMap<EntityId, OwnershipEpoch>,
) -> Result<BTreeSet<EntityId>, Failure> {
    let census = Census::take(members).await?;
    let mut rest = BTreeSet::new();
    for id in owned.keys().filter(|id| !census.copies.contains_key(id)) {
        // One that moved while the members were listed is known to the one that it left.
        if !is_elsewhere(members, lost, *id).await? {
            rest.insert(*id);
        }
    }
    Ok(rest)
}

async fn is_elsewhere(members: &[Client], lost: ProcessId, id: EntityId) -> Result<bool, Failure> {
    for member in members {
        match member.get::<Value>(&format!("/v1/entities/{id}")).await {
            Ok(_) => return Ok(true),
            Err(ClientError::Refused { moved_to: Some(to), .. }) if to != lost => return Ok(true),
            Err(error) if error.is("unknown_entity") => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// What the operator has to know before entities are taken from a backup.
fn stake(
    recovery: &Recovery,
    into: &Path,
    owned: &BTreeMap<EntityId, OwnershipEpoch>,
    rest: &BTreeSet<EntityId>,
) -> String {
    let mut text = format!("backup of    {}\n", recovery.process());
    // Writing to a string cannot fail.
    let _ = writeln!(text, "new process  {}", into.display());
    let _ = writeln!(text, "entities     {} in the backup", owned.len());
    let _ = writeln!(text, "elsewhere    {}, which are left out", owned.len() - rest.len());
    let _ = writeln!(text, "to be taken  {}, as they were when it was made", rest.len());
    for id in rest.iter().take(MAX_LINES) {
        let _ = writeln!(text, "  {id}");
    }
    if rest.len() > MAX_LINES {
        let _ =
            writeln!(text, "  and {} more, printed when they are taken", rest.len() - MAX_LINES);
    }
    text.push_str(
        "No member has these or knows where else they went. One that was deleted since the backup\n\
         is there again; what was written or created since is lost. One that moved to a process that\n\
         is not in the view now will be there twice when that one comes back: start all, then this.\n",
    );
    text
}
