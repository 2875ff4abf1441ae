//! The README shows code that is compiled and run.

use std::process::Command;

const README: &str = include_str!("../../README.md");
const EXAMPLE: &str = include_str!("../examples/embed.rs");

#[test]
fn the_readme_shows_the_example_as_it_is() {
    let shown = README.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(shown, Some(EXAMPLE));
    assert!(EXAMPLE.lines().count() < 60);
}

#[test]
fn the_example_runs() {
    // Beside the directory of this test; `cargo test` builds examples, `cargo test --test` does not.
    let test = std::env::current_exe().unwrap();
    let example = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/embed");
    let output = Command::new(&example)
        .output()
        .unwrap_or_else(|error| panic!("{error}: cargo build -p lampyrid --example embed"));
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && shown.contains("Committed"), "{shown}");
}
