//! Opens a topic's folder: new, or as a crash left it.
//! Owns: the file `topic.json`, rebuilding the index, cutting off a torn tail, refusing what is damaged.
//! Does not own: threads. Everything in the index it gives is durable.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::disk::{Disk, replace_file, storage, sync_dir};
use super::groups::Groups;
use super::index::{Index, Segment};
use super::segment::{self, CreateError};
use crate::LogError;

const TOPIC_FILE: &str = "topic.json";

/// What is fixed when a topic is made, or grows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicFile {
    partitions: u32,
}

/// A topic as it was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) partitions: u32,
    pub(super) index: Index,
    pub(super) groups: Groups,
    /// The last segment, open for appending.
    pub(super) file: File,
}

/// Makes a topic's folder. The file that makes it a topic is written last, so that a crash leaves either.
pub(super) fn create(disk: &dyn Disk, dir: &Path, partitions: u32) -> Result<(), LogError> {
    let action = || storage(format!("failed to create {}", dir.display()));
    fs::create_dir_all(dir).map_err(action())?;
    segment::create(disk, dir, 0, &vec![0; partitions as usize])
        .map_err(|(CreateError::Refused(error) | CreateError::Unknown(error))| action()(error))?;
    let bytes = serde_json::to_vec(&TopicFile { partitions }).expect("a number is always JSON");
    replace_file(&dir.join(TOPIC_FILE), &bytes).map_err(action())?;
    sync_dir(dir).map_err(action())?;
    dir.parent().map_or(Ok(()), sync_dir).map_err(action())
}

/// Notes that a topic has more partitions from now on. What is there is as it was: segments and groups of fewer
/// partitions say by that that the others had nothing yet.
pub(super) fn grow(dir: &Path, partitions: u32) -> Result<(), LogError> {
    let action = || storage(format!("failed to add partitions to {}", dir.display()));
    let bytes = serde_json::to_vec(&TopicFile { partitions }).expect("a number is always JSON");
    replace_file(&dir.join(TOPIC_FILE), &bytes).map_err(action())?;
    sync_dir(dir).map_err(action())
}

/// Opens a topic's folder; none if it is not a topic (yet).
pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<Option<Recovered>, LogError> {
    let path = dir.join(TOPIC_FILE);
    let TopicFile { partitions } = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| LogError::Corrupt(format!("{} is damaged: {error}", path.display())))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(storage(format!("failed to read {}", path.display()))(error)),
    };
    let groups = Groups::open(dir, partitions)?;
    let sequences = segment::list(dir).map_err(storage(format!("failed to list {}", dir.display())))?;
    let Some(&last) = sequences.last() else {
        return Err(LogError::Corrupt(format!("{} has no segment", dir.display())));
    };
    let mut segments = VecDeque::new();
    for (sequence, expected) in sequences.iter().copied().zip(sequences[0]..) {
        if sequence != expected {
            return Err(LogError::Corrupt(format!("{} is missing", segment::path(dir, expected).display())));
        }
        let segment = open_segment(disk, dir, sequence, partitions, sequence == last)?;
        check_order(dir, segments.back(), &segment)?;
        segments.push_back(segment);
    }
    let mut index = Index::new(segments);
    let action = || storage(format!("failed to open {}", segment::path(dir, last).display()));
    let mut file = OpenOptions::new().append(true).open(segment::path(dir, last)).map_err(action())?;
    // A frame that was written but not answered counts from now on, so it has to be durable.
    disk.sync(&file).map_err(action())?;
    if let Some(next) = lost_offsets(&index, &groups) {
        error!(dir = %dir.display(), ?next, "records that were committed are gone; their offsets are skipped");
        let sequence = last + 1;
        file = segment::create(disk, dir, sequence, &next)
            .map_err(|(CreateError::Refused(error) | CreateError::Unknown(error))| action()(error))?;
        index.begin(Segment::new(sequence, segment::header_len(next.len()), &next));
    }
    info!(dir = %dir.display(), segments = sequences.len(), bytes = index.length(), "topic opened");
    Ok(Some(Recovered { partitions, index, groups, file }))
}

fn open_segment(
    disk: &dyn Disk,
    dir: &Path,
    sequence: u64,
    partitions: u32,
    is_last: bool,
) -> Result<Segment, LogError> {
    let path = segment::path(dir, sequence);
    let action = || storage(format!("failed to read {}", path.display()));
    let corrupt = |position: u64, what: &str| {
        LogError::Corrupt(format!("{} is damaged at position {position}: {what}", path.display()))
    };
    let file = OpenOptions::new().read(true).write(is_last).open(&path).map_err(action())?;
    let (mut frames, mut disorder) = (Vec::new(), None);
    let scan = segment::scan(&file, partitions as usize, is_last, |position, header| {
        frames.push((position, *header));
    });
    let Some(scan) = scan.map_err(action())? else {
        return Err(corrupt(0, "it has no valid header for this topic"));
    };
    let mut segment = Segment::new(sequence, scan.good_len, &scan.bases);
    for (position, header) in frames {
        if !segment.push(position, &header) {
            disorder.get_or_insert(position);
        }
    }
    // Its checksum was right, so this is no torn write.
    if let Some(position) = disorder {
        return Err(corrupt(position, "an offset does not follow the one before"));
    }
    if let Some(damage) = scan.damage {
        if !is_last {
            return Err(corrupt(scan.good_len, damage));
        }
        let length = file.metadata().map_err(action())?.len();
        let cut = length - scan.good_len;
        warn!(path = %path.display(), position = scan.good_len, bytes = cut, damage, "torn tail cut off");
        disk.cut(&file, scan.good_len).map_err(action())?;
    }
    Ok(segment)
}

/// A segment begins where the one before ended, or above if offsets were skipped then.
fn check_order(dir: &Path, before: Option<&Segment>, segment: &Segment) -> Result<(), LogError> {
    let follows =
        before.is_none_or(|before| before.ends().iter().zip(segment.bases()).all(|(end, base)| *end <= base));
    if follows {
        return Ok(());
    }
    let path = segment::path(dir, segment.sequence);
    Err(LogError::Corrupt(format!("{} does not follow the segment before it", path.display())))
}

/// The offsets to go on from if some group committed more than there is. That takes a damaged disk; without it the same
/// offsets would be given again, to records that a reader who starts above them never sees.
fn lost_offsets(index: &Index, groups: &Groups) -> Option<Vec<u64>> {
    let ends = index.last().ends();
    let ceilings = groups.ceilings()?;
    let next: Vec<_> = ends.iter().zip(&ceilings).map(|(end, ceiling)| *end.max(ceiling)).collect();
    (next != ends).then_some(next)
}
