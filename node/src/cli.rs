//! The command line: it runs processes, and asks running ones over their admin HTTP.

mod access;
mod answers;
mod args;
mod audit;
mod bar;
mod client;
mod config;
mod confirm;
mod connector;
mod demo;
mod distrust;
mod drain;
mod duration;
mod failure;
mod generate;
mod leave;
mod locate;
mod logs;
mod migrate;
mod node;
mod options;
#[cfg(feature = "otel")]
mod otlp;
mod output;
mod recover;
mod salvage;
mod settings;
mod signals;
mod status;
mod target;
mod url;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command, ConfigArgs, ConfigCommand};
use failure::Failure;

/// Runs the command that the arguments ask for.
pub fn main() -> ExitCode {
    // On bad usage this prints to stderr and exits with 2; on --help and --version, with 0.
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Failure::failed(format!("cannot start the runtime: {error}")).report();
        }
    };
    let result = runtime.block_on(run(args.command));
    // What still waits (a name being looked up) must not hold up the exit.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Node(args) => node::run(*args).await,
        Command::Status(args) => status::run(args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Locate(args) => locate::run(args).await,
        Command::Audit(args) => audit::run(args).await,
        Command::Bar(args) => bar::run(args).await,
        Command::Drain(args) => drain::run(args).await,
        Command::Leave(args) => leave::run(args).await,
        Command::Recover(args) => recover::run(args).await,
        Command::Config(ConfigArgs { command: ConfigCommand::Check(args) }) => config::check(&args),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args),
    }
}
