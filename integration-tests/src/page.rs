use std::fs;

use anyhow::Context;

/// Where the table begins on its page.
const MARK: &str = "<!-- table -->";

/// Puts a table into a page of the documentation, in place of all that follows its mark.
///
/// # Errors
/// When the page cannot be read or written, or has no mark.
pub fn publish_table(page: &str, table: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {page}"))?;
    let (head, _) = text.split_once(MARK).with_context(|| format!("{page} has no {MARK}"))?;
    Ok(fs::write(page, format!("{head}{MARK}\n\n{table}"))?)
}
