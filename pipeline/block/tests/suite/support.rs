//! What the tests share.

pub(crate) mod blocks;
pub(crate) mod otlp;
pub(crate) mod rows;
