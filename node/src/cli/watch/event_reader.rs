use serde_json::Value;

/// One event of the stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// What a listener that comes back names.
    pub(super) id: Option<u64>,
    pub(super) kind: String,
    /// `Null` if it was too large, or no JSON.
    pub(super) data: Value,
}

/// The longest line that is kept. A topology of a very large cluster may be longer; then it is
/// told that there was one, and not what is in it.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Server-sent events from pieces of bytes, wherever they are cut.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    line: Vec<u8>,
    is_too_long: bool,
    id: Option<u64>,
    kind: String,
    data: String,
}

impl EventReader {
    /// The events that are complete with these bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            self.is_too_long |= self.line.len() + part.len() > MAX_LINE_BYTES;
            if !self.is_too_long {
                self.line.extend_from_slice(part);
            }
            // The last part has no end yet.
            if lines.peek().is_some() {
                events.extend(self.end_line());
            }
        }
        events
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.is_too_long) {
            // Of our server's lines only data can be so long. Half of it is worth nothing.
            self.data.clear();
            return None;
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        if line.is_empty() {
            let (id, kind) = (self.id.take(), std::mem::take(&mut self.kind));
            let data = std::mem::take(&mut self.data);
            let data = serde_json::from_str(&data).unwrap_or_default();
            return (!kind.is_empty()).then_some(Event { id, kind, data });
        }
        // A line that begins with a colon has no name: it only says that the stream is alive.
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.id = value.parse().ok(),
            "event" => value.clone_into(&mut self.kind),
            "data" => value.clone_into(&mut self.data),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_read_wherever_the_bytes_are_cut() {
        let text = b": listening\n\nid: 7\nevent: view\ndata: {\"epoch\":2}\n\n:\n\n\
            id: 8\r\nevent: gap\r\ndata: {}\r\n\r\nid: 9\nevent: topology\nda";
        let wanted = [
            Event { id: Some(7), kind: "view".to_owned(), data: json!({"epoch": 2}) },
            Event { id: Some(8), kind: "gap".to_owned(), data: json!({}) },
        ];
        for size in 1..text.len() {
            let mut reader = EventReader::default();
            let events: Vec<Event> =
                text.chunks(size).flat_map(|bytes| reader.push(bytes)).collect();
            assert_eq!(events, wanted, "{size}");
        }
    }

    #[test]
    fn what_is_too_long_is_told_without_its_data() {
        let mut reader = EventReader::default();
        let mut events = reader.push(b"id: 3\nevent: topology\ndata: [");
        for _ in 0..40 {
            events.extend(reader.push(&[b'1'; 64 * 1024]));
            assert!(reader.line.len() <= MAX_LINE_BYTES);
        }
        events.extend(reader.push(b"]\n\nid: 4\nevent: gap\ndata: {}\n\n"));
        let wanted = [
            Event { id: Some(3), kind: "topology".to_owned(), data: Value::Null },
            Event { id: Some(4), kind: "gap".to_owned(), data: json!({}) },
        ];
        assert_eq!(events, wanted);
    }
}
