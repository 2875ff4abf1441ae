//! What the system knows of a process.

use std::time::Duration;

/// The processor time that a process has used so far.
#[must_use]
pub fn cpu(pid: u32) -> Duration {
    let stat = read(pid, "stat");
    // The name before the last bracket may hold anything; of the fields after it, the 12th and
    // 13th are the ticks in user and kernel mode.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The memory that a process holds now, in KiB.
#[must_use]
pub fn resident(pid: u32) -> u64 {
    figure(pid, "status", "VmRSS:")
}

/// The bytes that a process has caused to be written to disk so far.
#[must_use]
pub fn written(pid: u32) -> u64 {
    figure(pid, "io", "write_bytes:")
}

fn figure(pid: u32, file: &str, name: &str) -> u64 {
    let text = read(pid, file);
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let figure = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok());
    figure.expect("a figure")
}

fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process runs")
}
