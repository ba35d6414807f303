//! Reads one partition of the embedded log.
//! Owns: its position, the open segment file. Does not own: what is durable (the index knows).
//! A read fetches whole runs of frames; the records given share their bytes.

use std::fs::File;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};
use tokio::task::spawn_blocking;
use vivace_model::{Offset, Partition};

use super::disk::storage;
use super::frame::FrameHeader;
use super::index::{Plan, Run};
use super::segment;
use super::topic::Topic;
use crate::{LogError, Reader, Record};

/// Up to this much is read on the async thread: from the page cache it takes a fraction of a millisecond.
const INLINE_BYTES_MAX: u64 = 512 << 10;

#[derive(Debug)]
pub(super) struct LocalReader {
    topic: Arc<Topic>,
    partition: Partition,
    next: Offset,
    /// The segment read last, and its number.
    file: Option<(u64, Arc<File>)>,
}

impl LocalReader {
    pub(super) fn new(topic: Arc<Topic>, partition: Partition, from: Offset) -> Self {
        Self { topic, partition, next: from, file: None }
    }

    /// The segment's file; none if it was deleted since it was looked up.
    fn open(&mut self, sequence: u64) -> Result<Option<Arc<File>>, LogError> {
        if let Some((open, file)) = &self.file
            && *open == sequence
        {
            return Ok(Some(Arc::clone(file)));
        }
        let path = segment::path(&self.topic.dir, sequence);
        match File::open(&path) {
            Ok(file) => {
                let file = Arc::new(file);
                self.file = Some((sequence, Arc::clone(&file)));
                Ok(Some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(storage(format!("failed to open {}", path.display()))(error)),
        }
    }
}

#[async_trait]
impl Reader for LocalReader {
    async fn next(&mut self, bytes_max: usize) -> Result<Vec<Record>, LogError> {
        let plan = self.topic.plan(self.partition, self.next, bytes_max).await?;
        let Some(file) = self.open(plan.sequence)? else {
            return Err(self.topic.out_of_range(self.partition, self.next));
        };
        let read = Read { file, plan, partition: self.partition, next: self.next };
        let (sequence, large) = (read.plan.sequence, read.plan.length() > INLINE_BYTES_MAX);
        // Dropped while the other thread reads: the position stays, so the same is read again.
        let result = if large {
            spawn_blocking(move || read.run()).await.map_err(|source| LogError::Unavailable {
                action: format!("reading topic {} was stopped", self.topic.name),
                source: source.into(),
            })?
        } else {
            read.run()
        };
        let records = result.map_err(|failure| failure.error(&self.topic, sequence))?;
        let last = records.last().expect("a plan holds at least one record");
        self.next = last.offset.next();
        Ok(records)
    }
}

/// One read, to be done on any thread.
#[derive(Debug)]
struct Read {
    file: Arc<File>,
    plan: Plan,
    partition: Partition,
    next: Offset,
}

#[derive(Debug)]
enum Failure {
    Io(io::Error),
    /// What lies at that position is not what the index says.
    Damage(u64),
}

impl Failure {
    fn error(self, topic: &Topic, sequence: u64) -> LogError {
        let path = segment::path(&topic.dir, sequence);
        match self {
            Self::Io(error) => storage(format!("failed to read {}", path.display()))(error),
            Self::Damage(position) => {
                LogError::Corrupt(format!("{} is damaged at position {position}", path.display()))
            }
        }
    }
}

impl Read {
    fn run(self) -> Result<Vec<Record>, Failure> {
        let mut records = Vec::new();
        for &run in &self.plan.runs {
            let bytes = read_run(&self.file, run).map_err(Failure::Io)?;
            self.split(run, &bytes, &mut records)?;
        }
        if records.first().is_none_or(|record| record.offset < self.next) {
            return Err(Failure::Damage(self.plan.runs[0].position));
        }
        Ok(records)
    }

    /// Cuts a run into records, leaving out what lies between them of other partitions.
    fn split(&self, run: Run, bytes: &Bytes, records: &mut Vec<Record>) -> Result<(), Failure> {
        let mut at = 0;
        while at < bytes.len() {
            let damage = || Failure::Damage(run.position + at as u64);
            let header = FrameHeader::decode(&bytes[at..]).ok_or_else(damage)?;
            let body = at + FrameHeader::LEN..at + header.frame_len();
            if body.end > bytes.len() {
                return Err(damage());
            }
            if header.partition == self.partition.0 {
                let record = header.record(bytes.slice(body.clone())).ok_or_else(damage)?;
                if records.last().is_some_and(|last| last.offset.next() != record.offset) {
                    return Err(damage());
                }
                records.push(record);
            }
            at = body.end;
        }
        Ok(())
    }
}

/// All of a run, in memory that is not cleared first.
fn read_run(file: &File, run: Run) -> io::Result<Bytes> {
    let length = usize::try_from(run.length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes: Vec<u8> = Vec::with_capacity(length);
    while bytes.len() < length {
        let position = run.position + bytes.len() as u64;
        match pread(file, spare_capacity(&mut bytes), position) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more than was asked for.
    bytes.truncate(length);
    Ok(bytes.into())
}
