//! Records of the compacted topic `vivace.owners`: which ingester serves a partition's recent data.
//! The key names topic and partition, the value is an [`Owner`] as JSON; the newest record of a key is the truth, an
//! empty value says that nobody owns the partition.

use serde::{Deserialize, Serialize};

/// The address of an ingester that runs in the same process as who asks.
pub const LOCAL_ADDRESS: &str = "local";

/// An ingester's announcement that it serves a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The partition of the spans topic.
    pub partition: u32,
    /// `host:port` of its gRPC server, or [`LOCAL_ADDRESS`].
    pub address: String,
    /// Name of the ingester, for people.
    pub instance: String,
    /// When it was given the partition, in nanoseconds since the epoch.
    pub since: u64,
    /// The offset that it started to read from.
    pub start: u64,
}

/// A value that is no [`Owner`].
#[derive(Debug, thiserror::Error)]
#[error("record is not an owner announcement")]
pub struct OwnerError(#[from] serde_json::Error);

impl Owner {
    /// The record's key for a partition of the topic of that name.
    #[must_use]
    pub fn key(topic: &str, partition: u32) -> String {
        format!("{topic}/{partition}")
    }

    /// Topic and partition of a record's key; none if it is no such key.
    #[must_use]
    pub fn parse_key(key: &[u8]) -> Option<(&str, u32)> {
        let (topic, partition) = std::str::from_utf8(key).ok()?.rsplit_once('/')?;
        Some((topic, partition.parse().ok()?))
    }

    /// The record's value.
    #[must_use]
    pub fn to_value(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields always serialise")
    }

    /// Reads a record's value; none when it is empty, that is when nobody owns the partition.
    ///
    /// # Errors
    /// If the value is not an announcement.
    pub fn from_value(value: &[u8]) -> Result<Option<Self>, OwnerError> {
        if value.is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(value)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_even_with_slashes_in_the_topic() {
        assert_eq!(Owner::key("vivace.spans", 3), "vivace.spans/3");
        assert_eq!(Owner::parse_key(b"a/b/12"), Some(("a/b", 12)));
        for wrong in [&b"vivace.spans"[..], b"vivace.spans/", b"vivace.spans/x", b"\xff/1"] {
            assert_eq!(Owner::parse_key(wrong), None);
        }
    }

    #[test]
    fn values_round_trip() {
        let owner = Owner {
            partition: 3,
            address: "10.0.0.1:9096".into(),
            instance: "i-0".into(),
            since: 5,
            start: 7,
        };
        assert_eq!(
            String::from_utf8(owner.to_value()).unwrap(),
            r#"{"partition":3,"address":"10.0.0.1:9096","instance":"i-0","since":5,"start":7}"#
        );
        assert_eq!(Owner::from_value(&owner.to_value()).unwrap(), Some(owner));
        assert_eq!(Owner::from_value(b"").unwrap(), None);
        assert!(Owner::from_value(b"{}").is_err());
        let newer = br#"{"partition":3,"address":"a:1","instance":"i","since":5,"start":7,"later":true}"#;
        assert!(Owner::from_value(newer).is_ok(), "a newer version may add fields");
    }
}
