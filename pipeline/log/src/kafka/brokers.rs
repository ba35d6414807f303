//! Whether a client still knows a broker.
//! When the last broker of a cluster stops or the first one starts, it may say that there is none. librdkafka then forgets those
//! it knew and, if it learns of the broken connection at the wrong moment, never asks the configured ones again: the client
//! is silent for ever (confluentinc/librdkafka#5301, since 2.12). Its statistics show that, and only a new client helps.
//! Owns: finding out. Does not own: the client, and making a new one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Deserialize;
use tracing::warn;

/// How often a client tells its statistics.
pub(super) const STATISTICS_MILLIS: &str = "2000";
/// A client that begins anew with the configured brokers has none for a moment.
const LOOKS: u32 = 2;

/// What a client's statistics said of its brokers.
#[derive(Debug, Default)]
pub(super) struct Brokers {
    /// Statistics in a row that named none.
    without: AtomicU32,
}

/// The part of librdkafka's statistics (its STATISTICS.md) that matters here.
#[derive(Deserialize)]
struct Statistics {
    brokers: HashMap<String, Broker>,
}

#[derive(Deserialize)]
struct Broker {
    source: String,
}

impl Brokers {
    /// Takes a client's statistics, JSON.
    pub(super) fn note(&self, statistics: &[u8]) {
        match serde_json::from_slice::<Statistics>(statistics) {
            // Others are no brokers: `internal` and `logical` ones stand for those that are not known yet.
            Ok(Statistics { brokers })
                if brokers
                    .values()
                    .any(|broker| matches!(broker.source.as_str(), "configured" | "learned")) =>
            {
                self.without.store(0, Ordering::Relaxed);
            }
            Ok(_) => {
                self.without.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => warn!(target: "librdkafka", %error, "statistics are not understood"),
        }
    }

    /// As if the client had lost them.
    #[cfg(test)]
    pub(super) fn lose(&self) {
        (0..LOOKS).for_each(|_| self.note(br#"{"brokers":{}}"#));
    }

    /// Whether the client has lost all brokers for good.
    pub(super) fn are_lost(&self) -> bool {
        self.without.load(Ordering::Relaxed) >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_lost_when_none_is_named_repeatedly() {
        let named = |sources: &[&str]| {
            let broker = |source: &&str| format!(r#""{source}:9092/1":{{"source":"{source}","state":"UP"}}"#);
            format!(
                r#"{{"name":"c","brokers":{{{}}}}}"#,
                sources.iter().map(broker).collect::<Vec<_>>().join(",")
            )
        };
        let brokers = Brokers::default();
        for (sources, lost) in [
            (&["configured", "internal"][..], false),
            (&["internal", "logical"], false),
            (&["learned"], false),
            (&[], false),
            (&["logical"], true),
            (&["learned", "logical"], false),
        ] {
            brokers.note(named(sources).as_bytes());
            assert_eq!(brokers.are_lost(), lost, "{sources:?}");
        }
        brokers.note(b"no JSON");
        assert!(!brokers.are_lost());
    }
}
