//! The compactor with what it works with.

use std::sync::Arc;

use anyhow::Result;
use object_store::ObjectStore;
use vivace_compactor::{Compactor, Environment, Metrics, Random, Retention, StoreClock};
use vivace_log::{MemoryLog, SharedLog};
use vivace_memory::Governor;
use vivace_model::{Overrides, SystemClock};
use vivace_runtime::Watched;

use crate::settings::Settings;
use crate::{overrides, storage};

/// A compactor that keeps every tenant's traces as settings and overrides say.
pub(crate) fn new(
    settings: &Settings,
    log: &SharedLog,
    store: &Arc<dyn ObjectStore>,
    memory: &Arc<Governor>,
    overrides: &Watched<Overrides>,
    metrics: Metrics,
) -> Result<Compactor> {
    let retention = Retention::from_config(&settings.compactor).map_err(anyhow::Error::msg)?;
    let environment = Environment {
        log: Arc::clone(log),
        store: Arc::clone(store),
        store_clock: if storage::is_local(&settings.process.storage_url) {
            StoreClock::Ours
        } else {
            StoreClock::Own
        },
        clock: Arc::new(SystemClock),
        random: Arc::new(Random::from_system()),
        memory: Arc::clone(memory),
        retention: overrides::retention(retention, overrides.clone()),
        metrics,
        ledger_metrics: vivace_ledger::Metrics::default(),
    };
    let (config, block, topics) = (&settings.compactor, &settings.block, &settings.topics);
    Ok(Compactor::new(config.clone(), block.clone(), topics.clone(), environment)?)
}

/// What a compactor would do now, by what lies in the store.
pub(crate) async fn dry_run(settings: &Settings) -> Result<Vec<String>> {
    let store = storage::open(&settings.process.storage_url, &settings.process.data_dir)?;
    // The log is never asked in a dry run.
    let log: SharedLog = MemoryLog::new(0);
    let overrides = overrides::open(&settings.process)?;
    Ok(new(settings, &log, &store, &Governor::unlimited(), &overrides, Metrics::default())?.dry_run().await?)
}
