use std::fmt;

use serde::Serialize;

/// Which build this is. Serialises to the JSON of `/api/status/buildinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInfo {
    /// Semantic version.
    pub version: &'static str,
    /// Commit, if the build was told (`BUILD_REVISION`).
    pub revision: &'static str,
    /// Branch, if the build was told (`BUILD_BRANCH`).
    pub branch: &'static str,
    /// Who built it, if the build was told (`BUILD_USER`).
    pub build_user: &'static str,
    /// When it was built, if the build was told (`BUILD_DATE`).
    pub build_date: &'static str,
    /// Version of the compiler. Clients look for it under the name that Go programs use.
    #[serde(rename = "goVersion")]
    pub compiler: &'static str,
}

const fn told(value: Option<&'static str>) -> &'static str {
    match value {
        Some(value) => value,
        None => "",
    }
}

impl BuildInfo {
    /// This build, of the program whose version is given: `env!("CARGO_PKG_VERSION")`.
    #[must_use]
    pub const fn new(version: &'static str) -> Self {
        Self {
            version,
            revision: told(option_env!("BUILD_REVISION")),
            branch: told(option_env!("BUILD_BRANCH")),
            build_user: told(option_env!("BUILD_USER")),
            build_date: told(option_env!("BUILD_DATE")),
            compiler: concat!("rustc ", env!("RUSTC_VERSION")),
        }
    }

    /// Names and values, as labels of the metric `vivace_build_info`.
    pub(crate) const fn labels(&self) -> [(&'static str, &'static str); 4] {
        [
            ("version", self.version),
            ("revision", self.revision),
            ("branch", self.branch),
            ("goversion", self.compiler),
        ]
    }
}

/// In the words of Prometheus and its relatives.
impl fmt::Display for BuildInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, revision, branch, build_user, build_date, compiler } = self;
        writeln!(f, "vivace, version {version} (branch: {branch}, revision: {revision})")?;
        writeln!(f, "  build user:       {build_user}")?;
        writeln!(f, "  build date:       {build_date}")?;
        writeln!(f, "  rust version:     {compiler}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_keys_that_clients_read() {
        let json = serde_json::to_value(BuildInfo::new("1.2.3")).unwrap();
        assert_eq!(json["version"], "1.2.3");
        assert!(json["goVersion"].as_str().unwrap().starts_with("rustc 1."), "{json}");
        for key in ["revision", "branch", "buildUser", "buildDate"] {
            assert!(json[key].is_string(), "{key}");
        }
    }
}
