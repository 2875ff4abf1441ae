//! Asks whether something that cannot be undone is meant.

use std::io::{self, BufRead, IsTerminal, Write};

use super::failure::Failure;

/// The longest answer that is read from the terminal, in bytes.
const MAX_ANSWER_BYTES: u64 = 64;

/// Refuses at once, before anything is looked at, what could not be confirmed later.
pub(crate) fn can_ask(yes: bool) -> Result<(), Failure> {
    if yes || (io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    Err(Failure::usage("there is no terminal to ask on: --yes says that all this is meant"))
}

/// Says what is given up, and asks unless `yes`.
pub(crate) fn confirm(yes: bool, stake: &str) -> Result<(), Failure> {
    tell(stake)?;
    if yes || confirmed(io::stdin().lock(), io::stderr().lock())? {
        return Ok(());
    }
    Err(Failure::failed("not confirmed; nothing was changed"))
}

/// To stderr: stdout is for results.
pub(crate) fn tell(text: &str) -> Result<(), Failure> {
    let told = io::stderr().lock().write_all(text.as_bytes());
    told.map_err(|error| Failure::failed(format!("cannot say what is given up: {error}")))
}

/// Asks; only the whole word counts.
fn confirmed(answers: impl BufRead, mut terminal: impl Write) -> Result<bool, Failure> {
    let mut answer = String::new();
    let asked = terminal
        .write_all(b"Type `yes` to go on: ")
        .and_then(|()| terminal.flush())
        .and_then(|()| answers.take(MAX_ANSWER_BYTES).read_line(&mut answer));
    asked.map_err(|error| Failure::failed(format!("cannot ask: {error}; nothing was changed")))?;
    Ok(answer.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_word_confirms() {
        for (answer, wanted) in [("yes\n", true), ("y\n", false), ("\n", false), ("", false)] {
            let mut shown = Vec::new();
            assert_eq!(confirmed(answer.as_bytes(), &mut shown).unwrap(), wanted, "{answer:?}");
            assert!(String::from_utf8(shown).unwrap().contains("yes"));
        }
        assert!(!confirmed("yes ".repeat(100).as_bytes(), io::sink()).unwrap());
    }
}
