use crate::arguments::{Experiment, Protocol};
use crate::run::{self, Finding, Job};

const PLACES: usize = 12;
const SEEDS: [u64; 2] = [1, 2];

/// All protocols once through all experiments, small: they come together, get rid of the dead and
/// of nobody else, and are measured at all.
pub(crate) fn test() {
    for protocol in [Protocol::Ours, Protocol::OursUnplugged, Protocol::Foca, Protocol::Heartbeat] {
        for experiment in [Experiment::Bootstrap, Experiment::CrashOne, Experiment::Loss] {
            let jobs = SEEDS.map(|seed| Job { experiment, protocol, places: PLACES, seed });
            let (done, broken) = run::all(&jobs);
            assert!(broken.is_empty(), "{broken:?}");
            assert_eq!(done.len(), SEEDS.len());
            for one in done {
                check(protocol, one.finding);
            }
        }
    }
}

fn check(protocol: Protocol, finding: Finding) {
    match finding {
        Finding::Bootstrap(found) => {
            assert!(found.took.is_some(), "{protocol:?} came together: {found:?}");
            assert!(found.nearly <= found.took, "{protocol:?}: {found:?}");
            assert!((1..10_000).contains(&found.lists), "{protocol:?}: {found:?}");
            assert!(found.load.bytes_mean > 0.0, "{protocol:?} was counted: {found:?}");
        }
        Finding::Crash(found) => {
            assert!(found.took.is_some(), "{protocol:?} lost one: {found:?}");
            // One change: nobody but the dead went.
            assert_eq!(found.lists, 1, "{protocol:?}: {found:?}");
            assert!(found.idle.messages_mean > 1.0, "{protocol:?} is never idle: {found:?}");
            assert!(found.idle.bytes_p99 >= found.idle.bytes_mean / 2.0, "{protocol:?}: {found:?}");
        }
        Finding::Faults(found) => {
            assert_eq!(found.faulty, 1);
            assert!(found.faulty_removed <= 1 && found.healthy_removed < PLACES, "{found:?}");
        }
    }
}
