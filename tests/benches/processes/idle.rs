use std::time::Duration;

use lampyrid_tests::{Cluster, proc};

use crate::table;

/// What one process has used and sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) resident: u64,
    pub(crate) messages: f64,
    pub(crate) bytes: f64,
    pub(crate) link_bytes: f64,
}

/// Nothing happens: what does each process cost?
pub(crate) fn measure(cluster: &Cluster, time: Duration) {
    cluster.wait_agreed();
    // What the start and the faults before have set off may take its course first.
    std::thread::sleep(Duration::from_secs(5));
    let all = || (0..cluster.size()).map(|at| usage(cluster, at)).collect::<Vec<_>>();
    let before = all();
    std::thread::sleep(time);
    report("idle", &before, &all(), time);
}

/// Lines of what was used between two moments: mean over the processes, and the highest.
pub(crate) fn report(name: &str, before: &[Usage], after: &[Usage], time: Duration) {
    let line = |what: &str, unit: &str, figure: &dyn Fn(&Usage, &Usage) -> f64| {
        let all: Vec<f64> = before.iter().zip(after).map(|(old, new)| figure(old, new)).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let most = all.iter().copied().fold(0.0, f64::max);
        let value = format!("mean {mean:.3} {unit}, most {most:.3}");
        table::count(&format!("{name}: {what}"), all.len(), &value, "");
    };
    let seconds = time.as_secs_f64();
    line("processor", "s a minute", &|old, new| (new.cpu - old.cpu).as_secs_f64() * 60.0 / seconds);
    line("resident memory", "MiB", &|_, new| new.resident as f64 / 1_024.0);
    line("messages sent", "a second", &|old, new| (new.messages - old.messages) / seconds);
    line("bytes of these", "a second", &|old, new| (new.bytes - old.bytes) / seconds);
    line("bytes of all links, sent", "a second", &|old, new| {
        (new.link_bytes - old.link_bytes) / seconds
    });
}

fn usage(cluster: &Cluster, at: usize) -> Usage {
    let text = cluster.admin(at).text("/metrics").expect("metrics");
    let sum = |name: &str| {
        let sent = |line: &&str| line.starts_with(name) && line.contains(r#"direction="sent""#);
        let value =
            |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
        text.lines().filter(sent).filter_map(value).sum::<f64>()
    };
    let pid = cluster.node(at).pid();
    Usage {
        cpu: proc::cpu(pid),
        resident: proc::resident(pid),
        messages: sum("lampyrid_messages_total"),
        bytes: sum("lampyrid_message_bytes_total"),
        link_bytes: sum("lampyrid_link_bytes_total"),
    }
}
