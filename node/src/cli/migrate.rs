use std::fmt::Write;
use std::time::Duration;

use serde_json::json;

use super::answers::{Saga, SagaEntity};
use super::args::MigrateArgs;
use super::failure::Failure;
use super::output;

/// The longest wait that a process takes.
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(crate) async fn run(args: MigrateArgs) -> Result<(), Failure> {
    args.logs.start()?;
    if args.wait.0 > MAX_WAIT {
        return Err(Failure::usage(format!("--wait: it can be at most {MAX_WAIT:?}")));
    }
    let client = args.target.client()?;
    let wait_ms = u64::try_from(args.wait.0.as_millis()).unwrap_or(u64::MAX);
    let mut body = json!({ "entities": args.entities, "to": args.to, "wait_ms": wait_ms });
    if let Some(key) = args.idempotency_key {
        body["idempotency_key"] = key.into();
    }
    let saga: Saga = client.post("/v1/migrations", &body, args.wait.0).await?;
    let mut text = String::new();
    for entity in &saga.entities {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", describe(entity));
    }
    output::print(&text)?;
    let open = saga.entities.iter().filter(|entity| entity.outcome != "committed").count();
    if open == 0 && !saga.entities.is_empty() {
        return Ok(());
    }
    let (of, id) = (saga.entities.len(), saga.saga);
    Err(Failure::failed(format!("{open} of {of} entities have not moved (migration {id})")))
}

fn describe(entity: &SagaEntity) -> String {
    let mut text = format!("{} {}", entity.id, entity.outcome);
    if let Some(reason) = &entity.reason {
        let _ = write!(text, " {reason}");
    }
    if let Some(epoch) = entity.epoch {
        let _ = write!(text, " epoch={epoch}");
    }
    if let Some(latency) = entity.latency_ms {
        let _ = write!(text, " latency_ms={latency}");
    }
    text
}
