//! Reads settings from environment variables and describes them.
//! Owns: which variable sets which field, the errors for wrong and unknown variables, the text of `vivace config`.
//! Does not own: the settings themselves; a crate's `Config` is any struct of plain fields that serde reads and writes,
//! with a default for each.
//! Guarantee: no variable with our prefix is ignored, and no wrong value is replaced by a default.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

mod nearest;

/// What all our variables start with.
const PREFIX: &str = "VIVACE_";

/// Why the settings were refused. Each is one line that names the variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The value cannot be read as what the setting is.
    #[error("{variable}={value:?} is wrong: {problem}{}", expectation(default, unit))]
    Value {
        /// The variable.
        variable: String,
        /// What it was set to.
        value: String,
        /// What is wrong with it.
        problem: String,
        /// The setting's default, as an example of a right value.
        default: String,
        /// The setting's unit, if it has one.
        unit: &'static str,
    },
    /// A variable is given without a value that needs one.
    #[error("{variable} is empty: give it a value, or leave it out for the default")]
    Empty {
        /// The variable.
        variable: &'static str,
    },
    /// The values are readable but cannot be worked with.
    #[error("settings {prefix}* are wrong: {problem}")]
    Invalid {
        /// What the variables concerned start with.
        prefix: &'static str,
        /// What `validate` said.
        problem: String,
    },
    /// Variables with our prefix that are no setting.
    #[error("unknown {}: {}", if names.len() == 1 { "setting" } else { "settings" }, names.join(", "))]
    Unknown {
        /// The variables, each with the setting that was probably meant.
        names: Vec<String>,
    },
    /// A `Config` struct is not what this module needs: a mistake in the program.
    #[error("settings {prefix}* are declared wrongly: {problem}")]
    Declaration {
        /// What the variables concerned start with.
        prefix: &'static str,
        /// What is wrong.
        problem: String,
    },
}

fn expectation(default: &str, unit: &str) -> String {
    match (default, unit) {
        ("", "") => String::new(),
        ("", unit) => format!(" (expected {unit})"),
        (default, "") => format!(" (expected something like {default})"),
        (default, unit) => format!(" (expected {unit}, something like {default})"),
    }
}

/// One setting, as `vivace config` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The variable that sets it.
    pub variable: String,
    /// Its value now, in the form that the variable takes; empty if it has none.
    pub value: String,
    /// Its value if the variable is not set.
    pub default: String,
    /// Unit of the value, empty where the value shows it or has none.
    pub unit: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// The variables of this process that concern us. Load every crate's settings from it, then call
/// [`finish`](Self::finish).
#[derive(Debug)]
pub struct Environment {
    given: BTreeMap<String, String>,
    /// Given without a value.
    empty: BTreeSet<String>,
    settings: Vec<Setting>,
}

impl Environment {
    /// Keeps the variables that start with `VIVACE_`. An empty value counts as not set, as templates like to write it;
    /// what Kubernetes adds for a Service named vivace-something is dropped.
    #[must_use]
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours =
            |(name, value): &(String, String)| name.starts_with(PREFIX) && !is_service_link(name, value);
        let (empty, given): (BTreeMap<_, _>, BTreeMap<_, _>) =
            variables.into_iter().filter(ours).partition(|(_, value)| value.trim().is_empty());
        Self { given, empty: empty.into_keys().collect(), settings: Vec::new() }
    }

    /// Refuses a variable that is given without a value, where a default in its place would do harm.
    ///
    /// # Errors
    /// [`ConfigError::Empty`].
    pub fn refuse_empty(&self, variable: &'static str) -> Result<(), ConfigError> {
        if self.empty.contains(variable) { Err(ConfigError::Empty { variable }) } else { Ok(()) }
    }

    /// The variables of this process; those that are not UTF-8 are taken with replacement characters.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self::new(std::env::vars_os().map(|(name, value)| (text(name), text(value))))
    }

    /// Reads one struct of settings. The variable of a field is `prefix` and the field's name in capitals; `about` has
    /// of each field its name, unit and meaning, as the `settings!` macro makes it. Two structs may share a
    /// prefix as long as their fields differ.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for the first value that cannot be read, [`ConfigError::Invalid`] with what `validate` says.
    pub fn load<T: Default + Serialize + DeserializeOwned>(
        &mut self,
        prefix: &'static str,
        about: &[[&'static str; 3]],
        validate: impl FnOnce(&T) -> Result<(), String>,
    ) -> Result<T, ConfigError> {
        let declaration = |problem: String| ConfigError::Declaration { prefix, problem };
        let defaults = fields_of(&T::default()).map_err(declaration)?;
        read::<T>(&[]).map_err(declaration)?;
        if let Some([name, ..]) = about.iter().find(|[name, ..]| !defaults.contains_key(*name)) {
            return Err(declaration(format!("{name} is described but is no field")));
        }
        let mut pairs = Vec::new();
        for (field, default) in &defaults {
            let variable = variable_of(prefix, field);
            let Some(value) = self.given.get(&variable) else {
                continue;
            };
            pairs.push((field.clone(), value.clone()));
            // Each alone, because envy's errors do not always say which one they are about.
            read::<T>(&pairs[pairs.len() - 1..]).map_err(|problem| ConfigError::Value {
                variable,
                value: value.clone(),
                problem,
                default: default.clone(),
                unit: about.iter().find(|[name, ..]| name == field).map_or("", |[_, unit, _]| *unit),
            })?;
        }
        let config: T = read(&pairs).map_err(declaration)?;
        let values = fields_of(&config).map_err(declaration)?;
        validate(&config).map_err(|problem| ConfigError::Invalid { prefix, problem })?;
        self.describe(prefix, about, &values, &defaults);
        Ok(config)
    }

    fn describe(
        &mut self,
        prefix: &str,
        about: &[[&'static str; 3]],
        values: &BTreeMap<String, String>,
        defaults: &BTreeMap<String, String>,
    ) {
        let undescribed = |field: &&String| !about.iter().any(|[name, ..]| name == field);
        let rest = values.keys().filter(undescribed).map(|field| (field.as_str(), "", ""));
        for (field, unit, meaning) in
            about.iter().map(|&[field, unit, meaning]| (field, unit, meaning)).chain(rest)
        {
            self.settings.push(Setting {
                variable: variable_of(prefix, field),
                value: values[field].clone(),
                default: defaults[field].clone(),
                unit,
                meaning: meaning.trim(),
            });
        }
    }

    /// All settings that were loaded, once it is certain that each variable given is one of them.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`] names the others.
    pub fn finish(self) -> Result<Vec<Setting>, ConfigError> {
        let known: Vec<&str> = self.settings.iter().map(|setting| setting.variable.as_str()).collect();
        let unknown = self.given.keys().filter(|name| !known.contains(&name.as_str()));
        let names: Vec<_> = unknown
            .map(|name| match nearest::nearest(name, &known) {
                Some(meant) => format!("{name} (did you mean {meant}?)"),
                None => name.clone(),
            })
            .collect();
        if names.is_empty() { Ok(self.settings) } else { Err(ConfigError::Unknown { names }) }
    }
}

/// The settings as a file of variables: sourced by a shell or given to a container, it sets what is set now.
#[must_use]
pub fn render(settings: &[Setting]) -> String {
    let mut text = String::new();
    for Setting { variable, value, default, unit, meaning } in settings {
        let default = if default.is_empty() { "none" } else { default };
        let unit = if unit.is_empty() { String::new() } else { format!(" Unit: {unit}.") };
        let mark = if value.is_empty() { "# " } else { "" };
        let value = if value.contains(|c: char| c.is_whitespace() || "\"'$`\\;&|<>()#*?".contains(c)) {
            format!("'{}'", value.replace('\'', r"'\''"))
        } else {
            value.clone()
        };
        text.push_str(&format!("# {meaning}{unit} Default: {default}.\n{mark}{variable}={value}\n\n"));
    }
    text
}

fn variable_of(prefix: &str, field: &str) -> String {
    format!("{prefix}{}", field.to_ascii_uppercase())
}

fn read<T: DeserializeOwned>(pairs: &[(String, String)]) -> Result<T, String> {
    envy::from_iter(pairs.iter().cloned()).map_err(|error| match error {
        envy::Error::MissingValue(field) => format!("{field} has no default"),
        envy::Error::Custom(text) => {
            // envy repeats variable and value; we name both ourselves.
            let text = text.split(" while parsing value '").next().unwrap_or_default();
            match text {
                "invalid digit found in string" => "expected a whole number".to_owned(),
                "invalid float literal" => "expected a number".to_owned(),
                "provided string was not `true` or `false`" => "expected true or false".to_owned(),
                text => text.to_owned(),
            }
        }
    })
}

/// Each field's value as the text that a variable would set it to.
fn fields_of<T: Serialize>(config: &T) -> Result<BTreeMap<String, String>, String> {
    match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => {
            Ok(fields.into_iter().map(|(name, value)| (name, text_of(value))).collect())
        }
        Ok(_) => Err("not a struct of fields".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn text_of(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        Value::Array(values) => values.into_iter().map(text_of).collect::<Vec<_>>().join(","),
        value @ (Value::Bool(_) | Value::Number(_) | Value::Object(_)) => value.to_string(),
    }
}

/// Whether Kubernetes injected the variable for a Service whose name starts with `vivace`.
fn is_service_link(name: &str, value: &str) -> bool {
    let address = value.starts_with("tcp://") || value.starts_with("udp://");
    let port_part = name.rsplit_once("_PORT_").is_some_and(|(_, rest)| {
        let mut words = rest.split('_');
        let number = words.next().is_some_and(|word| word.parse::<u16>().is_ok());
        number && words.next().is_some_and(|word| ["TCP", "UDP", "SCTP"].contains(&word))
    });
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && address)
        || port_part
}

#[cfg(test)]
mod tests;
