//! What is set for single tenants, beside the process's settings.
//! Owns: the shape of the overrides file. Does not own: reading it (vivace-runtime), what stages do with it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::{Spread, TenantId};

/// The overrides file:
///
/// ```yaml
/// defaults:
///   shard_size: 0
/// tenants:
///   small-shop:
///     shard_size: 2
///     retention:
///       keep: 72h
///       errors: 30d
///       slow: { min: 2s, keep: 7d }
///       matching: { query: '{ span.http.route = "/pay" }', keep: 90d }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// For tenants that are not named, and for what those that are named leave out.
    pub defaults: TenantOverrides,
    /// By tenant.
    pub tenants: BTreeMap<TenantId, TenantOverrides>,
}

/// What can be set for a tenant.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantOverrides {
    /// Partitions that the tenant's traces are hashed over, so that a small tenant makes few blocks; 0: all.
    pub shard_size: Option<u32>,
    /// How long traces are kept.
    pub retention: RetentionOverrides,
}

/// How long a tenant's traces are kept, where it differs from the settings of the compactor. Zero is for ever, or for a
/// class of traces, no longer than the others.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionOverrides {
    /// All traces, from their end on.
    #[serde(with = "humantime_serde")]
    pub keep: Option<Duration>,
    /// Traces that have an error.
    #[serde(with = "humantime_serde")]
    pub errors: Option<Duration>,
    /// Traces that take long.
    pub slow: Option<SlowTraces>,
    /// Traces that a query selects.
    pub matching: Option<MatchingTraces>,
}

/// How long slow traces are kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowTraces {
    /// A trace that takes that long is slow.
    #[serde(with = "humantime_serde")]
    pub min: Duration,
    /// How long it is kept.
    #[serde(with = "humantime_serde")]
    pub keep: Duration,
}

/// How long the traces that a query selects are kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchingTraces {
    /// A TraceQL query.
    pub query: String,
    /// How long its traces are kept.
    #[serde(with = "humantime_serde")]
    pub keep: Duration,
}

impl Overrides {
    /// How long a tenant's traces are kept, as far as anything is said of it: what it has itself, and the defaults for
    /// the rest.
    #[must_use]
    pub fn retention(&self, tenant: &TenantId) -> RetentionOverrides {
        let own = self.tenants.get(tenant).map(|own| own.retention.clone()).unwrap_or_default();
        let defaults = self.defaults.retention.clone();
        RetentionOverrides {
            keep: own.keep.or(defaults.keep),
            errors: own.errors.or(defaults.errors),
            slow: own.slow.or(defaults.slow),
            matching: own.matching.or(defaults.matching),
        }
    }

    /// How a tenant's traces are spread over a topic of that many partitions.
    #[must_use]
    pub fn spread(&self, tenant: &TenantId, partition_count: u32) -> Spread {
        let own = self.tenants.get(tenant).and_then(|own| own.shard_size);
        let shard_size = own.or(self.defaults.shard_size).unwrap_or_default();
        // All of them is the same as none of them left out.
        Spread { partition_count, shard_size: if shard_size < partition_count { shard_size } else { 0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tenant_leaves_out_is_the_default() {
        let of = |shard_size| TenantOverrides { shard_size, ..TenantOverrides::default() };
        let tenants = [("a", of(Some(2))), ("b", of(None)), ("c", of(Some(0))), ("d", of(Some(99)))];
        let tenants = tenants.into_iter().map(|(name, own)| (name.parse().unwrap(), own)).collect();
        let overrides = Overrides { defaults: of(Some(4)), tenants };
        let size = |name: &str| overrides.spread(&name.parse().unwrap(), 16).shard_size;
        assert_eq!(["a", "b", "c", "d", "e"].map(size), [2, 4, 0, 0, 4]);
    }
}
