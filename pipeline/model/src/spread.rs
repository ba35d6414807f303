use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::partitioner::murmur2;
use crate::{Partition, TenantId, TraceId};

/// How records of a tenant were spread over the partitions of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Spread {
    /// Partitions that the topic had; 0 if nobody can tell, or if it differs between the records.
    pub partition_count: u32,
    /// Partitions of these that the tenant's traces were hashed over; 0: all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shard_size: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Spread {
    /// Any trace may be anywhere.
    pub const UNKNOWN: Self = Self { partition_count: 0, shard_size: 0 };
    /// Name of the header by which a record tells its spread.
    pub const HEADER: &'static str = "x-vivace-spread";

    /// Over all partitions.
    #[must_use]
    pub const fn all(partition_count: u32) -> Self {
        Self { partition_count, shard_size: 0 }
    }

    /// The partition of a trace; none if it cannot be told.
    #[must_use]
    pub fn partition_of(&self, tenant: &TenantId, trace_id: &TraceId) -> Option<Partition> {
        (self.partition_count > 0).then(|| TenantSpread::new(*self, tenant).partition_of(trace_id.as_bytes()))
    }

    /// What is known of records of both spreads together.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == other { self } else { Self::UNKNOWN }
    }
}

/// As the header of a record has it: `16` or, for a tenant that has two of sixteen partitions, `16/2`.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shard_size {
            0 => write!(f, "{}", self.partition_count),
            size => write!(f, "{}/{size}", self.partition_count),
        }
    }
}

impl FromStr for Spread {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (partition_count, shard_size) = text.split_once('/').unwrap_or((text, "0"));
        Ok(Self { partition_count: partition_count.parse()?, shard_size: shard_size.parse()? })
    }
}

/// Where a tenant's traces go: to partitions that follow each other, from one on that its name hashes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantSpread {
    first: u32,
    size: u32,
    partition_count: u32,
}

impl TenantSpread {
    /// How a tenant's traces are spread.
    ///
    /// # Panics
    /// If the spread is [`Spread::UNKNOWN`].
    #[must_use]
    pub fn new(spread: Spread, tenant: &TenantId) -> Self {
        let Spread { partition_count, shard_size } = spread;
        assert!(partition_count > 0, "a topic has at least one partition");
        if shard_size == 0 || shard_size >= partition_count {
            return Self::all(partition_count);
        }
        let first = murmur2(tenant.as_str().as_bytes()) % partition_count;
        Self { first, size: shard_size, partition_count }
    }

    /// Over all partitions, as Kafka's own partitioner does with the 16 raw bytes of the trace id as key.
    #[must_use]
    pub const fn all(partition_count: u32) -> Self {
        Self { first: 0, size: partition_count, partition_count }
    }

    /// Partitions of the topic.
    #[must_use]
    pub const fn partition_count(&self) -> u32 {
        self.partition_count
    }

    /// The partition of a trace.
    #[must_use]
    pub fn partition_of(&self, trace_id: &[u8; 16]) -> Partition {
        let place = crate::partition_of(trace_id, self.size).0;
        Partition(((u64::from(self.first) + u64::from(place)) % u64::from(self.partition_count)) as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn partitions(spread: Spread, tenant: &str) -> BTreeSet<u32> {
        let spread = TenantSpread::new(spread, &tenant.parse().unwrap());
        (0..=255).map(|byte| spread.partition_of(&[byte; 16]).0).collect()
    }

    #[test]
    fn all_partitions_are_used_as_kafka_does() {
        assert_eq!(partitions(Spread::all(16), "any").len(), 16);
        let (tenant, trace_id) = (TenantId::default(), TraceId::from_bytes([7; 16]));
        let found = Spread::all(16).partition_of(&tenant, &trace_id);
        assert_eq!(found, Some(crate::partition_of(&[7; 16], 16)));
        assert_eq!(Spread::UNKNOWN.partition_of(&tenant, &trace_id), None);
    }

    #[test]
    fn a_small_tenant_has_few_partitions_and_tenants_differ_in_them() {
        let spread = Spread { partition_count: 16, shard_size: 2 };
        let all: BTreeSet<_> =
            (0..40).map(|number| partitions(spread, &format!("tenant-{number}"))).collect();
        assert!(all.iter().all(|few| few.len() == 2 && few.iter().all(|&partition| partition < 16)));
        assert!(all.len() > 8, "{all:?}");
        let more = Spread { partition_count: 4, shard_size: 9 };
        assert_eq!(partitions(more, "any"), partitions(Spread::all(4), "any"));
    }

    #[test]
    fn headers_are_read_as_written() {
        for (spread, text) in
            [(Spread::all(16), "16"), (Spread { partition_count: 16, shard_size: 2 }, "16/2")]
        {
            assert_eq!(spread.to_string(), text);
            assert_eq!(text.parse(), Ok(spread));
        }
        for text in ["", "x", "16/", "/2", "16/2/1", "-1"] {
            assert!(text.parse::<Spread>().is_err(), "{text}");
        }
    }

    #[test]
    fn mixed_records_could_be_anywhere() {
        assert_eq!(Spread::all(4).or(Spread::all(4)), Spread::all(4));
        assert_eq!(Spread::all(4).or(Spread::all(8)), Spread::UNKNOWN);
    }
}
