//! What a block's crate promises to others, over open, sealed, stored and merged blocks. One binary: linking is most of
//! what building a test takes.

#![allow(clippy::unwrap_used, reason = "a test ends by it")]

mod assemble;
mod damage;
mod merge;
mod open_block;
mod reader;
mod round_trip;
mod scan;
mod shared_values;
mod support;
