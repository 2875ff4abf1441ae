use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::wait::PATIENCE;

/// Its lines as they come.
pub(crate) fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Bound on what is kept of a log, in bytes.
const LOG_LIMIT: usize = 4 * 1024 * 1024;

/// Keeps what it says, up to [`LOG_LIMIT`].
pub(crate) fn collect(mut stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&text);
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 8192];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            let mut text = sink.lock().expect("readers do not panic");
            if text.len() < LOG_LIMIT {
                text.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        }
    });
    text
}

/// What was collected once the collector has seen the end; the child is gone already.
pub(crate) fn settled(text: &Arc<Mutex<String>>) -> String {
    let started = std::time::Instant::now();
    while Arc::strong_count(text) > 1 && started.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    text.lock().expect("the collector did not panic").clone()
}
