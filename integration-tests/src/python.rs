use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::tools::{repository, tool};

/// Runs a script of `integration-tests/python/` in the tests' environment of Python and gives what it printed.
///
/// # Errors
/// When it fails, with what it said.
pub async fn run_python(script: &str, arguments: &[&str]) -> anyhow::Result<String> {
    eprintln!("python: {script} {}", arguments.join(" "));
    let mut command = Command::new(tool("venv/bin/python")?);
    command.arg(repository().join("integration-tests/python").join(script)).args(arguments);
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {script}"))?;
    let messages = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script} failed: {}\n{messages}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
