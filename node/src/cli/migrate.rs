use std::collections::BTreeSet;
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
    verdict(&saga).map_err(Failure::failed)
}

/// Why not all have moved, in a line.
fn verdict(saga: &Saga) -> Result<(), String> {
    let (of, id) = (saga.entities.len(), saga.saga);
    let stay = saga.entities.iter().filter(|entity| entity.outcome != "committed");
    let why = stay.map(|entity| entity.reason.as_deref().unwrap_or(&entity.outcome));
    let (open, reasons) = (why.clone().count(), why.collect::<BTreeSet<_>>());
    if open == 0 && of > 0 {
        return Ok(());
    }
    let reasons: Vec<&str> = reasons.into_iter().collect();
    let reasons = if reasons.is_empty() { "empty".to_owned() } else { reasons.join(", ") };
    Err(format!("{reasons}: {open} of {of} entities have not moved (migration {id})"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_entities_stay_is_said_by_name() {
        let saga = |entities: &str| -> Saga {
            let id = "00000000-0000-0000-0000-000000000001";
            let entities = entities.replace("ID", id);
            serde_json::from_str(&format!(r#"{{"saga":"{id}","entities":[{entities}]}}"#)).unwrap()
        };
        let moved = r#"{"id":"ID","outcome":"committed","epoch":1}"#;
        assert_eq!(verdict(&saga(moved)), Ok(()));
        let stays = r#"{"id":"ID","outcome":"aborted","reason":"unknown_entity"}"#;
        let open = r#"{"id":"ID","outcome":"in_doubt"}"#;
        let said = verdict(&saga(&[moved, stays, stays, open].join(","))).unwrap_err();
        let expected = "in_doubt, unknown_entity: 3 of 4 entities have not moved";
        assert!(said.starts_with(expected), "{said}");
        assert!(verdict(&saga("")).unwrap_err().starts_with("empty: 0 of 0"));
    }
}
