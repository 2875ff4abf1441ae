use std::path::Path;

use bytes::Bytes;
use lampyrid_wire::{BubbleId, EntityId, OwnershipEpoch};

use super::store_file::FRONT_BYTES;
use super::{Database, Journal, JournalError, OpenError, StoreFile, open_database};
use crate::{EntityRow, Image, Record, RecordKind, Write};

fn put(n: u128, state: &[u8]) -> Record {
    let row = EntityRow {
        bubble: BubbleId::from_u128(1),
        epoch: OwnershipEpoch(3),
        state: Some(Bytes::copy_from_slice(state)),
    };
    let writes = vec![Write::Entity(EntityId::from_u128(n), Some(row))];
    Record { kind: RecordKind::Put, writes }
}

/// Most of it in the store, the last two commits in the redo log.
fn fill(path: &Path) -> Image {
    let mut journal = Database::new(open_database(path).unwrap());
    for n in 1..=40 {
        journal.commit(&[vec![put(n, &[n as u8; 300])], vec![put(n + 100, b"x")]]).unwrap();
        if (1..7).contains(&(n % 8)) {
            journal.settle().unwrap();
        }
    }
    journal.replay().unwrap()
}

#[test]
fn what_was_committed_is_there_after_reopening_and_what_was_not_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let before = fill(&path);
    assert_eq!(before.entities.len(), 80);
    {
        // An interrupted transaction: begun, written, never committed.
        let database = open_database(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let table = redb::TableDefinition::<&[u8], &[u8]>::new("lampyrid_entities");
        transaction.open_table(table).unwrap().insert(&b"half"[..], &b"done"[..]).unwrap();
    }
    let after = Database::new(open_database(&path).unwrap()).replay().unwrap();
    assert_eq!(before, after);
}

#[test]
fn a_copy_taken_while_open_is_opened_as_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut journal = Database::new(open_database(&path).unwrap());
    journal.commit(&[vec![put(1, b"a")]]).unwrap();
    let copy = directory.path().join("copy.redb");
    std::fs::copy(&path, &copy).unwrap();
    let replayed = Database::new(open_database(&copy).unwrap()).replay().unwrap();
    assert_eq!(replayed, journal.replay().unwrap());
}

#[test]
fn a_second_opener_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let _held = open_database(&path).unwrap();
    assert!(matches!(open_database(&path), Err(OpenError::InUse { .. })));
}

/// Opens a damaged file: either everything is there, or the error is typed and the file untouched.
fn damaged(path: &Path, bytes: &[u8], whole: &Image, what: &str) -> bool {
    std::fs::write(path, bytes).unwrap();
    match open_database(path) {
        Ok(database) => {
            let image = Database::new(database).replay().unwrap();
            assert_eq!(&image, whole, "{what}: something else was read");
            false
        }
        Err(error) => {
            assert!(!matches!(error, OpenError::InUse { .. }), "{what}: {error}");
            assert_eq!(std::fs::read(path).unwrap(), bytes, "{what}: the file was changed");
            assert!(error.to_string().contains("store.redb"), "{what}: {error}");
            true
        }
    }
}

#[test]
fn a_file_cut_off_anywhere_is_a_typed_error_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let whole = fill(&path);
    let bytes = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for step in 0..60 {
        let length = bytes.len() * step / 60;
        refused += u32::from(damaged(&path, &bytes[..length], &whole, &format!("cut {length}")));
    }
    assert_eq!(refused, 60);
}

#[test]
fn a_flipped_byte_anywhere_is_a_typed_error_or_does_not_matter() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let whole = fill(&path);
    let bytes = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for step in 0..300 {
        let at = (bytes.len() * step / 300) + step % 7;
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        refused += u32::from(damaged(&path, &changed, &whole, &format!("byte {at}")));
    }
    assert!(refused > 5, "only {refused} of 300 flips were noticed");
}

/// In the middle of each long enough run of that byte: a state, or what a sector has of it.
fn places(bytes: &[u8], byte: u8) -> Vec<usize> {
    const RUN: usize = 100;
    let windows = bytes.windows(RUN).enumerate();
    let runs = windows.filter(|(at, window)| at % 50 == 0 && window.iter().all(|&b| b == byte));
    runs.map(|(at, _)| at + RUN / 2).collect()
}

#[test]
fn a_changed_record_is_named_by_table_and_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    fill(&path);
    let bytes = std::fs::read(&path).unwrap();
    // One in the store, one in the redo log.
    for n in [30, 40] {
        let mut named = 0;
        for at in places(&bytes, n) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            if let Err(OpenError::Record { table, key, .. }) = open_database(&path) {
                assert_eq!(table, "lampyrid_entities");
                assert_eq!(key, EntityId::from_u128(n.into()).to_string());
                named += 1;
            }
            assert_eq!(std::fs::read(&path).unwrap(), changed);
        }
        assert!(named > 0, "the newest copy of {n} is one of those in the file");
    }
}

#[test]
fn the_last_commit_before_a_kill_is_named_when_damaged_and_never_rolled_back() {
    for settled in [false, true] {
        damage_what_a_kill_left(settled);
    }
}

fn damage_what_a_kill_left(settled: bool) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut journal = Database::new(open_database(&path).unwrap());
    journal.commit(&[vec![put(1, b"first")]]).unwrap();
    journal.commit(&[vec![put(2, &[77; 300])]]).unwrap();
    if settled {
        journal.settle().unwrap();
    }
    let whole = journal.replay().unwrap();
    // What a kill leaves: nothing was closed.
    let killed = std::fs::read(&path).unwrap();
    drop(journal);
    let copy = directory.path().join("killed-store.redb");
    let mut refused = 0;
    // In the redo log it is left over once the store has taken it.
    let front = if settled { FRONT_BYTES as usize } else { 0 };
    for at in places(&killed, 77).into_iter().filter(|&at| at >= front) {
        let mut changed = killed.clone();
        changed[at] ^= 1;
        refused += u32::from(damaged(&copy, &changed, &whole, &format!("byte {at}")));
        let error = open_database(&copy).unwrap_err();
        let OpenError::Record { table, key, .. } = error else { panic!("{error}") };
        assert_eq!((table, key), ("lampyrid_entities", EntityId::from_u128(2).to_string()));
    }
    assert!(refused > 0, "the record is in the file");
    for step in 0..300 {
        let at = (killed.len() * step / 300) + step % 7;
        let mut changed = killed.clone();
        changed[at] ^= 0x41;
        damaged(&copy, &changed, &whole, &format!("byte {at} of what a kill left"));
    }
    // The header of the database, bit by bit; but for the byte that says which of two commits is
    // the newer. It has no checksum, and a kill in mid-commit leaves the same picture.
    for bit in (0..64 * 8).filter(|bit| bit / 8 != 9) {
        let mut changed = killed.clone();
        changed[FRONT_BYTES as usize + bit / 8] ^= 1 << (bit % 8);
        damaged(&copy, &changed, &whole, &format!("bit {bit} of the header"));
    }
    // The redo log as far as it was used; byte by byte where it is read (`redo`).
    let used = killed[..FRONT_BYTES as usize].iter().rposition(|&byte| byte != 0).unwrap_or(0);
    for at in (0..=used).step_by(5) {
        let mut changed = killed.clone();
        changed[at] ^= 0x41;
        damaged(&copy, &changed, &whole, &format!("byte {at} of the redo log"));
    }
}

#[test]
fn something_else_altogether_is_a_typed_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    std::fs::write(&path, b"these are not the pages you are looking for").unwrap();
    assert!(matches!(open_database(&path), Err(OpenError::Damaged { .. })));
    let missing = directory.path().join("no/such/directory/store.redb");
    assert!(matches!(open_database(&missing), Err(OpenError::Io { .. })));
}

#[test]
fn a_store_of_another_layout_says_which() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    fill(&path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[15] = 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = open_database(&path).unwrap_err().to_string();
    assert!(error.contains("its layout is version 1, and this program reads 2"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is left alone");
}

#[test]
fn a_row_under_another_key_or_version_is_noticed() {
    let mut image = Image::default();
    let record = put(5, b"state");
    let raw = super::codec::encode_write(&record.writes[0]).unwrap();
    let mut value = raw.value.unwrap();
    let decode = |image: &mut Image, key: &[u8], value: &[u8]| {
        super::codec::decode_row(image, 0, key, Some(value))
    };
    decode(&mut image, &raw.key, &value).unwrap();
    assert_eq!(image.entities.len(), 1);
    let other = *EntityId::from_u128(6).as_bytes();
    assert!(matches!(decode(&mut image, &other, &value), Err(JournalError::Record { .. })));
    value[0] = 9;
    assert!(matches!(decode(&mut image, &raw.key, &value), Err(JournalError::Record { .. })));
    assert!(matches!(decode(&mut image, &raw.key, &[1, 2]), Err(JournalError::Record { .. })));
}

/// A history of puts and removals from a seed, with small states and large ones.
fn history(seed: u64, steps: usize) -> Vec<Vec<Record>> {
    let mut state = seed | 1;
    let mut draw = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let one = |draw: &mut dyn FnMut(u64) -> u64| {
        let n = u128::from(draw(60));
        match draw(4) {
            0 => {
                let writes = vec![Write::Entity(EntityId::from_u128(n), None)];
                Record { kind: RecordKind::Delete, writes }
            }
            _ => {
                let length = if draw(50) == 0 { 150_000 } else { draw(600) as usize };
                put(n, &vec![draw(256) as u8; length])
            }
        }
    };
    (0..steps).map(|_| (0..1 + draw(4)).map(|_| one(&mut draw)).collect()).collect()
}

#[test]
fn a_cleaned_log_replays_to_the_same_rows_and_stays_small() {
    const SLACK: u64 = 20_000;
    for seed in 1..=6 {
        let memory = redb::backends::InMemoryBackend::new();
        let database = redb::Database::builder().create_with_backend(memory).unwrap();
        let database = std::sync::Arc::new(StoreFile::from(database));
        let open = || Database::new(database.clone()).cleaning_from(SLACK);
        let mut journal = open();
        let mut expected = Image::default();
        let mut largest = 0;
        for (step, transaction) in history(seed, 1_500).into_iter().enumerate() {
            for write in transaction.iter().flat_map(|record| &record.writes) {
                expected.apply(write);
            }
            journal.commit(&[transaction]).unwrap();
            let (total, live) = journal.bytes();
            largest = largest.max(live);
            assert!(
                total <= 3 * largest + 2 * SLACK + 400_000,
                "seed {seed}, step {step}: {total} bytes of log for {live} live ones"
            );
            if step % 100 == 99 {
                journal = open();
                assert_eq!(journal.replay().unwrap(), expected, "seed {seed}, step {step}");
                assert_eq!(journal.bytes(), (total, live), "seed {seed}, step {step}");
            }
        }
    }
}

#[test]
fn a_row_missing_from_the_log_is_a_typed_error() {
    let table = redb::TableDefinition::<u64, &[u8]>::new("lampyrid_log");
    for missing in [0, 7, 20] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        fill(&path);
        let database = open_database(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        assert!(transaction.open_table(table).unwrap().remove(missing).unwrap().is_some());
        transaction.commit().unwrap();
        drop(database);
        let error = open_database(&path).unwrap_err();
        let OpenError::Record { table, key, .. } = error else { panic!("{error}") };
        assert_eq!((table, key), ("lampyrid_log", missing.to_string()));
    }
}

#[test]
fn rows_of_an_older_form_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let database = open_database(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&[u8], &[u8]>::new("lampyrid_parts");
    transaction.open_table(table).unwrap().insert(&b"key"[..], &b"row"[..]).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = open_database(&path).unwrap_err();
    assert!(error.to_string().contains("version 1"), "{error}");
}
