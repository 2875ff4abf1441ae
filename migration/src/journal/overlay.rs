use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::locks::locks_of_file;
use super::store_file::Behind;

const PAGE: u64 = 4096;

/// A file as a store would change it, while the file itself stays as it is: writes stay in memory.
/// For looking at a store that may be damaged, which redb would repair in place. Locks are those of
/// the file.
#[derive(Debug)]
pub(crate) struct Overlay {
    file: Behind,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Length as the store sees it.
    len: u64,
    /// How much of the file still shows through.
    base: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(crate) fn new(file: Behind) -> Result<Self, io::Error> {
        let len = file.len()?;
        Ok(Self { file, state: Mutex::new(State { len, base: len, pages: BTreeMap::new() }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as it is now: written, of the file, or zeros.
    fn page(&self, state: &State, number: u64) -> Result<Vec<u8>, io::Error> {
        if let Some(page) = state.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE as usize];
        let start = number * PAGE;
        let shows = state.base.saturating_sub(start).min(PAGE) as usize;
        if shows > 0 {
            self.file.read(start, &mut page[..shows])?;
        }
        Ok(page)
    }
}

/// The page numbers, offsets in the page and offsets in the caller's bytes of a range.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < len).then(|| {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let count = (PAGE as usize - within).min(len - done);
            done += count;
            (at / PAGE, within, done - count..done)
        })
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let state = self.state();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > state.len) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        for (number, within, range) in pieces(offset, out.len()) {
            let page = self.page(&state, number)?;
            let count = range.len();
            out[range].copy_from_slice(&page[within..within + count]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut state = self.state();
        if len < state.len {
            // What is cut off reads as zeros if the store grows again.
            let mut edge = self.page(&state, len / PAGE)?;
            edge[(len % PAGE) as usize..].fill(0);
            state.pages.split_off(&(len / PAGE));
            if len < state.base {
                state.base = len;
            }
            state.pages.insert(len / PAGE, edge);
        }
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut state = self.state();
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > state.len) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        for (number, within, range) in pieces(offset, data.len()) {
            let mut page = self.page(&state, number)?;
            page[within..within + range.len()].copy_from_slice(&data[range]);
            state.pages.insert(number, page);
        }
        Ok(())
    }

    locks_of_file!();
}
