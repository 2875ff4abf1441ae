use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::args::DrainArgs;
use super::client::{Client, ClientError};
use super::failure::Failure;
use super::output;

/// How long the process is asked to wait before it answers how far it is.
const STEP: Duration = Duration::from_millis(500);

/// How often it is looked whether the process has gone.
const GONE_PAUSE: Duration = Duration::from_millis(50);

/// What the process says, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Drain {
    state: String,
    bubbles_left: u64,
    entities_left: u64,
    in_doubt: u64,
    reason: Option<String>,
}

/// The closing line of `--json`.
#[derive(Debug, Serialize)]
struct Summary {
    state: &'static str,
    bubbles: u64,
    entities: u64,
    duration_ms: u128,
}

pub(crate) async fn run(args: DrainArgs) -> Result<(), Failure> {
    args.logs.start()?;
    let client = args.target.client()?;
    if args.cancel {
        let drain: Drain = client.delete("/v1/drain").await?;
        let (bubbles, entities) = (drain.bubbles_left, drain.entities_left);
        return output::line(&format!("stays, with {bubbles} bubbles and {entities} entities"));
    }
    let start = Instant::now();
    let until = start + args.wait.0;
    let before: Drain = client.get("/v1/drain").await?;
    let (bubbles, entities) = (before.bubbles_left, before.entities_left);
    let mut asked = false;
    loop {
        let drain: Drain = match ask(&client, until).await {
            Ok(drain) => drain,
            // It has gone between two questions, which it does only when nothing is left.
            Err(ClientError::Unreachable { .. }) if asked => break,
            Err(error) => return Err(error.into()),
        };
        asked = true;
        show(&drain, bubbles, entities);
        if drain.state == "done" {
            break;
        }
        if Instant::now() >= until {
            let why = drain.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let Drain { bubbles_left, entities_left, in_doubt, .. } = drain;
            return Err(Failure::failed(format!(
                "{bubbles_left} bubbles and {entities_left} entities are still there, {in_doubt} in \
                 doubt{why}; the drain goes on"
            )));
        }
    }
    until_gone(&client, until).await?;
    let duration_ms = start.elapsed().as_millis();
    match args.json {
        true => {
            let summary = Summary { state: "left", bubbles, entities, duration_ms };
            output::line(&json!(summary).to_string())
        }
        false => output::line(&format!(
            "{} has left; {bubbles} bubbles with {entities} entities went to others in {duration_ms} ms",
            client.url()
        )),
    }
}

async fn ask(client: &Client, until: Instant) -> Result<Drain, ClientError> {
    let wait = STEP.min(until.saturating_duration_since(Instant::now()));
    let body = json!({ "wait_ms": u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) });
    client.post("/v1/drain", &body, wait).await
}

/// Progress, for people at a terminal.
fn show(drain: &Drain, bubbles: u64, entities: u64) {
    let mut stderr = std::io::stderr();
    if !stderr.is_terminal() {
        return;
    }
    let gone =
        (bubbles.saturating_sub(drain.bubbles_left), entities.saturating_sub(drain.entities_left));
    let why = drain.reason.as_deref().map(|reason| format!("  ({reason})")).unwrap_or_default();
    // Nobody may be left to read it.
    let _ = writeln!(
        stderr,
        "{} of {bubbles} bubbles, {} of {entities} entities gone, {} in doubt{why}",
        gone.0, gone.1, drain.in_doubt
    );
}

/// Waits until the process does not answer any more.
async fn until_gone(client: &Client, until: Instant) -> Result<(), Failure> {
    loop {
        if client.poll::<Value>("/healthz", STEP).await.is_err() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Failure::failed("everything has gone, but the process has not left yet"));
        }
        sleep(GONE_PAUSE).await;
    }
}
