//! `status --watch`: a screen that is kept up to date.

mod draw;
mod event_reader;
mod figures;
mod follow;
mod keys;
mod look;
mod model;
mod rates;
mod screen;
mod story;

use std::io::{IsTerminal, stderr, stdout};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, interval_at};

use super::args::{StatusArgs, TargetArgs};
use super::client::Client;
use super::failure::Failure;
use super::signals::Signals;
use look::Look;
use model::{Input, Model};
use screen::Screen;

/// How long the first look may take: as long as any command waits for an answer.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// How long each later one may take. Any state of a process answers within 1 s.
const LATER_LOOK: Duration = Duration::from_secs(2);

/// How often ages on the screen move on, whatever the interval.
const TICK: Duration = Duration::from_secs(1);

/// Inputs on their way to the screen; who fills it faster than it is drawn waits.
const BUFFER: usize = 64;

pub(super) async fn run(args: StatusArgs) -> Result<(), Failure> {
    if !stdout().is_terminal() {
        return Err(Failure::usage(
            "--watch: stdout is not a terminal. For programs there is `lampyrid status --json`, as \
             often as needed, and the stream of events at GET /v1/events",
        ));
    }
    // On the same terminal, log lines would be written across the screen.
    if !stderr().is_terminal() {
        args.logs.start()?;
    }
    let client = args.target.client()?;
    let first = Look::take(&client, FIRST_LOOK).await?;
    let model = Model::new(args.interval.0, first, Instant::now());
    let signals = Signals::catch()?.with_hangup()?;
    // Restored when it is dropped, which is before any failure is reported.
    let screen = Screen::open()?;
    watch(args, client, model, signals, screen).await
}

async fn watch(
    args: StatusArgs,
    client: Client,
    mut model: Model,
    mut signals: Signals,
    mut screen: Screen,
) -> Result<(), Failure> {
    let (sender, mut inputs) = mpsc::channel(BUFFER);
    // They end with `inputs`. One that ends before has failed, and a panic in one has restored the
    // terminal under the screen: both end the watch.
    let mut tasks = JoinSet::new();
    tasks.spawn(follow::follow(args.target.clone(), client.clone(), sender.clone()));
    tasks.spawn(look_often(args.target, client, args.interval.0, sender.clone()));
    tasks.spawn_blocking(move || keys::read(&sender));
    let mut ticks = interval(TICK);
    loop {
        screen.draw(&model)?;
        let input = tokio::select! {
            Some(input) = inputs.recv() => input,
            _ = ticks.tick() => Input::Tick,
            _ = signals.next() => return Ok(()),
            Some(ended) = tasks.join_next() => return match ended {
                Ok(Err(failure)) => Err(failure),
                Ok(Ok(())) => Ok(()),
                Err(error) => Err(Failure::failed(format!("a part of the watch failed: {error}"))),
            },
        };
        model.step(Instant::now(), input);
        // What has piled up is drawn once.
        for _ in 0..BUFFER {
            let Ok(input) = inputs.try_recv() else { break };
            model.step(Instant::now(), input);
        }
        if model.is_over() {
            return Ok(());
        }
    }
}

/// Looks again and again until nobody wants to know.
async fn look_often(
    target: TargetArgs,
    mut client: Client,
    pause: Duration,
    sender: mpsc::Sender<Input>,
) -> Result<(), Failure> {
    let mut ticks = interval_at(tokio::time::Instant::now() + pause, pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let input = match Look::take(&client, LATER_LOOK).await {
            Ok(look) => Input::Looked(Box::new(look)),
            Err(error) => {
                client = find_again(&target, client);
                Input::Unreachable(error.to_string())
            }
        };
        if sender.send(input).await.is_err() {
            return Ok(());
        }
    }
}

/// A process that was started again may serve elsewhere: its data directory says where.
fn find_again(target: &TargetArgs, client: Client) -> Client {
    match target.client() {
        Ok(found) if found.url() != client.url() => found,
        // While it does not run, the file is not there.
        _ => client,
    }
}
