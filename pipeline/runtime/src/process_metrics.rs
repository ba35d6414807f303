//! What the operating system knows about this process, under the names that every Prometheus client uses.
//! Read from Linux's /proc at each scrape; elsewhere these metrics are absent. Besides, how many threads work for queries.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::ComputeThreads;

/// Clock ticks per second in /proc: 100 on every Linux that Rust's standard library runs on.
const TICKS: f64 = 100.0;

/// Encodes the metrics of this process.
#[derive(Debug)]
pub(crate) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| match value {
            Some(value) => encode(&mut encoder, name, help, &ConstGauge::new(value)),
            None => Ok(()),
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let kib = |key: &str| field(&status, key).map(|kib| kib * 1024.0);
        gauge("process_resident_memory_bytes", "Memory in use", kib("VmRSS:"))?;
        gauge("process_resident_memory_peak_bytes", "Most memory ever in use", kib("VmHWM:"))?;
        gauge("process_virtual_memory_bytes", "Address space in use", kib("VmSize:"))?;
        gauge("process_threads", "Threads", field(&status, "Threads:"))?;
        gauge("process_open_fds", "Open file descriptors", open_files())?;
        gauge("process_max_fds", "Most file descriptors that may be open", open_files_max())?;
        gauge("process_start_time_seconds", "Start, in seconds since 1970-01-01 UTC", start_time(&stat))?;
        let busy = ComputeThreads::of_process().busy() as f64;
        gauge("vivace_query_threads_busy", "Threads that compute answers of queries", Some(busy))?;
        match cpu_seconds(&stat) {
            // OpenMetrics adds _total to counters itself.
            Some(seconds) => {
                let help = "CPU time used, user and system, in seconds";
                encode(&mut encoder, "process_cpu_seconds", help, &ConstCounter::new(seconds))
            }
            None => Ok(()),
        }
    }
}

fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

/// The number behind a key of a file of `key: number unit` lines.
fn field(text: &str, key: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The n-th field of /proc/self/stat, counted from 1 as its manual does. The second may hold anything in brackets.
fn stat_field(stat: &str, index: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(index - 3)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS)
}

fn start_time(stat: &str) -> Option<f64> {
    let booted = field(&fs::read_to_string("/proc/stat").ok()?, "btime")?;
    Some(booted + stat_field(stat, 22)? / TICKS)
}

fn open_files() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

fn open_files_max() -> Option<f64> {
    field(&fs::read_to_string("/proc/self/limits").ok()?, "Max open files")
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn fields_are_found() {
        assert_eq!(field("VmSize:\t  10 kB\nVmRSS:\t   2048 kB\n", "VmRSS:"), Some(2048.0));
        assert_eq!(field("VmRSS: lots\n", "VmRSS:"), None);
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 9 0 4242 1 1";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(stat_field(stat, 22), Some(4242.0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_them_all() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector));
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_resident_memory_peak_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
            "vivace_query_threads_busy",
        ] {
            assert!(page.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} in {page}");
        }
    }
}
