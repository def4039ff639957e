//! What can be wrong with the configuration. Each is one line that names the place, the key and what to do.

use std::path::PathBuf;

use config::ConfigError as LayerError;
use thiserror::Error;

use super::trusted::FileError;

/// Why there is no configuration to run by. All of them leave with 78.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// A file that is missing or not to be trusted.
    #[error(transparent)]
    File(#[from] FileError),
    /// The home folder of the user, needed for the default places, is not known.
    #[error("home folder: not known, set HOME or name the file with -f")]
    Home,
    /// A file that is no TOML.
    #[error("{file:?}: {what}", file = .0, what = .1)]
    Syntax(PathBuf, String),
    /// A key or a value of one layer.
    #[error("{origin}: {key}: {what}")]
    Value {
        /// The file, `environment ERLUV_X`, or the option.
        origin: String,
        /// The key, dots between tables.
        key: String,
        /// What is wrong and what to write.
        what: String,
    },
    /// A variable of the environment that is none of ours.
    #[error("environment {name}: {what}")]
    Variable {
        /// The variable.
        name: String,
        /// What to do instead.
        what: &'static str,
    },
    /// Values that are right each by itself, but not together or not on this machine.
    #[error("{key}: {what}")]
    Rule {
        /// The key that is to be changed.
        key: String,
        /// What is wrong and what to write.
        what: String,
    },
}

impl ConfigError {
    /// A rule that spans keys, or that only this machine can answer.
    pub(crate) fn rule(key: &str, what: impl Into<String>) -> Self {
        Self::Rule { key: key.to_owned(), what: what.into() }
    }

    /// What the crate says of a value of `origin`, as one line.
    pub(super) fn of_layer(origin: &str, error: LayerError) -> Self {
        let (key, what) = explain(error);
        let Some(field) = what.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) else {
            return Self::Value { origin: origin.to_owned(), key, what };
        };
        let key = if key.is_empty() { field.to_owned() } else { format!("{key}.{field}") };
        Self::Value { origin: origin.to_owned(), key, what: "no such key, see erluv.conf(5)".to_owned() }
    }
}

/// The key and the cause.
fn explain(error: LayerError) -> (String, String) {
    match error {
        LayerError::Type { unexpected, expected, key, .. } => {
            (key.unwrap_or_default(), format!("{unexpected}, expected {expected}"))
        }
        LayerError::At { error, key, .. } => {
            let (inner, what) = explain(*error);
            (key.unwrap_or(inner), what)
        }
        LayerError::NotFound(key) => (key, "missing".to_owned()),
        LayerError::FileParse { cause, .. } | LayerError::PathParse { cause } | LayerError::Foreign(cause) => {
            (String::new(), one_line(&cause.to_string()))
        }
        LayerError::Message(what) => (String::new(), what),
        LayerError::Frozen => (String::new(), "frozen".to_owned()),
        // The enum may grow.
        other => (String::new(), one_line(&other.to_string())),
    }
}

/// What a parser says over several lines, with a picture of the place between: the place and the reason.
pub(super) fn one_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    match lines.rfind(|line| !line.contains('|')) {
        Some(last) => format!("{first}: {last}"),
        None => first.to_owned(),
    }
}
