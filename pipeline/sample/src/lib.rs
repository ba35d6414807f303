//! Traces of a small shop, as its eight services would send them: for the demo, the load generator and tests.
//! Owns: what the shop does, how long it takes, what goes wrong, and how collectors batch it.
//! Does not own: sending anything, the time of day.
//! Guarantee: a pure function of the [`Options`]; the same options give the same bytes in every run and on every machine.

mod calls;
mod journeys;
mod orders;
mod peers;
mod shop;
mod trace;
mod value;
mod words;
mod world;

pub use shop::{Options, Shop};
