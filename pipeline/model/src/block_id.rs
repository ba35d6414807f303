use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::UnixNanos;

/// Name of a block: a UUID of version 7, so that names sort by the time of their making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlockId(Uuid);

impl BlockId {
    /// A fresh id from a time and 10 random bytes; both are arguments so that simulations repeat.
    #[must_use]
    pub fn new(now: UnixNanos, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(now.as_millis(), &random).into_uuid())
    }

    /// The time it was made with, in whole milliseconds.
    #[must_use]
    pub const fn made(self) -> UnixNanos {
        // The first 48 bits of a UUID of version 7.
        let millis = (self.0.as_u128() >> 80) as u64;
        UnixNanos(millis.saturating_mul(1_000_000))
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BlockId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}
