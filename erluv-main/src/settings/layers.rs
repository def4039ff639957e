//! The layers of the configuration and how one is laid over the other: the file, the environment, the command line;
//! what comes later wins. Each layer is looked at by itself first, so that a mistake is told with its place.

use std::collections::HashMap;
use std::path::Path;

use config::{File, FileFormat, Map, Source, Value, ValueKind};
use erluv_proto::ids::NodeName;

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
    own: Table,
    /// Its `[[node]]` tables; in the values of the layer are their names.
    nodes: Vec<NodeTable>,
}

/// Keys and values, and where they come from, for people.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) origin: String,
    pub(super) values: Map<String, Value>,
}

/// A `[[node]]`: its keys have the names that they have at the top.
#[derive(Debug, Clone)]
pub(super) struct NodeTable {
    pub(super) node: NodeName,
    pub(super) origin: String,
    pub(super) values: Map<String, Value>,
}

/// Keys of the daemon, which no node has for itself.
const NOT_FOR_NODES: [&str; 4] = ["node", "pid_file", "cgroup", "profile"];

impl NodeTable {
    /// In it `name` is the node's, and `own_name` what is `name` at the top: ours.
    fn new(layer: &str, value: Value) -> Result<Self, ConfigError> {
        let wrong = |origin: &str, key: &str, what: &str| ConfigError::Value {
            origin: origin.to_owned(),
            key: key.to_owned(),
            what: what.to_owned(),
        };
        let ValueKind::Table(mut values) = value.kind else {
            return Err(wrong(layer, "node", "write names alone, or [[node]] tables alone"));
        };
        let name = match values.remove("name").map(|name| name.kind) {
            Some(ValueKind::String(name)) => name,
            Some(_) | None => return Err(wrong(layer, "node.name", "write name = \"name@host\" in each [[node]]")),
        };
        let node = NodeName::parse(&name).map_err(|error| wrong(layer, "node.name", &error.to_string()))?;
        let origin = format!("{layer}: [[node]] {node}");
        if let Some(key) = NOT_FOR_NODES.iter().find(|key| values.contains_key(**key)) {
            return Err(wrong(&origin, key, "is for all nodes: write it above the first [[node]]"));
        }
        if let Some(own) = values.remove("own_name") {
            values.insert("name".to_owned(), own);
        }
        check(&origin, &values).map_err(|error| match error {
            ConfigError::Value { origin, key, what } if key == "name" => wrong(&origin, "own_name", &what),
            other => other,
        })?;
        Ok(Self { node, origin, values })
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
        Self { own: Table { origin, values }, nodes: Vec::new() }
    }

    /// A node for who needs none.
    pub(super) fn stand_in() -> Self {
        Self::one("stand-in".to_owned(), &["node".to_owned()], ValueKind::from("none@localhost"))
    }

    /// A layer of values, its `[[node]]` tables taken apart from the rest.
    ///
    /// # Errors
    /// What is wrong with one of these tables.
    pub(super) fn new(origin: String, mut values: Map<String, Value>) -> Result<Self, ConfigError> {
        let is_table = |item: &Value| matches!(item.kind, ValueKind::Table(_));
        let mut nodes = Vec::<NodeTable>::new();
        if let Some(ValueKind::Array(items)) = values.get("node").map(|node| &node.kind)
            && items.iter().any(is_table)
        {
            for item in items {
                nodes.push(NodeTable::new(&origin, item.clone())?);
            }
            let names = nodes.iter().map(|table| Value::new(None, table.node.as_str())).collect::<Vec<_>>();
            values.insert("node".to_owned(), Value::new(None, ValueKind::Array(names)));
        }
        Ok(Self { own: Table { origin, values }, nodes })
    }

    /// What a file says.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] for what is no TOML, and what is wrong with a `[[node]]`.
    pub(super) fn of_file(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let parsed = File::from_str(text, FileFormat::Toml).collect();
        let values = parsed.map_err(|error| ConfigError::Syntax(path.to_owned(), one_line(&error.to_string())))?;
        Self::new(path.display().to_string(), values)
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

    /// What it says for all nodes, and its tables for single ones.
    ///
    /// # Errors
    /// The first key that is not known, or value that is not in its range.
    pub(super) fn into_parts(self) -> Result<(Table, Vec<NodeTable>), ConfigError> {
        check(&self.own.origin, &self.own.values)?;
        Ok((self.own, self.nodes))
    }
}

/// Whether every key is known and every value in its range.
fn check(origin: &str, values: &Map<String, Value>) -> Result<(), ConfigError> {
    let whole = Value::new(None, ValueKind::Table(values.clone()));
    whole.try_deserialize::<Raw>().map(|_| ()).map_err(|error| ConfigError::of_layer(origin, error))
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
