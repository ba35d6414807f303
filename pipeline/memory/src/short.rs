//! Why memory was not given, in words that say what to do.

use vivace_model::{ByteSize, ErrorKind};

use crate::Part;

/// Memory is short: nothing was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Short {
    /// What it was for.
    pub part: Part,
    /// How much more was asked for, in bytes.
    pub bytes: usize,
    /// What this part may take at most, in bytes.
    pub limit: usize,
    /// The setting that allows more.
    pub setting: &'static str,
    /// It is more than the part may ever take: a retry cannot help.
    pub never: bool,
}

impl Short {
    /// What the failure means for the caller: [`ErrorKind::Invalid`] if no retry can help.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        if self.never { ErrorKind::Invalid } else { ErrorKind::Unavailable }
    }

    fn text(&self) -> String {
        let Self { part, bytes, limit, setting, never } = *self;
        let (bytes, limit) = (shown(bytes), shown(limit));
        if never {
            format!(
                "{bytes} more are needed for {part} than its limit of {limit} allows, ask for less or raise {setting}"
            )
        } else {
            format!(
                "no memory is free for {bytes} of {part}, which is limited to {limit}, try again later or raise {setting}"
            )
        }
    }
}

/// A size for people: exact bytes of some hundred megabytes say nothing.
fn shown(bytes: usize) -> String {
    const MIB: usize = 1 << 20;
    let bytes_u64 = bytes as u64;
    match bytes {
        0..MIB => ByteSize(bytes_u64).to_string(),
        _ => format!("{:.1} MiB", bytes as f64 / MIB as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_which_limit_and_what_to_do() {
        let short = Short {
            part: Part::Groups,
            bytes: 3 << 20,
            limit: 64 << 20,
            setting: "VIVACE_MEMORY_LIMIT",
            never: false,
        };
        assert_eq!(short.kind(), ErrorKind::Unavailable);
        let text = "no memory is free for 3.0 MiB of groups, which is limited to 64.0 MiB, try again later or raise VIVACE_MEMORY_LIMIT";
        assert_eq!(short.to_string(), text);
        let never = Short { never: true, ..short };
        assert_eq!(never.kind(), ErrorKind::Invalid);
        assert!(never.to_string().ends_with("ask for less or raise VIVACE_MEMORY_LIMIT"));
    }
}
