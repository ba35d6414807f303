//! The accounting in metrics, beside what the allocator says.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::{Governor, Part};

/// What the allocator holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocatorStats {
    /// Bytes that the program has.
    pub allocated: u64,
    /// Bytes of memory pages that the allocator keeps for that.
    pub resident: u64,
}

/// Asks the allocator, which only the binary knows.
pub type AllocatorProbe = fn() -> Option<AllocatorStats>;

/// Reads the accounting at each scrape.
#[derive(Debug)]
pub struct MemoryCollector {
    governor: Arc<Governor>,
    allocator: AllocatorProbe,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabel {
    part: &'static str,
}

impl MemoryCollector {
    /// For this governor, beside what `allocator` says.
    #[must_use]
    pub const fn new(governor: Arc<Governor>, allocator: AllocatorProbe) -> Self {
        Self { governor, allocator }
    }
}

impl Collector for MemoryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let governor = &self.governor;
        let shares = governor.shares();
        let mut gauge = |name: &str, help: &str, value: u64| {
            let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value as f64).encode(descriptor)
        };
        gauge("vivace_memory_limit_bytes", "Memory that this process may take", shares.limit().bytes.0)?;
        gauge(
            "vivace_memory_budget_bytes",
            "What of the limit all parts together may reserve",
            shares.budget() as u64,
        )?;
        if let Some(AllocatorStats { allocated, resident }) = (self.allocator)() {
            gauge("vivace_memory_allocated_bytes", "Memory that the allocator gave out", allocated)?;
            gauge("vivace_memory_resident_bytes", "Memory in pages of the allocator", resident)?;
        }
        let mut by_part = |name: &str, help: &str, value: &dyn Fn(Part) -> usize| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            Part::ALL.into_iter().try_for_each(|part| {
                let label = PartLabel { part: part.as_str() };
                ConstGauge::new(value(part) as f64).encode(family.encode_family(&label)?)
            })
        };
        by_part("vivace_memory_ceiling_bytes", "What a part may take at most", &|part| {
            shares.of(part).ceiling
        })?;
        by_part("vivace_memory_reserved_bytes", "Memory that is reserved for a part", &|part| {
            governor.used(part)
        })?;
        by_part("vivace_memory_peak_bytes", "Most memory that was ever reserved for a part", &|part| {
            governor.peak(part)
        })?;
        let (name, help) = ("vivace_memory_refused", "Reservations that were refused");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for part in Part::ALL {
            let label = PartLabel { part: part.as_str() };
            ConstCounter::new(governor.refused(part)).encode(family.encode_family(&label)?)?;
        }
        Ok(())
    }
}
