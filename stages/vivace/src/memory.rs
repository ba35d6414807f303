//! The memory of the process: how its limit is shared out among the stages that it runs.
//! Owns: what each stage asks for by its settings, and the settings that it starts with where these do not fit.
//! Does not own: the accounting (`vivace_memory`), what stages do where memory is short.

use std::path::Path;
use std::sync::Arc;

use tracing::info;
use vivace_memory::{AllocatorStats, Claim, Demand, Governor, Limit, Part, Shares};
use vivace_model::ByteSize;

use crate::process::Stages;
use crate::settings::Settings;

/// Sealing and encoding of a set of blocks of 150,000 common spans: two at a time, or one for each processor as long as
/// they take no more than one part in so many of the limit.
const SEALING: ByteSize = ByteSize::mib(80);
const SEALING_ONE_IN: u64 = 8;
/// Readers of an ingester's partitions on Kafka, but no less than [`READER_MIN`] for each.
const READERS: ByteSize = ByteSize::mib(64);
const READER_MIN: ByteSize = ByteSize::mib(2);
/// Least that is worth a fetch.
const FETCH_MIN: ByteSize = ByteSize::kib(256);
/// A reader of Kafka holds two fetches, and one that has just arrived.
const FETCHES: u64 = 3;
/// A merge: its inputs as they are stored, and what is decoded of them.
const MERGE_INPUTS: ByteSize = ByteSize::mib(480);
/// A merge's output: a row group, and the parts of the file that wait to be uploaded.
const MERGE_OUTPUT: ByteSize = ByteSize::mib(64);
/// State of queries, and what a querier sends back.
const GROUPS: ByteSize = ByteSize::mib(128);
const ANSWERS: ByteSize = ByteSize::mib(128);
/// A row group that is searched, decoded.
const SEARCHED: ByteSize = ByteSize::mib(16);

const LIMIT: &str = "VIVACE_MEMORY_LIMIT";

/// The governor of a process that runs these stages, and the settings that fit into its limit.
pub(crate) fn share_out(mut settings: Settings, stages: Stages) -> (Settings, Arc<Governor>) {
    let limit = Limit::detect(settings.memory.limit, Path::new("/"));
    let shares = Shares::new(limit, &demands(&settings, stages, limit));
    scale(&mut settings, stages, &shares);
    (settings, Governor::new(shares))
}

/// One line that says what there is and who gets what.
pub(crate) fn announce(memory: &Governor) {
    let (shares, limit) = (memory.shares(), memory.shares().limit());
    info!(
        limit_mib = limit.bytes.0 >> 20,
        source = limit.source.as_str(),
        budget_mib = shares.budget() >> 20,
        shares = shares.describe(),
        scaled = shares.is_scaled(),
        "memory shared out"
    );
}

/// What the allocator holds.
pub(crate) fn allocator_stats() -> Option<AllocatorStats> {
    // Numbers are brought up to date only when the epoch moves on.
    tikv_jemalloc_ctl::epoch::advance().ok()?;
    let allocated = tikv_jemalloc_ctl::stats::allocated::read().ok()? as u64;
    let resident = tikv_jemalloc_ctl::stats::resident::read().ok()? as u64;
    // Without an allocator of ours all is nothing.
    (resident > 0).then_some(AllocatorStats { allocated, resident })
}

fn demands(settings: &Settings, stages: Stages, limit: Limit) -> Vec<Demand> {
    let mut demands = Vec::new();
    let mut demand = |part: Part, bytes: ByteSize, setting: &'static str, claim: Claim| {
        demands.push(Demand { part, bytes: bytes.0, setting, claim });
    };
    let kafka = !settings.kafka.brokers.trim().is_empty();
    if stages.distributor {
        let bytes = settings.distributor.inflight_bytes_max;
        demand(Part::InFlight, bytes, "VIVACE_DISTRIBUTOR_INFLIGHT_BYTES_MAX", Claim::Guaranteed);
        if kafka {
            // The client's copies of records.
            let queue = settings.kafka.queue_bytes_max;
            demand(Part::InFlight, queue, "VIVACE_KAFKA_QUEUE_BYTES_MAX", Claim::Guaranteed);
        }
    }
    if stages.ingester {
        let recent = settings.ingester.memory_bytes_max;
        demand(Part::Recent, recent, "VIVACE_INGESTER_MEMORY_BYTES_MAX", Claim::Guaranteed);
        demand(Part::Encode, sealing(limit), LIMIT, Claim::Guaranteed);
        if kafka {
            demand(Part::InFlight, readers(settings), "VIVACE_KAFKA_FETCH_BYTES_MAX", Claim::Guaranteed);
        }
    }
    if stages.compactor {
        let merges = settings.compactor.merges_max as u64;
        demand(Part::Decode, ByteSize(MERGE_INPUTS.0 * merges), LIMIT, Claim::Elastic);
        demand(Part::Encode, ByteSize(MERGE_OUTPUT.0 * merges), LIMIT, Claim::Elastic);
    }
    if stages.querier {
        let reader = &settings.reader;
        let caches = [
            reader.filter_cache_bytes,
            reader.index_cache_bytes,
            reader.runs_cache_bytes,
            reader.facts_cache_bytes,
            reader.small_file_cache_bytes,
        ];
        let caches = ByteSize(caches.iter().map(|bytes| bytes.0).fold(0, u64::saturating_add));
        demand(Part::Caches, caches, "VIVACE_BLOCK_READER_*_CACHE_BYTES", Claim::Elastic);
        let querier = &settings.querier;
        let tail = querier.search_recent_bytes_max;
        demand(Part::Tail, tail, "VIVACE_QUERIER_SEARCH_RECENT_BYTES_MAX", Claim::Elastic);
        let searched = SEARCHED.0.saturating_mul(querier.search_pieces_max as u64);
        let decode = ByteSize(searched.saturating_add(querier.job_bytes_max.0));
        demand(Part::Decode, decode, "VIVACE_QUERIER_JOB_BYTES_MAX", Claim::Elastic);
        demand(Part::Groups, GROUPS, LIMIT, Claim::Elastic);
        demand(Part::Answers, ANSWERS, LIMIT, Claim::Elastic);
    }
    if stages.query_frontend {
        let frontend = &settings.query_frontend;
        let bytes = frontend.bytes_in_flight_max;
        demand(Part::Answers, bytes, "VIVACE_QUERY_FRONTEND_BYTES_IN_FLIGHT_MAX", Claim::Elastic);
        demand(Part::Groups, GROUPS, LIMIT, Claim::Elastic);
        let cache = frontend.result_cache_bytes;
        demand(Part::Caches, cache, "VIVACE_QUERY_FRONTEND_RESULT_CACHE_BYTES", Claim::Elastic);
    }
    demands
}

fn sealing(limit: Limit) -> ByteSize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let most = (limit.bytes.0 / SEALING_ONE_IN).max(2 * SEALING.0);
    ByteSize((processors.max(2) * SEALING.0).min(most))
}

fn readers(settings: &Settings) -> ByteSize {
    let partitions = u64::from(settings.topics.partitions);
    let most = settings.kafka.fetch_bytes_max.0.saturating_mul(FETCHES * partitions);
    ByteSize(most.min(READERS.0).max(READER_MIN.0 * partitions))
}

/// Settings are upper bounds: each takes its share where they do not fit.
fn scale(settings: &mut Settings, stages: Stages, shares: &Shares) {
    if stages.ingester {
        let partitions = u64::from(settings.topics.partitions);
        let each = shares.scaled(readers(settings), Claim::Guaranteed).0 / partitions / FETCHES;
        let fetch = &mut settings.kafka.fetch_bytes_max;
        *fetch = ByteSize(each.max(FETCH_MIN.0).min(fetch.0));
    }
    let Settings { distributor, ingester, reader, querier, query_frontend, kafka, .. } = settings;
    for bytes in [&mut distributor.inflight_bytes_max, &mut ingester.memory_bytes_max] {
        *bytes = shares.scaled(*bytes, Claim::Guaranteed);
    }
    for bytes in [
        &mut reader.filter_cache_bytes,
        &mut reader.index_cache_bytes,
        &mut reader.runs_cache_bytes,
        &mut reader.facts_cache_bytes,
        &mut reader.small_file_cache_bytes,
        &mut querier.search_recent_bytes_max,
        &mut querier.job_bytes_max,
        &mut query_frontend.bytes_in_flight_max,
        &mut query_frontend.trace_bytes_max,
        &mut query_frontend.answer_bytes_max,
        &mut query_frontend.result_cache_bytes,
    ] {
        *bytes = shares.scaled(*bytes, Claim::Elastic);
    }
    kafka.queue_bytes_max =
        shares.scaled(kafka.queue_bytes_max, Claim::Guaranteed).max(kafka.message_bytes_max);
    // What must hold between settings of a stage (see their `validate`).
    let request_max = ByteSize(distributor.inflight_bytes_max.0 / 4);
    distributor.request_bytes_max = distributor.request_bytes_max.min(request_max);
    let record_max = ByteSize(ingester.memory_bytes_max.0 / 4);
    ingester.record_bytes_max = ingester.record_bytes_max.min(record_max);
    ingester.fetch_bytes_max = ingester.fetch_bytes_max.min(record_max);
}

#[cfg(test)]
mod tests {
    use vivace_memory::LimitSource;
    use vivace_runtime::Environment;

    use super::*;

    fn started(stages: Stages, limit_mib: u64, kafka: bool) -> (Settings, Shares) {
        let brokers = if kafka { "kafka:9092" } else { "" };
        let variables = [("VIVACE_KAFKA_BROKERS", brokers), ("VIVACE_TOPICS_PARTITIONS", "16")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (mut settings, _) = Settings::load(Environment::new(variables)).unwrap();
        let limit = Limit { bytes: ByteSize::mib(limit_mib), source: LimitSource::Cgroup };
        let shares = Shares::new(limit, &demands(&settings, stages, limit));
        scale(&mut settings, stages, &shares);
        (settings, shares)
    }

    /// The rows of the table of stages, and everything in one process of a small machine.
    #[test]
    fn every_stage_starts_inside_its_row_without_a_setting() {
        for (stages, limit_mib, kafka) in [
            (Stages { distributor: true, ..Stages::NONE }, 400, true),
            (Stages { ingester: true, ..Stages::NONE }, 600, true),
            (Stages { querier: true, ..Stages::NONE }, 400, true),
            (Stages { query_frontend: true, ..Stages::NONE }, 500, true),
            (Stages { compactor: true, ..Stages::NONE }, 700, true),
            (Stages::ALL, 600, false),
            (Stages::ALL, 24 << 10, false),
        ] {
            let (settings, shares) = started(stages, limit_mib, kafka);
            settings.distributor.validate().unwrap();
            settings.ingester.validate().unwrap();
            settings.kafka.validate().unwrap();
            settings.reader.validate().unwrap();
            settings.querier.validate().unwrap();
            settings.query_frontend.validate().unwrap();
            let guaranteed: usize = Part::ALL.iter().map(|part| shares.of(*part).guaranteed).sum();
            assert!(guaranteed <= shares.budget(), "{stages:?}");
            assert!(shares.budget() < (limit_mib << 20) as usize);
        }
    }

    #[test]
    fn on_a_large_machine_settings_are_what_they_say() {
        let (settings, shares) = started(Stages::ALL, 24 << 10, true);
        assert!(!shares.is_scaled());
        assert_eq!(settings.ingester.memory_bytes_max, ByteSize::mib(384));
        assert_eq!(shares.of(Part::Recent).setting, "VIVACE_INGESTER_MEMORY_BYTES_MAX");
        // Sixteen partitions: what their readers hold is bounded together.
        assert!(settings.kafka.fetch_bytes_max < ByteSize::mib(2));
    }

    #[test]
    fn an_ingester_of_600_mib_keeps_most_for_recent_data() {
        let (settings, shares) = started(Stages { ingester: true, ..Stages::NONE }, 600, true);
        assert!(shares.is_scaled());
        let recent = shares.of(Part::Recent);
        assert_eq!(recent.ceiling, settings.ingester.memory_bytes_max.as_usize());
        assert!((280 << 20..384 << 20).contains(&recent.ceiling), "{recent:?}");
    }
}
