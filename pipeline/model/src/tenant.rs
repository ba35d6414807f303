use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a tenant id was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// No id at all.
    #[error("no org id")]
    Missing,
    /// Longer than [`TenantId::LENGTH_MAX`].
    #[error("tenant id is too long: max {} characters", TenantId::LENGTH_MAX)]
    TooLong,
    /// A character that would be unsafe in a path.
    #[error("tenant id contains unsupported character '{0}'")]
    Character(char),
    /// `.` or `..`.
    #[error("tenant id is '.' or '..'")]
    Unsafe,
    /// Headers that contradict each other.
    #[error("X-Scope-OrgID is given more than once, with different values")]
    Ambiguous,
}

/// Whose spans they are. Letters, digits and `!-_.*'()`, at most 150 of them, never `.` or `..`: what Tempo accepts,
/// and safe in an object path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Longest id, in characters.
    pub const LENGTH_MAX: usize = 150;
    /// The tenant of everything while multi-tenancy is off, and of records without a tenant header.
    pub const DEFAULT: &'static str = "single-tenant";

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl FromStr for TenantId {
    type Err = TenantError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(TenantError::Missing);
        }
        if text.len() > Self::LENGTH_MAX {
            return Err(TenantError::TooLong);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        if let Some(c) = text.chars().find(|&c| !allowed(c)) {
            return Err(TenantError::Character(c));
        }
        if text == "." || text == ".." {
            return Err(TenantError::Unsafe);
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for TenantId {
    type Error = TenantError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> Self {
        id.0.as_ref().into()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        assert_eq!("team-a_(1)!*'.x".parse::<TenantId>().unwrap().as_str(), "team-a_(1)!*'.x");
        assert_eq!("".parse::<TenantId>(), Err(TenantError::Missing));
        assert_eq!("a/b".parse::<TenantId>(), Err(TenantError::Character('/')));
        assert_eq!("..".parse::<TenantId>(), Err(TenantError::Unsafe));
        assert_eq!("a".repeat(151).parse::<TenantId>(), Err(TenantError::TooLong));
    }
}
