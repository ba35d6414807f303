use std::time::Duration;

use serde::Deserialize;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Backend {
    Local,
    Kafka,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    backend: Backend,
    #[serde(with = "humantime_serde")]
    block_age_max: Duration,
    block_rows_max: u32,
    ratio: f64,
    brokers: Vec<String>,
    strict: bool,
    user: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backend: Backend::Local,
            block_age_max: Duration::from_secs(120),
            block_rows_max: 500_000,
            ratio: 0.5,
            brokers: vec!["127.0.0.1:9092".to_owned()],
            strict: true,
            user: None,
        }
    }
}

const ABOUT: &[[&str; 3]] = &[
    ["block_rows_max", "spans", " Seal the open block at that many spans."],
    ["block_age_max", "", " Seal the open block at this age."],
];

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::new(variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())))
}

fn load(variables: &[(&str, &str)]) -> Result<(Config, Vec<Setting>), ConfigError> {
    let mut environment = environment(variables);
    let config = environment.load("VIVACE_TEST_", ABOUT, |config: &Config| {
        if config.block_rows_max > 0 { Ok(()) } else { Err("block_rows_max must be at least 1".to_owned()) }
    })?;
    Ok((config, environment.finish()?))
}

#[test]
fn every_kind_of_value_is_read() {
    let (config, _) = load(&[
        ("VIVACE_TEST_BACKEND", "kafka"),
        ("VIVACE_TEST_BLOCK_AGE_MAX", "1min 30s"),
        ("VIVACE_TEST_BLOCK_ROWS_MAX", "7"),
        ("VIVACE_TEST_RATIO", "0.25"),
        ("VIVACE_TEST_BROKERS", "a:1,b:2"),
        ("VIVACE_TEST_STRICT", "false"),
        ("VIVACE_TEST_USER", "me"),
        ("HOME", "/root"),
    ])
    .unwrap();
    assert_eq!(config.backend, Backend::Kafka);
    assert_eq!(config.block_age_max, Duration::from_secs(90));
    assert_eq!((config.block_rows_max, config.strict, config.user.as_deref()), (7, false, Some("me")));
    assert_eq!(config.brokers, ["a:1", "b:2"]);
    assert!((config.ratio - 0.25).abs() < f64::EPSILON);
}

#[test]
fn nothing_given_means_defaults_and_so_does_an_empty_value() {
    let (config, _) = load(&[("VIVACE_TEST_BLOCK_ROWS_MAX", ""), ("VIVACE_TEST_USER", "")]).unwrap();
    assert_eq!((config.block_rows_max, config.user), (500_000, None));
}

#[test]
fn a_wrong_value_is_named_with_what_was_expected() {
    for (variable, value, message) in [
        (
            "VIVACE_TEST_BLOCK_ROWS_MAX",
            "many",
            r#"VIVACE_TEST_BLOCK_ROWS_MAX="many" is wrong: expected a whole number (expected spans, something like 500000)"#,
        ),
        (
            "VIVACE_TEST_STRICT",
            "yes",
            r#"VIVACE_TEST_STRICT="yes" is wrong: expected true or false (expected something like true)"#,
        ),
        (
            "VIVACE_TEST_BACKEND",
            "rabbit",
            r#"VIVACE_TEST_BACKEND="rabbit" is wrong: unknown variant `rabbit`, expected `local` or `kafka` (expected something like local)"#,
        ),
    ] {
        assert_eq!(load(&[("VIVACE_TEST_USER", "me"), (variable, value)]).unwrap_err().to_string(), message);
    }
    let soon = load(&[("VIVACE_TEST_BLOCK_AGE_MAX", "soon")]).unwrap_err().to_string();
    assert!(soon.starts_with(r#"VIVACE_TEST_BLOCK_AGE_MAX="soon" is wrong: "#), "{soon}");
    assert!(soon.ends_with("(expected something like 2m)") && !soon.contains('\n'), "{soon}");
}

#[test]
fn unknown_variables_are_named_with_what_was_probably_meant() {
    let error = load(&[("VIVACE_TEST_BLOCK_AGE_MX", "2m"), ("VIVACE_ZZZ", "1")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown settings: VIVACE_TEST_BLOCK_AGE_MX (did you mean VIVACE_TEST_BLOCK_AGE_MAX?), VIVACE_ZZZ"
    );
    let error = load(&[("VIVACE_TEST_BLOCK_AGE_MAX_", "2m")]).unwrap_err();
    assert!(error.to_string().starts_with("unknown setting: VIVACE_TEST_BLOCK_AGE_MAX_ (did"), "{error}");
}

#[test]
fn what_validate_refuses_stops_the_start() {
    let error = load(&[("VIVACE_TEST_BLOCK_ROWS_MAX", "0")]).unwrap_err();
    assert_eq!(error.to_string(), "settings VIVACE_TEST_* are wrong: block_rows_max must be at least 1");
}

#[test]
fn two_structs_can_share_a_prefix() {
    #[derive(Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Other {
        level: u8,
    }
    let mut environment = environment(&[("VIVACE_TEST_LEVEL", "3"), ("VIVACE_TEST_RATIO", "1")]);
    let other: Other = environment.load("VIVACE_TEST_", &[], |_| Ok(())).unwrap();
    let config: Config = environment.load("VIVACE_TEST_", ABOUT, |_| Ok(())).unwrap();
    assert_eq!(other.level, 3);
    assert!((config.ratio - 1.0).abs() < f64::EPSILON);
    environment.finish().unwrap();
}

#[test]
fn settings_are_described_with_value_default_unit_and_meaning() {
    let (_, settings) = load(&[("VIVACE_TEST_BLOCK_ROWS_MAX", "7")]).unwrap();
    assert_eq!(settings.len(), 7, "each field has a row");
    assert_eq!(
        settings[0],
        Setting {
            variable: "VIVACE_TEST_BLOCK_ROWS_MAX".to_owned(),
            value: "7".to_owned(),
            default: "500000".to_owned(),
            unit: "spans",
            meaning: "Seal the open block at that many spans.",
        }
    );
    let text = render(&settings);
    assert!(text.contains(
        "# Seal the open block at that many spans. Unit: spans. Default: 500000.\nVIVACE_TEST_BLOCK_ROWS_MAX=7\n"
    ));
    assert!(text.contains("Default: none.\n# VIVACE_TEST_USER=\n"), "{text}");
}

#[test]
fn every_default_reads_back_equal() {
    let (_, settings) = load(&[]).unwrap();
    let given: Vec<_> = settings.iter().map(|s| (s.variable.as_str(), s.default.as_str())).collect();
    assert_eq!(load(&given).unwrap().1, settings);
}

#[test]
fn service_links_of_kubernetes_are_no_settings() {
    load(&[
        ("VIVACE_DISTRIBUTOR_SERVICE_HOST", "10.0.0.1"),
        ("VIVACE_DISTRIBUTOR_SERVICE_PORT", "4317"),
        ("VIVACE_DISTRIBUTOR_SERVICE_PORT_OTLP_GRPC", "4317"),
        ("VIVACE_DISTRIBUTOR_PORT", "tcp://10.0.0.1:4317"),
        ("VIVACE_DISTRIBUTOR_PORT_4317_TCP", "tcp://10.0.0.1:4317"),
        ("VIVACE_DISTRIBUTOR_PORT_4317_TCP_ADDR", "10.0.0.1"),
    ])
    .unwrap();
    assert!(load(&[("VIVACE_DISTRIBUTOR_PORT", "4317")]).is_err(), "that one a person wrote");
}

#[test]
fn a_described_field_that_does_not_exist_is_a_mistake_in_the_program() {
    let error = environment(&[]).load::<Config>("VIVACE_TEST_", &[["blok", "", ""]], |_| Ok(())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "settings VIVACE_TEST_* are declared wrongly: blok is described but is no field"
    );
}
