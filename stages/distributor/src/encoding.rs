//! Content encodings, and decompression that stops at a limit.

use std::fmt;
use std::io::{self, BufRead, Cursor, Read};

use axum::http::HeaderValue;
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use crate::error::RequestError;
use crate::inflight::Hold;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// From `content-encoding` or `grpc-encoding`.
    pub(crate) fn of_header(value: Option<&HeaderValue>) -> Result<Self, RequestError> {
        let Some(value) = value else {
            return Ok(Self::Identity);
        };
        match value.as_bytes().trim_ascii() {
            name if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") => {
                Ok(Self::Gzip)
            }
            name if name.eq_ignore_ascii_case(b"zstd") => Ok(Self::Zstd),
            name if name.eq_ignore_ascii_case(b"identity") || name.is_empty() => Ok(Self::Identity),
            name => Err(RequestError::Encoding(String::from_utf8_lossy(name).into_owned())),
        }
    }
}

/// Smallest step of decompression.
const STEP_MIN: usize = 16 * 1024;
/// Largest first step, taken on the word of the sender alone.
const STEP_FIRST_MAX: usize = 1024 * 1024;
/// Zstandard windows of 8 MiB must be supported (RFC 8878), whatever the size of a request.
const ZSTD_WINDOW_LOG_MIN: u32 = 23;
/// What the encoder's highest normal level uses; more is only ever asked for on purpose.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A decompression that can be paused.
pub(crate) struct Inflate {
    source: Box<dyn Read + Send>,
    out: Vec<u8>,
    max: usize,
    compressed: usize,
    step: usize,
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflate").field("compressed", &self.compressed).field("out", &self.out.len()).finish()
    }
}

impl Inflate {
    /// Of bytes that are on the budget already; `max` limits what may come out.
    pub(crate) fn new(encoding: Encoding, bytes: Bytes, max: usize) -> Result<Self, RequestError> {
        let compressed = bytes.len();
        let promised = match encoding {
            // A gzip file ends with its plain size.
            Encoding::Gzip => bytes.last_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size) as usize),
            Encoding::Zstd => 4 * compressed,
            Encoding::Identity => compressed,
        };
        // One more, to see the end in the first step.
        let step = promised.clamp(STEP_MIN, STEP_FIRST_MAX) + 1;
        let source = decoder(encoding, Cursor::new(bytes), max).map_err(RequestError::Decompress)?;
        Ok(Self { source, out: Vec::new(), max, compressed, step })
    }

    /// Goes on until the end, or until `pause` bytes are there. At the end gives the plain bytes, which are then all
    /// that `hold` holds.
    pub(crate) fn run(&mut self, pause: usize, hold: &mut Hold) -> Result<Option<Bytes>, RequestError> {
        loop {
            if self.out.len() >= pause {
                return Ok(None);
            }
            let step = self.step.min(self.max + 1 - self.out.len());
            hold.grow(step)?;
            self.out.reserve_exact(step);
            let mut part = self.source.by_ref().take(step as u64);
            let read = part.read_to_end(&mut self.out).map_err(RequestError::Decompress)?;
            if self.out.len() > self.max {
                return Err(RequestError::TooLargePlain { max: self.max });
            }
            if read < step {
                let plain = std::mem::take(&mut self.out);
                hold.shrink_to(plain.capacity());
                return Ok(Some(Bytes::from(plain)));
            }
            self.step = self.out.len().max(STEP_MIN);
        }
    }
}

fn decoder(encoding: Encoding, bytes: Cursor<Bytes>, max: usize) -> io::Result<Box<dyn Read + Send>> {
    fn zstd(bytes: impl BufRead + Send + 'static, max: usize) -> io::Result<Box<dyn Read + Send>> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
        // A few bytes could otherwise ask for a window of 2 GiB.
        let log = usize::BITS - max.leading_zeros();
        decoder.window_log_max(log.clamp(ZSTD_WINDOW_LOG_MIN, ZSTD_WINDOW_LOG_MAX))?;
        Ok(Box::new(decoder))
    }
    match encoding {
        Encoding::Identity => Ok(Box::new(bytes)),
        Encoding::Gzip => Ok(Box::new(MultiGzDecoder::new(bytes))),
        Encoding::Zstd => zstd(bytes, max),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::inflight::{self, Inflight};

    fn gzip(plain: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap().into()
    }

    fn zstd(plain: &[u8]) -> Bytes {
        zstd::encode_all(plain, 3).unwrap().into()
    }

    fn inflate(encoding: Encoding, bytes: Bytes, max: usize) -> (Result<Bytes, RequestError>, i64) {
        let gauge = Gauge::default();
        let mut hold = Inflight::new(inflight::alone(1 << 30), gauge.clone()).hold();
        hold.grow(bytes.len()).unwrap();
        let result = Inflate::new(encoding, bytes, max)
            .and_then(|mut inflate| inflate.run(usize::MAX, &mut hold))
            .map(|plain| plain.expect("no pause"));
        (result, gauge.get())
    }

    #[test]
    fn what_was_compressed_comes_back_and_is_held() {
        for size in [0, 1, 1000, STEP_MIN, STEP_MIN + 1, 300_000, 3_000_000] {
            let plain: Vec<u8> = (0..size).map(|i| (i / 7) as u8).collect();
            for (encoding, bytes) in [(Encoding::Gzip, gzip(&plain)), (Encoding::Zstd, zstd(&plain))] {
                let (result, held) = inflate(encoding, bytes, size);
                assert_eq!(result.unwrap(), plain, "{encoding:?} {size}");
                assert!(held >= size as i64);
            }
        }
    }

    #[test]
    fn bombs_stop_at_the_limit() {
        let plain = vec![0; 50 << 20];
        for (encoding, bytes) in [(Encoding::Gzip, gzip(&plain)), (Encoding::Zstd, zstd(&plain))] {
            let (result, held) = inflate(encoding, bytes.clone(), 1 << 20);
            assert!(matches!(result, Err(RequestError::TooLargePlain { .. })), "{encoding:?}");
            assert!(held <= (1 << 20) + 1 + bytes.len() as i64, "{held}");
        }
    }

    #[test]
    fn exactly_the_limit_is_taken() {
        let plain = vec![3; 70_000];
        for (encoding, bytes) in [(Encoding::Gzip, gzip(&plain)), (Encoding::Zstd, zstd(&plain))] {
            assert!(inflate(encoding, bytes.clone(), 70_000).0.is_ok());
            assert!(inflate(encoding, bytes, 69_999).0.is_err());
        }
    }

    #[test]
    fn a_paused_decompression_goes_on() {
        let plain: Vec<u8> = (0..500_000).map(|i| (i / 3) as u8).collect();
        let mut hold = Inflight::new(inflight::alone(1 << 30), Gauge::default()).hold();
        let mut inflate = Inflate::new(Encoding::Zstd, zstd(&plain), 1 << 20).unwrap();
        assert_eq!(inflate.run(1000, &mut hold).unwrap(), None);
        assert_eq!(inflate.run(usize::MAX, &mut hold).unwrap().unwrap(), plain);
    }

    #[test]
    fn garbage_and_cut_input_is_refused() {
        let cut = |bytes: Bytes| bytes.slice(..bytes.len() / 2);
        for (encoding, bytes) in [
            (Encoding::Gzip, Bytes::from_static(b"not gzip")),
            (Encoding::Zstd, Bytes::from_static(b"not zstd")),
            (Encoding::Gzip, cut(gzip(&[1; 5000]))),
            (Encoding::Zstd, cut(zstd(&(0..255).collect::<Vec<_>>()))),
        ] {
            assert!(
                matches!(inflate(encoding, bytes, 1 << 20).0, Err(RequestError::Decompress(_))),
                "{encoding:?}"
            );
        }
    }

    #[test]
    fn a_huge_zstd_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(30).unwrap();
        encoder.write_all(&[1; 100]).unwrap();
        let bytes = Bytes::from(encoder.finish().unwrap());
        assert!(matches!(inflate(Encoding::Zstd, bytes, 1 << 20).0, Err(RequestError::Decompress(_))));
    }

    #[test]
    fn headers_name_encodings() {
        let of = |text: &'static str| Encoding::of_header(Some(&HeaderValue::from_static(text)));
        assert_eq!(Encoding::of_header(None).unwrap(), Encoding::Identity);
        assert_eq!(of("GZIP").unwrap(), Encoding::Gzip);
        assert_eq!(of("zstd").unwrap(), Encoding::Zstd);
        assert_eq!(of("identity").unwrap(), Encoding::Identity);
        assert!(matches!(of("br"), Err(RequestError::Encoding(name)) if name == "br"));
    }
}
