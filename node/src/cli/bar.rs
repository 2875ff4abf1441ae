use std::fmt::Write as _;

use lampyrid_wire::ProcessId;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use super::answers::{Audit, View};
use super::args::BarArgs;
use super::confirm::{can_ask, confirm};
use super::failure::Failure;
use super::output;

/// How often it is looked how far it has come.
const PAUSE: Duration = Duration::from_millis(100);

/// What the process says, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Bar {
    state: String,
    waiting_for: Vec<ProcessId>,
    in_doubt: u64,
    reinstalled: u64,
    elsewhere: u64,
}

pub(crate) async fn run(args: BarArgs) -> Result<(), Failure> {
    args.logs.start()?;
    can_ask(args.yes)?;
    let client = args.target.client()?;
    let view: View = client.get("/v1/view").await?;
    let audit: Audit = client.get("/v1/audit").await?;
    confirm(args.yes, &stake(args.process, &view, &audit))?;
    let path = format!("/v1/barred/{}", args.process);
    let until = Instant::now() + args.wait.0;
    loop {
        let bar: Bar = client.post(&path, &json!({}), Duration::ZERO).await?;
        if bar.state == "done" {
            return output::line(&format!(
                "{} is barred; this process took {} entities back, {} live elsewhere",
                args.process, bar.reinstalled, bar.elsewhere
            ));
        }
        if Instant::now() >= until {
            let waits: String = bar.waiting_for.iter().map(|id| format!(" {id}")).collect();
            return Err(Failure::failed(format!(
                "{}: {} in doubt, waiting for{waits}; it goes on",
                bar.state, bar.in_doubt
            )));
        }
        sleep(PAUSE).await;
    }
}

/// What the operator has to know before a process is barred.
fn stake(process: ProcessId, view: &View, audit: &Audit) -> String {
    let mut text = format!("to bar    {process}, for ever\n");
    for member in &view.members {
        let mark =
            if member.id == process { "  THIS ONE: it is a member, end it first" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "member    {}  {}{mark}", member.id, member.name);
    }
    let _ = writeln!(text, "in doubt  {} entities that left this process", audit.migrated.in_doubt);
    text.push_str(
        "Every member refuses that process from now on. Those that are away learn it when they come\n\
         back. What was sent to it and never acknowledged lives where it came from again, with the\n\
         state that it had then. Given up: all entities that are on that process's disk, and all that\n\
         it has written to those that were sent to it. A process that is away now and had such an\n\
         entity from it must not come back with it: it would be there twice.\n",
    );
    text
}
