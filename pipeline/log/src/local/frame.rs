//! One record as it lies in a segment file: a header of fixed size, then key, headers and value.
//! Owns: the bytes of a frame and the checks that tell a good one. Does not own: files, offsets, order.
//! Two checksums: one over the header (which holds the other), so that an index can be rebuilt by headers alone; one
//! over the body, so that appenders sum their bytes in their own time, before the writer knows the offset.
//!
//! ```text
//! header  crc of the rest u32 | crc of the body u32 | body length u32 | partition u32 | offset u64 | time u64 | lead u32
//! body    lead: key length i32, key | header count u16 | (name length u16, name, length u32, bytes)*   then the value
//! ```
//! Integers are little-endian; key length -1 means no key.

use bytes::{Buf, Bytes};
use vivace_model::{Offset, Partition, UnixNanos};

use crate::{LogError, NewRecord, Record};

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) body_crc: u32,
    pub(super) body_len: u32,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) timestamp: u64,
    /// Length of what stands in the body before the value.
    pub(super) lead_len: u32,
}

impl FrameHeader {
    pub(super) const LEN: usize = 36;

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.body_crc.to_le_bytes());
        out.extend_from_slice(&self.body_len.to_le_bytes());
        out.extend_from_slice(&self.partition.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.timestamp.to_le_bytes());
        out.extend_from_slice(&self.lead_len.to_le_bytes());
        let crc = crc32c::crc32c(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// The header that `bytes` start with; none if they are too few or their checksum is wrong.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(..Self::LEN)?;
        let crc = rest.get_u32_le();
        if crc != crc32c::crc32c(rest) {
            return None;
        }
        let header = Self {
            body_crc: rest.get_u32_le(),
            body_len: rest.get_u32_le(),
            partition: rest.get_u32_le(),
            offset: rest.get_u64_le(),
            timestamp: rest.get_u64_le(),
            lead_len: rest.get_u32_le(),
        };
        (header.lead_len <= header.body_len).then_some(header)
    }

    /// Length of the whole frame.
    pub(super) const fn frame_len(&self) -> usize {
        Self::LEN + self.body_len as usize
    }

    /// The record, sharing the body's bytes; none if the body is not what the header says.
    pub(super) fn record(&self, body: Bytes) -> Option<Record> {
        if body.len() != self.body_len as usize || crc32c::crc32c(&body) != self.body_crc {
            return None;
        }
        let value = body.slice(self.lead_len as usize..);
        let (key, headers) = decode_lead(body.slice(..self.lead_len as usize))?;
        Some(Record {
            offset: Offset(self.offset),
            timestamp: UnixNanos(self.timestamp),
            key,
            headers,
            value,
        })
    }
}

type Lead = (Option<Bytes>, Vec<(String, Bytes)>);

fn decode_lead(mut lead: Bytes) -> Option<Lead> {
    let key = match lead.try_get_i32_le().ok()? {
        -1 => None,
        length => Some(take(&mut lead, usize::try_from(length).ok()?)?),
    };
    let count = lead.try_get_u16_le().ok()?;
    let mut headers = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let length = lead.try_get_u16_le().ok()?;
        let name = String::from_utf8(take(&mut lead, usize::from(length))?.into()).ok()?;
        let length = lead.try_get_u32_le().ok()?;
        headers.push((name, take(&mut lead, length as usize)?));
    }
    lead.is_empty().then_some((key, headers))
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

/// A record that lacks only its offset and time to become a frame.
#[derive(Debug)]
pub(super) struct Unplaced {
    pub(super) partition: Partition,
    pub(super) body_crc: u32,
    /// Key and headers as they stand in the body.
    pub(super) lead: Vec<u8>,
    pub(super) value: Bytes,
}

impl Unplaced {
    /// Checks the size and sums the bytes.
    pub(super) fn new(record: NewRecord, bytes_max: usize) -> Result<Self, LogError> {
        let lead = encode_lead(&record).filter(|lead| lead.len() + record.value.len() <= bytes_max);
        let Some(lead) = lead else { return Err(LogError::TooLarge { bytes: record.value.len() }) };
        let body_crc = crc32c::crc32c_append(crc32c::crc32c(&lead), &record.value);
        Ok(Self { partition: record.partition, body_crc, lead, value: record.value })
    }

    pub(super) fn frame_len(&self) -> usize {
        FrameHeader::LEN + self.lead.len() + self.value.len()
    }

    pub(super) fn header(&self, offset: u64, timestamp: UnixNanos) -> FrameHeader {
        FrameHeader {
            body_crc: self.body_crc,
            body_len: length(self.lead.len() + self.value.len()),
            partition: self.partition.0,
            offset,
            timestamp: timestamp.0,
            lead_len: length(self.lead.len()),
        }
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("record_bytes_max is below 1 GiB and was checked")
}

/// None if something is longer than its length field can say.
fn encode_lead(record: &NewRecord) -> Option<Vec<u8>> {
    let key_len = record.key.as_ref().map_or(Ok(-1), |key| i32::try_from(key.len())).ok()?;
    let names_and_values: usize =
        record.headers.iter().map(|(name, value)| 6 + name.len() + value.len()).sum();
    let mut lead = Vec::with_capacity(6 + record.key.as_ref().map_or(0, Bytes::len) + names_and_values);
    lead.extend_from_slice(&key_len.to_le_bytes());
    lead.extend_from_slice(record.key.as_deref().unwrap_or_default());
    lead.extend_from_slice(&u16::try_from(record.headers.len()).ok()?.to_le_bytes());
    for (name, value) in &record.headers {
        lead.extend_from_slice(&u16::try_from(name.len()).ok()?.to_le_bytes());
        lead.extend_from_slice(name.as_bytes());
        lead.extend_from_slice(&u32::try_from(value.len()).ok()?.to_le_bytes());
        lead.extend_from_slice(value);
    }
    Some(lead)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(record: &NewRecord) -> Vec<u8> {
        let unplaced = Unplaced::new(record.clone(), 1 << 20).unwrap();
        let mut bytes = Vec::new();
        unplaced.header(7, UnixNanos(9)).encode(&mut bytes);
        bytes.extend_from_slice(&unplaced.lead);
        bytes.extend_from_slice(&unplaced.value);
        assert_eq!(bytes.len(), unplaced.frame_len());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Record> {
        let header = FrameHeader::decode(bytes)?;
        header.record(Bytes::copy_from_slice(bytes.get(FrameHeader::LEN..)?))
    }

    fn records() -> impl Strategy<Value = NewRecord> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        let headers = prop::collection::vec(("[a-z-]{0,12}", bytes()), 0..4);
        (prop::option::of(bytes()), headers, bytes()).prop_map(|(key, headers, value)| NewRecord {
            partition: Partition(3),
            key,
            headers,
            value,
        })
    }

    proptest! {
        #[test]
        fn frames_round_trip(record in records()) {
            let read = read(&frame(&record)).unwrap();
            prop_assert_eq!((read.offset, read.timestamp), (Offset(7), UnixNanos(9)));
            prop_assert_eq!((read.key, read.headers, read.value), (record.key, record.headers, record.value));
        }

        #[test]
        fn a_flipped_bit_is_noticed(record in records(), at: prop::sample::Index, bit in 0..8_u32) {
            let mut bytes = frame(&record);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(read(&bytes), None);
        }

        #[test]
        fn any_lead_ends_without_panic(bytes: Vec<u8>) {
            decode_lead(bytes.into());
        }
    }

    #[test]
    fn too_large_is_refused() {
        let record =
            NewRecord { partition: Partition(0), key: None, headers: Vec::new(), value: vec![0; 100].into() };
        assert!(matches!(Unplaced::new(record.clone(), 105), Err(LogError::TooLarge { bytes: 100 })));
        assert!(Unplaced::new(record, 106).is_ok());
    }
}
