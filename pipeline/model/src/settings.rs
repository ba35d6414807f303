//! The macro that declares a crate's settings once: field, type, unit, default and meaning.
//! Owns: the shape of every `Config` struct. Does not own: reading variables, printing them (vivace-runtime does both,
//! from `PREFIX`, `SETTINGS` and serde alone).

/// Declares a `Config` struct whose every field is a setting.
///
/// ```
/// use std::time::Duration;
/// use vivace_model::{ByteSize, settings};
///
/// settings! {
///     /// Settings of the ingester.
///     pub struct Config: "VIVACE_INGESTER_" {
///         /// Seal the open block at this age, however small it is.
///         block_age_max: Duration = Duration::from_secs(120),
///         /// Seal the open block when it holds that much memory.
///         block_memory_max: ByteSize = ByteSize::mib(64),
///         /// Seal the open block when it holds that many spans.
///         #[unit = "spans"]
///         block_rows_max: usize = 500_000,
///     }
/// }
///
/// assert_eq!(Config::default().block_rows_max, 500_000);
/// assert_eq!(Config::PREFIX, "VIVACE_INGESTER_");
/// assert_eq!(Config::SETTINGS[2], ["block_rows_max", "spans", " Seal the open block when it holds that many spans."]);
/// ```
///
/// A field's variable is the prefix and the field's name in capitals: `VIVACE_INGESTER_BLOCK_AGE_MAX`. Each field is
/// public and needs a doc comment, a default and a comma. Its type is anything that serde reads from a string: numbers,
/// `bool`, `String`, [`ByteSize`](crate::ByteSize), [`Secret`](crate::Secret), `Option` of those, a `Vec` (written with
/// commas), an enum of plain variants; `Duration` and `Option<Duration>` must be spelled just so and are read as `2m` or
/// `1h 30s`. The struct gets `Clone`, `Debug`, `Default`, `Serialize` and `Deserialize`; its crate needs serde.
#[macro_export]
macro_rules! settings {
    ($(#[$attribute:meta])* $vis:vis struct $name:ident : $prefix:literal { $($fields:tt)* }) => {
        $crate::settings!(@next { $(#[$attribute])* $vis } $name $prefix [] [] [] $($fields)*);
    };

    // A duration is read and shown as `2m`; serde alone would want a struct.
    (@next $head:tt $name:ident $prefix:literal [$($fields:tt)*] [$($defaults:tt)*] [$($rows:tt)*]
        $(#[doc = $doc:literal])+ $(#[unit = $unit:literal])? $field:ident : Duration = $value:expr, $($rest:tt)*
    ) => {
        $crate::settings!(@next $head $name $prefix
            [$($fields)*
                $(#[doc = $doc])+ #[doc = concat!("\n\nDefault `", stringify!($value), "`.")]
                #[serde(with = "::vivace_model::humantime_serde")]
                pub $field: ::std::time::Duration,]
            [$($defaults)* $field: $value,]
            [$($rows)* [stringify!($field), concat!("" $(, $unit)?), concat!($($doc),+)],]
            $($rest)*);
    };
    (@next $head:tt $name:ident $prefix:literal [$($fields:tt)*] [$($defaults:tt)*] [$($rows:tt)*]
        $(#[doc = $doc:literal])+ $(#[unit = $unit:literal])? $field:ident : Option<Duration> = $value:expr, $($rest:tt)*
    ) => {
        $crate::settings!(@next $head $name $prefix
            [$($fields)*
                $(#[doc = $doc])+ #[doc = concat!("\n\nDefault `", stringify!($value), "`.")]
                #[serde(with = "::vivace_model::humantime_serde")]
                pub $field: ::std::option::Option<::std::time::Duration>,]
            [$($defaults)* $field: $value,]
            [$($rows)* [stringify!($field), concat!("" $(, $unit)?), concat!($($doc),+)],]
            $($rest)*);
    };
    (@next $head:tt $name:ident $prefix:literal [$($fields:tt)*] [$($defaults:tt)*] [$($rows:tt)*]
        $(#[doc = $doc:literal])+ $(#[unit = $unit:literal])? $field:ident : $type:ty = $value:expr, $($rest:tt)*
    ) => {
        $crate::settings!(@next $head $name $prefix
            [$($fields)*
                $(#[doc = $doc])+ #[doc = concat!("\n\nDefault `", stringify!($value), "`.")]
                pub $field: $type,]
            [$($defaults)* $field: $value,]
            [$($rows)* [stringify!($field), concat!("" $(, $unit)?), concat!($($doc),+)],]
            $($rest)*);
    };

    (@next { $(#[$attribute:meta])* $vis:vis } $name:ident $prefix:literal
        [$($fields:tt)*] [$($defaults:tt)*] [$($rows:tt)*]
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        $vis struct $name { $($fields)* }

        impl ::std::default::Default for $name {
            fn default() -> Self {
                Self { $($defaults)* }
            }
        }

        impl $name {
            /// What the variables of these settings start with.
            $vis const PREFIX: &'static str = $prefix;
            /// Of each field in order: its name, its unit (empty where the value shows it) and its meaning.
            $vis const SETTINGS: &'static [[&'static str; 3]] = &[$($rows)*];
        }
    };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{ByteSize, Secret};

    settings! {
        /// Of each kind one.
        pub(crate) struct Config: "VIVACE_TEST_" {
            /// How old it may get,
            /// in two lines.
            age_max: Duration = Duration::from_secs(90),
            /// How long to wait.
            patience: Option<Duration> = None,
            /// How much memory it may take.
            memory: ByteSize = ByteSize::mib(64),
            /// How many it may hold.
            #[unit = "spans"]
            rows_max: usize = 500_000,
            /// Who may come in.
            users: Vec<String> = vec!["a".into(), "b".into()],
            /// The word to get in.
            password: Secret = Secret::default(),
        }
    }

    #[test]
    fn every_field_is_described_in_order() {
        assert_eq!(Config::PREFIX, "VIVACE_TEST_");
        let names: Vec<_> = Config::SETTINGS.iter().map(|[name, ..]| *name).collect();
        assert_eq!(names, ["age_max", "patience", "memory", "rows_max", "users", "password"]);
        assert_eq!(Config::SETTINGS[0], ["age_max", "", " How old it may get, in two lines."]);
        assert_eq!(Config::SETTINGS[3], ["rows_max", "spans", " How many it may hold."]);
    }

    #[test]
    fn durations_and_sizes_are_text_in_serde() {
        let config = Config { patience: Some(Duration::from_millis(1500)), ..Config::default() };
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["age_max"], "1m 30s");
        assert_eq!(json["patience"], "1s 500ms");
        assert_eq!(json["memory"], "64MiB");
        let back: Config =
            serde_json::from_value(serde_json::json!({"age_max": "2min", "memory": 7})).unwrap();
        assert_eq!((back.age_max, back.memory), (Duration::from_secs(120), ByteSize(7)));
        assert_eq!((back.patience, back.rows_max, back.users.len()), (None, 500_000, 2));
        assert!(back.password.is_empty());
    }

    #[test]
    fn every_kind_of_field_is_read_from_the_text_of_a_variable() {
        let variables = [
            ("AGE_MAX", "2min"),
            ("PATIENCE", "100ms"),
            ("MEMORY", "1GiB"),
            ("ROWS_MAX", "7"),
            ("USERS", "c,d,e"),
            ("PASSWORD", "hunter2"),
        ];
        let config: Config =
            envy::from_iter(variables.map(|(name, value)| (name.into(), value.into()))).unwrap();
        assert_eq!((config.age_max, config.memory), (Duration::from_secs(120), ByteSize::gib(1)));
        assert_eq!((config.patience, config.rows_max), (Some(Duration::from_millis(100)), 7));
        assert_eq!((config.users.join(" ").as_str(), config.password.reveal()), ("c d e", "hunter2"));
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(serde_json::from_str::<Config>(r#"{"rows_maxx": 1}"#).is_err());
    }
}
