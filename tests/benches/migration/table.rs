use std::time::Duration;

use lampyrid_tests::load::Latencies;

use crate::plan::Plan;

/// Begins the table, in Markdown.
pub(crate) fn head(plan: &Plan) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    println!(
        "{cores} cores, load {load} before; {} entities, {} moves, {} a request, {} requests at once",
        plan.entities, plan.moves, plan.batch, plan.in_flight
    );
    println!();
    println!("| what | found | beside it | ratio | to reach |");
    println!("| --- | --- | --- | --- | --- |");
}

/// A line of the table; what does not apply is empty.
pub(crate) fn line(what: &str, found: &str, beside: &str, ratio: &str, wanted: &str) {
    println!("| {what} | {found} | {beside} | {ratio} | {wanted} |");
}

/// A bound with whether it holds.
pub(crate) fn verdict(bound: &str, holds: bool) -> String {
    format!("{bound}: {}", if holds { "met" } else { "NOT MET" })
}

/// The usual places of a distribution.
pub(crate) fn spread(all: &Latencies) -> String {
    let [middle, high, higher, highest] = [0.5, 0.95, 0.99, 0.999].map(|share| time(all.at(share)));
    let most = time(all.most());
    format!("p50 {middle}, p95 {high}, p99 {higher}, p99.9 {highest}, most {most}")
}

/// Three digits and a unit.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        0.1.. => format!("{:.0} ms", seconds * 1e3),
        0.001.. => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{:.0} us", seconds * 1e6),
    }
}

/// A number with separators.
pub(crate) fn number(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
