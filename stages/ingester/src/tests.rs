//! The ingester as a whole, on the in-memory log and store.

mod columns;
mod limits;
mod ownership;
mod poison;
mod storing;
mod threads;
