//! The object store that the settings name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;

/// Folder of blocks and ledger below the data folder, while no storage URL is set.
const LOCAL_FOLDER: &str = "store";

/// Opens the store at `url`, or a folder below `data_dir` if it is empty.
pub(crate) fn open(url: &str, data_dir: &Path) -> Result<Arc<dyn ObjectStore>> {
    if url.is_empty() {
        return folder(&data_dir.join(LOCAL_FOLDER));
    }
    let parsed = reqwest::Url::parse(url).with_context(|| format!("VIVACE_STORAGE_URL {url:?} is no URL"))?;
    if let Some(path) = url.strip_prefix("file://") {
        return folder(Path::new(path));
    }
    // The cloud libraries' own variables (AWS_ENDPOINT, AWS_ACCESS_KEY_ID, …), as users know them.
    let options = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?.to_ascii_lowercase();
        let known = ["aws_", "google_", "azure_"].iter().any(|prefix| name.starts_with(prefix));
        known.then_some((name, value.into_string().ok()?))
    });
    let (store, prefix) = object_store::parse_url_opts(&parsed, options)
        .with_context(|| format!("failed to open VIVACE_STORAGE_URL {url:?}"))?;
    Ok(if prefix.as_ref().is_empty() { Arc::from(store) } else { Arc::new(PrefixStore::new(store, prefix)) })
}

/// The same, for one who only looks: a folder that is not there is not made.
pub(crate) fn open_existing(url: &str, data_dir: &Path) -> Result<Arc<dyn ObjectStore>> {
    if let Some(folder) = local(url, data_dir)
        && !folder.is_dir()
    {
        bail!("there is no folder {}", folder.display());
    }
    open(url, data_dir)
}

/// What the paths of blocks follow, for other programs.
pub(crate) fn base(url: &str, data_dir: &Path) -> Result<String> {
    let Some(folder) = local(url, data_dir) else { return Ok(url.to_owned()) };
    let folder = folder.canonicalize().with_context(|| format!("failed to find {}", folder.display()))?;
    Ok(folder.display().to_string())
}

/// Whether the store is a folder of this machine, so that its times are by our clock.
pub(crate) fn is_local(url: &str) -> bool {
    local(url, Path::new("")).is_some()
}

/// The folder, if the store is one of this machine.
fn local(url: &str, data_dir: &Path) -> Option<PathBuf> {
    if url.is_empty() {
        Some(data_dir.join(LOCAL_FOLDER))
    } else {
        url.strip_prefix("file://").map(PathBuf::from)
    }
}

/// A folder of this machine. Files are synced: a ledger entry must not survive a power cut that its block did not.
fn folder(path: &Path) -> Result<Arc<dyn ObjectStore>> {
    std::fs::create_dir_all(path).with_context(|| format!("failed to create {}", path.display()))?;
    let store = LocalFileSystem::new_with_prefix(path)
        .with_context(|| format!("failed to open {}", path.display()))?;
    Ok(Arc::new(store.with_fsync(true)))
}
