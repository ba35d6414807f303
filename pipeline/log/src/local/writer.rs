//! The one thread that writes a topic: `batches -> frames -> write -> sync -> publish -> answer`.
//! Owns: the offsets, the open segment, group commit. Does not own: the queue, what readers see before it is published.
//! Guarantee: a batch is answered with offsets only after its frames are synced. A write that failed leaves nothing behind
//! and may be followed by one that works; a sync that failed ends the log, since nobody knows what the disk has.

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tracing::{error, info, warn};
use vivace_model::{Clock, Offset, Partition, UnixNanos};

use super::disk::{Disk, write_all};
use super::frame::{FrameHeader, Unplaced};
use super::index::Segment;
use super::queue::Batch;
use super::segment::{self, CreateError};
use super::topic::Topic;
use crate::LogError;

/// Values up to this size are copied beside their header; larger ones are written from where they are.
const COPY_BYTES_MAX: usize = 4 << 10;
/// A staging buffer that grew beyond this is not kept.
const STAGING_BYTES_KEPT: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) topic: Arc<Topic>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    /// The last segment, open for appending.
    pub(super) file: File,
    pub(super) sequence: u64,
    /// Its length: everything in it is synced.
    pub(super) length: u64,
    /// The next offset of each partition.
    pub(super) next: Vec<u64>,
    pub(super) staging: Vec<u8>,
}

/// The frames of one group commit, ready to be written.
#[derive(Debug, Default)]
struct Group {
    headers: Vec<FrameHeader>,
    pieces: Vec<Piece>,
    /// Of each batch.
    offsets: Vec<Vec<Offset>>,
    next: Vec<u64>,
}

#[derive(Debug)]
enum Piece {
    Staged(Range<usize>),
    Value(Bytes),
}

/// Why a group was not stored.
#[derive(Clone, Debug)]
struct Refusal {
    action: String,
    kind: io::ErrorKind,
    code: Option<i32>,
}

impl Refusal {
    fn new(action: String, error: &io::Error) -> Self {
        Self { action, kind: error.kind(), code: error.raw_os_error() }
    }

    fn error(&self) -> LogError {
        let source = self.code.map_or_else(|| self.kind.into(), io::Error::from_raw_os_error);
        LogError::Storage { action: self.action.clone(), source }
    }
}

impl Writer {
    /// The thread's loop; ends when the queue is closed and empty.
    pub(super) fn run(mut self) {
        while let Some(batches) = self.topic.queue.take() {
            let bytes = batches.iter().map(|batch| batch.bytes).sum();
            let result = self.commit(&batches);
            // Before the answers: whoever got one may append again at once.
            self.topic.queue.done(bytes);
            match result {
                Ok(offsets) => {
                    for (batch, offsets) in batches.into_iter().zip(offsets) {
                        drop(batch.answer.send(Ok(offsets)));
                    }
                }
                Err(refusal) => {
                    for batch in batches {
                        drop(batch.answer.send(Err(refusal.error())));
                    }
                }
            }
        }
    }

    /// Stores a group and gives the offsets of each batch.
    fn commit(&mut self, batches: &[Batch]) -> Result<Vec<Vec<Offset>>, Refusal> {
        if let Err(error) = self.topic.poison.check() {
            return Err(Refusal { action: error.to_string(), kind: io::ErrorKind::Other, code: None });
        }
        if self.length >= self.topic.config.segment_bytes.as_u64() {
            self.begin_segment()?;
        }
        let group = self.place(batches);
        self.write(&group)?;
        if let Err(error) = self.disk.sync(&self.file) {
            return Err(self.poison("sync", &error));
        }
        Ok(self.publish(group))
    }

    fn begin_segment(&mut self) -> Result<(), Refusal> {
        let sequence = self.sequence + 1;
        match segment::create(&*self.disk, &self.topic.dir, sequence, &self.next) {
            Ok(file) => {
                self.file = file;
                self.sequence = sequence;
                self.length = segment::header_len(self.next.len());
                self.topic.index.write().begin(Segment::new(sequence, self.length, &self.next));
                self.topic.keeper.work();
                info!(topic = self.topic.name, sequence, "segment begun");
                Ok(())
            }
            Err(CreateError::Refused(error)) => Err(Refusal::new(
                format!("failed to begin segment {sequence} of {}", self.topic.name),
                &error,
            )),
            Err(CreateError::Unknown(error)) => Err(self.poison("begin the next segment after", &error)),
        }
    }

    /// Gives every record its offset. Records of one partition are laid side by side, so that readers fetch them in one go.
    fn place(&mut self, batches: &[Batch]) -> Group {
        let mut order: Vec<(Partition, usize, usize)> = Vec::new();
        for (batch_at, batch) in batches.iter().enumerate() {
            let records = batch.records.iter().enumerate();
            order.extend(records.map(|(record_at, record)| (record.partition, batch_at, record_at)));
        }
        order.sort_by_key(|(partition, ..)| *partition);
        let offsets = batches.iter().map(|batch| vec![Offset::ZERO; batch.records.len()]).collect();
        let mut group = Group { offsets, next: self.next.clone(), ..Group::default() };
        self.staging.clear();
        let now = self.clock.now();
        for (partition, batch_at, record_at) in order {
            let next = &mut group.next[partition.0 as usize];
            let offset = *next;
            *next += 1;
            group.offsets[batch_at][record_at] = Offset(offset);
            self.stage(&mut group, &batches[batch_at].records[record_at], offset, now);
        }
        group
    }

    fn stage(&mut self, group: &mut Group, record: &Unplaced, offset: u64, now: UnixNanos) {
        let start = self.staging.len();
        let header = record.header(offset, now);
        header.encode(&mut self.staging);
        self.staging.extend_from_slice(&record.lead);
        let copied = record.value.len() <= COPY_BYTES_MAX;
        if copied {
            self.staging.extend_from_slice(&record.value);
        }
        match group.pieces.last_mut() {
            Some(Piece::Staged(range)) => range.end = self.staging.len(),
            _ => group.pieces.push(Piece::Staged(start..self.staging.len())),
        }
        if !copied {
            group.pieces.push(Piece::Value(record.value.clone()));
        }
        group.headers.push(header);
    }

    fn write(&mut self, group: &Group) -> Result<(), Refusal> {
        let bytes = |piece| match piece {
            &Piece::Staged(Range { start, end }) => &self.staging[start..end],
            Piece::Value(value) => &value[..],
        };
        let mut slices: Vec<_> = group.pieces.iter().map(|piece| IoSlice::new(bytes(piece))).collect();
        let result = write_all(&*self.disk, &self.file, &mut slices);
        drop(slices);
        if self.staging.capacity() > STAGING_BYTES_KEPT {
            self.staging = Vec::new();
        }
        let Err(error) = result else { return Ok(()) };
        if let Err(error) = self.disk.cut(&self.file, self.length) {
            return Err(self.poison("cut off a failed write in", &error));
        }
        let action =
            format!("failed to write to {}", segment::path(&self.topic.dir, self.sequence).display());
        warn!(topic = self.topic.name, %error, "{action}");
        Err(Refusal::new(action, &error))
    }

    fn poison(&self, what: &str, error: &io::Error) -> Refusal {
        let path = segment::path(&self.topic.dir, self.sequence);
        let action = format!("failed to {what} {}", path.display());
        error!(topic = self.topic.name, %error, "{action}; the log stops");
        self.topic.poison.set(format!("{action}: {error}"));
        self.topic.wake_all();
        Refusal::new(action, error)
    }

    /// Makes a synced group readable.
    fn publish(&mut self, group: Group) -> Vec<Vec<Offset>> {
        {
            let mut index = self.topic.index.write();
            let segment = index.last_mut();
            for header in &group.headers {
                assert!(segment.push(self.length, header), "offsets are given densely");
                self.length += header.frame_len() as u64;
            }
            segment.length = self.length;
        }
        let mut last = None;
        for header in &group.headers {
            if last.replace(header.partition) != Some(header.partition) {
                self.topic.news[header.partition as usize].notify_waiters();
            }
        }
        self.next = group.next;
        group.offsets
    }
}
