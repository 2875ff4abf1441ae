//! What fuzzers feed with bytes, and a test with what they found. Each must return, whatever the
//! bytes are, and take no more memory than they are worth.

use std::sync::Arc;

use lampyrid_wire::{Envelope, decode, encode};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::codec::{decode_row, seal};
use super::log::{log_row, read_row};
use super::redo::{self, Redo, RedoArea};
use crate::{Image, Message};

/// A row of the log as it is, and again as if its checksums were right: all that a checksum keeps
/// out has to be survived as well.
pub fn journal_row(bytes: &[u8]) {
    read(bytes);
    read(&log_row(1, bytes));
}

fn read(row: &[u8]) {
    let Ok((_, writes)) = read_row(1, row) else { return };
    let mut image = Image::default();
    for write in writes {
        // Errors are what most bytes are worth.
        let _ = decode_row(&mut image, write.table, write.key, write.value);
        if let Some(value) = write.value {
            let value = seal(write.table, write.key, value);
            let _ = decode_row(&mut image, write.table, write.key, Some(&value));
        }
    }
}

/// The token of the redo logs here; that of the second half is one more.
const TOKEN: u64 = 0x1234_5678_9abc_def0;

/// The sectors of a redo log, as they are; and again as if all claims and checksums were right:
/// the first byte of each piece tells which frame it is of, the next two which of its sectors.
///
/// # Panics
/// If what was read is not read again after the rest was tidied up.
pub fn redo_log(bytes: &[u8]) {
    read_log(bytes);
    let pieces: Vec<&[u8]> = bytes.chunks(redo::PAYLOAD).collect();
    let (first, second) = pieces.split_at(pieces.len() / 2);
    read_log(&[sealed(TOKEN, first), sealed(TOKEN + 1, second)].concat());
}

/// One half of a redo log.
fn sealed(token: u64, pieces: &[&[u8]]) -> Vec<u8> {
    let mut frame = 0;
    let sector = |(at, piece): (usize, &&[u8])| {
        let byte = |index: usize| piece.get(index).copied().map_or(0, usize::from);
        frame += u32::from(byte(0) % 2 == 1);
        let place = (byte(1) % 8, byte(2) % 8);
        redo::seal(token, frame, at, place, piece.get(3..).unwrap_or_default())
    };
    pieces.iter().enumerate().flat_map(sector).collect()
}

fn read_log(bytes: &[u8]) {
    let front = (redo::SECTOR + bytes.len()) as u64;
    let file = InMemoryBackend::new();
    let filled = file.set_len(front).and_then(|()| file.write(redo::SECTOR as u64, bytes));
    assert!(filled.is_ok(), "memory takes all");
    let area = RedoArea::in_front(Arc::new(file), front);
    let read = || Redo::read(area.clone(), TOKEN, &mut Image::default());
    // An error is what most bytes are worth.
    let Ok(mut first) = read() else { return };
    assert!(first.settle_tail().is_ok(), "memory takes all");
    let again = read().map(|mut again| again.take());
    assert_eq!(again, Ok(first.take()), "what is read once is read again");
}

/// A frame from another process: an envelope around a migration message.
///
/// # Panics
/// If what was understood does not mean the same when it is written and read again.
pub fn frame(bytes: &[u8]) {
    if let Ok(envelope) = decode::<Envelope>(bytes) {
        again(&envelope);
        message(&envelope.body);
    }
}

/// A migration message.
///
/// # Panics
/// As [`frame`].
pub fn message(bytes: &[u8]) {
    if let Ok(message) = decode::<Message>(bytes) {
        again(&message);
    }
}

fn again<T>(value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let back = encode(value).and_then(|bytes| decode::<T>(&bytes));
    assert_eq!(back.as_ref(), Ok(value), "what is written is what was read");
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use bytes::Bytes;
    use lampyrid_wire::{BootNonce, BubbleId, EntityId, Incarnation, OwnershipEpoch, Peer};
    use lampyrid_wire::{ProcessId, SagaId, StageId};

    use super::super::codec::encode_write;
    use super::super::log::Tail;
    use super::*;
    use crate::testkit::Random;
    use crate::{DoubtAnswer, EntityRow, PartId, Snapshot, StagingRow, Write};

    fn corpus(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
    }

    type Feed = fn(&[u8]);

    const TARGETS: [(&str, Feed); 4] = [
        ("journal_row", journal_row),
        ("redo_log", redo_log),
        ("frame", frame),
        ("message", message),
    ];

    fn replay(target: &str, feed: Feed) {
        let files = std::fs::read_dir(corpus(target)).unwrap();
        let count = files.map(|file| feed(&std::fs::read(file.unwrap().path()).unwrap())).count();
        assert!(count > 2, "{target}: only {count} files");
    }

    #[test]
    fn what_fuzzers_found_is_survived() {
        TARGETS.iter().for_each(|(target, feed)| replay(target, *feed));
    }

    /// A fuzzer's dull cousin, for the toolchain at hand: seeds with some bytes changed, cut or
    /// repeated.
    #[test]
    fn what_is_near_a_seed_is_survived() {
        let mut random = Random::new(1);
        for (target, feed) in TARGETS {
            let files = std::fs::read_dir(corpus(target)).unwrap();
            let mut seeds: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            seeds.sort();
            for seed in seeds {
                let seed = std::fs::read(seed).unwrap();
                for _ in 0..5_000 {
                    let mut bytes = seed.clone();
                    for _ in 0..1 + random.below(4) {
                        let at = random.below(bytes.len());
                        match random.below(4) {
                            0 => bytes.truncate(at + 1),
                            1 => bytes.extend_from_within(at..),
                            2 => bytes[at] = [0, 0x7f, 0x90, 0xc6, 0xdd, 0xff][random.below(6)],
                            _ => bytes[at] ^= 1 << random.below(8),
                        }
                    }
                    feed(&bytes);
                }
            }
        }
    }

    #[test]
    #[ignore = "writes the seeds that fuzzers begin with"]
    fn writes_seeds() {
        let (id, bubble, stage) =
            (EntityId::from_u128(3), BubbleId::from_u128(4), StageId::from_u128(5));
        let (process, epoch) = (ProcessId::from_u128(1), OwnershipEpoch(1));
        let part = PartId { source: process, saga: SagaId::from_u128(2), part: 0 };
        let copy = Snapshot { id, epoch, state: Bytes::from_static(b"state") };
        let put = |target: &str, name: &str, bytes: &[u8]| {
            std::fs::create_dir_all(corpus(target)).unwrap();
            std::fs::write(corpus(target).join(name), bytes).unwrap();
        };
        let messages = [
            (
                "stage",
                Message::Stage { part, attempt: 1, to: bubble, entities: vec![copy.clone()] },
            ),
            ("commit", Message::Commit { part, attempt: 1, stage, entities: vec![id] }),
            ("doubt", Message::Doubt { parts: vec![part] }),
            ("answers", Message::DoubtAnswers { answers: vec![(part, DoubtAnswer::Unknown)] }),
        ];
        let from = Peer { process, incarnation: Incarnation(1), nonce: BootNonce(7) };
        for (name, message) in &messages {
            put("message", name, &encode(message).unwrap());
            let envelope = Envelope::seal(from, None, message).unwrap();
            put("frame", name, &encode(&envelope).unwrap());
        }
        let entity = EntityRow { bubble, epoch, state: Some(copy.state.clone()) };
        let staging = StagingRow { stage, to: bubble, entities: vec![copy], refused: Vec::new() };
        let writes = [
            ("entity", Write::Entity(id, Some(entity))),
            ("staging", Write::Staging(part, Some(staging.into()))),
            ("removal", Write::Entity(id, None)),
            ("bubble", Write::Bubble(bubble, true)),
        ];
        for (name, write) in &writes {
            let mut tail = Tail::at(1);
            let write = encode_write(write).unwrap();
            tail.push(write.table, &write.key, write.value.as_deref()).unwrap();
            for (_, row) in tail.finish(1) {
                put("journal_row", name, &row);
            }
        }

        let file = Arc::new(InMemoryBackend::new());
        let front = 17 * redo::SECTOR;
        file.set_len(front as u64).unwrap();
        let area = RedoArea::in_front(file.clone(), front as u64);
        let mut log = Redo::read(area, TOKEN, &mut Image::default()).unwrap();
        for (number, writes) in [&writes[..1], &writes[1..], &writes[..2]].into_iter().enumerate() {
            if number == 2 {
                log.take();
                log.turn();
            }
            let writes = writes.iter().map(|(_, write)| encode_write(write).unwrap()).collect();
            assert!(matches!(log.append(writes).unwrap(), redo::Appended::Durable));
        }
        let mut frames = vec![0; 16 * redo::SECTOR];
        file.read(redo::SECTOR as u64, &mut frames).unwrap();
        put("redo_log", "halves", &frames);
        let pieces = frames.chunks(redo::SECTOR).flat_map(|sector| {
            // A frame begins with the first of its sectors.
            let begins = u8::from(sector[11] > 0 && sector[13] == 0);
            let place = [begins, sector[13], sector[15]];
            [&place, &sector[16..16 + redo::PAYLOAD - 3]].concat()
        });
        put("redo_log", "pieces", &pieces.collect::<Vec<u8>>());
        frames[8 * redo::SECTOR..].fill(0);
        put("redo_log", "frames", &frames);
        frames[2 * redo::SECTOR..].fill(0);
        put("redo_log", "torn", &frames);
    }
}
