use std::io;
use std::time::Duration;

use ratatui::crossterm::event::{Event, poll, read as next};
use tokio::sync::mpsc;

use super::model::Input;
use crate::cli::failure::Failure;

/// How often it is looked whether anybody still wants to know.
const PATIENCE: Duration = Duration::from_millis(100);

/// Reads the keyboard until nobody wants to know. Blocks its thread.
pub(super) fn read(sender: &mpsc::Sender<Input>) -> Result<(), Failure> {
    until_closed(sender).map_err(|error| Failure::failed(format!("cannot read keys: {error}")))
}

fn until_closed(sender: &mpsc::Sender<Input>) -> io::Result<()> {
    while !sender.is_closed() {
        if !poll(PATIENCE)? {
            continue;
        }
        let input = match next()? {
            Event::Key(key) => Input::Key(key),
            // Drawn again in the new size, at once.
            Event::Resize(..) => Input::Tick,
            _ => continue,
        };
        if sender.blocking_send(input).is_err() {
            break;
        }
    }
    Ok(())
}
