//! Two host applications as two processes, over loopback: an entity moves from one to the other and
//! back, and answers requests from both, wherever it is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStderr, Command, Stdio};

/// The example `counters`, running.
struct Host {
    process: Child,
    said: std::io::Lines<BufReader<ChildStderr>>,
    address: String,
}

impl Host {
    /// Starts one and waits until it is ready.
    fn start(seed: Option<&str>) -> Self {
        let test = std::env::current_exe().unwrap();
        let examples = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples");
        let mut process = Command::new(examples.join("counters"))
            .args(seed)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{error}: cargo build -p lampyrid --example counters"));
        let said = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut host = Self { process, said, address: String::new() };
        let ready = host.hears();
        host.address = ready.strip_prefix("at ").unwrap_or_else(|| panic!("{ready}")).to_owned();
        host
    }

    fn hears(&mut self) -> String {
        self.said.next().unwrap().unwrap()
    }

    fn does(&mut self, command: &str) -> String {
        writeln!(self.process.stdin.as_mut().unwrap(), "{command}").unwrap();
        self.hears()
    }

    /// The end of its input ends it.
    fn ends(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

/// A failed test leaves none behind.
impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn requests_follow_an_entity_from_host_to_host() {
    let mut first = Host::start(None);
    let mut second = Host::start(Some(&first.address));
    let id = first.does("new");
    assert_eq!(first.does(&format!("add {id} 1")), "1");
    assert_eq!(second.does(&format!("add {id} 20")), "21");
    let mut total = 21;
    for round in 0..10 {
        let (here, there) =
            if round % 2 == 0 { (&mut first, &mut second) } else { (&mut second, &mut first) };
        let moved = here.does(&format!("move {id}"));
        assert!(moved.starts_with("Committed"), "{moved}");
        for host in [here, there] {
            total += 1;
            assert_eq!(host.does(&format!("add {id} 1")), total.to_string(), "round {round}");
        }
    }
    let absent = second.does("add f1e00000-0000-4000-8000-000000000001 1");
    assert_eq!(absent, "error: no member of the view has that entity, or knows where it went");
    second.ends();
    assert_eq!(first.does(&format!("add {id} 1")), (total + 1).to_string());
    first.ends();
}
