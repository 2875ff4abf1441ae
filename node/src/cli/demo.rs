//! `lampyrid demo`: a cluster of child processes under load, its coordinator killed and restarted,
//! and an account of every entity at the end. The children are touched by signals and admin HTTP
//! only; the drift is asked for by this process, so it ends when this process stops asking.

mod child;
mod cluster;
mod drift;
mod progress;
mod report;
mod tally;
mod watch;

use std::collections::BTreeSet;
use std::time::Duration;

use lampyrid_wire::EntityId;
use tokio::time::{Instant, sleep_until};

use super::args::DemoArgs;
use super::audit::Census;
use super::failure::Failure;
use super::output;
use super::signals::Signals;
use cluster::Cluster;
use drift::Drift;
use progress::Progress;
use report::Report;
use watch::Watch;

/// How long the survivors may take to agree on a view without the killed process.
const VIEW_TIMEOUT: Duration = Duration::from_secs(20);

/// How long moves under way when the drift stops may take to end.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The pause between two looks while something settles.
const SETTLE_PAUSE: Duration = Duration::from_millis(200);

pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let mut signals = Signals::catch()?.with_hangup()?;
    args.logs.start()?;
    let progress = Progress::new(args.duration.0);
    let mut cluster = Cluster::new(args.nodes, args.bubbles, args.security())?;
    let result = tokio::select! {
        result = play(&args, &mut cluster, &progress) => result,
        _ = signals.next() => Err(Failure::Interrupted),
    };
    progress.clear();
    if !matches!(result, Ok(_) | Err(Failure::Interrupted)) {
        cluster.show_logs();
    }
    // A second ctrl-C is not waited for: children are killed, not asked.
    cluster.end(result.is_ok()).await;
    let report = result?;
    output::print(&if args.json { report.to_json()? } else { report.to_table() })?;
    report.verdict().map_err(Failure::failed)
}

/// The whole story. Dropping it at any await leaves nothing running but the children.
async fn play(
    args: &DemoArgs,
    cluster: &mut Cluster,
    progress: &Progress,
) -> Result<Report, Failure> {
    progress.say(&format!("starting {} processes", args.nodes));
    cluster.start().await?;
    let watch = Watch::start(cluster.sites());
    let expected = cluster.create_entities(args.entities).await?;
    progress.say(&format!("{} entities in {} bubbles", args.entities, expected.len()));

    let seed = args.rng_seed.unwrap_or_else(rand::random);
    let drift = Drift::start(cluster, &expected, seed);
    let start = Instant::now();
    let third = args.duration.0 / 3;
    progress.follow(start, drift.tally(), start + third).await;

    let victim = cluster.coordinator().await?;
    progress.say(&format!("killing the coordinator {} with SIGKILL", cluster.name(victim)));
    let killed = Instant::now();
    cluster.kill(victim).await;
    let kill_to_view = cluster.survivors_agree(victim, killed, VIEW_TIMEOUT).await?;
    progress.say(&format!("the others agreed on a view without it after {kill_to_view:.1?}"));
    progress.follow(start, drift.tally(), start + third * 2).await;

    progress.say(&format!("restarting {}", cluster.name(victim)));
    cluster.restart(victim).await?;
    progress.say(&format!("{} is back in the view", cluster.name(victim)));
    progress.follow(start, drift.tally(), start + args.duration.0).await;

    progress.say("stopping the drift");
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    let tally = drift.stop(deadline).await;
    progress.say("auditing");
    let ids: BTreeSet<EntityId> = expected.values().flatten().copied().collect();
    let census = settle(cluster, &ids, deadline).await?;
    let agreed = cluster.all_agree(deadline).await;
    let history = watch.stop().await;
    Ok(Report::new(&census, &ids, &tally, &history, agreed, kill_to_view))
}

/// Takes the census until there is nothing to report, or the time is over.
async fn settle(
    cluster: &Cluster,
    ids: &BTreeSet<EntityId>,
    deadline: Instant,
) -> Result<Census, Failure> {
    let clients: Vec<_> = cluster.sites().iter().map(|site| site.client()).collect();
    loop {
        let census = Census::take(&clients).await?;
        if census.is_clean(Some(ids)) || Instant::now() >= deadline {
            return Ok(census);
        }
        sleep_until(deadline.min(Instant::now() + SETTLE_PAUSE)).await;
    }
}
