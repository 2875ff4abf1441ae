use std::time::Duration;

use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::event_reader::EventReader;
use super::find_again;
use super::model::Input;
use crate::cli::args::TargetArgs;
use crate::cli::client::Client;
use crate::cli::failure::Failure;

/// How long a process may take to begin its stream.
const OPENING: Duration = Duration::from_secs(2);

/// How long a stream may be silent. A process says every 15 s that it is alive.
const SILENCE: Duration = Duration::from_secs(45);

/// The pause before a stream that broke is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows the events of a process until nobody wants to know. After a break it goes on behind the
/// last event it has seen.
pub(super) async fn follow(
    target: TargetArgs,
    mut client: Client,
    sender: mpsc::Sender<Input>,
) -> Result<(), Failure> {
    let mut last = None;
    loop {
        let why = one_stream(&client, &mut last, &sender).await;
        if sender.send(Input::EventsBroken(why)).await.is_err() {
            return Ok(());
        }
        sleep(PAUSE).await;
        client = find_again(&target, client);
    }
}

/// Gives why it ended.
async fn one_stream(
    client: &Client,
    last: &mut Option<u64>,
    sender: &mpsc::Sender<Input>,
) -> String {
    let after = last.map(|id| ("last-event-id", id.to_string()));
    let mut body = match client.open("/v1/events", after, OPENING).await {
        Ok(body) => body,
        Err(error) => return error.to_string(),
    };
    if sender.send(Input::EventsOpened).await.is_err() {
        return String::new();
    }
    let mut reader = EventReader::default();
    loop {
        let frame = match timeout(SILENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return error.to_string(),
            Ok(None) => return "it has ended".to_owned(),
            Err(_) => return format!("nothing for {SILENCE:?}"),
        };
        let Ok(bytes) = frame.into_data() else { continue };
        for event in reader.push(&bytes) {
            *last = event.id.or(*last);
            if sender.send(Input::Event(event)).await.is_err() {
                return String::new();
            }
        }
    }
}
