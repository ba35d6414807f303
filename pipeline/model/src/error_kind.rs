/// What the receiver of an error should do. Every error enum of the workspace maps to one through `kind()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The input is at fault: reject it, do not retry.
    Invalid,
    /// Something did not answer: retry; it may already have happened.
    Unavailable,
    /// Someone else took over: drop the work.
    Fenced,
    /// What was read cannot be right: stop, a retry gives the same.
    Corrupt,
}
