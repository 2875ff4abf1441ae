use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lampyrid_tests::load::Latencies;
use redb::{Database, TableDefinition};
use serde_json::Value;

use crate::table;

/// How long each floor is measured.
const TIME: Duration = Duration::from_secs(4);

/// Bytes appended before each sync: a small record.
const APPEND_BYTES: usize = 300;

/// Bytes of a value in the store.
const VALUE_BYTES: usize = 256;

/// Records of a large commit.
const GROUP: usize = 64;

/// Bytes of a bulk frame, and how many are on their way at once.
const BULK: (usize, usize) = (64 * 1024, 8);

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");
const FRAMES: &str = env!("CARGO_BIN_EXE_frames-baseline");

/// Syncs a second of each of two files, with both cores half busy.
const BUSY_RATE: u32 = 1_000;

/// Work and rest of each of the threads that keep them so.
const BUSY_TURN: Duration = Duration::from_micros(400);

/// What the same machine gives at best, in the same run.
pub(crate) struct Floors {
    sync: Latencies,
    /// What a sync takes when the machine does other work beside: some machines stop for a while.
    pub(crate) busy: Latencies,
    /// Records a second, in commits of [`GROUP`].
    pub(crate) grouped: f64,
    /// Records a second, one a commit.
    single: f64,
    bulk: Frames,
    one_by_one: Frames,
}

/// Acknowledged frames between two processes.
struct Frames {
    rate: f64,
    middle: Duration,
    high: Duration,
}

impl Floors {
    pub(crate) fn measure() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self {
            sync: syncs(&directory.path().join("log"), Duration::ZERO),
            busy: busy_syncs(directory.path()),
            grouped: commits(&directory.path().join("grouped"), GROUP),
            single: commits(&directory.path().join("single"), 1),
            bulk: frames(BULK.0, BULK.1),
            one_by_one: frames(APPEND_BYTES, 1),
        }
    }

    /// Half of all syncs take no longer.
    pub(crate) fn sync(&self) -> Duration {
        self.sync.at(0.5)
    }

    /// Half of all small frames are answered sooner.
    pub(crate) fn round_trip(&self) -> Duration {
        self.one_by_one.middle
    }

    pub(crate) fn report(&self) {
        let floor = |what: &str, found: &str| table::line(what, found, "", "", "");
        let rate = self.sync.count() as f64 / TIME.as_secs_f64();
        floor(
            &format!("floor: append of {APPEND_BYTES} B and fdatasync"),
            &format!("{}/s; {}", table::number(rate), table::spread(&self.sync)),
        );
        floor(
            &format!(
                "floor: the same {BUSY_RATE} times a second in two files, both cores half busy"
            ),
            &table::spread(&self.busy),
        );
        floor(
            &format!("floor: store commits of {GROUP} records of {VALUE_BYTES} B"),
            &format!("{} records/s", table::number(self.grouped)),
        );
        floor(
            &format!("floor: store commits of one record of {VALUE_BYTES} B"),
            &format!("{} records/s", table::number(self.single)),
        );
        let frames = |what: &str, frames: &Frames, bytes: usize| {
            let megabytes = frames.rate * bytes as f64 / 1e6;
            let (middle, high) = (table::time(frames.middle), table::time(frames.high));
            let rate = table::number(frames.rate);
            floor(what, &format!("{rate}/s ({megabytes:.0} MB/s); p50 {middle}, p99 {high}"));
        };
        frames("floor: acknowledged frames of 64 KiB, 8 at once", &self.bulk, BULK.0);
        frames(
            &format!("floor: acknowledged frames of {APPEND_BYTES} B, one by one"),
            &self.one_by_one,
            APPEND_BYTES,
        );
    }
}

/// One after the other, but no sooner than `every` after the one before was due.
fn syncs(path: &Path, every: Duration) -> Latencies {
    let mut file = File::create(path).expect("a file");
    let mut all = Latencies::default();
    let start = Instant::now();
    let mut due = start;
    while start.elapsed() < TIME {
        due += every;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let began = if every.is_zero() { Instant::now() } else { due };
        file.write_all(&[7; APPEND_BYTES]).and_then(|()| file.sync_data()).expect("a disk");
        all.record(began.elapsed());
    }
    all
}

fn busy_syncs(directory: &Path) -> Latencies {
    let start = Instant::now();
    let work = || {
        while start.elapsed() < TIME {
            let turn = Instant::now();
            while turn.elapsed() < BUSY_TURN {
                std::hint::spin_loop();
            }
            std::thread::sleep(BUSY_TURN);
        }
    };
    let sync = |name: &str| syncs(&directory.join(name), Duration::from_secs(1) / BUSY_RATE);
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
        let other = scope.spawn(|| sync("busy-1"));
        let mut all = sync("busy-2");
        all.merge(&other.join().expect("it does not panic"));
        all
    })
}

/// Records a second, appended: what costs the store least.
fn commits(path: &Path, group: usize) -> f64 {
    let store = Database::create(path).expect("a store");
    let (mut next, start) = (0, Instant::now());
    while start.elapsed() < TIME {
        let transaction = store.begin_write().expect("the only writer");
        {
            let mut table = transaction.open_table(ROWS).expect("a table");
            for _ in 0..group {
                table.insert(next, [7; VALUE_BYTES].as_slice()).expect("room");
                next += 1;
            }
        }
        transaction.commit().expect("a disk");
    }
    next as f64 / start.elapsed().as_secs_f64()
}

fn frames(bytes: usize, in_flight: usize) -> Frames {
    let mut sink = Command::new(FRAMES)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(sink.stdout.take().expect("it is piped")).read_line(&mut line).expect("a line");
    let address: Value = serde_json::from_str(&line).expect("an address");
    let sent = Command::new(FRAMES)
        .arg("send")
        .arg(address["address"].as_str().expect("an address"))
        .args([bytes, in_flight, TIME.as_secs() as usize].map(|number| number.to_string()))
        .stderr(Stdio::inherit())
        .output()
        .expect("it runs");
    // It ends when its stdin does.
    drop(sink.stdin.take());
    sink.wait().expect("an own child");
    let found: Value = serde_json::from_slice(&sent.stdout).expect("figures");
    let figure = |name: &str| found[name].as_f64().expect("a figure");
    Frames {
        rate: figure("frames") / figure("seconds"),
        middle: Duration::from_secs_f64(figure("p50_us") / 1e6),
        high: Duration::from_secs_f64(figure("p99_us") / 1e6),
    }
}
