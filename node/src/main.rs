//! The `lampyrid` binary: see `lampyrid --help`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
