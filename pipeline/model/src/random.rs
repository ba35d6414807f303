//! Random numbers for block ids, proposals and the jitter of retries: an argument, so that simulations repeat.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// A source of random numbers that all parts of a process share.
pub struct Random(Mutex<StdRng>);

impl Random {
    /// Seeded by the system.
    #[must_use]
    pub fn from_system() -> Self {
        Self(Mutex::new(StdRng::from_rng(&mut rand::rng())))
    }

    /// The same numbers for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// Fresh random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock().fill_bytes(&mut bytes);
        bytes
    }

    /// A time between half of `around` and `around`, so that many who failed together do not retry together.
    #[must_use]
    pub fn jitter(&self, around: Duration) -> Duration {
        around.mul_f64(self.0.lock().random_range(0.5..=1.0))
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}
