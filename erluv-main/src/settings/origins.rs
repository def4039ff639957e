//! Where the value of each key comes from, for `explain`.

use std::collections::BTreeMap;

use config::{Map, Value, ValueKind};

/// Keys with dots between tables, and the layer that each was last set by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origins(BTreeMap<String, String>);

impl Origins {
    /// A layer is laid over what there is.
    pub(super) fn lay(&mut self, origin: &str, values: &Map<String, Value>) {
        self.lay_table("", origin, values);
    }

    fn lay_table(&mut self, table: &str, origin: &str, values: &Map<String, Value>) {
        for (name, value) in values {
            let key = if table.is_empty() { name.clone() } else { format!("{table}.{name}") };
            match &value.kind {
                ValueKind::Table(inner) if !is_pair(inner) => self.lay_table(&key, origin, inner),
                _ => {
                    self.0.insert(key, origin.to_owned());
                }
            }
        }
    }

    /// A table takes what it does not say itself from another one, all but `alone`.
    pub(super) fn inherit(&mut self, heir: &str, from: &str, alone: &[&str]) {
        let start = format!("{from}.");
        let keys = self.0.range(start.clone()..).take_while(|(key, _)| key.starts_with(&start));
        let keys = keys.filter_map(|(key, origin)| Some((key.strip_prefix(&start)?.to_owned(), origin.clone())));
        for (key, origin) in keys.collect::<Vec<_>>() {
            if !alone.contains(&key.as_str()) {
                self.0.entry(format!("{heir}.{key}")).or_insert_with(|| format!("{from}, {origin}"));
            }
        }
    }

    /// Where a key comes from; `None` is the default.
    pub(crate) fn of(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// `{ soft = ..., hard = ... }` is one value.
fn is_pair(table: &Map<String, Value>) -> bool {
    !table.is_empty() && table.keys().all(|key| key == "soft" || key == "hard")
}

#[cfg(test)]
mod tests {
    use config::{File, FileFormat, Source};

    use super::*;

    #[test]
    fn the_last_layer_with_a_key_is_where_it_comes_from() {
        let table = |text: &str| File::from_str(text, FileFormat::Toml).collect().unwrap();
        let mut origins = Origins::default();
        origins.lay("one", &table("a = 1\nb = [1]\n[t]\nc = 1\nd = { soft = 1, hard = 2 }"));
        origins.lay("two", &table("b = [2]\n[t]\nd = 5"));
        let found = ["a", "b", "t.c", "t.d", "t", "t.d.soft"].map(|key| origins.of(key));
        assert_eq!(found, [Some("one"), Some("two"), Some("one"), Some("two"), None, None]);
        origins.lay("three", &table("[u]\nc = 2"));
        origins.inherit("u", "t", &["d"]);
        assert_eq!((origins.of("u.c"), origins.of("u.d")), (Some("three"), None));
        origins.inherit("v", "t", &[]);
        assert_eq!((origins.of("v.c"), origins.of("v.d")), (Some("t, one"), Some("t, two")));
    }
}
