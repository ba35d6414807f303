//! Runs a command with a fresh Kafka broker and S3 server on loopback, and stops them after it.
//! The command finds them through `VIVACE_TEST_KAFKA_BROKERS`, `VIVACE_TEST_S3_URL` and the usual `AWS_*` variables.
//! Does not own: what the command does. Guarantee: succeeds only if the command does.

use std::process::ExitCode;

use anyhow::Context;
use vivace_integration_tests::{KafkaBroker, S3Server};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("usage: with-services COMMAND [ARGUMENT...]")?;
    let kafka = KafkaBroker::start().await?;
    let s3 = S3Server::start().await?;
    let status = tokio::process::Command::new(&program)
        .args(arguments)
        .env("VIVACE_TEST_KAFKA_BROKERS", kafka.brokers())
        .env("VIVACE_TEST_S3_URL", s3.url("tests"))
        .envs(s3.environment())
        .status()
        .await
        .with_context(|| format!("cannot run {}", program.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
