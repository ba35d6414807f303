//! Answers of searches as bodies.
//! Owns: the limit of an answer's size, looked at while it is written, and the memory that it takes until it was sent.
//! Does not own: the forms (`json`, protobuf).

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use prost::Message;
use vivace_memory::{Governor, Part, Permit, Short};
use vivace_model::ByteSize;

use super::accept::Format;
use crate::QueryError;
use crate::compute::compute;
use crate::frontend::Inner;
use crate::json::WriteJson;

/// Memory is reserved by that much.
const RESERVED_AT_ONCE: usize = 256 << 10;

/// A message beside what it is made of: values become objects of their own.
const MESSAGE_FACTOR: usize = 2;
/// How long an answer waits for memory, which others give back when they were sent.
const MEMORY_WAIT: Duration = Duration::from_secs(10);

/// The message that `make` makes, in the form that is wanted, unless it is too large. It is made of so many bytes, about.
pub(super) async fn answer<M>(
    format: Format,
    of_bytes: usize,
    make: impl FnOnce() -> M + Send + 'static,
    inner: &Inner,
) -> Result<Response, QueryError>
where
    M: Message + WriteJson + 'static,
{
    let (memory, most) = (Arc::clone(&inner.memory), inner.config.answer_bytes_max);
    let of_source =
        memory.reserve_waiting(Part::Answers, of_bytes.saturating_mul(MESSAGE_FACTOR), MEMORY_WAIT).await?;
    let encode = move || {
        let message = make();
        let bytes = message.encoded_len();
        check_size(bytes, most)?;
        // What is encoded is there beside the message, which takes about as much as its protobuf.
        let mut of_message = of_source;
        of_message.grow(bytes.saturating_sub(of_message.bytes()))?;
        let mut encoded = Encoded::new(&memory, most);
        match format {
            Format::Protobuf => encoded.write_all(&message.encode_to_vec()),
            Format::Json => message.write_json(&mut encoded),
        }
        .map_err(|_| encoded.failure())
        .map(|()| Bytes::from_owner(encoded))
    };
    let body = compute(encode).await?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, format.content_type())], body).into_response())
}

/// Refuses an answer that is too large.
pub(crate) fn check_size(bytes: usize, most: ByteSize) -> Result<(), QueryError> {
    if bytes <= most.as_usize() {
        return Ok(());
    }
    Err(too_large(&format!("of {bytes} bytes "), most))
}

fn too_large(size: &str, most: ByteSize) -> QueryError {
    QueryError::TooLarge(format!(
        "answer {size}is larger than the limit of {most} (VIVACE_QUERY_FRONTEND_ANSWER_BYTES_MAX); ask for less"
    ))
}

/// An answer that is written, and the memory that it takes.
struct Encoded {
    bytes: Vec<u8>,
    most: ByteSize,
    memory: Permit,
    short: Option<Short>,
}

impl Encoded {
    fn new(memory: &Arc<Governor>, most: ByteSize) -> Self {
        Self { bytes: Vec::new(), most, memory: memory.empty(Part::Answers), short: None }
    }

    /// Why it could not be written.
    fn failure(&self) -> QueryError {
        self.short.map_or_else(|| too_large("", self.most), QueryError::Memory)
    }
}

impl Write for Encoded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.bytes.len() + bytes.len();
        if len > self.most.as_usize() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if len > self.bytes.capacity() {
            // Half as much again: the copy that it grows into is there for a moment only.
            let more = (self.bytes.capacity() / 2).max(bytes.len()).max(RESERVED_AT_ONCE);
            let more = more.min(self.most.as_usize() - self.bytes.len());
            if let Err(short) = self.memory.resize(self.bytes.len() + more) {
                self.short = Some(short);
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.bytes.reserve_exact(more);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsRef<[u8]> for Encoded {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use vivace_memory::Shares;

    use super::*;

    #[test]
    fn an_answer_ends_where_the_limit_is() {
        let memory = Governor::unlimited();
        let mut encoded = Encoded::new(&memory, ByteSize(1000));
        encoded.write_all(&[1; 600]).unwrap();
        assert!(encoded.write_all(&[2; 401]).is_err());
        assert_eq!(encoded.failure().status(), 422);
        assert!(encoded.failure().text().contains("ANSWER_BYTES_MAX"), "{}", encoded.failure());
        encoded.write_all(&[3; 400]).unwrap();
        assert_eq!((encoded.bytes.len(), memory.used(Part::Answers)), (1000, 1000));
        let body = Bytes::from_owner(encoded);
        assert_eq!(
            (body.len(), memory.used(Part::Answers)),
            (1000, 1000),
            "it holds memory until it was sent"
        );
        drop(body);
        assert_eq!(memory.used(Part::Answers), 0);
    }

    #[test]
    fn an_answer_ends_where_memory_does() {
        let memory = Governor::new(Shares::exact(1 << 20, &[(Part::Answers, 1 << 20, 0)]));
        let other = memory.reserve(Part::Answers, 600 << 10).unwrap();
        let mut encoded = Encoded::new(&memory, ByteSize::mib(64));
        let failed = (0..100).find_map(|_| encoded.write_all(&[0; 8 << 10]).err());
        // The first that much is there; the next does not fit beside the other answer.
        assert!(failed.is_some());
        assert_eq!(encoded.bytes.len(), RESERVED_AT_ONCE);
        assert_eq!(memory.used(Part::Answers), (600 << 10) + RESERVED_AT_ONCE);
        assert_eq!(encoded.failure().status(), 429);
        drop((encoded, other));
        assert_eq!(memory.used(Part::Answers), 0);
    }
}
