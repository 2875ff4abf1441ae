use ratatui::DefaultTerminal;

use super::draw::draw;
use super::model::Model;
use crate::cli::failure::Failure;

/// The whole terminal, as long as this lives. A panic restores it as well, before it is reported.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    pub(super) fn open() -> Result<Self, Failure> {
        ratatui::try_init().map(Self).map_err(|error| {
            // It may have come half the way.
            let _ = ratatui::try_restore();
            Failure::failed(format!("cannot use the terminal: {error}"))
        })
    }

    pub(super) fn draw(&mut self, model: &Model) -> Result<(), Failure> {
        match self.0.draw(|frame| draw(frame, model)) {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::failed(format!("cannot write to the terminal: {error}"))),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal may have gone; then there is nothing to restore.
        let _ = ratatui::try_restore();
    }
}
