use std::io::Write;

use super::failure::Failure;
use super::options::{Checked, Exposed, NodeArgs};
use super::output;

/// Prints what a start with these options would use; see [`NodeArgs::check`].
pub(crate) fn check(args: &NodeArgs) -> Result<(), Failure> {
    let Checked { settings: all, exposed } = args.check(|name| std::env::var(name).ok())?;
    for Exposed { path, mode } in exposed {
        let file = path.display();
        // What a start would write to its log.
        let _ = writeln!(
            std::io::stderr(),
            "warning: {file} (mode {mode:04o}): others can read the secret in this file: chmod 600 it"
        );
    }
    let keys = all.iter().map(|one| one.key.len()).max().unwrap_or_default();
    let values = all.iter().map(|one| one.value.chars().count()).max().unwrap_or_default();
    // A long list must not push everything else out of sight.
    let values = values.min(MAX_COLUMN);
    let mut text = String::new();
    for one in all {
        text += &format!("{:keys$}  {:values$}  {}\n", one.key, one.value, one.source);
    }
    output::print(&text)
}

/// The widest that the column of values gets; longer values go beyond it.
const MAX_COLUMN: usize = 40;
