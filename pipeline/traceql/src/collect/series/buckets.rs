//! Buckets between powers of two, in which quantiles and histograms are counted.

/// Integers and nanoseconds under this have no bucket, as in Tempo; floats have buckets down to the smallest.
pub(crate) const WHOLE_MIN: f64 = 2.0;

/// Buckets of a series at most, so that their number is bounded by that of the series.
pub(crate) const BUCKETS_MAX: usize = 64;

/// Codes from here on are of exponents that are not in `0..64`.
const FAR: i32 = 64;
const FAR_OFFSET: i32 = 1100;

/// Number of the bucket `(2^(e-1), 2^e]` that a value is in; small for usual values, so that tables by it are small.
pub(crate) fn code(value: f64) -> Option<u32> {
    if !(value > 0.0 && value.is_finite()) {
        return None;
    }
    let bits = value.to_bits();
    let exponent = (bits >> 52) as i32 - 1023 + i32::from(bits & ((1 << 52) - 1) != 0);
    let code = if (0..FAR).contains(&exponent) { exponent } else { FAR + FAR_OFFSET + exponent };
    Some(code.cast_unsigned())
}

/// Upper edge of a bucket.
pub(crate) fn upper_edge(code: u32) -> f64 {
    let code = code.cast_signed();
    let exponent = if code < FAR { code } else { code - FAR - FAR_OFFSET };
    2f64.powi(exponent)
}

/// The quantile of counts by upper edge, ascending. At least one value lies at or below it; within a bucket values are
/// taken to be spread evenly in their logarithm.
pub(crate) fn quantile(q: f64, buckets: &[(f64, u64)]) -> f64 {
    let total: u64 = buckets.iter().map(|(_, count)| count).sum();
    if total == 0 {
        return f64::NAN;
    }
    let rank = (q.clamp(0.0, 1.0) * total as f64).max(1.0);
    let mut below = 0.0;
    let mut value = f64::NAN;
    for (edge, count) in buckets.iter().filter(|(_, count)| *count > 0) {
        let count = *count as f64;
        if below + count >= rank {
            return edge * ((rank - below) / count - 1.0).exp2();
        }
        below += count;
        value = *edge;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_is_the_next_power_of_two() {
        let cases = [
            (1.0, 1.0),
            (1.5, 2.0),
            (2.0, 2.0),
            (2.1, 4.0),
            (1024.0, 1024.0),
            (1025.0, 2048.0),
            (0.3, 0.5),
            (0.25, 0.25),
        ];
        for (value, edge) in cases {
            assert_eq!(upper_edge(code(value).unwrap()), edge, "{value}");
        }
        assert_eq!(upper_edge(code(1e300).unwrap()), 2f64.powi(997));
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(code(value), None);
        }
        assert!(code(1e18).unwrap() < 64);
    }

    #[test]
    fn quantiles_lie_within_buckets() {
        // 4 values in (2, 4], 4 in (4, 8].
        let buckets = [(4.0, 4), (8.0, 4)];
        assert_eq!(quantile(0.5, &buckets), 4.0);
        assert_eq!(quantile(1.0, &buckets), 8.0);
        assert_eq!(quantile(0.25, &buckets), 4.0 * 2f64.powf(-0.5));
        assert_eq!(quantile(0.75, &buckets), 8.0 * 2f64.powf(-0.5));
        // One value at least: rank 1 of 4 in the first bucket.
        assert_eq!(quantile(0.0, &buckets), 4.0 * 2f64.powf(-0.75));
        assert!(quantile(0.5, &[]).is_nan());
        assert_eq!(quantile(0.9, &[(16.0, 1)]), 16.0);
    }
}
