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

macro_rules! explored {
    ($($name:ident: $small:literal, $large:literal;)*) => {
        $(#[test]
        fn $name() {
            explore($small, $large);
        })*
    };
}

explored! {
    to_and_fro: "sagas=3", "sagas=5";
    with_writes_and_aborts: "sagas=2 writes=1 timeouts=1 heals",
        "sagas=3 writes=2 timeouts=2 restarts=1 heals";
    with_restarts: "sagas=2 restarts=1 heals", "sagas=3 writes=1 restarts=2 heals";
    with_compaction: "sagas=2 compactions=2", "sagas=3 compactions=3 restarts=1";
    with_views_and_a_return: "sagas=2 views=10/12 heals",
        "sagas=3 views=10/12 restarts=1 timeouts=1 heals";
    with_batches: "entities=2 sagas=1 batches timeouts=1",
        "entities=2 sagas=3 batches writes=1 timeouts=1";
    with_local_moves: "sagas=2 local restarts=1", "sagas=3 local writes=1 restarts=1";
    of_three: "size=3 sagas=2 heals", "size=3 sagas=3 timeouts=1 restarts=1 heals";
    messages_that_arrive_once: "sagas=1 once timeouts=1", "sagas=5 once timeouts=1 restarts=1";
}
