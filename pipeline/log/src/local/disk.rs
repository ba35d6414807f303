//! What the embedded log asks of the disk that a test may want to fail.
//! Owns: the seam, and small durable files. Does not own: what is in the files.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::path::Path;

use crate::LogError;

/// Writes and syncs of segment files.
pub(super) trait Disk: Send + Sync + fmt::Debug {
    /// Appends some of the buffers to the file and says how many bytes.
    fn write(&self, file: &File, buffers: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Makes what was written durable.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Cuts the file back to a length.
    fn cut(&self, file: &File, length: u64) -> io::Result<()>;
}

/// The real one.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemDisk;

impl Disk for SystemDisk {
    fn write(&self, mut file: &File, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        file.write_vectored(buffers)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }
}

/// Writes all of the buffers.
pub(super) fn write_all(disk: &dyn Disk, file: &File, mut buffers: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Drops empty buffers in front, which would look like a disk that takes nothing.
    IoSlice::advance_slices(&mut buffers, 0);
    while !buffers.is_empty() {
        match disk.write(file, buffers) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut buffers, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes the entries of a folder durable: a file that is synced but not its name is lost with the power.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Replaces a small file: it holds all of the old or all of the new bytes, whatever happens.
pub(super) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&new, path)
    };
    write().inspect_err(|_| fs::remove_file(&new).unwrap_or_default())
}

/// Says what was tried when the disk refused.
pub(super) fn storage(action: impl Into<String>) -> impl FnOnce(io::Error) -> LogError {
    |source| LogError::Storage { action: action.into(), source }
}
