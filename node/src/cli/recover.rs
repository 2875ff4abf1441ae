use std::fmt::Write as _;

use lampyrid_wire::{ClusterId, Member, Term};

use super::args::RecoverArgs;
use super::confirm::{can_ask, confirm, tell};
use super::failure::Failure;
use super::output;
use crate::StorageError;
use crate::recover::{ProbeOutcome, RecoverError, Recovered, Recovery, Stake};

pub(crate) async fn run(args: RecoverArgs) -> Result<(), Failure> {
    args.logs.start()?;
    can_ask(args.yes)?;
    if let Some(into) = args.as_new_process.clone() {
        return super::salvage::run(args, &into).await;
    }
    let recovery = Recovery::open(&args.data_dir).await?;
    let stake = recovery.stake().await?;
    let text = match args.join_new_cluster {
        Some(target) => joining(&recovery, target, &stake),
        None => {
            recovery.check()?;
            let others = recovery.ask_others().await;
            let alive = others.iter().filter(|(_, outcome)| *outcome == ProbeOutcome::Accepted);
            let alive: Vec<Member> = alive.map(|(member, _)| member.clone()).collect();
            if !alive.is_empty() {
                return Err(RecoverError::Answered(alive).into());
            }
            forcing(&recovery, &others, &stake)
        }
    };
    confirm(args.yes, &text)?;
    let recovered = match args.join_new_cluster {
        Some(target) => recovery.join_new_cluster(target).await?,
        // Asks the others once more: it may have taken long to confirm.
        None => recovery.force_new_cluster().await?,
    };
    output::print(&result(&recovered))?;
    if args.join_new_cluster.is_some() {
        tell("Start it with --join HOST:PORT of a process of that cluster.\n")?;
    }
    Ok(())
}

impl From<RecoverError> for Failure {
    fn from(error: RecoverError) -> Self {
        match &error {
            RecoverError::Storage(StorageError::Missing { .. }) => {
                Self::usage(format!("--data-dir: {error}"))
            }
            RecoverError::Answered(_) => Self::failed(format!(
                "{}: {error}; stop what is left of the old cluster, or start this process and let \
                 it go on there",
                error.code()
            )),
            _ => Self::failed(format!("{}: {error}", error.code())),
        }
    }
}

/// What the operator has to know before a cluster is forced.
fn forcing(recovery: &Recovery, others: &[(Member, ProbeOutcome)], stake: &Stake) -> String {
    let mut text = format!("process   {}\n", recovery.process());
    if let Some(term) = recovery.last_view() {
        let _ = writeln!(text, "cluster   {}, last view epoch {}", term.cluster, term.epoch);
    }
    if recovery.goes_on_alone() {
        text.push_str("Force is not needed: started as usual, this process goes on alone.\n");
    }
    if !others.is_empty() {
        text.push_str("These are given up. They will refuse this process and be refused by it:\n");
    }
    for (member, outcome) in others {
        let outcome = match outcome {
            ProbeOutcome::NoAnswer => "no answer; it may run where this machine cannot reach it",
            _ => "its machine is there, and nothing listens",
        };
        let Member { name, process, address, .. } = member;
        let _ = writeln!(text, "  {name}  {process}  {address}  {outcome}");
    }
    entities(&mut text, stake);
    if !others.is_empty() {
        text.push_str(
            "Entities of the others stay on their disks and are away until their process joins\n\
             the new cluster:\n  \
             lampyrid recover --data-dir DIR --join-new-cluster CLUSTER\n\
             Do not create them again meanwhile: they would be there twice. If a majority of the\n\
             others runs after all or comes back, there are two clusters from now on.\n",
        );
    }
    text
}

/// What the operator has to know before a process goes over to another cluster.
fn joining(recovery: &Recovery, target: ClusterId, stake: &Stake) -> String {
    let mut text = format!("process   {}\n", recovery.process());
    if let Some(Term { cluster, epoch, .. }) = recovery.last_view() {
        let _ = writeln!(text, "cluster   {cluster}, last view epoch {epoch}");
    }
    let _ = writeln!(text, "to join   {target}");
    entities(&mut text, stake);
    text.push_str(
        "It leaves its cluster and can never go back: what it promised there is forgotten. An\n\
         entity of its that was created again in the other cluster will be there twice.\n",
    );
    text
}

fn entities(text: &mut String, stake: &Stake) {
    let _ = writeln!(text, "entities  {} on this disk, which stay", stake.owned);
    if stake.sent > 0 {
        let _ = writeln!(
            text,
            "in doubt  {} sent to another process that has not acknowledged: not served here; they\n          \
             are there, or will be when both are in one cluster",
            stake.sent
        );
    }
    if stake.staged > 0 {
        let _ = writeln!(
            text,
            "in doubt  {} staged here by another process that has not decided: not served until it\n          \
             is in the same cluster and says so",
            stake.staged
        );
    }
}

fn result(recovered: &Recovered) -> String {
    let Recovered { process, incarnation, cluster, parent } = recovered;
    let mut text = format!("cluster   {cluster}\nprocess   {process} incarnation {incarnation}\n");
    if let Some(Term { cluster, epoch, .. }) = parent {
        let _ = writeln!(text, "parent    {cluster} epoch {epoch}");
    }
    text
}
