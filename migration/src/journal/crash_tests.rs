//! The journal on a disk that crashes: whatever call it dies in, and whatever survives of what was
//! not synced, reopening gives a prefix of the transactions that holds all that were acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use lampyrid_wire::{BubbleId, EntityId, OwnershipEpoch, ProcessId, SagaId};
use redb::StorageBackend;

use super::{Database, Journal, JournalError, SMALL_FRONT_BYTES, StoreFile, at_once};
use crate::testkit::{Call, CrashDisk, Fault, FaultError, Random, Survival};
use crate::{EntityRow, Image, MovedTo, PartId, Record, RecordKind, StagingRow, Write};

pub(super) type Group = Vec<Vec<Record>>;

/// What the store takes it takes at once.
fn open(disk: &CrashDisk) -> Result<Database, JournalError> {
    open_on(Arc::new(disk.clone())).map(|journal| journal.taking_in(at_once))
}

pub(super) fn open_on(disk: Arc<dyn StorageBackend>) -> Result<Database, JournalError> {
    let mut builder = redb::Database::builder();
    builder.set_cache_size(4 << 20);
    let opened = StoreFile::open(&builder, disk, SMALL_FRONT_BYTES)
        .map_err(|error| JournalError::Store(error.to_string()))?;
    // So small a log is cleaned as well.
    Ok(Database::new(Arc::new(opened)).cleaning_from(32 * 1024))
}

/// An empty store, made and closed.
pub(super) fn fresh(seed: u64) -> CrashDisk {
    let disk = CrashDisk::new(seed);
    drop(open(&disk).unwrap());
    disk.crash(Survival::All)
}

fn write(random: &mut Random, large: bool) -> Write {
    let id = 1 + random.below(12) as u128;
    let (entity, bubble) = (EntityId::from_u128(id), BubbleId::from_u128(id));
    let len = if large { 100_000 + random.below(100_000) } else { random.below(600) };
    let state = Bytes::from(vec![random.number() as u8; len]);
    let epoch = OwnershipEpoch(random.number() % 9);
    let process = ProcessId::from_u128(7);
    let part = PartId { source: process, saga: SagaId::from_u128(id), part: id as u32 };
    let removed = random.percent(35);
    match random.below(6) {
        _ if large => Write::Entity(entity, Some(EntityRow { bubble, epoch, state: Some(state) })),
        0..3 => {
            let row = EntityRow { bubble, epoch, state: Some(state) };
            Write::Entity(entity, (!removed).then_some(row))
        }
        3 => Write::Moved(entity, (!removed).then_some(MovedTo { process, bubble, epoch })),
        4 => {
            let copies = vec![crate::Snapshot { id: entity, epoch, state }];
            let stage = lampyrid_wire::StageId::from_u128(id);
            let row = StagingRow { stage, to: bubble, entities: copies, refused: Vec::new() };
            Write::Staging(part, (!removed).then(|| Arc::new(row)))
        }
        _ => Write::Bubble(bubble, !removed),
    }
}

/// Groups of transactions as they share a commit, every third one large if some are to be, and what
/// each commit leads to.
pub(super) fn history(seed: u64, groups: usize, some_large: bool) -> (Vec<Group>, Vec<Image>) {
    let mut random = Random::new(seed);
    let (mut history, mut images) = (Vec::new(), vec![Image::default()]);
    for number in 0..groups {
        let large = some_large && number % 3 == 1;
        let mut group: Group = (0..1 + random.below(4))
            .map(|_| {
                let writes = (0..1 + random.below(3)).map(|_| write(&mut random, large)).collect();
                vec![Record { kind: RecordKind::Put, writes }]
            })
            .collect();
        // No two states are the same.
        let mark = Write::Bubble(BubbleId::from_u128(1_000 + number as u128), true);
        group.push(vec![Record { kind: RecordKind::CreateBubble, writes: vec![mark] }]);
        let mut image = images.last().cloned().unwrap_or_default();
        for write in group.iter().flatten().flat_map(|record| &record.writes) {
            image.apply(write);
        }
        history.push(group);
        images.push(image);
    }
    (history, images)
}

/// Commits until something fails. Gives the number of acknowledged groups.
fn commit_all(journal: &mut Database, history: &[Group]) -> usize {
    history.iter().take_while(|group| journal.commit(group).is_ok()).count()
}

/// Opens what a crash left, and says how many groups are in it.
pub(super) fn groups_in(
    disk: &CrashDisk,
    images: &[Image],
    acknowledged: usize,
    what: &str,
) -> usize {
    let replayed = open(disk).and_then(|mut journal| journal.replay());
    let image = replayed.unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = images.iter().rposition(|one| *one == image);
    let Some(groups) = found else { panic!("{what}: this is no prefix of what was written") };
    assert!(groups >= acknowledged, "{what}: {acknowledged} were acknowledged, {groups} are there");
    assert!(groups <= acknowledged + 1, "{what}: {groups} are there of {acknowledged} + 1");
    groups
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What is checked at every moment of a run at which a crash could find something else.
pub(super) struct Witness {
    images: Vec<Image>,
    pub(super) acknowledged: AtomicUsize,
    moments: AtomicU64,
    /// How often the transaction that was not acknowledged yet was lost, and kept.
    lost: AtomicU64,
    kept: AtomicU64,
}

impl Witness {
    pub(super) fn of(images: Vec<Image>) -> Arc<Self> {
        let (acknowledged, zero) = (AtomicUsize::new(0), || AtomicU64::new(0));
        Arc::new(Self { images, acknowledged, moments: zero(), lost: zero(), kept: zero() })
    }

    /// Crashes a copy of the disk in several ways, and opens what is left.
    pub(super) fn look(&self, disk: &CrashDisk, ways: u64) {
        let moment = self.moments.fetch_add(1, Ordering::Relaxed);
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        let random = (0..ways).map(|way| Survival::Random(moment * 1_000 + way));
        for way in [Survival::None, Survival::All].into_iter().chain(random) {
            let what = format!("crash at moment {moment}, {way:?}");
            let left = disk.look(way);
            let before = left.look(Survival::None);
            let groups = groups_in(&left, &self.images, acknowledged, &what);
            let count = if groups > acknowledged { &self.kept } else { &self.lost };
            count.fetch_add(1, Ordering::Relaxed);
            if moment.is_multiple_of(16) {
                self.crash_again(&before, groups, what);
            }
        }
    }

    /// Crashes once more at every moment of the recovery: what it found is found again.
    fn crash_again(&self, left: &CrashDisk, groups: usize, what: String) {
        let images = self.images.clone();
        left.watch(move |disk| {
            let survived = disk.look(Survival::Random(disk.calls()));
            let what = format!("{what}, and again in its recovery");
            assert_eq!(groups_in(&survived, &images, groups, &what), groups, "{what}");
        });
        drop(open(left).and_then(|mut journal| journal.replay()));
    }
}

#[test]
fn a_crash_at_any_moment_leaves_a_prefix_with_all_that_was_acknowledged() {
    let ways = number("LAMPYRID_WAYS", 2);
    let (history, images) = history(1, number("LAMPYRID_GROUPS", 10) as usize, true);
    let disk = fresh(1);
    let witness = Witness::of(images);
    let watching = Arc::clone(&witness);
    disk.watch(move |disk| watching.look(disk, ways));
    let mut journal = open(&disk).unwrap();
    for group in &history {
        journal.commit(group).unwrap();
        witness.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    assert!(disk.file_len() > 1 << 20, "the file grows: {}", disk.file_len());
    drop(journal);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (lost, kept) = (count(&witness.lost), count(&witness.kept));
    eprintln!(
        "{} moments, {lost} crashes without and {kept} with what was not acknowledged",
        count(&witness.moments)
    );
    assert!(lost > 0 && kept > 0);
}

/// One call fails; the store is opened again on the same machine; more is written; the machine
/// crashes.
fn fail_and_go_on(call: Call, error: FaultError, nth: u64, seed: u64) -> bool {
    let what = format!("{call:?} {nth} fails with {error:?}, seed {seed}");
    let (history, images) = history(2, 6, true);
    let mut disk = fresh(seed);
    disk.fail(Fault { call, nth, error, forever: false });
    let mut done = 0;
    let mut failures = 0;
    while done < history.len() {
        let left = match open(&disk) {
            Ok(mut journal) => {
                let replayed = journal.replay().unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(
                    replayed == images[done] || replayed == images[done + 1],
                    "{what}: something else is read after the failure"
                );
                // What is read is the truth from here on, a crash included.
                if replayed == images[done + 1] {
                    done += 1;
                }
                groups_in(&disk.look(Survival::Random(seed)), &images, done, &what);
                done += commit_all(&mut journal, &history[done..]);
                disk.look(Survival::None)
            }
            Err(_) => disk.look(Survival::None),
        };
        groups_in(&left, &images, done, &what);
        if done < history.len() {
            failures += 1;
            assert!(failures < 3, "{what}: it goes on failing");
            disk = disk.reopen();
        }
    }
    failures > 0
}

#[test]
fn after_any_failed_call_what_is_read_is_the_truth_even_if_the_machine_crashes_then() {
    let seeds = number("LAMPYRID_WAYS", 2);
    let kinds = [
        (Call::Sync, FaultError::Io, seeds * 2),
        (Call::SetLen, FaultError::Full, seeds),
        (Call::Write, FaultError::Full, seeds.div_ceil(2)),
    ];
    for (call, error, seeds) in kinds {
        let mut nth = 1;
        while (0..seeds).filter(|&seed| fail_and_go_on(call, error, nth, seed)).count() > 0 {
            nth += 1;
        }
        eprintln!("{call:?} {error:?}: {} calls failed", nth - 1);
        assert!(nth > 3, "only {nth} calls of {call:?}");
    }
}
