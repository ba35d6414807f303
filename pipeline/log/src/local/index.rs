//! Where each record of a topic lies.
//! Owns: the list of segments and, per partition, the position of every frame in them (8 bytes a record).
//! Does not own: files. What is in the index is durable and may be read.

use std::collections::VecDeque;

use vivace_model::{Offset, OffsetRange, Partition};

use super::frame::FrameHeader;

/// Frames of one partition that lie closer than that are fetched by one read, with what lies between.
const READ_GAP_MAX: u64 = 16 << 10;

#[derive(Clone, Copy, Debug)]
struct FrameAt {
    position: u32,
    length: u32,
}

/// The frames of one partition in one segment; offsets are dense from `base`.
#[derive(Clone, Debug)]
struct Frames {
    base: u64,
    at: Vec<FrameAt>,
}

impl Frames {
    fn end(&self) -> u64 {
        self.base + self.at.len() as u64
    }
}

/// One segment.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    /// Length of the file up to its last durable frame.
    pub(super) length: u64,
    partitions: Vec<Frames>,
}

impl Segment {
    pub(super) fn new(sequence: u64, length: u64, bases: &[u64]) -> Self {
        let partitions = bases.iter().map(|&base| Frames { base, at: Vec::new() }).collect();
        Self { sequence, length, partitions }
    }

    /// Adds the frame at a position; false if it is not the next of its partition.
    pub(super) fn push(&mut self, position: u64, header: &FrameHeader) -> bool {
        let frames = &mut self.partitions[header.partition as usize];
        if header.offset != frames.end() {
            return false;
        }
        let position = u32::try_from(position).expect("segment and queue sizes are limited to 1 GiB each");
        let length = u32::try_from(header.frame_len()).expect("records are smaller than a segment");
        frames.at.push(FrameAt { position, length });
        true
    }

    /// The next offset of each partition after this segment.
    pub(super) fn ends(&self) -> Vec<u64> {
        self.partitions.iter().map(Frames::end).collect()
    }

    /// The next offset of each partition before this segment.
    pub(super) fn bases(&self) -> impl Iterator<Item = u64> {
        self.partitions.iter().map(|frames| frames.base)
    }

    /// Whether each partition's frames here lie below its floor.
    pub(super) fn is_below(&self, floors: &[u64]) -> bool {
        self.partitions
            .iter()
            .zip(floors)
            .all(|(frames, floor)| frames.at.is_empty() || frames.end() <= *floor)
    }
}

/// A range of a segment file that holds frames to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) position: u64,
    pub(super) length: u64,
}

/// What to read to get the next records of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) sequence: u64,
    pub(super) runs: Vec<Run>,
}

impl Plan {
    pub(super) fn length(&self) -> u64 {
        self.runs.iter().map(|run| run.length).sum()
    }
}

/// All segments of a topic, oldest first; never empty.
#[derive(Debug)]
pub(super) struct Index {
    segments: VecDeque<Segment>,
}

impl Index {
    /// # Panics
    /// If there is no segment.
    pub(super) fn new(segments: VecDeque<Segment>) -> Self {
        assert!(!segments.is_empty(), "a topic has at least one segment");
        Self { segments }
    }

    /// The segment that is written to.
    pub(super) fn last(&self) -> &Segment {
        self.segments.back().expect("never empty")
    }

    pub(super) fn last_mut(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("never empty")
    }

    pub(super) fn begin(&mut self, segment: Segment) {
        self.segments.push_back(segment);
    }

    pub(super) fn watermarks(&self, partition: Partition) -> OffsetRange {
        let partition = partition.0 as usize;
        let start = self.segments[0].partitions[partition].base;
        let end = self.last().partitions[partition].end();
        OffsetRange::new(Offset(start), Offset(end))
    }

    /// What to read for records from an offset on, up to about `bytes_max` and at least one; none if there is none.
    /// Below the first offset kept, it starts there: the caller checks watermarks.
    pub(super) fn plan(&self, partition: Partition, from: Offset, bytes_max: usize) -> Option<Plan> {
        let of = |segment: &Segment| segment.partitions[partition.0 as usize].end();
        let first = self.segments.partition_point(|segment| of(segment) <= from.0);
        // Empty ones after it may come from offsets that were skipped over at recovery.
        let segment = self.segments.range(first..).find(|segment| {
            let frames = &segment.partitions[partition.0 as usize];
            !frames.at.is_empty()
        })?;
        let frames = &segment.partitions[partition.0 as usize];
        let skip = usize::try_from(from.0.saturating_sub(frames.base)).ok()?;
        let mut runs: Vec<Run> = Vec::new();
        let mut wanted = 0_usize;
        for at in frames.at.get(skip..)? {
            if wanted > 0 && wanted + at.length as usize > bytes_max {
                break;
            }
            wanted += at.length as usize;
            let (position, length) = (u64::from(at.position), u64::from(at.length));
            match runs.last_mut().filter(|run| position - (run.position + run.length) <= READ_GAP_MAX) {
                Some(run) => run.length = position + length - run.position,
                None => runs.push(Run { position, length }),
            }
        }
        Some(Plan { sequence: segment.sequence, runs })
    }

    /// Forgets the oldest segment if `may_go` says so and it is not the one being written, and gives its number.
    pub(super) fn drop_oldest(&mut self, may_go: impl FnOnce(&Self, &Segment) -> bool) -> Option<u64> {
        if self.segments.len() < 2 || !may_go(self, &self.segments[0]) {
            return None;
        }
        self.segments.pop_front().map(|segment| segment.sequence)
    }

    /// Bytes of all segments.
    pub(super) fn length(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(partition: u32, offset: u64, body_len: u32) -> FrameHeader {
        FrameHeader { body_crc: 0, body_len, partition, offset, timestamp: 0, lead_len: 0 }
    }

    /// Two partitions; partition 0 has frames of 100 bytes at 0, 100 and (after a big one of partition 1) 50,200.
    fn segment() -> Segment {
        let mut segment = Segment::new(5, 50_300, &[10, 0]);
        for (position, header) in [
            (0, header(0, 10, 64)),
            (100, header(0, 11, 64)),
            (200, header(1, 0, 49_964)),
            (50_200, header(0, 12, 64)),
        ] {
            assert!(segment.push(position, &header));
        }
        segment
    }

    #[test]
    fn neighbours_are_read_in_one_go() {
        let index = Index::new([segment()].into());
        let plan = |from, bytes_max| index.plan(Partition(0), Offset(from), bytes_max).map(|plan| plan.runs);
        let run = |position, length| Run { position, length };
        assert_eq!(plan(10, 1000), Some(vec![run(0, 200), run(50_200, 100)]));
        assert_eq!(plan(10, 200), Some(vec![run(0, 200)]));
        assert_eq!(plan(11, 1), Some(vec![run(100, 100)]), "one at least");
        assert_eq!(plan(13, 1000), None);
        assert_eq!(index.watermarks(Partition(0)), OffsetRange::new(Offset(10), Offset(13)));
    }

    #[test]
    fn offsets_must_follow_each_other() {
        let mut segment = segment();
        assert!(!segment.push(60_000, &header(0, 12, 1)));
        assert!(!segment.push(60_000, &header(0, 14, 1)));
        assert_eq!(segment.ends(), [13, 1]);
    }

    #[test]
    fn skipped_offsets_are_read_over() {
        let mut later = Segment::new(6, 0, &[20, 1]);
        later.push(0, &header(0, 20, 0));
        let index = Index::new([segment(), later].into());
        for from in [13, 17, 20] {
            assert_eq!(
                index.plan(Partition(0), Offset(from), 1).map(|plan| plan.sequence),
                Some(6),
                "{from}"
            );
        }
        assert_eq!(index.plan(Partition(1), Offset(1), 1), None);
    }

    #[test]
    fn a_segment_goes_only_when_all_partitions_are_past_it() {
        let mut index = Index::new([segment(), Segment::new(6, 0, &[13, 1])].into());
        for floors in [[12, 1], [13, 0]] {
            assert_eq!(index.drop_oldest(|_, segment| segment.is_below(&floors)), None);
        }
        assert_eq!(index.drop_oldest(|_, segment| segment.is_below(&[13, 1])), Some(5));
        assert_eq!(index.drop_oldest(|_, _| true), None, "the last one stays");
        assert_eq!(index.watermarks(Partition(0)), OffsetRange::new(Offset(13), Offset(13)));
    }
}
