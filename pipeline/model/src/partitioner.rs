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

/// Murmur2 with Kafka's seed, as in `org.apache.kafka.common.utils.Utils.murmur2`, for 16 bytes.
fn murmur2(data: &[u8; 16]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut hash = SEED ^ 16;
    for chunk in data.as_chunks::<4>().0 {
        let mut k = u32::from_le_bytes(*chunk).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TraceId;

    /// Kafka's own murmur2 over any length, written plainly, to check the short form and Kafka's published vectors.
    fn murmur2_plain(data: &[u8]) -> u32 {
        const M: u32 = 0x5bd1_e995;
        let mut hash = 0x9747_b28c ^ data.len() as u32;
        let chunks = data.chunks_exact(4);
        let tail = chunks.remainder();
        for chunk in chunks {
            let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
            k ^= k >> 24;
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

    /// Vectors of `org.apache.kafka.common.utils.UtilsTest`.
    #[test]
    fn plain_murmur2_is_kafkas() {
        for (text, expected) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            assert_eq!(murmur2_plain(text.as_bytes()) as i32, expected, "{text}");
        }
    }

    #[test]
    fn short_form_equals_the_plain_one() {
        for seed in 0..1000_u128 {
            let id = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_le_bytes();
            assert_eq!(murmur2(&id), murmur2_plain(&id), "{}", TraceId::from_bytes(id));
        }
    }
}
