use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use lampyrid_wire::ProcessId;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child as Process, ChildStdin, ChildStdout, Command};

use crate::cli::access::Access;
use crate::cli::client::Client;
use crate::cli::failure::Failure;

/// How long a child may take until it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a child that was asked to leave may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a child says of itself on stdout.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Said {
    pub(crate) event: String,
    pub(crate) id: ProcessId,
    pub(crate) incarnation: u64,
    pub(crate) cluster: String,
    pub(crate) admin: String,
}

/// One `lampyrid node`. Killed when this is dropped, and it leaves by itself when this process is
/// gone without having dropped anything: the other end of its stdin is held here.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
    _lifeline: Option<ChildStdin>,
}

impl Child {
    /// Starts a process with these arguments, its log appended to a file.
    pub(crate) fn start(arguments: &[String], log: &Path) -> Result<Self, Failure> {
        let fault = |error| Failure::failed(format!("cannot start a process: {error}"));
        let log = File::options().append(true).create(true).open(log).map_err(fault)?;
        let mut command = Command::new(std::env::current_exe().map_err(fault)?);
        command.arg("node").args(arguments).arg("--leave-when-stdin-ends");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        // Ctrl-C on the terminal is for this process, which ends its children in order.
        command.process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LAMPYRID_") {
                command.env_remove(name);
            }
        }
        let mut process = command.spawn().map_err(fault)?;
        let lifeline = process.stdin.take();
        let stdout = process.stdout.take();
        let stdout = stdout.ok_or_else(|| fault(std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self { process, lines: BufReader::new(stdout).lines(), _lifeline: lifeline })
    }

    /// Waits for the line that announces `event`.
    pub(crate) async fn hear(&mut self, event: &str) -> Result<Said, Failure> {
        let heard = tokio::time::timeout(READY_TIMEOUT, self.lines.next_line()).await;
        let line = match heard {
            Ok(Ok(Some(line))) => line,
            Ok(_) => return Err(Failure::failed("a process ended before it was ready")),
            Err(_) => {
                let detail = format!("a process was not {event} within {READY_TIMEOUT:?}");
                return Err(Failure::failed(detail));
            }
        };
        match serde_json::from_str::<Said>(&line) {
            Ok(said) if said.event == event => Ok(said),
            _ => Err(Failure::failed(format!("a process said `{line}`, not that it is {event}"))),
        }
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(&mut self) {
        // An error says that it has ended already.
        let _ = self.process.start_kill();
    }

    /// Waits for its end, which was brought about before.
    pub(crate) async fn reap(&mut self) {
        let _ = self.process.wait().await;
    }

    /// Gives it a moment to leave, and kills it then.
    pub(crate) async fn end(&mut self, is_leaving: bool) {
        if is_leaving {
            let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.process.wait()).await;
        }
        self.kill();
        self.reap().await;
    }
}

/// Where a child of the cluster is found now, for those who talk to it while it may be restarted.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) process: ProcessId,
    client: RwLock<(Client, bool)>,
}

impl Site {
    pub(crate) fn new(said: &Said) -> Result<Arc<Self>, Failure> {
        let client = Client::new(&said.admin, Access::default()).map_err(Failure::failed)?;
        Ok(Arc::new(Self { process: said.id, client: RwLock::new((client, true)) }))
    }

    pub(crate) fn client(&self) -> Client {
        self.read().0.clone()
    }

    /// False from its kill until it is ready again.
    pub(crate) fn is_up(&self) -> bool {
        self.read().1
    }

    pub(crate) fn went_down(&self) {
        self.write(|site| site.1 = false);
    }

    pub(crate) fn came_up(&self, said: &Said) {
        self.write(|site| *site = (site.0.at(&said.admin), true));
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, (Client, bool)> {
        self.client.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self, change: impl FnOnce(&mut (Client, bool))) {
        change(&mut self.client.write().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}
