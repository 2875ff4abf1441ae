//! The `lampyrid` binary.
fn main() {}
