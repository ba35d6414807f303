//! What the binary does before it runs: settings that are wrong stop it with one clear line.

#![allow(clippy::unwrap_used, reason = "a test ends by it")]

use std::process::{Command, Output};

/// The binary with a clean environment, an empty data folder and ports of the system's choosing.
fn vivace(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let data = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_vivace"))
        .args(arguments)
        .env_clear()
        .env("VIVACE_DATA_DIR", data.path())
        .env("VIVACE_HTTP_LISTEN", "127.0.0.1:0")
        .env("VIVACE_DISTRIBUTOR_GRPC_LISTEN", "127.0.0.1:0")
        .env("VIVACE_DISTRIBUTOR_HTTP_LISTEN", "127.0.0.1:0")
        .envs(settings.iter().copied())
        .output()
        .unwrap()
}

/// The one line on stderr of a start that failed.
fn refusal(arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let output = vivace(arguments, settings);
    assert!(!output.status.success(), "it started with {settings:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    lines[0].to_owned()
}

#[test]
fn wrong_settings_stop_the_start_with_one_line() {
    for (variable, value, expected) in [
        ("VIVACE_INGESTER_ROWS_MAX", "many", "VIVACE_INGESTER_ROWS_MAX"),
        ("VIVACE_INGESTER_ROWS_MAX", "0", "must be at least 1"),
        ("VIVACE_INGESTER_BLOCK_AGE_MAX", "2 parsecs", "VIVACE_INGESTER_BLOCK_AGE_MAX"),
        ("VIVACE_INGESTER_BLOCK_AGE_MAXX", "2min", "did you mean VIVACE_INGESTER_BLOCK_AGE_MAX?"),
        ("VIVACE_BLOCK_ZSTD_LEVEL", "23", "VIVACE_BLOCK_ZSTD_LEVEL must be from 1 to 22"),
        ("VIVACE_TOPICS_PARTITIONS", "0", "VIVACE_TOPICS_PARTITIONS"),
        ("VIVACE_HTTP_LISTEN", "everywhere", "VIVACE_HTTP_LISTEN"),
        ("VIVACE_DISTRIBUTOR_RECORD_BYTES_MAX", "16MiB", "VIVACE_LOG_RECORD_BYTES_MAX"),
        ("VIVACE_SHUTDOWN_GRACE", "1s", "VIVACE_SHUTDOWN_GRACE"),
        ("VIVACE_STORAGE_URL", "bucket", "VIVACE_STORAGE_URL"),
        ("VIVACE_STORAGE_URL", "ftp://host/folder", "VIVACE_STORAGE_URL"),
        ("VIVACE_STORAGE_URL", "s3://bucket/prefix", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"),
        ("VIVACE_STORAGE_URL", "s3://key:secret@bucket", "must not have credentials"),
        ("VIVACE_STORAGE_URL", "file:///nowhere/at/all", "there is no folder /nowhere/at/all"),
        ("VIVACE_DATA_DIR", "", "VIVACE_DATA_DIR is empty"),
        ("VIVACE_LOG_LEVEL", "verbose", "\"verbose\" is no level, expected one of off, error"),
        ("VIVACE_FAIL_POINTS", "ingester.nowhere=kill", "distributor.appended, ingester.fetched"),
    ] {
        let line = refusal(&[], &[(variable, value)]);
        assert!(line.starts_with("vivace: ") && line.contains(expected), "{variable}={value}: {line}");
        assert!(!line.contains("secret"), "{line}");
    }
}

#[test]
fn a_stage_of_its_own_needs_kafka() {
    for stage in ["distributor", "ingester", "querier", "query-frontend", "compactor"] {
        let line = refusal(&[stage], &[]);
        assert!(line.contains("VIVACE_KAFKA_BROKERS"), "{line}");
    }
}

#[test]
fn a_kafka_that_is_not_there_is_waited_for_and_named() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let settings = [
        ("VIVACE_KAFKA_BROKERS", nobody.as_str()),
        ("VIVACE_KAFKA_START_TIMEOUT", "2s"),
        ("VIVACE_KAFKA_REQUEST_TIMEOUT", "1s"),
        ("VIVACE_GRPC_LISTEN", "127.0.0.1:0"),
    ];
    let output = vivace(&["ingester"], &settings);
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let waiting: Vec<_> =
        text.lines().filter(|line| line.contains("Kafka does not answer, waiting")).collect();
    assert_eq!(waiting.len(), 1, "{text}");
    assert!(waiting[0].contains(&nobody) && waiting[0].contains("VIVACE_KAFKA_START_TIMEOUT"), "{text}");
    let last = text.lines().last().unwrap();
    assert!(
        last.starts_with(&format!(
            "vivace: Kafka at {nobody} (VIVACE_KAFKA_BROKERS) did not answer within 2s"
        )),
        "{text}"
    );
    // And no third copy but librdkafka's own, once.
    assert!(text.lines().filter(|line| line.contains("client error")).count() <= 1, "{text}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for variable in ["VIVACE_HTTP_LISTEN", "VIVACE_DISTRIBUTOR_GRPC_LISTEN"] {
        let line = refusal(&[], &[(variable, &address)]);
        assert!(line.contains(&address), "{variable}: {line}");
    }
}

#[test]
fn config_prints_every_setting_as_it_is() {
    let output = vivace(&["config"], &[("VIVACE_INGESTER_BLOCK_AGE_MAX", "90s")]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line == "VIVACE_INGESTER_BLOCK_AGE_MAX='1m 30s'"), "{text}");
    for limit in [
        "VIVACE_DISTRIBUTOR_REQUEST_BYTES_MAX",
        "VIVACE_DISTRIBUTOR_RECORD_BYTES_MAX",
        "VIVACE_DISTRIBUTOR_INFLIGHT_BYTES_MAX",
        "VIVACE_INGESTER_MEMORY_BYTES_MAX",
        "VIVACE_BLOCK_COLUMNS_MAX",
        "VIVACE_QUERY_FRONTEND_TRACE_SPANS_MAX",
    ] {
        assert!(text.contains(limit), "{limit} is not listed");
    }
    for (index, line) in
        text.lines().enumerate().filter(|(_, line)| line.contains("VIVACE_") && line.contains('='))
    {
        let before = text.lines().nth(index.wrapping_sub(1)).unwrap_or_default();
        let described = before.starts_with("# ") && before.len() > "#  Default: .".len() + 10;
        assert!(described, "{line} has no meaning: {before}");
    }
}
