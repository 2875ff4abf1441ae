use std::time::Duration;

/// The processor time that a process has used so far.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = read(pid, "stat");
    // The name before the last bracket may hold anything; of the fields after it, the 12th and
    // 13th are the ticks in user and kernel mode.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The memory that a process holds now, in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = read(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok())
        .expect("a figure in kB")
}

fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process runs")
}
