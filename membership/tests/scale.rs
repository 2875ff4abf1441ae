//! Large simulated clusters: what is promised of them, at sizes that fit a test run. The example
//! `scale` of the workspace's tests runs any size.
// Helpers outside of `#[test]` functions are tests as well.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use lampyrid_membership::Pace;
use lampyrid_membership::sim::Direction;
use lampyrid_membership::sim::scale::{Trouble, bootstrap, crash_some, loads, trouble_some};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn scratch() {
    let Ok(what) = std::env::var("SCALE") else { return };
    let parts: Vec<&str> = what.split_whitespace().collect();
    let number = |at: usize| parts.get(at).map_or(1, |text| text.parse::<u64>().unwrap());
    let (n, c) = (number(1) as usize, number(2) as usize);
    for seed in number(4)..number(4) + number(3) {
        let start = std::time::Instant::now();
        let line = match parts[0] {
            "bootstrap" => format!("{:?}", bootstrap(seed, n, seconds(1))),
            "crash" => format!("{:?}", crash_some(seed, n, c, false, seconds(3))),
            "unplug" => format!("{:?}", crash_some(seed, n, c, true, seconds(3))),
            "lossin" => format!(
                "{:?}",
                trouble_some(seed, n, c, Trouble::Loss(Direction::Incoming, 800), seconds(60))
            ),
            "lossout" => format!(
                "{:?}",
                trouble_some(seed, n, c, Trouble::Loss(Direction::Outgoing, 800), seconds(60))
            ),
            "flipin" => format!(
                "{:?}",
                trouble_some(seed, n, c, Trouble::FlipFlop(Direction::Incoming), seconds(60))
            ),
            "load" => format!("{:?}", loads(seed, n, c, Pace::default(), seconds(60), seconds(60))),
            "load1" => format!("{:?}", loads(seed, n, c, Pace::every(seconds(1)), seconds(60), seconds(60))),
            _ => panic!(),
        };
        eprintln!("{seed}: {line} in {:.1} s", start.elapsed().as_secs_f64());
    }
}
