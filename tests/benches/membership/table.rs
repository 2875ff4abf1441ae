use std::time::Duration;

use crate::arguments::{Experiment, Protocol};
use crate::experiments::{Bootstrap, Crash, Faults, PATIENCE};
use crate::meter::Load;
use crate::run::{Done, Finding};

/// What was found, as a table: one line for every size and protocol, over all its seeds.
pub(crate) fn of(experiment: Experiment, done: &[Done]) -> String {
    let done: Vec<&Done> = done.iter().filter(|one| one.job.experiment == experiment).collect();
    let mut cases: Vec<(usize, Protocol)> =
        done.iter().map(|one| (one.job.places, one.job.protocol)).collect();
    cases.dedup();
    let mut lines = head(experiment);
    let mut loads = Vec::new();
    for (places, protocol) in cases {
        let found: Vec<Finding> = done
            .iter()
            .filter(|one| (one.job.places, one.job.protocol) == (places, protocol))
            .map(|one| one.finding)
            .collect();
        let case = format!("| {places} | {} ", protocol.name());
        lines.push(format!("{case}{}", line(places, &found)));
        if let Some(load) = load_line(&found) {
            loads.push(format!("{case}{load}"));
        }
    }
    if !loads.is_empty() {
        lines.push(String::new());
        lines.extend(rows(
            "N | protocol | idle: bytes | messages | coordinator: messages | with the change: bytes | messages",
        ));
        lines.extend(loads);
    }
    lines.push(String::new());
    lines.push(String::new());
    lines.join("\n")
}

fn rows(columns: &str) -> [String; 2] {
    let count = columns.split('|').count();
    [format!("| {columns} |"), format!("|{}", " --- |".repeat(count))]
}

fn head(experiment: Experiment) -> Vec<String> {
    let columns = match experiment {
        Experiment::Bootstrap => {
            "N | protocol | all agree, s | 99 % known, s | different lists | bytes | messages | coordinator: messages"
        }
        Experiment::CrashOne | Experiment::CrashPercent => {
            "N | protocol | survivors agree after, s | different lists"
        }
        Experiment::Loss | Experiment::FlipFlop => {
            "N | protocol | healthy removed | faulty removed | of these out at the end | different lists"
        }
    };
    let mut lines = vec![format!("### {}", experiment.title()), String::new()];
    lines.extend(rows(columns));
    lines
}

fn line(places: usize, found: &[Finding]) -> String {
    let bootstraps: Vec<Bootstrap> = found
        .iter()
        .filter_map(|one| if let Finding::Bootstrap(found) = one { Some(*found) } else { None })
        .collect();
    let crashes: Vec<Crash> = crashes(found);
    let faults: Vec<Faults> = found
        .iter()
        .filter_map(|one| if let Finding::Faults(found) = one { Some(*found) } else { None })
        .collect();
    if !bootstraps.is_empty() {
        let load = mean_load(bootstraps.iter().map(|one| one.load));
        format!(
            "| {} | {} | {} | {} | {} | {:.1} |",
            times(bootstraps.iter().map(|one| one.took)),
            times(bootstraps.iter().map(|one| one.nearly)),
            counts(bootstraps.iter().map(|one| one.lists)),
            pair(load.bytes_mean, load.bytes_p99),
            pair(load.messages_mean, load.messages_p99),
            load.coordinator,
        )
    } else if !crashes.is_empty() {
        format!(
            "| {} | {} |",
            times(crashes.iter().map(|one| one.took)),
            counts(crashes.iter().map(|one| one.lists)),
        )
    } else {
        let total = |of: fn(&Faults) -> usize| faults.iter().map(of).sum::<usize>();
        let faulty = total(|one| one.faulty);
        format!(
            "| {} of {} | {} of {faulty} | {} | {} |",
            total(|one| one.healthy_removed),
            places * faults.len() - faulty,
            total(|one| one.faulty_removed),
            total(|one| one.faulty_out),
            counts(faults.iter().map(|one| one.lists)),
        )
    }
}

fn crashes(found: &[Finding]) -> Vec<Crash> {
    found
        .iter()
        .filter_map(|one| if let Finding::Crash(found) = one { Some(*found) } else { None })
        .collect()
}

fn load_line(found: &[Finding]) -> Option<String> {
    let crashes = crashes(found);
    if crashes.is_empty() {
        return None;
    }
    let idle = mean_load(crashes.iter().map(|one| one.idle));
    let change = mean_load(crashes.iter().map(|one| one.change));
    Some(format!(
        "| {} | {} | {:.1} | {} | {} |",
        pair(idle.bytes_mean, idle.bytes_p99),
        pair(idle.messages_mean, idle.messages_p99),
        idle.coordinator,
        pair(change.bytes_mean, change.bytes_p99),
        pair(change.messages_mean, change.messages_p99),
    ))
}

/// The middle one, and the worst.
fn times(of: impl Iterator<Item = Option<Duration>>) -> String {
    let mut all: Vec<Option<Duration>> = of.collect();
    // Those that did not come about are the longest.
    all.sort_by_key(|time| time.unwrap_or(Duration::MAX));
    let say = |time: Option<&Option<Duration>>| match time {
        Some(Some(time)) => format!("{:.2}", time.as_secs_f64()),
        _ => format!("> {}", PATIENCE.as_secs()),
    };
    format!("{} ({})", say(all.get(middle(all.len()))), say(all.last()))
}

fn counts(of: impl Iterator<Item = usize>) -> String {
    let mut all: Vec<usize> = of.collect();
    all.sort_unstable();
    let say = |count: Option<&usize>| count.copied().unwrap_or(0);
    format!("{} ({})", say(all.get(middle(all.len()))), say(all.last()))
}

fn middle(count: usize) -> usize {
    count.saturating_sub(1) / 2
}

fn pair(mean: f64, p99: f64) -> String {
    format!("{mean:.1}, p99 {p99:.0}")
}

/// The mean over seeds; of the 99th percentiles as well.
fn mean_load(of: impl Iterator<Item = Load>) -> Load {
    let all: Vec<Load> = of.collect();
    let count = all.len().max(1) as f64;
    let mean = |part: fn(&Load) -> f64| all.iter().map(part).sum::<f64>() / count;
    Load {
        bytes_mean: mean(|load| load.bytes_mean),
        bytes_p99: mean(|load| load.bytes_p99),
        messages_mean: mean(|load| load.messages_mean),
        messages_p99: mean(|load| load.messages_p99),
        coordinator: mean(|load| load.coordinator),
    }
}
