use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::failure::Failure;

/// What is logged when nobody says otherwise.
pub(crate) const DEFAULT_FILTER: &str = "info";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Logs to stderr from now on.
pub(crate) fn start(filter: &str, format: LogFormat, source: &str) -> Result<(), Failure> {
    let filter = self::filter(filter, source)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Of a line that could not be written it would be told on stderr, which is what is broken (a
        // full disk, a reader that has gone): a panic in whatever actor had something to log.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let set = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| Failure::failed(format!("cannot start logging: {error}")))
}

/// What the text asks for.
pub(crate) fn filter(text: &str, source: &str) -> Result<EnvFilter, Failure> {
    // The substrate warns whenever a session ends and prints whole frames at debug: nobody who did
    // not name it wants that.
    let quiet = if text.contains("ractor") { "" } else { ",ractor=error,ractor_cluster=error" };
    EnvFilter::try_new(format!("{text}{quiet}"))
        .map_err(|error| Failure::usage(format!("{source}: `{text}`: {error}")))
}
