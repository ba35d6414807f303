//! The memory of a merge, which is reserved before it begins.
//! Owns: how much a merge takes, by what the ledger says of its inputs, and how many of them fit.
//! Does not own: the accounting (`vivace_memory`), merging (the block).

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;
use vivace_ledger::BlockMeta;
use vivace_memory::{Governor, Part, Permit};

use crate::error::causes;

/// Ids, times and place of a row that is looked ahead to.
const AHEAD_ROW_BYTES: usize = 60;
/// Rows take about that many times their size in a file once they are decoded.
const DECODED_TIMES: usize = 16;
/// An input's index and filters.
const INPUT_BYTES: usize = 512 << 10;
/// Parts of a file that are being uploaded or filled.
const FILE_BYTES: usize = 24 << 20;
/// Smallest row group that is worth writing.
const GROUP_ROWS_MIN: usize = 16_384;
/// Whoever waited that long for memory says so.
const WAIT: Duration = Duration::from_secs(10);

/// How a merge is done so that it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fitted {
    /// The first so many blocks are merged.
    pub(crate) inputs: usize,
    /// Rows of a row group of the output.
    pub(crate) group_rows: usize,
    /// For inputs, and what is decoded of them.
    decode: usize,
    /// For the row group and the file that are being written.
    encode: usize,
}

/// Memory of a merge.
#[derive(Debug)]
pub(crate) struct Reserved {
    _decode: Permit,
    _encode: Permit,
}

/// As many of the inputs as fit, but two of them, or one if it is alone; then as many rows in a row group.
pub(crate) fn fit(
    memory: &Governor,
    inputs: &[Arc<BlockMeta>],
    group_rows: usize,
    ahead_rows: usize,
) -> Fitted {
    let (decode_max, encode_max) = (memory.most(Part::Decode), memory.most(Part::Encode));
    let mut fitted = need(inputs, group_rows, ahead_rows);
    while fitted.decode > decode_max && fitted.inputs > 2 {
        fitted = need(&inputs[..fitted.inputs - 1], group_rows, ahead_rows);
    }
    while (fitted.decode > decode_max || fitted.encode > encode_max) && fitted.group_rows > GROUP_ROWS_MIN {
        fitted = need(&inputs[..fitted.inputs], fitted.group_rows / 2, ahead_rows);
    }
    // What is more than there can ever be is done alone.
    Fitted { decode: fitted.decode.min(decode_max), encode: fitted.encode.min(encode_max), ..fitted }
}

fn need(inputs: &[Arc<BlockMeta>], group_rows: usize, ahead_rows: usize) -> Fitted {
    let row_bytes = |block: &BlockMeta| size(block.bytes).div_ceil(size(block.rows).max(1));
    // A row group of each input, and the next one while rows of both are needed.
    let stored = |block: &Arc<BlockMeta>| {
        (2 * group_rows).saturating_mul(row_bytes(block)).min(size(block.bytes)) + INPUT_BYTES
    };
    let stored = inputs.iter().map(stored).fold(0, usize::saturating_add);
    let rows = inputs.iter().map(|block| size(block.rows)).fold(0, usize::saturating_add);
    let widest = inputs.iter().map(|block| row_bytes(block)).max().unwrap_or(0);
    let group = group_rows.min(rows).saturating_mul(widest);
    let ahead = ahead_rows.min(rows).saturating_mul(AHEAD_ROW_BYTES);
    Fitted {
        inputs: inputs.len(),
        group_rows,
        decode: stored.saturating_add(ahead).saturating_add(group.saturating_mul(DECODED_TIMES)),
        encode: group.saturating_mul(2).saturating_add(FILE_BYTES),
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Fitted {
    /// Reserves what it takes, and waits for it, however long that is. Safe to drop.
    pub(crate) async fn reserve(&self, memory: &Arc<Governor>) -> Reserved {
        let _decode = reserve(memory, Part::Decode, self.decode).await;
        let _encode = reserve(memory, Part::Encode, self.encode).await;
        Reserved { _decode, _encode }
    }
}

async fn reserve(memory: &Arc<Governor>, part: Part, bytes: usize) -> Permit {
    let mut said = false;
    loop {
        match memory.reserve_waiting(part, bytes, WAIT).await {
            Ok(permit) => return permit,
            Err(short) if !said => warn!(error = causes(&short), "a merge waits for memory"),
            Err(_) => {}
        }
        said = true;
    }
}

#[cfg(test)]
mod tests {
    use vivace_memory::Shares;

    use super::*;
    use crate::testing::block;

    const MIB: usize = 1 << 20;

    /// Blocks of 120,000 rows of 50 bytes.
    fn blocks(count: u64) -> Vec<Arc<BlockMeta>> {
        let large = |number| BlockMeta { rows: 120_000, bytes: 6_000_000, ..block(number) };
        (0..count).map(|number| Arc::new(large(number))).collect()
    }

    fn memory(decode: usize, encode: usize) -> Arc<Governor> {
        let parts = [(Part::Decode, decode * MIB, 0), (Part::Encode, encode * MIB, 0)];
        Governor::new(Shares::exact((decode + encode) * MIB, &parts))
    }

    #[test]
    fn a_common_merge_fits_into_the_memory_of_a_compactor() {
        let fitted = fit(&memory(480, 64), &blocks(32), 131_072, 300_000);
        assert_eq!((fitted.inputs, fitted.group_rows), (32, 131_072));
        assert!((200 * MIB..480 * MIB).contains(&fitted.decode), "{fitted:?}");
    }

    #[test]
    fn less_memory_means_fewer_inputs_and_then_smaller_row_groups() {
        let fitted = fit(&memory(200, 64), &blocks(32), 131_072, 300_000);
        assert!((4..32).contains(&fitted.inputs) && fitted.group_rows == 131_072, "{fitted:?}");
        assert!(fitted.decode <= 200 * MIB);
        let fitted = fit(&memory(60, 64), &blocks(32), 131_072, 300_000);
        assert!(fitted.inputs == 2 && fitted.group_rows < 131_072, "{fitted:?}");
        let fitted = fit(&memory(1, 1), &blocks(32), 131_072, 300_000);
        assert_eq!((fitted.inputs, fitted.decode, fitted.encode), (2, MIB, MIB), "it is tried nevertheless");
        assert_eq!(fit(&memory(1, 1), &blocks(1), 131_072, 300_000).inputs, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn two_merges_that_do_not_fit_together_follow_each_other() {
        let memory = memory(480, 64);
        let fitted = fit(&memory, &blocks(32), 131_072, 300_000);
        let first = fitted.reserve(&memory).await;
        let mut second = Box::pin(fitted.reserve(&memory));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        assert_eq!(memory.total(), 0);
    }
}
