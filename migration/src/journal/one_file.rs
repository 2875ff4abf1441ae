use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;

use super::locks::locks_of_file;

/// A file that several write and sync, none of whom knows of the others. After a failed sync of one
/// of them every other fails too: a system tells of what it could not write only once, and the one
/// who hears of it need not be the one who wrote it.
#[derive(Debug)]
pub(crate) struct OneFile {
    file: Arc<dyn StorageBackend>,
    /// Held during a sync, so that nobody's begins in the middle of one that fails.
    failed: Mutex<bool>,
}

impl OneFile {
    pub(crate) fn new(file: Arc<dyn StorageBackend>) -> Self {
        Self { file, failed: Mutex::new(false) }
    }
}

impl StorageBackend for OneFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *failed {
            return Err(io::Error::other("an earlier sync of the store failed"));
        }
        let done = self.file.sync_data();
        *failed = done.is_err();
        done
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write(offset, data)
    }

    locks_of_file!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Call, CrashDisk, Fault, FaultError};

    #[test]
    fn after_one_failed_sync_no_other_succeeds() {
        let disk = CrashDisk::new(1);
        let file = OneFile::new(Arc::new(disk.clone()));
        file.set_len(8).unwrap();
        file.sync_data().unwrap();
        disk.fail(Fault { call: Call::Sync, nth: 1, error: FaultError::Io, forever: false });
        assert!(file.sync_data().is_err());
        disk.sync_data().expect("the disk itself has forgotten");
        let error = file.sync_data().unwrap_err();
        assert!(error.to_string().contains("earlier sync"), "{error}");
    }
}
