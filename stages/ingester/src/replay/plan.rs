//! Which offsets are read again, and which blocks go for it. Pure, so that it can be tested for any chain.

use std::collections::HashSet;
use std::sync::Arc;

use vivace_ledger::{BlockMeta, PartitionState};
use vivace_model::{BlockId, OffsetRange};

use super::ReplayError;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) offsets: OffsetRange,
    pub(super) keep_missing: bool,
    pub(super) with_redacted: bool,
    /// Blocks of no use: given up where their records are not there either.
    pub(super) gone: HashSet<BlockId>,
}

/// What a replay does.
#[derive(Clone, Debug)]
pub struct ReplayPlan {
    /// Number of the new generation.
    pub generation: u32,
    /// The offsets that are read again.
    pub offsets: OffsetRange,
    /// The blocks that are replaced.
    pub inputs: Vec<Arc<BlockMeta>>,
    /// Blocks that are given up without anything in their place.
    pub abandoned: Vec<Arc<BlockMeta>>,
}

/// Makes the plan for a chain and what the topic holds.
pub(super) fn plan(
    state: &PartitionState,
    log: OffsetRange,
    asked: &Asked,
) -> Result<ReplayPlan, ReplayError> {
    let blocks: Vec<_> =
        state.live().iter().filter(|block| block.incarnation == state.incarnation()).collect();
    // An ingester goes on from the chain's end; only where there is nothing it is as well done here.
    let through = if state.live().is_empty() { log.end.max(state.end()) } else { state.end() };
    let start = asked.offsets.start.min(state.end());
    let mut offsets = OffsetRange { start, end: asked.offsets.end.min(through).max(start) };
    grow(&mut offsets, &blocks);
    let missing = OffsetRange { start: offsets.start, end: log.start.min(offsets.end) };
    if missing.start < missing.end {
        let stored =
            blocks.iter().any(|block| block.offsets.start < missing.end && missing.start < block.offsets.end);
        if stored && !asked.keep_missing {
            return Err(ReplayError::Refused(format!(
                "the topic no longer has all records of {offsets}, it holds {log}; with --keep-missing, blocks of the \
                 others stay as they are"
            )));
        }
        shrink(&mut offsets, &blocks, log);
    }
    let touches = |range: OffsetRange| range.start < offsets.end && offsets.start < range.end;
    if !asked.with_redacted && state.redacted().is_some_and(touches) {
        return Err(ReplayError::Refused(
            "traces were removed from blocks of these offsets, and the topic may still hold them. With \
             --with-redacted they come back, to be removed again"
                .into(),
        ));
    }
    let inputs: Vec<_> =
        blocks.iter().filter(|block| touches(block.offsets)).map(|block| Arc::clone(block)).collect();
    let replaced: HashSet<BlockId> = inputs.iter().map(|block| block.id).collect();
    let given_up = |block: &&Arc<BlockMeta>| asked.gone.contains(&block.id) && !replaced.contains(&block.id);
    let abandoned: Vec<_> = if asked.keep_missing {
        state.live().iter().filter(given_up).map(Arc::clone).collect()
    } else {
        Vec::new()
    };
    if offsets.is_empty() && abandoned.is_empty() {
        return Err(ReplayError::Refused("there is nothing to replay".into()));
    }
    Ok(ReplayPlan { generation: state.generation() + 1, offsets, inputs, abandoned })
}

/// To whole blocks: merged ones reach over each other.
fn grow(offsets: &mut OffsetRange, blocks: &[&Arc<BlockMeta>]) {
    if offsets.is_empty() {
        return;
    }
    loop {
        let before = *offsets;
        for block in blocks.iter().map(|block| block.offsets) {
            if block.start < offsets.end && offsets.start < block.end {
                offsets.start = offsets.start.min(block.start);
                offsets.end = offsets.end.max(block.end);
            }
        }
        if *offsets == before {
            return;
        }
    }
}

/// To what the topic has, without cutting a block.
fn shrink(offsets: &mut OffsetRange, blocks: &[&Arc<BlockMeta>], log: OffsetRange) {
    let end = offsets.end;
    let mut start = log.start.min(end);
    loop {
        let before = start;
        for block in blocks.iter().map(|block| block.offsets) {
            if block.start < start && start < block.end {
                start = block.end.min(end);
            }
        }
        if start == before {
            break;
        }
    }
    *offsets = OffsetRange { start, end };
}
