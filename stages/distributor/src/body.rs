//! Reads a request's body into one piece of memory, on the budget from its first byte on.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::error::RequestError;
use crate::inflight::Hold;

/// Bytes before the message in a gRPC body: a flag and the length.
pub(crate) const GRPC_PREFIX: usize = 5;

/// Most memory to ask for beyond what has arrived, on the word of a sender alone.
const RESERVE_MAX: usize = 256 * 1024;

/// Where to find the size that is to come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Framing {
    /// In the `content-length`, if there is one.
    Http {
        /// Its value.
        content_length: Option<usize>,
    },
    /// In the prefix of the message.
    Grpc,
}

impl Framing {
    /// Size of the whole body, going by its first bytes.
    fn declared(self, start: &[u8]) -> Option<usize> {
        match self {
            Self::Http { content_length } => content_length,
            Self::Grpc => {
                let (prefix, _) = start.split_first_chunk::<GRPC_PREFIX>()?;
                let [_, length @ ..] = *prefix;
                usize::try_from(u32::from_be_bytes(length)).ok().map(|length| length + GRPC_PREFIX)
            }
        }
    }
}

/// Reads the body to its end.
pub(crate) async fn read(
    body: &mut Body,
    framing: Framing,
    max: usize,
    hold: &mut Hold,
) -> Result<Bytes, RequestError> {
    let mut read = Joined::default();
    while let Some(frame) = body.frame().await {
        // Trailers say nothing about spans.
        let Ok(data) = frame.map_err(RequestError::Disconnected)?.into_data() else {
            continue;
        };
        hold.grow(data.len())?;
        let declared = framing.declared(if read.len() == 0 { &data } else { read.as_slice() });
        if declared.unwrap_or(0).max(read.len() + data.len()) > max {
            return Err(RequestError::TooLarge { max });
        }
        read.push(data, declared);
    }
    Ok(read.into_bytes())
}

/// Reads on without keeping anything, so that a sender that does not listen while it sends gets to read the answer.
pub(crate) async fn discard(body: &mut Body, bytes_max: usize) {
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await
        && discarded < bytes_max
    {
        discarded += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// Frames put together. The first is kept as it is, because most often it is the only one.
#[derive(Debug, Default)]
struct Joined {
    first: Bytes,
    all: BytesMut,
}

impl Joined {
    fn as_slice(&self) -> &[u8] {
        if self.all.is_empty() { &self.first } else { &self.all }
    }

    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn push(&mut self, data: Bytes, declared: Option<usize>) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        let needed = self.len() + data.len();
        if self.all.capacity() < needed {
            let trusted = (2 * self.all.capacity()).max(RESERVE_MAX);
            let target = declared.unwrap_or(0).min(trusted).max(needed);
            self.all.reserve(target - self.all.len());
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&data);
    }

    fn into_bytes(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::inflight::{self, Inflight};

    async fn read_frames(frames: &[&[u8]], framing: Framing, max: usize) -> Result<Bytes, RequestError> {
        let frames: Vec<_> =
            frames.iter().map(|frame| Ok::<_, Infallible>(Bytes::copy_from_slice(frame))).collect();
        let mut hold = Inflight::new(inflight::alone(1000), Gauge::default()).hold();
        read(&mut Body::from_stream(stream::iter(frames)), framing, max, &mut hold).await
    }

    const PLAIN: Framing = Framing::Http { content_length: None };

    #[tokio::test]
    async fn frames_are_joined() {
        let cases: [&[&[u8]]; 4] = [&[], &[b"abc"], &[b"a", b"", b"bc"], &[b"", b"ab", b"c"]];
        for frames in cases {
            assert_eq!(read_frames(frames, PLAIN, 3).await.unwrap(), frames.concat());
        }
        let long = [7; 100];
        assert_eq!(read_frames(&[&long[..]; 10], PLAIN, 1000).await.unwrap(), [7; 1000][..]);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_at_its_first_surplus_byte() {
        assert!(matches!(
            read_frames(&[b"ab", b"cd"], PLAIN, 3).await,
            Err(RequestError::TooLarge { max: 3 })
        ));
        let declared = Framing::Http { content_length: Some(4) };
        assert!(matches!(read_frames(&[b"a"], declared, 3).await, Err(RequestError::TooLarge { .. })));
        let message = [0, 0, 0, 0, 9, 1];
        assert!(matches!(
            read_frames(&[&message], Framing::Grpc, 13).await,
            Err(RequestError::TooLarge { .. })
        ));
        assert_eq!(read_frames(&[&message], Framing::Grpc, 14).await.unwrap(), message[..]);
    }

    #[tokio::test]
    async fn a_body_over_the_budget_is_refused() {
        let long = vec![7; 600];
        assert!(matches!(read_frames(&[&long, &long], PLAIN, 5000).await, Err(RequestError::Busy(_))));
    }
}
