use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::wait::{PATIENCE, eventually};

const ROWS: u16 = 40;
const COLUMNS: u16 = 120;

/// A program on a terminal of its own, and what is on it; killed and reaped when dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    /// The program's side, kept open so that its modes outlive the program.
    far_side: OwnedFd,
    modes: LocalModes,
    screen: Arc<Mutex<Screen>>,
}

impl Terminal {
    /// Starts a program there, without the variables of ours.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let near_side = openpt(flags).expect("a pseudo terminal");
        grantpt(&near_side).and_then(|()| unlockpt(&near_side)).expect("its other side");
        let far_side = ioctl_tiocgptpeer(&near_side, flags).expect("its other side");
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&near_side, size).expect("a size");
        let modes = tcgetattr(&far_side).expect("modes").local_modes;
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LAMPYRID_")) {
            command.env_remove(name);
        }
        let side = || Stdio::from(far_side.try_clone().expect("a descriptor"));
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("it starts");
        let screen = Arc::new(Mutex::new(Screen::default()));
        let keyboard = File::from(near_side);
        let mut output = keyboard.try_clone().expect("a descriptor");
        let sink = Arc::clone(&screen);
        // Ends with an error once both the program and `far_side` have gone.
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 8192];
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                sink.lock().expect("readers do not panic").show(&buffer[..read]);
            }
        });
        Self { child, keyboard, far_side, modes, screen }
    }

    /// Waits until the text is somewhere on the screen, in one line.
    pub fn wait_for(&self, text: &str) {
        self.wait_until(text, true);
    }

    /// Waits until the text is nowhere on the screen.
    pub fn wait_gone(&self, text: &str) {
        self.wait_until(text, false);
    }

    fn wait_until(&self, text: &str, is_there: bool) {
        let started = Instant::now();
        while self.shown().contains(text) != is_there {
            // What it shows instead is what a failure is about.
            let shown = self.shown();
            assert!(started.elapsed() < PATIENCE, "{text} there: {}:\n{shown}", !is_there);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What is on the screen.
    #[must_use]
    pub fn shown(&self) -> String {
        self.screen.lock().expect("the reader does not panic").text()
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal is there");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("an own child can be signalled");
    }

    /// Waits for the program to end.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the program to end", || self.child.try_wait().expect("it can be waited for")).0
    }

    /// True if the program has left the terminal as it found it.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        let modes = tcgetattr(&self.far_side).expect("modes").local_modes;
        modes == self.modes && !self.screen.lock().expect("the reader does not panic").is_alternate
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As much of a terminal as is needed to know what can be read on it: characters, the places they
/// go to, clearing, and the alternate screen. Anything else is passed over.
#[derive(Debug, Default)]
struct Screen {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    sequence: Option<String>,
    is_alternate: bool,
}

impl Screen {
    fn show(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().map(|byte| char::from(*byte)) {
            match (self.sequence.as_mut(), byte) {
                (_, '\u{1b}') => self.sequence = Some(String::new()),
                (Some(sequence), byte) => {
                    sequence.push(byte);
                    // A sequence ends with a letter.
                    if byte.is_ascii_alphabetic() {
                        self.obey();
                    }
                }
                (None, '\n') => (self.row, self.column) = (self.row + 1, 0),
                (None, '\r') => self.column = 0,
                (None, byte) => self.put(byte),
            }
        }
    }

    fn obey(&mut self) {
        let sequence = self.sequence.take().unwrap_or_default();
        match sequence.as_str() {
            "[?1049h" => self.is_alternate = true,
            "[?1049l" => self.is_alternate = false,
            "[2J" => self.rows.clear(),
            _ => {
                let place = sequence.strip_prefix('[').and_then(|text| text.strip_suffix('H'));
                let Some((row, column)) = place.and_then(|text| text.split_once(';')) else {
                    return;
                };
                let place = |text: &str| text.parse::<usize>().unwrap_or(1).saturating_sub(1);
                (self.row, self.column) = (place(row), place(column));
            }
        }
    }

    fn put(&mut self, character: char) {
        self.rows.resize(ROWS.into(), Vec::new());
        if let Some(row) = self.rows.get_mut(self.row).filter(|_| self.column < COLUMNS.into()) {
            row.resize(COLUMNS.into(), ' ');
            row[self.column] = character;
        }
        self.column += 1;
    }

    fn text(&self) -> String {
        let rows = self.rows.iter().map(|row| row.iter().collect::<String>());
        rows.map(|row| row.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }
}
