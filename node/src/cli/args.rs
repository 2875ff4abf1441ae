use std::path::PathBuf;

use clap::{Parser, Subcommand};
use lampyrid_wire::{BubbleId, ClusterId, EntityId, ProcessId};

use super::duration::Span;
use super::logs::LogFormat;
use super::options::NodeArgs;

/// Processes that agree who is alive, and move live entities between them exactly once.
#[derive(Debug, Parser)]
#[command(name = "lampyrid", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Example:\n  lampyrid demo")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(DemoArgs),
    Node(Box<NodeArgs>),
    Status(StatusArgs),
    Migrate(MigrateArgs),
    Locate(LocateArgs),
    Audit(AuditArgs),
    Leave(LeaveArgs),
    Drain(DrainArgs),
    Bar(BarArgs),
    Recover(RecoverArgs),
    Config(ConfigArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Starts a cluster of child processes, moves entities about, kills and restarts the coordinator,
/// and audits that nothing was lost or duplicated.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lampyrid demo --nodes 5 --entities 10000 --duration 30s")]
pub(crate) struct DemoArgs {
    /// Processes to start, at least 3
    #[arg(long, default_value_t = 3, allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(3..=32))]
    pub(crate) nodes: u16,
    /// Bubbles that each process hosts
    #[arg(long, default_value_t = 2, allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) bubbles: u16,
    /// Entities in all
    #[arg(long, default_value_t = 1_000, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) entities: u32,
    /// How long the entities move
    #[arg(long, default_value = "15s")]
    pub(crate) duration: Span,
    /// Makes the choices of what moves where repeatable
    #[arg(long, value_name = "N")]
    pub(crate) rng_seed: Option<u64>,
    /// A certificate for mutual TLS between the processes, which are called n1, n2 and so on
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    pub(crate) tls_cert: Option<String>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<String>,
    /// Authorities that signed it
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_ca: Option<String>,
    /// End with one JSON object on stdout instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

impl DemoArgs {
    /// What the processes are given to secure their links.
    pub(crate) fn security(&self) -> Vec<String> {
        let files = [
            ("--tls-cert", &self.tls_cert),
            ("--tls-key", &self.tls_key),
            ("--tls-ca", &self.tls_ca),
        ];
        let given = files.into_iter().filter_map(|(flag, file)| Some([flag, file.as_deref()?]));
        given.flatten().map(str::to_owned).collect()
    }
}

/// Shows the view, its members, the coordinator, the bubbles and the moves under way.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lampyrid status --admin http://127.0.0.1:41002\n  \
    lampyrid status --data-dir data/a --watch")]
pub(crate) struct StatusArgs {
    /// One JSON object instead of a screen for people
    #[arg(long, conflicts_with = "watch")]
    pub(crate) json: bool,
    /// Keep the screen up to date, with rates and the last events, until q, Esc or ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
    /// How often --watch looks, at least 100ms
    #[arg(long, default_value = "1s", requires = "watch", value_parser = super::duration::interval)]
    pub(crate) interval: Span,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

/// Moves entities of the asked process into a bubble; one line each, exit 0 only if all moved.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lampyrid migrate --data-dir data/a \\\n    \
    --to 7c1f5a52-8a0e-4c6f-9c39-3f0f4b0b8f11 0d9d2d6c-5a4e-4f9e-8d53-1b5b5f5a2c77")]
pub(crate) struct MigrateArgs {
    /// The bubble they go to
    #[arg(long, value_name = "BUBBLE")]
    pub(crate) to: BubbleId,
    /// The entities
    #[arg(required = true, value_name = "ENTITY")]
    pub(crate) entities: Vec<EntityId>,
    /// Repeating the command with the same key does not move anything twice
    #[arg(long, value_name = "K")]
    pub(crate) idempotency_key: Option<String>,
    /// How long to wait for the outcome; waiting never aborts a move
    #[arg(long, default_value = "5s")]
    pub(crate) wait: Span,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

/// Says where an entity is, asking one process after the other, and waiting while it moves.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lampyrid locate --data-dir data/a \
    0d9d2d6c-5a4e-4f9e-8d53-1b5b5f5a2c77")]
pub(crate) struct LocateArgs {
    /// The entity
    #[arg(value_name = "ENTITY")]
    pub(crate) entity: EntityId,
    /// How long to wait while it is on its way
    #[arg(long, default_value = "5s")]
    pub(crate) wait: Span,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

/// Asks processes for their entities and reports duplicates, frozen, staged and missing ones.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  lampyrid audit --admin http://127.0.0.1:41002 --expect ids.txt"
)]
pub(crate) struct AuditArgs {
    /// The processes to ask; repeatable [default: every member of the view of the process found as
    /// by the other commands: LAMPYRID_ADMIN_URL, --data-dir]
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Vec<String>,
    /// A file with the ids, one a line, of the entities that must be there
    #[arg(long, value_name = "FILE")]
    pub(crate) expect: Option<PathBuf>,
    /// The data directory of a process to ask for the view
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

/// Asks a process to leave its cluster gracefully and exit.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lampyrid leave --data-dir data/a --drain")]
pub(crate) struct LeaveArgs {
    /// First give all bubbles and entities to other members, as `lampyrid drain` does
    #[arg(long)]
    pub(crate) drain: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

/// Has a process give all its bubbles and entities to other members, and then leave.
///
/// Shows how far it has come, and ends when the process has left. Interrupting this command does not
/// interrupt the drain; asking again shows the same one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lampyrid drain --data-dir data/a --wait 5m")]
pub(crate) struct DrainArgs {
    /// How long to wait for the end; the drain goes on after that
    #[arg(long, default_value = "60s")]
    pub(crate) wait: Span,
    /// Stop the drain that is under way: what has not gone stays
    #[arg(long)]
    pub(crate) cancel: bool,
    /// End with one JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

/// Bars a process that is lost for good from the cluster, for ever, and takes back what left for it.
///
/// For a process that was removed from the view and will not come back, while moves to it are in
/// doubt. Says on stderr what is given up, and asks on the terminal.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lampyrid bar --admin http://127.0.0.1:41002 \
    7c1f5a52-8a0e-4c6f-9c39-3f0f4b0b8f11")]
pub(crate) struct BarArgs {
    /// The process
    #[arg(value_name = "PROCESS_ID")]
    pub(crate) process: ProcessId,
    /// Do not ask; needed where there is no terminal
    #[arg(long)]
    pub(crate) yes: bool,
    /// How long to wait until all members know and everything is taken back; it goes on after that
    #[arg(long, default_value = "10s")]
    pub(crate) wait: Span,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

/// Leads a stopped process out of a cluster whose majority is lost for good, or takes the entities
/// of a lost disk from a backup.
///
/// Its entities stay on its disk, and so do those of the others on theirs. It can never go back to
/// the cluster it leaves. Says on stderr what is given up, and asks on the terminal.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("way").required(true))]
#[command(
    after_help = "Example, where data/a is left of a cluster, and data/b turns up later:\n  \
    lampyrid recover --data-dir data/a --force-new-cluster\n  \
    lampyrid recover --data-dir data/b --join-new-cluster CLUSTER\n\n\
    CLUSTER is what the first command printed, and `cluster_id` in GET /v1/view.\n\n\
    Example, where the disk of a process is lost and backup/c is a copy of it:\n  \
    lampyrid bar --admin http://127.0.0.1:8001 PROCESS\n  \
    lampyrid recover --data-dir backup/c --as-new-process data/d --admin http://127.0.0.1:8001"
)]
pub(crate) struct RecoverArgs {
    /// The data directory of the process, which must not run
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Make it the only member of a new cluster. Refused if another member of its last view
    /// answers, or if it was removed
    #[arg(long, group = "way")]
    pub(crate) force_new_cluster: bool,
    /// Have it join that cluster, which was forced elsewhere, at its next start (with --join)
    #[arg(long, value_name = "CLUSTER", group = "way")]
    pub(crate) join_new_cluster: Option<ClusterId>,
    /// The directory is a backup of a process whose disk is lost: make that new directory, of a new
    /// process, with those of its entities that live nowhere else. The process has to be barred
    #[arg(long, value_name = "DIR", group = "way")]
    pub(crate) as_new_process: Option<PathBuf>,
    /// With --as-new-process: admin URL of a member, which leads to all others
    /// [env: LAMPYRID_ADMIN_URL]
    #[arg(long, value_name = "URL", requires = "as_new_process")]
    pub(crate) admin: Option<String>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Do not ask; needed where there is no terminal
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

/// Looks at the configuration of a process without starting it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lampyrid config check --config /etc/lampyrid/a.toml")]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Reads flags, variables and file as `lampyrid node` would, and prints every setting and where
    /// it comes from
    ///
    /// Files are read and names of addresses to listen on are looked up; nothing is bound or
    /// written. The shared secret and the admin token are not shown. Exit 2, naming the flag, the
    /// variable, or the file and line, if `lampyrid node` would refuse it.
    #[command(after_help = "Example:\n  lampyrid config check --config /etc/lampyrid/a.toml")]
    Check(Box<NodeArgs>),
}

/// Prints a script that completes commands and options, for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lampyrid completions bash > /etc/bash_completion.d/lampyrid")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Prints the manual page, or writes those of all commands.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lampyrid man --dir /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write a page for each command into this directory, which must be there
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Which process to ask.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TargetArgs {
    /// Admin URL of the process [env: LAMPYRID_ADMIN_URL] [default: what the process wrote into
    /// --data-dir]
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// The data directory of a process on this machine
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// What a process is shown, and how it is known.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AccessArgs {
    /// A file with the admin token of the processes
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// Authorities that sign the admin certificates of processes, as PEM; needed for https:// URLs
    /// [env: LAMPYRID_ADMIN_CA]
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_ca: Option<PathBuf>,
}

/// What is logged, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LogArgs {
    /// What to log to stderr, such as `info` or `lampyrid=debug` [env: RUST_LOG] [default: warn]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
}

impl LogArgs {
    /// Starts the logging of a command that is no process of a cluster: quiet unless asked.
    pub(crate) fn start(&self) -> Result<(), super::failure::Failure> {
        let variable = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
        match (&self.log, variable) {
            (Some(filter), _) => super::logs::start(filter, self.log_format, "--log"),
            (None, Some(filter)) => super::logs::start(&filter, self.log_format, "RUST_LOG"),
            (None, None) => super::logs::start("warn", self.log_format, "default"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_help_has_an_example() {
        let mut command = Args::command();
        command.build();
        for each in std::iter::once(&command).chain(command.get_subcommands()) {
            let has =
                each.get_after_help().is_some_and(|text| text.to_string().contains("Example"));
            assert!(has || each.get_name() == "help", "{}", each.get_name());
        }
    }

    #[test]
    fn what_makes_no_sense_beside_a_watch_is_refused() {
        let status = |more: &[&str]| Args::try_parse_from([&["lampyrid", "status"], more].concat());
        assert!(status(&["--watch"]).is_ok());
        assert!(status(&["--watch", "--interval", "100ms"]).is_ok());
        for wrong in [
            &["--watch", "--json"][..],
            &["--interval", "2s"],
            &["--watch", "--interval", "99ms"],
            &["--watch", "--interval", "often"],
        ] {
            let error = status(wrong).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }

    #[test]
    fn a_demo_of_two_is_refused() {
        assert!(Args::try_parse_from(["lampyrid", "demo", "--nodes", "2"]).is_err());
        assert!(Args::try_parse_from(["lampyrid", "demo", "--nodes", "3"]).is_ok());
        for flag in ["--nodes", "--bubbles", "--entities"] {
            let error = Args::try_parse_from(["lampyrid", "demo", flag, "-1"]).unwrap_err();
            assert!(error.to_string().contains(flag), "{error}");
        }
    }
}
