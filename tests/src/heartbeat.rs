//! Later.
fn main(){}
