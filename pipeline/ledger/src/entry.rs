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
        /// By what the last of these records is known again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<Fingerprint>,
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
    /// The records of these offsets were read from the topic again, and new blocks stand for the old ones: a new
    /// generation. The old blocks are kept until they are discarded. From an operator.
    Replayed {
        /// One more than that before.
        generation: u32,
        /// The offsets, all tenants'; starts at the chain's end or before it, and may move the end.
        offsets: OffsetRange,
        /// Live blocks that stop being live: all that were made of these offsets, and the abandoned ones.
        inputs: Vec<BlockId>,
        /// The blocks made of these offsets.
        outputs: Vec<BlockMeta>,
        /// Of the inputs, those that nothing stands for: neither their files nor their records are there any more.
        abandoned: Vec<BlockId>,
        /// Records, or spans of them, that could not be stored.
        rejected: Vec<Rejected>,
        /// By what the last of these records is known again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<Fingerprint>,
        /// What the operator gave as the reason.
        reason: String,
    },
    /// The topic was deleted and made anew, so that its offsets say something else from here on: a new generation. All
    /// blocks stay live. From an operator.
    Recreated {
        /// One more than that before; also the incarnation of what is ingested from now on.
        generation: u32,
        /// Where the chain goes on: the first offset of the new topic that nobody has ingested.
        end: Offset,
        /// What the operator gave as the reason.
        reason: String,
    },
    /// Blocks kept of earlier generations are given up; their files may be deleted. From an operator.
    Discarded {
        /// The blocks.
        blocks: Vec<BlockId>,
    },
    /// The inputs are replaced by outputs without the traces that had to go. From an operator.
    Redacted {
        /// Live blocks that stop being live.
        inputs: Vec<BlockId>,
        /// The blocks that hold the other spans now.
        outputs: Vec<BlockMeta>,
        /// Spans removed with their traces.
        removed: u64,
        /// Spans left out because an equal one is in the outputs.
        duplicates: u64,
        /// Why, in the operator's words.
        reason: String,
    },
}

/// By what a record is known again: whether the topic that is there is still the one that was ingested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// When the log took it.
    pub timestamp: UnixNanos,
    /// CRC-32C of its value.
    pub crc: u32,
}

impl EntryBody {
    /// The offsets that follow the end of the chain and move it, for the entries that always do.
    #[must_use]
    pub const fn offsets(&self) -> Option<OffsetRange> {
        match self {
            Self::Ingested { offsets, .. } | Self::Lost { offsets } => Some(*offsets),
            Self::Compacted { .. }
            | Self::Expired { .. }
            | Self::Replayed { .. }
            | Self::Recreated { .. }
            | Self::Discarded { .. }
            | Self::Redacted { .. } => None,
        }
    }

    /// The blocks that the entry makes live.
    #[must_use]
    pub fn added(&self) -> &[BlockMeta] {
        match self {
            Self::Ingested { blocks, .. }
            | Self::Compacted { outputs: blocks, .. }
            | Self::Replayed { outputs: blocks, .. }
            | Self::Redacted { outputs: blocks, .. } => blocks,
            Self::Expired { .. } | Self::Lost { .. } | Self::Recreated { .. } | Self::Discarded { .. } => &[],
        }
    }

    /// The live blocks that stop being live by the entry.
    #[must_use]
    pub fn removed(&self) -> &[BlockId] {
        match self {
            Self::Compacted { inputs: blocks, .. }
            | Self::Expired { blocks }
            | Self::Replayed { inputs: blocks, .. }
            | Self::Redacted { inputs: blocks, .. } => blocks,
            Self::Ingested { .. } | Self::Lost { .. } | Self::Recreated { .. } | Self::Discarded { .. } => {
                &[]
            }
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

impl Rejected {
    /// How the reason begins for a record that made work fail, and was put aside so that its partition goes on.
    pub const QUARANTINED: &str = "quarantined: ";

    /// Whether the record was put aside because work on it failed. It may be a good one, which a mend can take in.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.reason.starts_with(Self::QUARANTINED)
    }
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
        let entry =
            entry(1, EntryBody::Ingested { offsets, blocks: vec![block(1, 0..9)], rejected, last: None });
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
