//! Writes JSON as Tempo's clients read it: protobuf's own mapping in the dialect of Go's jsonpb. Empty fields are left
//! out, 64-bit integers are strings, bytes are base64, enums go by name.
//! Owns: the dialect. Does not own: which message holds what (`otlp`, `search`).
//! Writes straight to its output: a trace of 100,000 spans needs no second copy in memory.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

mod otlp;
mod search;

pub(crate) use otlp::{trace_by_id_response, trace_v1};
pub(crate) use search::WriteJson;

/// An object that is being written. Fields that are empty are not.
pub(crate) struct Object<'w, W: Write> {
    out: &'w mut W,
    empty: bool,
}

impl<'w, W: Write> Object<'w, W> {
    /// Writes an object whose fields `fill` writes.
    pub(crate) fn write(out: &'w mut W, fill: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        out.write_all(b"{")?;
        let mut object = Self { out, empty: true };
        fill(&mut object)?;
        object.out.write_all(b"}")
    }

    /// Begins a field; its value is to be written next. Names need no escapes.
    pub(crate) fn field(&mut self, name: &str) -> io::Result<&mut W> {
        let comma = if self.empty { "" } else { "," };
        self.empty = false;
        write!(self.out, "{comma}\"{name}\":")?;
        Ok(self.out)
    }

    pub(crate) fn string(&mut self, name: &str, value: &str) -> io::Result<()> {
        if value.is_empty() { Ok(()) } else { string(self.field(name)?, value) }
    }

    pub(crate) fn bytes(&mut self, name: &str, value: &[u8]) -> io::Result<()> {
        if value.is_empty() { Ok(()) } else { bytes(self.field(name)?, value) }
    }

    pub(crate) fn u32(&mut self, name: &str, value: u32) -> io::Result<()> {
        if value == 0 { Ok(()) } else { write!(self.field(name)?, "{value}") }
    }

    pub(crate) fn u64(&mut self, name: &str, value: u64) -> io::Result<()> {
        if value == 0 { Ok(()) } else { write!(self.field(name)?, "\"{value}\"") }
    }

    /// An enum; one that has no name is a number.
    pub(crate) fn choice(&mut self, name: &str, value: i32, value_name: Option<&str>) -> io::Result<()> {
        match value_name {
            _ if value == 0 => Ok(()),
            Some(value_name) => write!(self.field(name)?, "\"{value_name}\""),
            None => write!(self.field(name)?, "{value}"),
        }
    }

    /// A list whose items `item` writes.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: &[T],
        mut item: impl FnMut(&mut W, &T) -> io::Result<()>,
    ) -> io::Result<()> {
        if items.is_empty() { Ok(()) } else { self.full_list(name, items, &mut item) }
    }

    /// The same, also when it is empty.
    pub(crate) fn full_list<T>(
        &mut self,
        name: &str,
        items: &[T],
        mut item: impl FnMut(&mut W, &T) -> io::Result<()>,
    ) -> io::Result<()> {
        let out = self.field(name)?;
        out.write_all(b"[")?;
        for (index, value) in items.iter().enumerate() {
            if index > 0 {
                out.write_all(b",")?;
            }
            item(out, value)?;
        }
        out.write_all(b"]")
    }
}

pub(crate) fn string<W: Write>(out: &mut W, value: &str) -> io::Result<()> {
    serde_json::to_writer(out, value).map_err(io::Error::from)
}

pub(crate) fn bytes<W: Write>(out: &mut W, value: &[u8]) -> io::Result<()> {
    write!(out, "\"{}\"", STANDARD.encode(value))
}

/// JSON's numbers have neither of the words.
pub(crate) fn double<W: Write>(out: &mut W, value: f64) -> io::Result<()> {
    if value.is_finite() {
        serde_json::to_writer(out, &value).map_err(io::Error::from)
    } else if value.is_nan() {
        out.write_all(b"\"NaN\"")
    } else {
        out.write_all(if value > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" })
    }
}
