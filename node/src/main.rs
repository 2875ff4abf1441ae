//! The `lampyrid` binary: see `lampyrid --help`.

fn main() -> std::process::ExitCode {
    lampyrid::cli::main()
}
