//! Bodies that are written while they are sent, so that a large answer is never in memory as text.

use std::io::{self, Write};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tracing::error;
use vivace_runtime::caught_here;

use crate::QueryError;

/// Size of a piece of the body.
const CHUNK_BYTES: usize = 64 << 10;
/// Pieces that may wait to be sent.
const CHUNKS_WAITING_MAX: usize = 4;

/// Bodies that are written at the same time: each holds a thread for as long as its client takes.
const WRITERS_MAX: usize = 128;

static WRITERS: Semaphore = Semaphore::const_new(WRITERS_MAX);

/// A body that `write` writes on a thread of its own, no faster than the client reads.
///
/// # Errors
/// [`QueryError::Busy`] if too many are being written.
pub(super) fn streamed(
    write: impl FnOnce(&mut ChunkWriter) -> io::Result<()> + Send + 'static,
) -> Result<Body, QueryError> {
    let busy = "too many large answers are being read at the same time, try again later";
    let turn = WRITERS.try_acquire().map_err(|_| QueryError::Busy(busy))?;
    let (chunks, received) = mpsc::channel(CHUNKS_WAITING_MAX);
    // It ends with the body: when that is dropped, the next write fails.
    drop(tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let mut writer = ChunkWriter { buffer: BytesMut::with_capacity(CHUNK_BYTES), chunks };
        let written = caught_here(|| write(&mut writer).and_then(|()| writer.flush()));
        let written = written.unwrap_or_else(|panicked| {
            error!(error = %panicked, "writing an answer panicked");
            Err(io::Error::other(panicked))
        });
        if let Err(error) = written {
            // The client sees that its answer is cut off, if it is still there.
            drop(writer.chunks.blocking_send(Err(error)));
        }
    }));
    Ok(Body::from_stream(ReceiverStream::new(received)))
}

/// Collects what is written into pieces.
#[derive(Debug)]
pub(super) struct ChunkWriter {
    buffer: BytesMut,
    chunks: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.buffer.reserve(CHUNK_BYTES);
        self.chunks.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_that_is_written_arrives() {
        let body = streamed(|out| (0..100_000).try_for_each(|number| writeln!(out, "{number}"))).unwrap();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let lines: Vec<_> = std::str::from_utf8(&bytes).unwrap().lines().collect();
        assert_eq!((lines.len(), lines[99_999]), (100_000, "99999"));
    }

    #[tokio::test]
    async fn a_panic_cuts_the_body_off() {
        let body = streamed(|out| {
            out.write_all(b"begun")?;
            panic!("no more")
        });
        assert!(axum::body::to_bytes(body.unwrap(), usize::MAX).await.is_err());
    }

    #[tokio::test]
    async fn a_failure_cuts_the_body_off() {
        let body = streamed(|out| {
            out.write_all(b"begun")?;
            Err(io::Error::other("broken"))
        })
        .unwrap();
        assert!(axum::body::to_bytes(body, usize::MAX).await.is_err());
    }

    #[tokio::test]
    async fn writing_ends_when_the_client_goes() {
        let (ended, end) = tokio::sync::oneshot::channel();
        let body = streamed(|out| {
            let result = (0..).try_for_each(|_| out.write_all(&[0; CHUNK_BYTES]));
            ended.send(result.unwrap_err().kind()).unwrap();
            Ok(())
        })
        .unwrap();
        drop(body);
        assert_eq!(end.await.unwrap(), io::ErrorKind::BrokenPipe);
    }
}
