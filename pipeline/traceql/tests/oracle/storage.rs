//! How the spans of a data set are kept: in one block or several, open or sealed, with columns or without.

use proptest::prelude::*;
use proptest::sample::select;
use vivace_block::BlockConfig;

use crate::blocks::{open, spans};
use crate::engine::Block;
use crate::trace::{Span, Trace};

#[derive(Clone, Debug)]
pub(crate) struct Storage {
    sealed: bool,
    columns_max: usize,
    /// Rows of a row group, where traces need not be whole.
    rows_max: usize,
}

pub(crate) fn storage() -> impl Strategy<Value = Storage> {
    let parts = (any::<bool>(), select(vec![0, 3, 256]), select(vec![2, 1000]));
    parts.prop_map(|(sealed, columns_max, rows_max)| Storage { sealed, columns_max, rows_max })
}

impl Storage {
    /// All spans in one block.
    pub(crate) fn whole(&self, dataset: &[Trace]) -> Vec<Block> {
        vec![self.block(spans(dataset), usize::MAX)]
    }

    fn block<'a>(&self, spans: impl IntoIterator<Item = ([u8; 16], &'a Span)>, rows_max: usize) -> Block {
        let config = BlockConfig {
            columns_max: self.columns_max,
            row_group_rows_max: rows_max,
            ..BlockConfig::default()
        };
        let block = open(spans, &config);
        if self.sealed { Block::Sealed(block.seal()) } else { Block::Open(block) }
    }
}

/// Blocks, and which of them each span goes to.
#[derive(Clone, Debug)]
pub(crate) struct Dealt {
    storages: Vec<Storage>,
    to: Vec<usize>,
}

pub(crate) fn dealt() -> impl Strategy<Value = Dealt> {
    let to = prop::collection::vec(0..3_usize, 64);
    (prop::collection::vec(storage(), 3), to).prop_map(|(storages, to)| Dealt { storages, to })
}

impl Dealt {
    /// The blocks that have spans.
    pub(crate) fn blocks(&self, dataset: &[Trace]) -> Vec<Block> {
        let mut blocks = Vec::new();
        for (number, storage) in self.storages.iter().enumerate() {
            let dealt = spans(dataset).zip(&self.to).filter(|(_, to)| **to == number);
            let dealt: Vec<_> = dealt.map(|(span, _)| span).collect();
            if !dealt.is_empty() {
                blocks.push(storage.block(dealt, storage.rows_max));
            }
        }
        blocks
    }
}
