use std::time::Duration;

/// Begins the table, in Markdown.
pub(crate) fn head() {
    println!("| what | samples | p50 | p99 | most | to reach |");
    println!("|---|---|---|---|---|---|");
}

/// A line on times.
pub(crate) fn times(what: &str, samples: &mut [Duration], limits: &[(u32, Duration)]) {
    samples.sort_unstable();
    let bound = |(percent, limit): &(u32, Duration)| {
        let verdict = if percentile(samples, *percent) < *limit { "met" } else { "NOT MET" };
        format!("p{percent} < {limit:?}: {verdict}")
    };
    let wanted: Vec<String> = limits.iter().map(bound).collect();
    let [middle, high, most] = [50, 99, 100].map(|percent| percentile(samples, percent));
    let wanted = wanted.join(", ");
    println!("| {what} | {} | {middle:.1?} | {high:.1?} | {most:.1?} | {wanted} |", samples.len());
}

/// A line on something counted or computed.
pub(crate) fn count(what: &str, samples: usize, value: &str, wanted: &str) {
    println!("| {what} | {samples} | {value} | | | {wanted} |");
}

/// By nearest rank; of sorted samples.
fn percentile(sorted: &[Duration], percent: u32) -> Duration {
    let rank = (sorted.len() * usize::try_from(percent).unwrap_or(100)).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
