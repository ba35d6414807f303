//! What is set for single tenants.

use std::sync::Arc;

use anyhow::{Context, Result};
use tracing::error;
use vivace_compactor::{Retention, RetentionOf};
use vivace_model::{Overrides, TenantId};
use vivace_runtime::Watched;

use crate::settings::ProcessConfig;

/// Reads the overrides file, if there is one.
pub(crate) fn open(process: &ProcessConfig) -> Result<Watched<Overrides>> {
    if process.overrides_file.as_os_str().is_empty() {
        return Ok(Watched::fixed(Overrides::default()));
    }
    Watched::open(process.overrides_file.clone(), check).context("VIVACE_OVERRIDES_FILE")
}

/// Whether stages can make sense of it.
fn check(overrides: &Overrides) -> Result<(), String> {
    let tenants = overrides.tenants.iter().map(|(name, own)| (name.as_str(), own));
    for (name, own) in tenants.chain([("defaults", &overrides.defaults)]) {
        let retention = Retention::default().overridden(&own.retention);
        retention.map_err(|problem| format!("retention of {name}: {problem}"))?;
    }
    Ok(())
}

/// How long each tenant's traces are kept: as the settings say, but for what is overridden.
pub(crate) fn retention(set: Retention, overrides: Watched<Overrides>) -> RetentionOf {
    Arc::new(move |tenant: &TenantId| {
        set.overridden(&overrides.current().retention(tenant)).unwrap_or_else(|problem| {
            // Checked when it was read. If it cannot be followed after all, nothing is deleted.
            error!(%tenant, problem, "retention cannot be followed; nothing is deleted");
            Retention::default()
        })
    })
}
