use std::time::Duration;

use serde_json::{Value, json};

use super::args::{DrainArgs, LeaveArgs};
use super::drain;
use super::duration::Span;
use super::failure::Failure;
use super::output;

/// How long a drain before a leave is waited for.
const DRAIN_WAIT: Span = Span(Duration::from_secs(60));

pub(crate) async fn run(args: LeaveArgs) -> Result<(), Failure> {
    if args.drain {
        let LeaveArgs { target, logs, .. } = args;
        let (cancel, json) = (false, false);
        return drain::run(DrainArgs { wait: DRAIN_WAIT, cancel, json, target, logs }).await;
    }
    args.logs.start()?;
    let client = args.target.client()?;
    let _: Value = client.post("/v1/leave", &json!({}), Duration::ZERO).await?;
    output::line(&format!("{} is leaving", client.url()))
}
