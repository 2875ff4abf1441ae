use std::time::Duration;

use serde_json::{Value, json};

use super::args::LeaveArgs;
use super::failure::Failure;
use super::output;

pub(crate) async fn run(args: LeaveArgs) -> Result<(), Failure> {
    args.logs.start()?;
    let client = args.target.client()?;
    let _: Value = client.post("/v1/leave", &json!({}), Duration::ZERO).await?;
    output::line(&format!("{} is leaving", client.url()))
}
