use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use tempfile::TempDir;

/// Name of the file that takes the room.
const BALLAST: &str = "ballast";
/// It grows by so many bytes.
const PIECE: [u8; 4096] = [1; 4096];

/// A file system of its own that has little room. Needs the right to mount one: as root, or by sudo without a password.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one of that size.
    ///
    /// # Errors
    /// When it may not.
    pub fn mount(mebibytes: u32) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let size = format!("size={mebibytes}m,mode=1777");
        run("mount", &["-t", "tmpfs", "-o", &size, "vivace-test"], folder.path())?;
        Ok(Self { folder })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the room that is left.
    ///
    /// # Errors
    /// When writing fails otherwise than for want of room.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut ballast = File::options().create(true).append(true).open(self.path().join(BALLAST))?;
        loop {
            match ballast.write(&PIECE) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When that fails.
    pub fn free(&self) -> anyhow::Result<()> {
        fs::remove_file(self.path().join(BALLAST)).context("cannot free the disk")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has files open is about to end.
        if let Err(error) = run("umount", &["-l"], self.folder.path()) {
            eprintln!("{error:#}");
        }
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> anyhow::Result<()> {
    let attempt = |mut command: Command| {
        let output = command.args(arguments).arg(folder).output().context("cannot run it")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    };
    let as_root = attempt(Command::new(program));
    as_root
        .or_else(|_| {
            let mut command = Command::new("sudo");
            command.args(["-n", program]);
            attempt(command)
        })
        .with_context(|| format!("cannot {program} a small file system, which needs root"))
}
