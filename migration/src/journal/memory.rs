use std::sync::{Arc, Mutex, PoisonError};

use super::{Journal, JournalError};
use crate::{Image, Record};

/// A journal that lasts as long as the process: what was committed survives the actor, and what
/// was not is gone.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal(Arc<Mutex<Image>>);

impl MemoryJournal {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Journal for MemoryJournal {
    fn replay(&mut self) -> Result<Image, JournalError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn commit(&mut self, transactions: &[Vec<Record>]) -> Result<(), JournalError> {
        let mut image = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for record in transactions.iter().flatten() {
            for write in &record.writes {
                image.apply(write);
            }
        }
        Ok(())
    }
}
