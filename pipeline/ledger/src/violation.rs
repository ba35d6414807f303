use vivace_model::{BlockId, Offset, OffsetRange, Partition, TenantId};

/// A rule of the ledger that is broken, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Not the JSON of an entry or snapshot.
    #[error("it cannot be read: {reason}")]
    Unreadable {
        /// What the parser said.
        reason: String,
    },
    /// Larger than anything that we write.
    #[error("it has {bytes} bytes, more than the {bytes_max} allowed")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A format that this version does not know.
    #[error("it has version {found} of the format, which this program does not know")]
    Version {
        /// The version.
        found: u32,
    },
    /// Of another chain.
    #[error("it belongs to the chain {topic}/{partition}")]
    Stranger {
        /// Topic it names.
        topic: String,
        /// Partition it names.
        partition: Partition,
    },
    /// Its number is not the next one.
    #[error("it has number {found} and follows entry {after}")]
    Sequence {
        /// The entry before.
        after: u64,
        /// Its own number.
        found: u64,
    },
    /// It is not there, although a later one is.
    #[error("it is missing, although entry {seen} exists")]
    Missing {
        /// The later one.
        seen: u64,
    },
    /// The attempt that wrote it has no proper name.
    #[error("its writer \"{writer}\" is not a UUID")]
    Writer {
        /// The name.
        writer: String,
    },
    /// Two entries carry the same proposal.
    #[error("entries {first} and {second} come from the same proposal")]
    Twice {
        /// Number of one.
        first: u64,
        /// Number of the other.
        second: u64,
    },
    /// Offsets that are empty or run backwards.
    #[error("its offsets {offsets} are empty or run backwards")]
    Range {
        /// The offsets.
        offsets: OffsetRange,
    },
    /// Offsets that nobody accounts for.
    #[error("its offsets {offsets} leave a gap after the chain's end {end}")]
    Gap {
        /// End of the chain.
        end: Offset,
        /// The entry's offsets.
        offsets: OffsetRange,
    },
    /// Offsets that are in the chain already.
    #[error("its offsets {offsets} overlap what is below the chain's end {end}")]
    Overlap {
        /// End of the chain.
        end: Offset,
        /// The entry's offsets.
        offsets: OffsetRange,
    },
    /// A rejected record that the entry does not cover.
    #[error("it rejects offset {offset}, which is outside of its {offsets}")]
    RejectedOutside {
        /// The record.
        offset: Offset,
        /// The entry's offsets.
        offsets: OffsetRange,
    },
    /// Replaces or expires nothing.
    #[error("it names no blocks")]
    NoBlocks,
    /// Replaces or expires what is not live.
    #[error("it retires block {id}, which is not live")]
    UnknownBlock {
        /// The block.
        id: BlockId,
    },
    /// A block id that was there before.
    #[error("block {id} is named twice")]
    RepeatedBlock {
        /// The block.
        id: BlockId,
    },
    /// A block that cannot be as described.
    #[error("block {id} is impossible: {reason}")]
    Block {
        /// The block.
        id: BlockId,
        /// Why.
        reason: &'static str,
    },
    /// A merge whose rows do not add up, or one that lost all of a tenant's.
    #[error("it merges {before} rows of tenant {tenant} into {after} and leaves {left_out} out")]
    Rows {
        /// The tenant.
        tenant: TenantId,
        /// Rows of the inputs.
        before: u64,
        /// Rows of the outputs.
        after: u64,
        /// Rows of all tenants that it says are left out.
        left_out: u64,
    },
    /// A state that is not what the entries say.
    #[error("the state after entry {sequence} differs from its entries in {what}")]
    Snapshot {
        /// The entry.
        sequence: u64,
        /// What differs.
        what: &'static str,
    },
}
