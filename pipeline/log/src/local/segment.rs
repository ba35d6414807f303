//! One segment file of a topic's journal: a header, then frames.
//! Owns: names of segment files, their header, creating one, scanning one.
//! Does not own: which frames belong together, what to do about damage.
//! The header says the next offset of every partition at the time the segment was begun, so that offsets go on where
//! they were after all older segments are gone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, IoSlice, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Buf;

use super::disk::{Disk, sync_dir, write_all};
use super::frame::FrameHeader;

const MAGIC: &[u8; 8] = b"VVCLOG01";
const EXTENSION: &str = "log";
/// How much a scan of whole frames reads at a time.
const BODIES_BUFFER_BYTES: usize = 256 << 10;
/// How much a scan of headers reads at a time; longer frames are hopped over.
const HEADERS_BUFFER_BYTES: usize = 8 << 10;

pub(super) fn path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:020}.{EXTENSION}"))
}

/// Sequence numbers of the segments in a folder, in order; leftovers of an interrupted creation are removed.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut sequences = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            fs::remove_file(&path)?;
        } else if path.extension().is_some_and(|extension| extension == EXTENSION) {
            let sequence = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            sequences.push(sequence.ok_or(io::ErrorKind::InvalidData)?);
        }
    }
    sequences.sort_unstable();
    Ok(sequences)
}

pub(super) const fn header_len(partitions: usize) -> u64 {
    (MAGIC.len() + 8 + 8 * partitions) as u64
}

fn encode_header(next: &[u64]) -> Vec<u8> {
    let mut rest = u32::try_from(next.len()).expect("partitions are counted in u32").to_le_bytes().to_vec();
    for offset in next {
        rest.extend_from_slice(&offset.to_le_bytes());
    }
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&crc32c::crc32c(&rest).to_le_bytes());
    header.extend_from_slice(&rest);
    header
}

/// The next offsets that a segment's header says; none if it is no header for that many partitions, or fewer: those that
/// the topic got later had nothing then.
fn read_header(file: &File, partitions: usize) -> io::Result<Option<Vec<u64>>> {
    let mut bytes = Vec::new();
    file.take(header_len(partitions)).read_to_end(&mut bytes)?;
    let Some(rest) = bytes.strip_prefix(MAGIC).filter(|rest| rest.len() >= 8) else { return Ok(None) };
    let (mut crc, mut count) = (&rest[..4], &rest[4..8]);
    let (crc, count) = (crc.get_u32_le(), count.get_u32_le() as usize);
    let length = 8 * count.saturating_add(1);
    if count > partitions || rest.len() < length || crc != crc32c::crc32c(&rest[4..length]) {
        return Ok(None);
    }
    let mut offsets = &rest[8..length];
    Ok(Some((0..count).map(|_| offsets.get_u64_le()).collect()))
}

/// Why no segment was created.
#[derive(Debug)]
pub(super) enum CreateError {
    /// Nothing has changed; it may be tried again.
    Refused(io::Error),
    /// It is unknown whether the new file's name is durable.
    Unknown(io::Error),
}

/// Creates a segment, durable with its name, open for appending.
pub(super) fn create(disk: &dyn Disk, dir: &Path, sequence: u64, next: &[u64]) -> Result<File, CreateError> {
    let path = path(dir, sequence);
    let new = path.with_extension("new");
    let write = || {
        let file = OpenOptions::new().create(true).truncate(false).append(true).open(&new)?;
        file.set_len(0)?;
        write_all(disk, &file, &mut [IoSlice::new(&encode_header(next))])?;
        disk.sync(&file)?;
        fs::rename(&new, &path)?;
        Ok(file)
    };
    let file = write().map_err(|error| {
        // It would only take up space; opening the log removes it too.
        fs::remove_file(&new).unwrap_or_default();
        CreateError::Refused(error)
    })?;
    sync_dir(dir).map_err(CreateError::Unknown)?;
    Ok(file)
}

/// What a scan found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// The next offsets when the segment was begun.
    pub(super) bases: Vec<u64>,
    /// Position after the last good frame.
    pub(super) good_len: u64,
    /// What is wrong at that position, if it is not the file's end.
    pub(super) damage: Option<&'static str>,
}

/// Walks over the frames of a segment and gives each header with its position. `bodies`: checks the bodies as well
/// (else they are checked when they are read). None if the segment has no valid header.
pub(super) fn scan(
    file: &File,
    partitions: usize,
    bodies: bool,
    mut visit: impl FnMut(u64, &FrameHeader),
) -> io::Result<Option<Scan>> {
    let Some(mut bases) = read_header(file, partitions)? else { return Ok(None) };
    let file_len = file.metadata()?.len();
    let mut position = header_len(bases.len());
    // The header may have been shorter than what was read of it.
    (&*file).seek(SeekFrom::Start(position))?;
    bases.resize(partitions, 0);
    let buffer_bytes = if bodies { BODIES_BUFFER_BYTES } else { HEADERS_BUFFER_BYTES };
    let mut reader = BufReader::with_capacity(buffer_bytes, file);
    let damage = loop {
        let rest = file_len.saturating_sub(position);
        if rest == 0 {
            break None;
        }
        if rest < FrameHeader::LEN as u64 {
            break Some("a frame header is cut off");
        }
        let mut bytes = [0; FrameHeader::LEN];
        reader.read_exact(&mut bytes)?;
        let Some(header) = FrameHeader::decode(&bytes) else { break Some("a frame header is damaged") };
        if header.partition as usize >= partitions {
            break Some("a frame names a partition that there is not");
        }
        if rest < header.frame_len() as u64 {
            break Some("a frame is cut off");
        }
        if bodies && !body_is_good(&mut reader, &header)? {
            break Some("a frame's body is damaged");
        }
        if !bodies {
            reader.seek_relative(i64::from(header.body_len))?;
        }
        visit(position, &header);
        position += header.frame_len() as u64;
    };
    Ok(Some(Scan { bases, good_len: position, damage }))
}

fn body_is_good(reader: &mut impl BufRead, header: &FrameHeader) -> io::Result<bool> {
    let mut rest = header.body_len as usize;
    let mut crc = 0;
    while rest > 0 {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let part = &buffer[..rest.min(buffer.len())];
        crc = crc32c::crc32c_append(crc, part);
        let length = part.len();
        reader.consume(length);
        rest -= length;
    }
    Ok(crc == header.body_crc)
}
