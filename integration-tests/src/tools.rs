use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The root folder of the repository.
pub(crate) fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// Something that `scripts/test-tools.sh` installed.
pub(crate) fn tool(path: &str) -> anyhow::Result<PathBuf> {
    let tool = repository().join(".tools").join(path);
    if !tool.exists() {
        bail!("{} is missing: run scripts/test-tools.sh", tool.display());
    }
    Ok(tool)
}

/// The binary under test: what `VIVACE_TEST_BINARY` names, else the one of the build that this test belongs to.
pub(crate) fn vivace_binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("VIVACE_TEST_BINARY") {
        return Ok(path.into());
    }
    // Tests are built into `target/<profile>/deps/`, programs into `target/<profile>/`.
    let own = std::env::current_exe().context("this program has no path")?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("vivace"))
        .find(|candidate| candidate.is_file())
        .context("no vivace binary beside this test: run `cargo build --workspace --bins --tests` before")
}
