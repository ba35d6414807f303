//! Damaged files: an error or rows, never a panic, never a hang.

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/blocks.rs"]
mod blocks;

use std::sync::{Arc, OnceLock};

use object_store::ObjectStore;
use object_store::path::Path;
use proptest::prelude::*;
use vivace_block::{BlockConfig, BlockReader, Metrics, ReaderConfig, to_traces_data};
use vivace_model::ErrorKind;

use self::blocks::{file, stored, trace_id, traces};

fn whole() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        let config = BlockConfig { page_rows_max: 16, row_group_rows_max: 60, ..BlockConfig::default() };
        file(&traces(20, 6), &config)
    })
}

/// Looks up every trace; damage must be said, and may only be overlooked where rows come back.
fn look_up(bytes: Vec<u8>, file_bytes: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    runtime.block_on(async {
        let path = Path::from("damaged");
        let (store, _) = stored(&path, bytes).await;
        let reader =
            BlockReader::new(store as Arc<dyn ObjectStore>, ReaderConfig::default(), Metrics::default());
        for number in 1..=41 {
            match reader.trace(&path, file_bytes, &trace_id(number)).await {
                Ok(found) => {
                    if let Err(error) = to_traces_data(&found.batches) {
                        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
                    }
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}"),
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_anywhere(flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..6)) {
        let mut bytes = whole().to_vec();
        for (index, flip) in flips {
            let at = index.index(bytes.len());
            bytes[at] ^= flip;
        }
        look_up(bytes, whole().len() as u64);
    }

    /// Where it hurts most: a flip in the pages is mostly caught by their compression.
    #[test]
    fn flipped_bytes_in_the_footer(from_end in 9_usize..6000, flip in 1_u8..) {
        let mut bytes = whole().to_vec();
        let at = bytes.len().saturating_sub(from_end);
        bytes[at] ^= flip;
        look_up(bytes, whole().len() as u64);
    }

    #[test]
    fn cut_anywhere(keep: prop::sample::Index, length_is_known: bool) {
        let keep = keep.index(whole().len());
        let length = if length_is_known { whole().len() } else { keep };
        look_up(whole()[..keep].to_vec(), length as u64);
    }

    #[test]
    fn a_piece_overwritten(start: prop::sample::Index, garbage in prop::collection::vec(any::<u8>(), 1..200)) {
        let mut bytes = whole().to_vec();
        let start = start.index(bytes.len());
        let end = bytes.len().min(start + garbage.len());
        bytes[start..end].copy_from_slice(&garbage[..end - start]);
        look_up(bytes, whole().len() as u64);
    }
}
