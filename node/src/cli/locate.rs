use std::collections::VecDeque;
use std::time::Duration;

use lampyrid_wire::{BubbleId, ProcessId};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::answers::View;
use super::args::LocateArgs;
use super::client::{Client, ClientError};
use super::failure::Failure;
use super::output;
use crate::MAX_HOPS;

/// How long to wait before an entity that is on its way is looked for again.
const PAUSE: Duration = Duration::from_millis(50);

/// What a process says of an entity that it has.
#[derive(Debug, Deserialize)]
struct Here {
    bubble: BubbleId,
    epoch: u64,
    status: String,
}

pub(crate) async fn run(args: LocateArgs) -> Result<(), Failure> {
    args.logs.start()?;
    let client = args.target.client()?;
    let until = Instant::now() + args.wait.0;
    loop {
        let found = round(&client, &args).await?;
        if let Some((process, here)) = found.filter(|(_, here)| here.status == "active") {
            let entity = args.entity;
            let Here { bubble, epoch, status } = here;
            return output::line(&match args.json {
                true => json!({ "id": entity, "process": process, "bubble": bubble,
                                "epoch": epoch, "status": status })
                .to_string(),
                false => format!("{entity} process={process} bubble={bubble} epoch={epoch}"),
            });
        }
        if Instant::now() >= until {
            return Err(Failure::failed("unknown_entity: no process that answers serves it"));
        }
        sleep(PAUSE).await;
    }
}

/// Follows the entity from the asked process on, then asks the other members.
async fn round(client: &Client, args: &LocateArgs) -> Result<Option<(ProcessId, Here)>, Failure> {
    let view: View = client.get("/v1/view").await?;
    let path = format!("/v1/entities/{}", args.entity);
    let admin = |process: ProcessId| {
        let member = view.members.iter().find(|member| member.id == process);
        Some((process, client.at(member?.admin.as_deref()?)))
    };
    let mut places: VecDeque<(ProcessId, Client)> = VecDeque::from([(view.me, client.clone())]);
    places.extend(view.members.iter().filter(|it| it.id != view.me).filter_map(|it| admin(it.id)));
    let mut hops = 0;
    while let Some((process, at)) = places.pop_front() {
        match at.get::<Here>(&path).await {
            Ok(here) => return Ok(Some((process, here))),
            Err(ClientError::Refused { moved_to: Some(to), .. }) if hops < MAX_HOPS => {
                hops += 1;
                places.retain(|(known, _)| *known != to.process);
                if let Some(next) = admin(to.process) {
                    places.push_front(next);
                }
            }
            // Without what is missing here, the answer would be worth nothing.
            Err(error @ ClientError::Usage(_)) => return Err(error.into()),
            // One that is down or does not know: the others may.
            Err(_) => {}
        }
    }
    Ok(None)
}
