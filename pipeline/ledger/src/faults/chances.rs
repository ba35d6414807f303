use std::time::Duration;

/// How likely each fault is for one call (0 to 1), and how bad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// The call fails and nothing happens.
    pub error_before: f64,
    /// The call happens and its answer is an error.
    pub error_after: f64,
    /// A put happens, is repeated by the client, and the answer is that of the second try: "already exists" for a
    /// create-only one.
    pub repeated: f64,
    /// A put fails at once and happens up to [`Self::late_max`] later.
    pub late: f64,
    /// Longest delay of a late put.
    pub late_max: Duration,
    /// The body of a get breaks off in the middle.
    pub cut: f64,
    /// The call, and once more its answer, takes up to [`Self::slow_max`].
    pub slow: f64,
    /// Longest delay of a slow call, and of its answer.
    pub slow_max: Duration,
    /// A listing shows an object as it was before its last change, if that is younger than [`Self::stale_max`].
    pub stale: f64,
    /// How old a listing may be.
    pub stale_max: Duration,
}

impl Faults {
    /// None at all.
    pub const NONE: Self = Self {
        error_before: 0.0,
        error_after: 0.0,
        repeated: 0.0,
        late: 0.0,
        late_max: Duration::ZERO,
        cut: 0.0,
        slow: 0.0,
        slow_max: Duration::ZERO,
        stale: 0.0,
        stale_max: Duration::ZERO,
    };

    /// Everything, about one call of four.
    pub const ROUGH: Self = Self {
        error_before: 0.08,
        error_after: 0.08,
        repeated: 0.05,
        late: 0.04,
        late_max: Duration::from_secs(5),
        cut: 0.05,
        slow: 0.5,
        slow_max: Duration::from_millis(200),
        stale: 0.5,
        stale_max: Duration::from_secs(30),
    };

    /// Nothing answers.
    pub const OUTAGE: Self = Self { error_before: 1.0, ..Self::NONE };
}

/// How often each fault struck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Struck {
    /// All calls.
    pub calls: u64,
    /// [`Faults::error_before`].
    pub errors_before: u64,
    /// [`Faults::error_after`].
    pub errors_after: u64,
    /// [`Faults::repeated`].
    pub repeated: u64,
    /// [`Faults::late`].
    pub late: u64,
    /// [`Faults::cut`].
    pub cut: u64,
    /// Objects that a listing hid or showed wrongly.
    pub stale: u64,
}

/// What one call will suffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) draw: Draw,
    pub(super) faults: Faults,
    pub(super) before: Duration,
    pub(super) after: Duration,
}

/// Random numbers of one call, by name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    /// Between 0 and 1.
    pub(super) fn share(self, name: &str) -> f64 {
        (xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), self.0) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn hits(self, name: &str, probability: f64) -> bool {
        self.share(name) < probability
    }
}

impl Plan {
    /// What the call of this name suffers, always the same for the same seed and faults.
    pub(super) fn new(faults: Faults, seed: u64, name: &str) -> Self {
        let draw = Draw(xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), seed));
        let delay = |chance: &str, share: &str| match draw.hits(chance, faults.slow) {
            true => faults.slow_max.mul_f64(draw.share(share)),
            false => Duration::ZERO,
        };
        let (before, after) = (delay("slow before", "before"), delay("slow after", "after"));
        Self { draw, faults, before, after }
    }
}
