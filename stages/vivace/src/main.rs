//! vivace
fn main() {}
