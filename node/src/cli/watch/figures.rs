use std::collections::BTreeMap;

/// What is shown of the metrics of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) messages_sent: u64,
    pub(super) messages_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    /// By actor, those that were restarted.
    pub(super) restarts: BTreeMap<String, u64>,
}

impl Figures {
    /// Reads Prometheus' text format as far as our own metrics use it: no label holds a blank or
    /// an escape. Lines of other metrics are passed over.
    pub(super) fn read(text: &str) -> Self {
        let mut figures = Self::default();
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Some((name, labels)) = series.split_once('{') else { continue };
            let Ok(value) = value.parse::<u64>() else { continue };
            let is_sent = label(labels, "direction") == Some("sent");
            let sum = match (name, is_sent) {
                ("lampyrid_messages_total", true) => &mut figures.messages_sent,
                ("lampyrid_messages_total", false) => &mut figures.messages_received,
                ("lampyrid_link_bytes_total", true) => &mut figures.bytes_sent,
                ("lampyrid_link_bytes_total", false) => &mut figures.bytes_received,
                ("lampyrid_actor_restarts_total", _) if value > 0 => {
                    let actor = label(labels, "actor").unwrap_or("?");
                    figures.restarts.entry(actor.to_owned()).or_default()
                }
                _ => continue,
            };
            *sum = sum.saturating_add(value);
        }
        figures
    }
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let pairs = labels.trim_end_matches('}').split(',');
    let mut values = pairs.filter_map(|pair| pair.split_once('='));
    values.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_summed_over_concerns() {
        let text = "# HELP lampyrid_messages_total Messages exchanged\n\
            # TYPE lampyrid_messages_total counter\n\
            lampyrid_messages_total{concern=\"membership\",direction=\"sent\"} 3\n\
            lampyrid_messages_total{concern=\"migration\",direction=\"sent\"} 4\n\
            lampyrid_messages_total{concern=\"migration\",direction=\"received\"} 5\n\
            lampyrid_link_bytes_total{direction=\"received\"} 700\n\
            lampyrid_actor_restarts_total{actor=\"links\"} 0\n\
            lampyrid_actor_restarts_total{actor=\"migration\"} 2\n\
            lampyrid_ready 1\n\nrubbish\nlampyrid_link_bytes_total{direction=\"sent\"} many\n";
        let wanted = Figures {
            messages_sent: 7,
            messages_received: 5,
            bytes_sent: 0,
            bytes_received: 700,
            restarts: [("migration".to_owned(), 2)].into(),
        };
        assert_eq!(Figures::read(text), wanted);
    }
}
