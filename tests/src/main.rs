//! `lampyrid` as it is, with the fault points in.

fn main() -> std::process::ExitCode {
    lampyrid::cli::main()
}
