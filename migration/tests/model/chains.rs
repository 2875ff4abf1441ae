//! Moves that follow one another, with writes between them and everything that can go wrong.

use super::run::{check, is_large};

/// Explores what is described, and more of it if that is asked for.
fn explore(small: &str, large: &str) {
    let text = if is_large() { large } else { small };
    check(text, text.parse().unwrap());
}

#[test]
#[ignore = "explores the bounds given by LAMPYRID_BOUNDS"]
fn any() {
    let text = std::env::var("LAMPYRID_BOUNDS").unwrap_or_default();
    check(&text, text.parse().unwrap());
}

#[test]
fn of_two_with_writes_and_aborts() {
    explore("sagas=2 writes=1 timeouts=1", "sagas=3 writes=1 timeouts=1");
}
