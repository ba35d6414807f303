use crate::Partition;

/// The partition of a trace: what Kafka's default partitioner gives a record whose key is the 16 raw bytes of the
/// trace id, so that other producers (an OpenTelemetry collector keyed by trace id) agree with ours.
///
/// # Panics
/// If `partitions` is zero.
#[must_use]
pub fn partition_of(trace_id: &[u8; 16], partitions: u32) -> Partition {
    assert!(partitions > 0, "a topic has at least one partition");
    Partition((murmur2(trace_id) & 0x7fff_ffff) % partitions)
}

/// Murmur2 with Kafka's seed, as in `org.apache.kafka.common.utils.Utils.murmur2`. Inlined, since most callers' length is
/// known.
#[inline]
pub(crate) fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Kafka's length is a 32-bit number, too.
    let mut hash = SEED ^ data.len() as u32;
    let (chunks, tail) = data.as_chunks::<4>();
    for chunk in chunks {
        let mut k = u32::from_le_bytes(*chunk).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (index, &byte) in tail.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    /// Vectors of `org.apache.kafka.common.utils.UtilsTest`.
    #[test]
    fn murmur2_is_kafkas() {
        for (text, expected) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, expected, "{text}");
        }
    }
}
