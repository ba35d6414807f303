//! What memory is used for. A closed list: each part has a share, and is a label of the metrics.

use std::fmt;

/// What memory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Ingest requests from their first byte until they are acknowledged, and records on their way from the log.
    InFlight,
    /// Open, sealed and recent spans of an ingester.
    Recent,
    /// Blocks that are sealed, encoded or uploaded, at ingest and in merges.
    Encode,
    /// What is read of blocks and decoded, for queries and merges.
    Decode,
    /// Tails of the log that queriers read themselves.
    Tail,
    /// Groups, series and other state of running queries.
    Groups,
    /// Results on their way to the client.
    Answers,
    /// What is kept only because it is needed again. Gives way to all others.
    Caches,
}

impl Part {
    /// How many parts there are.
    pub const COUNT: usize = 8;

    /// All parts, in the order of their declaration.
    pub const ALL: [Self; Self::COUNT] = [
        Self::InFlight,
        Self::Recent,
        Self::Encode,
        Self::Decode,
        Self::Tail,
        Self::Groups,
        Self::Answers,
        Self::Caches,
    ];

    /// Its name in metrics and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Recent => "recent",
            Self::Encode => "encode",
            Self::Decode => "decode",
            Self::Tail => "tail",
            Self::Groups => "groups",
            Self::Answers => "answers",
            Self::Caches => "caches",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_own_place_and_name() {
        for (index, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part.index(), index);
            assert_eq!(Part::ALL.iter().filter(|other| other.as_str() == part.as_str()).count(), 1);
        }
    }
}
