//! Arrow, without what Vivace does not use of it: arrays, buffers, types, IPC, and the kernels that pick rows. The crate
//! `arrow` also brings casts, comparisons, arithmetic, sorting and strings, which nobody here calls and which take a
//! seventh of the time that building Vivace takes.
//! Owns: nothing; each name means what it means in `arrow`.

pub use arrow_ipc as ipc;

/// Arrays and their builders.
pub mod array {
    pub use arrow_array::builder::*;
    pub use arrow_array::cast::*;
    pub use arrow_array::*;
    pub use arrow_data::ArrayData;
}

/// Memory of arrays.
pub mod buffer {
    pub use arrow_buffer::buffer::*;
}

/// Kernels that pick rows and put them together.
pub mod compute {
    pub use arrow_select::concat::{concat, concat_batches};
    pub use arrow_select::filter::filter_record_batch;
    pub use arrow_select::interleave::interleave;
    pub use arrow_select::take::{take, take_record_batch};
}

/// Types and schemas.
pub mod datatypes {
    pub use arrow_array::types::*;
    pub use arrow_schema::*;
}

/// Errors.
pub mod error {
    pub use arrow_schema::ArrowError;
}

/// Bits by words.
pub mod util {
    pub use arrow_buffer::bit_chunk_iterator;
}
