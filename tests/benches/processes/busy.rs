use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lampyrid_tests::Cluster;

use crate::table;

/// Busy threads for each core.
const THREADS_A_CORE: usize = 2;

/// Between two questions to all.
const PAUSE: Duration = Duration::from_millis(100);

/// All cores busy with other work: nobody may be removed.
pub(crate) fn measure(cluster: &Cluster, time: Duration, cores: usize) {
    let (before, _) = cluster.wait_agreed();
    let ended = AtomicBool::new(false);
    let (mut views, mut isolated, mut asked) = (BTreeSet::new(), 0, 0);
    std::thread::scope(|scope| {
        for _ in 0..cores * THREADS_A_CORE {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let start = Instant::now();
        while start.elapsed() < time {
            for at in 0..cluster.size() {
                asked += 1;
                let Some(view) = cluster.admin(at).view() else { continue };
                views.insert(view["epoch"].as_u64().unwrap_or_default());
                isolated += usize::from(view["status"] != "active");
            }
            std::thread::sleep(PAUSE);
        }
        ended.store(true, Ordering::Relaxed);
    });
    // Every removal is a view, and so is every return.
    let (after, _) = cluster.wait_agreed();
    let epoch = |view: &serde_json::Value| view["epoch"].as_u64().expect("an epoch");
    let changes = epoch(&after) - epoch(&before);
    let what = format!("view changes in {time:?}, {THREADS_A_CORE} busy threads a core");
    let verdict = if changes == 0 { "0: met" } else { "0: NOT MET" };
    table::count(&what, 1, &changes.to_string(), verdict);
    let answers = format!("{isolated} of {asked}");
    table::count("answers meanwhile that said isolated", 1, &answers, "");
}
