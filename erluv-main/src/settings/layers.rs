//! The layers of the configuration and how one is laid over the other: the file, the environment, the command line;
//! what comes later wins. Each layer is looked at by itself first, so that a mistake is told with its place.

use std::collections::HashMap;
use std::path::Path;

use config::{ConfigError as LayerError, File, FileFormat, Map, Source, Value, ValueKind};

use super::error::{ConfigError, one_line};
use super::raw::Raw;
use crate::args::Args;

/// How the text of a variable of the environment is read.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    /// Words with commas between.
    Texts,
    Flag,
    Number,
    /// true, false, or a word.
    FlagOrText,
}

/// The keys that the environment has, in capitals and after `ERLUV_`: those at the top that are no tables.
const VARIABLES: [(&str, Kind); 23] = [
    ("node", Kind::Texts),
    ("prefix", Kind::Text),
    ("name", Kind::Text),
    ("cookie_file", Kind::Text),
    ("user", Kind::Text),
    ("group", Kind::Text),
    ("chroot", Kind::Text),
    ("epmd_port", Kind::Number),
    ("node_port", Kind::Number),
    ("die_timeout", Kind::Text),
    ("heartbeat", Kind::Text),
    ("hang_timeout", Kind::Text),
    ("kill_timeout", Kind::Text),
    ("peer_timeout", Kind::Text),
    ("connect_timeout", Kind::Text),
    ("max_frame", Kind::Number),
    ("input_cap", Kind::Number),
    ("share_cookie", Kind::Flag),
    ("pid_file", Kind::Text),
    ("cgroup", Kind::FlagOrText),
    ("sandbox", Kind::Text),
    ("plaintext", Kind::Flag),
    ("weak_cookie", Kind::Flag),
];

/// One source of keys and values.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// Where it comes from, for people.
    origin: String,
    values: Map<String, Value>,
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }
    fn collect(&self) -> Result<Map<String, Value>, LayerError> {
        Ok(self.values.clone())
    }
}

impl Layer {
    /// One key, in as many tables as `path` has parts before the last.
    fn one(origin: String, path: &[String], kind: ValueKind) -> Self {
        let mut values = HashMap::new();
        if let Some((last, tables)) = path.split_last() {
            values.insert(last.clone(), Value::new(None, kind));
            for table in tables.iter().rev() {
                values = HashMap::from([(table.clone(), Value::new(None, ValueKind::Table(values)))]);
            }
        }
        Self { origin, values }
    }

    /// What a file says.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] for what is no TOML.
    pub(super) fn of_file(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let parsed = File::from_str(text, FileFormat::Toml).collect();
        let values = parsed.map_err(|error| ConfigError::Syntax(path.to_owned(), one_line(&error.to_string())))?;
        Ok(Self { origin: path.display().to_string(), values })
    }

    /// What the environment says, a layer for each variable.
    ///
    /// # Errors
    /// [`ConfigError::Variable`] for an `ERLUV_` that is none of ours, so that a typing error is no silence.
    pub(super) fn of_environment(vars: &[(String, String)]) -> Result<Vec<Self>, ConfigError> {
        let mut layers = Vec::new();
        for (name, text) in vars {
            let Some(rest) = name.strip_prefix("ERLUV_") else { continue };
            if rest.starts_with("TEST_") {
                continue;
            }
            let wrong = |what| ConfigError::Variable { name: name.clone(), what };
            if rest == "COOKIE" {
                return Err(wrong("the environment is no place for a cookie: write it into a file, ERLUV_COOKIE_FILE"));
            }
            let known = VARIABLES.iter().find(|(key, _)| key.to_ascii_uppercase() == rest);
            let Some((key, kind)) = known else { return Err(wrong("no such key, see erluv.conf(5)")) };
            let origin = format!("environment {name}");
            layers.push(Self::one(origin, &[(*key).to_owned()], read_variable(text, *kind)));
        }
        Ok(layers)
    }

    /// What the command line says: each `-o`, then the options that have names of their own.
    pub(super) fn of_args(args: &Args) -> Vec<Self> {
        let settings = args.settings.iter().map(|setting| {
            Self::one(format!("-o {}", setting.path.join(".")), &setting.path, read_setting(&setting.text))
        });
        let nodes = (!args.nodes.is_empty()).then(|| {
            let nodes = args.nodes.iter().map(|node| Value::new(None, node.as_str())).collect();
            Self::one("--node".to_owned(), &["node".to_owned()], ValueKind::Array(nodes))
        });
        let named = [
            ("--name", "name", &args.name),
            ("--cookie-file", "cookie_file", &args.cookie_file),
            ("--user", "user", &args.user),
            ("--die-timeout", "die_timeout", &args.die_timeout),
        ];
        let named = named.into_iter().filter_map(|(option, key, text)| {
            let text = text.as_deref()?;
            Some(Self::one(option.to_owned(), &[key.to_owned()], ValueKind::from(text)))
        });
        settings.chain(nodes).chain(named).collect()
    }

    /// Whether every key is known and every value in its range.
    fn check(&self) -> Result<(), ConfigError> {
        let whole = Value::new(None, ValueKind::Table(self.values.clone()));
        match whole.try_deserialize::<Raw>() {
            Ok(_) => Ok(()),
            Err(error) => Err(ConfigError::of_layer(&self.origin, error)),
        }
    }
}

/// Lays one over the other, the first lowest.
///
/// # Errors
/// The first mistake, with its place.
pub(super) fn merge(layers: Vec<Layer>) -> Result<Raw, ConfigError> {
    let mut builder = config::Config::builder();
    for layer in layers {
        layer.check()?;
        builder = builder.add_source(layer);
    }
    let merged = builder.build().and_then(config::Config::try_deserialize);
    merged.map_err(|error| ConfigError::of_layer("configuration", error))
}

fn read_variable(text: &str, kind: Kind) -> ValueKind {
    let word = || ValueKind::from(text);
    let flag = || match text {
        "true" => ValueKind::Boolean(true),
        "false" => ValueKind::Boolean(false),
        _ => word(),
    };
    match kind {
        Kind::Text => word(),
        Kind::Texts => ValueKind::Array(text.split(',').map(|part| Value::new(None, part.trim())).collect()),
        Kind::Flag | Kind::FlagOrText => flag(),
        Kind::Number => text.parse().map_or_else(|_| word(), ValueKind::I64),
    }
}

/// A value of TOML where it is one, else the text itself.
fn read_setting(text: &str) -> ValueKind {
    let plain = || ValueKind::from(text);
    if text.contains('\n') {
        return plain();
    }
    match File::from_str(&format!("value = {text}"), FileFormat::Toml).collect() {
        Ok(mut table) if table.len() == 1 => table.remove("value").map_or_else(plain, |value| value.kind),
        _ => plain(),
    }
}
