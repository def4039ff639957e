//! The layers laid over each other: what stands at the top for all nodes, profiles with what they extend, and for each
//! node its own table over that.

use std::collections::HashMap;

use config::{Config, ConfigError as LayerError, File, FileFormat, Map, Source, Value, ValueKind};
use erluv_proto::ids::NodeName;

use super::error::ConfigError;
use super::layers::{Layer, NodeTable};
use super::origins::Origins;
use super::raw::Raw;

/// The profiles that are built in.
pub(crate) const PROFILES: &str = include_str!("profiles.toml");

/// Where they come from, for people.
const BUILT_IN: &str = "built-in profile";

/// What a profile does not take from the one that it extends.
const NOT_INHERITED: [&str; 2] = ["on_missing", "extends"];

/// What a node's table has from the top: everything but these, which are the node's own or the daemon's.
const NOT_FOR_NODES: [&str; 2] = ["node", "profile"];

/// All layers as one.
#[derive(Debug)]
pub(super) struct Merged {
    /// What concerns the daemon and all nodes.
    pub(super) raw: Raw,
    pub(super) origins: Origins,
    /// What concerns a node, for each that has a table of its own.
    pub(super) nodes: HashMap<NodeName, (Raw, Origins)>,
}

/// Lays the layers over the built-in profiles, the first lowest.
///
/// # Errors
/// The first mistake, with its place.
pub(super) fn merge(layers: Vec<Layer>) -> Result<Merged, ConfigError> {
    let built_in = File::from_str(PROFILES, FileFormat::Toml).collect();
    let built_in = Layer::new(BUILT_IN.to_owned(), built_in.map_err(|error| ConfigError::of_layer(BUILT_IN, error))?)?;
    let mut origins = Origins::default();
    let mut tables = HashMap::<NodeName, Vec<NodeTable>>::new();
    let mut values = Vec::new();
    for layer in std::iter::once(built_in).chain(layers) {
        let (own, nodes) = layer.into_parts()?;
        origins.lay(&own.origin, &own.values);
        values.push(own.values);
        for table in nodes {
            tables.entry(table.node.clone()).or_default().push(table);
        }
    }
    let mut top = lay(values)?;
    extend_profiles(&mut top, &mut origins)?;
    let raw = read(top.clone(), "configuration")?;
    let mut nodes = HashMap::new();
    for (node, tables) in tables {
        nodes.insert(node.clone(), of_node(&top, &origins, tables)?);
    }
    Ok(Merged { raw, origins, nodes })
}

fn of_node(top: &Map<String, Value>, common: &Origins, tables: Vec<NodeTable>) -> Result<(Raw, Origins), ConfigError> {
    let mut origins = common.clone();
    let mut base = top.clone();
    base.retain(|key, _| !NOT_FOR_NODES.contains(&key.as_str()));
    let mut layers = vec![base];
    for table in tables {
        origins.lay(&table.origin, &table.values);
        layers.push(table.values);
    }
    Ok((read(lay(layers)?, "configuration")?, origins))
}

/// One over the other, tables key by key.
fn lay(layers: Vec<Map<String, Value>>) -> Result<Map<String, Value>, ConfigError> {
    let wrong = |error| ConfigError::of_layer("configuration", error);
    let builder = layers.into_iter().fold(Config::builder(), |builder, layer| builder.add_source(Values(layer)));
    builder.build().map_err(wrong)?.collect().map_err(wrong)
}

fn read(values: Map<String, Value>, origin: &str) -> Result<Raw, ConfigError> {
    let whole = Value::new(None, ValueKind::Table(values));
    whole.try_deserialize().map_err(|error| ConfigError::of_layer(origin, error))
}

/// A table of values as the crate takes it.
#[derive(Debug, Clone)]
struct Values(Map<String, Value>);

impl Source for Values {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }
    fn collect(&self) -> Result<Map<String, Value>, LayerError> {
        Ok(self.0.clone())
    }
}

/// Each profile is laid over the one that it extends, and that over what it extends itself.
fn extend_profiles(top: &mut Map<String, Value>, origins: &mut Origins) -> Result<(), ConfigError> {
    let Some(ValueKind::Table(profiles)) = top.get_mut("profile").map(|value| &mut value.kind) else { return Ok(()) };
    let written = profiles.clone();
    for (name, profile) in profiles.iter_mut() {
        let line = line_of(name, &written)?;
        if line.len() < 2 {
            continue;
        }
        let mut layers = Vec::new();
        for (place, ancestor) in line.iter().enumerate() {
            let Some(ValueKind::Table(table)) = written.get(ancestor).map(|value| &value.kind) else { continue };
            let mut table = table.clone();
            if place != 0 {
                table.retain(|key, _| !NOT_INHERITED.contains(&key.as_str()));
                origins.inherit(&format!("profile.{name}"), &format!("profile.{ancestor}"), &NOT_INHERITED);
            }
            layers.push(table);
        }
        layers.reverse();
        profile.kind = ValueKind::Table(lay(layers)?);
    }
    Ok(())
}

/// A profile, what it extends, what that extends, and so on.
fn line_of(name: &str, profiles: &Map<String, Value>) -> Result<Vec<String>, ConfigError> {
    let mut line = vec![name.to_owned()];
    let extended = |name: &str| match &profiles.get(name)?.kind {
        ValueKind::Table(table) => match &table.get("extends")?.kind {
            ValueKind::String(base) => Some(base.clone()),
            _ => None,
        },
        _ => None,
    };
    while let Some(base) = line.last().and_then(|last| extended(last)) {
        let rule = |what: String| Err(ConfigError::rule(&format!("profile.{name}.extends"), what));
        if !profiles.contains_key(&base) {
            return rule(format!("there is no profile {base:?}: write [profile.{base}]"));
        }
        if line.contains(&base) {
            return rule(format!("{base:?} extends itself in the end: leave extends away in one of them"));
        }
        line.push(base);
    }
    Ok(line)
}
