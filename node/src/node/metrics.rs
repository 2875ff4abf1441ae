//! The figures of the parts, as Prometheus is shown them.

use std::sync::atomic::{AtomicU64, Ordering};

use lampyrid_membership::RefusalReason;
use lampyrid_migration::{Hook, HookOutcome, LATENCY_BOUNDS_MICROS, LatencyHistogram, Phase};
use lampyrid_wire::Channel;
use metrics::{counter, gauge};

use super::event_log::EventLog;
use super::tree::Tree;
use crate::requests::RequestCounters;

const PHASES: [(&str, Phase); 3] =
    [("prepare", Phase::Prepare), ("stage", Phase::Stage), ("activate", Phase::Activate)];

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Records everything; called for each scrape.
pub(super) fn record(tree: &Tree) {
    membership(&tree.counters.membership);
    registry(&tree.counters.registry);
    migration(&tree.counters.migration);
    links(&tree.counters.links);
    requests(&tree.counters.requests);
    gauge!("lampyrid_tls_certificate_expiry_timestamp_seconds")
        .set(read(&tree.counters.certificate) as f64);
    for (child, why, restarts) in tree.restarts().read() {
        counter!("lampyrid_actor_restarts_total", "actor" => child, "cause" => why.name())
            .absolute(restarts);
    }
}

/// What became of those who listen to events.
pub(super) fn record_events(events: &EventLog) {
    counter!("lampyrid_event_gaps_total").absolute(events.gaps());
}

/// One concern's traffic with other processes, and its timers. The coordinator and the broadcaster
/// count with the registry, whose channel they share.
fn traffic(concern: &'static str, sent: (u64, u64), received: (u64, u64), timers: u64) {
    for (direction, (messages, bytes)) in [("sent", sent), ("received", received)] {
        counter!("lampyrid_messages_total", "concern" => concern, "direction" => direction)
            .absolute(messages);
        counter!("lampyrid_message_bytes_total", "concern" => concern, "direction" => direction)
            .absolute(bytes);
    }
    counter!("lampyrid_actor_timers_fired_total", "concern" => concern).absolute(timers);
}

fn membership(counters: &lampyrid_membership::Counters) {
    let sent = (read(&counters.frames_sent), read(&counters.bytes_sent));
    let received = (read(&counters.frames_received), read(&counters.bytes_received));
    traffic("membership", sent, received, read(&counters.timers));
    counter!("lampyrid_membership_durable_writes_total").absolute(read(&counters.writes));
    counter!("lampyrid_views_total").absolute(read(&counters.views));
    let refused = read(&counters.undecodable);
    counter!("lampyrid_messages_refused_total", "concern" => "membership").absolute(refused);
}

fn registry(counters: &lampyrid_registry::Counters) {
    use lampyrid_registry::Counter;
    let rows = counters.traffic();
    let column = |n: usize| rows.iter().map(|(_, row)| row[n]).sum::<u64>();
    let timers = counters.get(Counter::Alarms);
    traffic("registry", (column(0), column(1)), (column(2), column(3)), timers);
    counter!("lampyrid_broadcasts_total").absolute(counters.get(Counter::Broadcasts));
    counter!("lampyrid_messages_refused_total", "concern" => "registry")
        .absolute(counters.get(Counter::Malformed));
    for (name, which) in [
        ("stale", Counter::Stale),
        ("duplicate", Counter::Duplicate),
        ("reordered", Counter::Reordered),
        ("gap", Counter::Gap),
        ("late", Counter::Late),
    ] {
        counter!("lampyrid_updates_irregular_total", "kind" => name).absolute(counters.get(which));
    }
    counter!("lampyrid_clock_skew_warnings_total").absolute(counters.get(Counter::Skew));
}

fn migration(counters: &lampyrid_migration::MigrationCounters) {
    let sent = (counters.messages_sent(), counters.bytes_sent());
    let received = (counters.messages_received(), counters.bytes_received());
    traffic("migration", sent, received, counters.alarms_fired());
    counter!("lampyrid_messages_refused_total", "concern" => "migration")
        .absolute(counters.undecodable());
    counter!("lampyrid_journal_transactions_total").absolute(counters.transactions());
    counter!("lampyrid_journal_records_total").absolute(counters.records());
    gauge!("lampyrid_migrations_stuck").set(counters.stuck() as f64);
    counter!("lampyrid_migration_lost_copies_total").absolute(counters.lost_copies());
    for hook in Hook::ALL {
        for outcome in HookOutcome::ALL {
            let (hook_name, outcome_name) = (hook.name(), outcome.name());
            counter!("lampyrid_hooks_total", "hook" => hook_name, "outcome" => outcome_name)
                .absolute(counters.hook(hook).ended(outcome));
        }
    }
    counter!("lampyrid_hooks_left_out_total").absolute(counters.hooks_left_out());
}

/// What was timed, as histograms in Prometheus' text format: the recorder makes none of counts that
/// were taken elsewhere.
pub(super) fn histograms(tree: &Tree) -> String {
    let counters = &tree.counters.migration;
    let phases = PHASES.map(|(name, phase)| (name, counters.phase(phase)));
    let hooks = Hook::ALL.map(|hook| (hook.name(), counters.hook(hook).took()));
    let phase_help = "Phases of moves; those that wait for a peer count from sending";
    let hook_help = "Calls of hooks, to their end or to their limit";
    histogram("lampyrid_migration_phase_seconds", "phase", phase_help, &phases)
        + &histogram("lampyrid_hook_seconds", "hook", hook_help, &hooks)
}

fn histogram(
    name: &str,
    label: &str,
    help: &str,
    series: &[(&'static str, &LatencyHistogram)],
) -> String {
    let mut lines = vec![format!("# HELP {name} {help}"), format!("# TYPE {name} histogram")];
    for (value, timed) in series {
        let bounds = LATENCY_BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6);
        let bounds = bounds.map(|bound| bound.to_string()).chain(["+Inf".to_owned()]);
        let mut count = 0;
        for (bucket, bound) in timed.buckets().into_iter().zip(bounds) {
            count += bucket;
            lines.push(format!("{name}_bucket{{{label}=\"{value}\",le=\"{bound}\"}} {count}"));
        }
        let sum = timed.sum().as_secs_f64();
        lines.push(format!("{name}_sum{{{label}=\"{value}\"}} {sum}"));
        lines.push(format!("{name}_count{{{label}=\"{value}\"}} {count}"));
    }
    lines.join("\n") + "\n"
}

fn links(counters: &crate::links::LinkCounters) {
    gauge!("lampyrid_link_sessions").set(read(&counters.sessions) as f64);
    gauge!("lampyrid_link_handshakes").set(read(&counters.handshakes) as f64);
    counter!("lampyrid_link_sessions_lost_total").absolute(read(&counters.downs));
    counter!("lampyrid_link_no_room_total").absolute(read(&counters.no_room));
    counter!("lampyrid_link_garbage_total").absolute(read(&counters.garbage));
    for (direction, bytes) in
        [("received", &counters.stream_bytes_in), ("sent", &counters.stream_bytes_out)]
    {
        counter!("lampyrid_link_bytes_total", "direction" => direction).absolute(read(bytes));
    }
    for channel in Channel::ALL {
        let refused = read(&counters.channel(channel).overloaded);
        counter!("lampyrid_link_overloaded_total", "channel" => channel.name()).absolute(refused);
    }
    for (name, reason) in [
        ("cookie", RefusalReason::Cookie),
        ("cluster_name", RefusalReason::ClusterName),
        ("cluster_id", RefusalReason::ClusterId),
        ("version", RefusalReason::Version),
        ("own_id", RefusalReason::OwnId),
        ("twin", RefusalReason::Twin),
        ("barred", RefusalReason::Barred),
        ("too_many_sessions", RefusalReason::TooManySessions),
        ("certificate", RefusalReason::Certificate),
        ("tls", RefusalReason::Tls),
    ] {
        counter!("lampyrid_link_refusals_total", "reason" => name)
            .absolute(read(counters.refusals(reason)));
    }
}

fn requests(counters: &RequestCounters) {
    gauge!("lampyrid_requests_asking").set(read(&counters.asking) as f64);
    gauge!("lampyrid_requests_answering").set(read(&counters.answering) as f64);
    for (outcome, asked) in [("answered", &counters.answered), ("unanswered", &counters.unanswered)]
    {
        counter!("lampyrid_requests_asked_total", "outcome" => outcome).absolute(read(asked));
    }
    for (outcome, here) in [
        ("answered", &counters.served),
        ("refused", &counters.refused),
        ("failed", &counters.failed),
    ] {
        counter!("lampyrid_requests_received_total", "outcome" => outcome).absolute(read(here));
    }
}

/// Help texts of what [`record`] records.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!("lampyrid_messages_total", "Messages exchanged with other processes");
    describe_counter!("lampyrid_message_bytes_total", Unit::Bytes, "Bytes of these messages");
    describe_counter!("lampyrid_actor_timers_fired_total", "Timers that fired, by concern");
    describe_counter!("lampyrid_messages_refused_total", "Messages that made no sense");
    describe_counter!("lampyrid_actor_restarts_total", "Restarts of supervised actors, by cause");
    describe_counter!("lampyrid_membership_durable_writes_total", "Durable writes of membership");
    describe_counter!("lampyrid_views_total", "Views that subscribers were told of");
    describe_counter!("lampyrid_broadcasts_total", "Registry broadcasts made as coordinator");
    describe_counter!("lampyrid_updates_irregular_total", "Updates out of order, late or stale");
    describe_counter!("lampyrid_clock_skew_warnings_total", "Wall clocks beyond the tolerance");
    describe_counter!("lampyrid_journal_transactions_total", "Durable transactions");
    describe_counter!("lampyrid_journal_records_total", "Records in these transactions");
    describe_counter!(
        "lampyrid_migration_lost_copies_total",
        "Decided moves whose destination lost the copy: look at once"
    );
    describe_gauge!(
        "lampyrid_migrations_stuck",
        "Decided moves that a member of the view has left unacknowledged for long"
    );
    describe_counter!("lampyrid_hooks_total", "Calls of hooks, by how they ended");
    describe_counter!(
        "lampyrid_hooks_left_out_total",
        "Calls of post_migrate left out because too many waited"
    );
    describe_counter!(
        "lampyrid_event_gaps_total",
        "Times that a listener had fallen behind, or came back too late"
    );
    describe_gauge!("lampyrid_requests_asking", "Requests to entities that wait for an answer");
    describe_gauge!("lampyrid_requests_answering", "Requests to entities with the handler here");
    describe_counter!("lampyrid_requests_asked_total", "Requests to entities that ended here");
    describe_counter!(
        "lampyrid_requests_received_total",
        "Requests to entities that came to this process"
    );
    describe_gauge!(
        "lampyrid_tls_certificate_expiry_timestamp_seconds",
        Unit::Seconds,
        "Until when peers accept the certificate, since 1970; 0 without one"
    );
    describe_gauge!("lampyrid_link_sessions", "Sessions with other processes");
    describe_gauge!("lampyrid_link_handshakes", "Handshakes under way");
    describe_counter!("lampyrid_link_sessions_lost_total", "Sessions that went down");
    describe_counter!(
        "lampyrid_link_no_room_total",
        "Sessions wished for while all on demand were in use"
    );
    describe_counter!("lampyrid_link_garbage_total", "Connections that were no peers");
    describe_counter!("lampyrid_link_bytes_total", Unit::Bytes, "Bytes of all sessions");
    describe_counter!("lampyrid_link_overloaded_total", "Frames refused by a full window");
    describe_counter!("lampyrid_link_refusals_total", "Handshakes refused, by reason");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_all() {
        let timed = LatencyHistogram::default();
        for millis in [1, 1, 80, 5_000] {
            timed.record(std::time::Duration::from_millis(millis));
        }
        let text = histogram("h_seconds", "hook", "Help", &[("pre", &timed)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["# HELP h_seconds Help", "# TYPE h_seconds histogram"]);
        for line in [
            "h_seconds_bucket{hook=\"pre\",le=\"0.0005\"} 0",
            "h_seconds_bucket{hook=\"pre\",le=\"0.001\"} 2",
            "h_seconds_bucket{hook=\"pre\",le=\"0.05\"} 2",
            "h_seconds_bucket{hook=\"pre\",le=\"0.1\"} 3",
            "h_seconds_bucket{hook=\"pre\",le=\"3\"} 3",
            "h_seconds_bucket{hook=\"pre\",le=\"+Inf\"} 4",
            "h_seconds_sum{hook=\"pre\"} 5.082",
            "h_seconds_count{hook=\"pre\"} 4",
        ] {
            assert!(lines.contains(&line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with('\n'));
    }
}
