use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vivace_model::{BlockId, Offset, OffsetRange, Partition, UnixNanos};

use crate::{BlockMeta, Violation};

/// Version of the entry format; whoever changes the meaning of a field raises it.
pub(crate) const ENTRY_VERSION: u32 = 1;

/// One numbered entry of a chain, as it lies in object storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Version of the format.
    pub version: u32,
    /// Number in the chain, from 1.
    pub sequence: u64,
    /// The spans topic.
    pub topic: String,
    /// The partition whose chain it is.
    pub partition: Partition,
    /// Unique name of the attempt that wrote it: by it a writer that lost the answer knows its own entry again.
    pub writer: String,
    /// When it was written, by the writer's clock.
    pub written: UnixNanos,
    /// What it says.
    pub body: EntryBody,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EntryBody {
    /// The records of these offsets are in these blocks, but for the rejected ones. From an ingester.
    Ingested {
        /// The offsets, all tenants'; starts where the chain ends.
        offsets: OffsetRange,
        /// The blocks made of them, at least one per tenant that has spans there.
        blocks: Vec<BlockMeta>,
        /// Records, or spans of them, that could not be stored.
        rejected: Vec<Rejected>,
    },
    /// The inputs are replaced by the outputs. From a compactor.
    Compacted {
        /// Live blocks that stop being live.
        inputs: Vec<BlockId>,
        /// The blocks that hold the same spans now, but for those that are counted below.
        outputs: Vec<BlockMeta>,
        /// Spans left out because an equal one is in the outputs.
        duplicates: u64,
        /// Spans left out because their traces need not be kept any longer.
        expired: u64,
    },
    /// The blocks are gone by retention. From a compactor.
    Expired {
        /// Live blocks that stop being live.
        blocks: Vec<BlockId>,
    },
    /// Records of these offsets were deleted from the topic before anyone ingested them. From an ingester.
    Lost {
        /// The offsets; starts where the chain ends.
        offsets: OffsetRange,
    },
}

impl EntryBody {
    /// The offsets by which the entry moves the end of the chain, if it does.
    #[must_use]
    pub const fn offsets(&self) -> Option<OffsetRange> {
        match self {
            Self::Ingested { offsets, .. } | Self::Lost { offsets } => Some(*offsets),
            Self::Compacted { .. } | Self::Expired { .. } => None,
        }
    }

    /// The blocks that the entry makes live.
    #[must_use]
    pub fn added(&self) -> &[BlockMeta] {
        match self {
            Self::Ingested { blocks, .. } | Self::Compacted { outputs: blocks, .. } => blocks,
            Self::Expired { .. } | Self::Lost { .. } => &[],
        }
    }

    /// The blocks that the entry retires.
    #[must_use]
    pub fn removed(&self) -> &[BlockId] {
        match self {
            Self::Compacted { inputs: blocks, .. } | Self::Expired { blocks } => blocks,
            Self::Ingested { .. } | Self::Lost { .. } => &[],
        }
    }
}

/// A record that could not be stored, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The record.
    pub offset: Offset,
    /// Why.
    pub reason: String,
    /// Spans of it that are not stored; 0 if nobody could tell.
    pub spans: u64,
}

/// An entry that someone wants to append. It carries the name of the attempt, so that appending the same proposal
/// again after [`crate::LedgerError::Unavailable`] cannot add it twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    body: EntryBody,
    writer: String,
}

impl Proposal {
    /// A proposal under a fresh name, made of 16 random bytes (an argument so that simulations repeat).
    #[must_use]
    pub fn new(body: EntryBody, random: [u8; 16]) -> Self {
        Self { body, writer: uuid::Builder::from_random_bytes(random).into_uuid().to_string() }
    }

    /// What the entry will say.
    #[must_use]
    pub const fn body(&self) -> &EntryBody {
        &self.body
    }

    /// The unique name of the attempt, [`Entry::writer`] of the entry.
    #[must_use]
    pub fn writer(&self) -> &str {
        &self.writer
    }
}

impl Entry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry has only string keys and plain values")
    }

    /// Reads an entry. Whether it belongs where it was found is for the rules to say.
    pub(crate) fn decode(json: &[u8]) -> Result<Self, Violation> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        match serde_json::from_slice::<Self>(json) {
            Ok(entry) if entry.version == ENTRY_VERSION && Uuid::parse_str(&entry.writer).is_ok() => {
                Ok(entry)
            }
            Ok(entry) if entry.version == ENTRY_VERSION => Err(Violation::Writer { writer: entry.writer }),
            Ok(entry) => Err(Violation::Version { found: entry.version }),
            // A later version may have another shape: say so instead of naming the first odd byte.
            Err(error) => Err(match serde_json::from_slice::<Versioned>(json) {
                Ok(found) if found.version != ENTRY_VERSION => Violation::Version { found: found.version },
                _ => Violation::Unreadable { reason: error.to_string() },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{block, entry};

    #[test]
    fn json_is_as_documented() {
        let rejected = vec![Rejected { offset: Offset(3), reason: "truncated".into(), spans: 2 }];
        let offsets = OffsetRange::new(Offset(0), Offset(9));
        let entry = entry(1, EntryBody::Ingested { offsets, blocks: vec![block(1, 0..9)], rejected });
        let json: serde_json::Value = serde_json::from_slice(&entry.encode()).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["sequence"], 1);
        assert_eq!(json["topic"], "vivace.spans");
        assert_eq!(json["partition"], 0);
        assert_eq!(json["body"]["kind"], "ingested");
        assert_eq!(json["body"]["offsets"]["end"], 9);
        assert_eq!(json["body"]["blocks"][0]["tenant"], "single-tenant");
        assert_eq!(json["body"]["rejected"][0]["reason"], "truncated");
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }

    #[test]
    fn json_of_a_merge_says_what_was_left_out() {
        let (inputs, outputs) = (vec![block(1, 0..9).id], vec![block(2, 0..9)]);
        let body = EntryBody::Compacted { inputs, outputs, duplicates: 3, expired: 4 };
        let json: serde_json::Value = serde_json::from_slice(&entry(1, body).encode()).unwrap();
        assert_eq!(json["body"]["kind"], "compacted");
        assert_eq!(json["body"]["inputs"][0], block(1, 0..9).id.to_string());
        assert_eq!(json["body"]["outputs"][0]["rows"], 10);
        assert_eq!((&json["body"]["duplicates"], &json["body"]["expired"]), (&3.into(), &4.into()));
    }

    #[test]
    fn unreadable_json_is_refused() {
        let whole = entry(1, EntryBody::Lost { offsets: OffsetRange::new(Offset(0), Offset(9)) });
        let json = whole.encode();
        for length in 0..json.len() {
            assert!(matches!(Entry::decode(&json[..length]), Err(Violation::Unreadable { .. })), "{length}");
        }
        let later = br#"{"version": 2, "surprise": true}"#;
        assert_eq!(Entry::decode(later), Err(Violation::Version { found: 2 }));
        let newer = Entry { version: 3, ..whole.clone() };
        assert_eq!(Entry::decode(&newer.encode()), Err(Violation::Version { found: 3 }));
        let nameless = Entry { writer: String::new(), ..whole };
        assert_eq!(Entry::decode(&nameless.encode()), Err(Violation::Writer { writer: String::new() }));
    }

    #[test]
    fn proposals_are_named_by_their_random_bytes() {
        let body = EntryBody::Expired { blocks: vec![] };
        assert_ne!(Proposal::new(body.clone(), [1; 16]).writer(), Proposal::new(body, [2; 16]).writer());
    }
}
