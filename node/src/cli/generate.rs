use std::path::Path;

use clap::CommandFactory;

use super::args::{Args, CompletionsArgs, ManArgs};
use super::failure::Failure;
use super::output;

/// Prints the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "lampyrid", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

/// Prints the manual page of the program, or writes one for each command.
pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    match &args.dir {
        Some(dir) => pages(dir),
        None => {
            let mut page = Vec::new();
            let written = clap_mangen::Man::new(Args::command()).render(&mut page);
            written.map_err(|error| Failure::failed(format!("the manual page: {error}")))?;
            output::print(&String::from_utf8_lossy(&page))
        }
    }
}

fn pages(dir: &Path) -> Result<(), Failure> {
    if !dir.is_dir() {
        let shown = dir.display();
        return Err(Failure::usage(format!("--dir: {shown} is no directory; make it first")));
    }
    clap_mangen::generate_to(Args::command(), dir)
        .map_err(|error| Failure::failed(format!("--dir: {}: {error}", dir.display())))
}
