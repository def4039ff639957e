//! The configuration file of a test: what the bench has to say, put around what the test says.

/// A key that the bench sets unless the test does: table (empty for the top of the file), key and value in TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The table's name as its header writes it, such as `workers`; empty for the top.
    pub table: &'static str,
    /// The key within the table.
    pub key: &'static str,
    /// The value as TOML writes it: quoted if it is text.
    pub value: String,
}

impl Setting {
    /// A setting whose value is text.
    #[must_use]
    pub fn text(table: &'static str, key: &'static str, value: &str) -> Self {
        // A quoted string of Rust is one of TOML too for the plain ASCII that the bench writes.
        Self { table, key, value: format!("{value:?}") }
    }
}

/// One part of the file: its header line (none for the top) and its lines.
struct Part<'a> {
    header: Option<&'a str>,
    lines: Vec<String>,
}

impl Part<'_> {
    fn table(&self) -> &str {
        self.header.map_or("", |header| header.trim().trim_matches(['[', ']']))
    }

    fn sets(&self, key: &str) -> bool {
        self.lines
            .iter()
            .any(|line| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')))
    }
}

/// The file's text: `text` with those of `settings` added that it does not set itself. A `[[node]]` table sets `node`.
#[must_use]
pub fn complete(text: &str, settings: &[Setting]) -> String {
    let mut parts = vec![Part { header: None, lines: Vec::new() }];
    for line in text.lines() {
        match is_header(line) {
            true => parts.push(Part { header: Some(line.trim()), lines: Vec::new() }),
            false => parts.last_mut().expect("never empty").lines.push(line.to_owned()),
        }
    }
    for setting in settings {
        if setting.table.is_empty() && parts.iter().any(|part| part.header == Some(&format!("[[{}]]", setting.key))) {
            continue;
        }
        let line = format!("{} = {}", setting.key, setting.value);
        match parts.iter_mut().find(|part| part.table() == setting.table) {
            Some(part) if part.sets(setting.key) => {}
            Some(part) => part.lines.insert(0, line),
            None => {
                // The table's name is wanted as long as the file: a header of our own.
                parts.push(Part { header: None, lines: vec![format!("[{}]", setting.table), line] });
            }
        }
    }
    let lines = parts.iter().flat_map(|part| part.header.into_iter().chain(part.lines.iter().map(String::as_str)));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Whether a line opens a table: `[name]` or `[[name]]`, and not a line within an array over several lines.
fn is_header(line: &str) -> bool {
    let line = line.trim();
    let name = line.trim_start_matches('[').trim_end_matches(']');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    line.starts_with('[') && line.ends_with(']') && !name.is_empty() && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Vec<Setting> {
        vec![Setting::text("", "node", "n@h"), Setting::text("workers", "users", "daemon")]
    }

    #[test]
    fn an_empty_text_becomes_the_settings_of_the_bench() {
        assert_eq!(complete("", &base()), "node = \"n@h\"\n[workers]\nusers = \"daemon\"\n");
    }

    #[test]
    fn what_the_test_says_comes_first() {
        let text = "node=\"other@h\"\n[workers]\nmax = 3\n[profile.p]\nusers = 1";
        let whole = "node=\"other@h\"\n[workers]\nusers = \"daemon\"\nmax = 3\n[profile.p]\nusers = 1\n";
        assert_eq!(complete(text, &base()), whole);
        assert_eq!(complete("[workers]\nusers = [\"a\"]", &base()), "node = \"n@h\"\n[workers]\nusers = [\"a\"]\n");
    }

    #[test]
    fn tables_of_nodes_replace_the_node_of_the_bench() {
        let text = "[[node]]\nnode = \"a@h\"\n[[node]]\nnode = \"b@h\"\n[workers]\nusers = []\n";
        assert_eq!(complete(text, &base()), text);
    }

    #[test]
    fn a_line_of_an_array_is_no_table() {
        assert!(is_header("[profile.a]") && is_header(" [[node]] "));
        assert!(!is_header("[\"a\"]") && !is_header("[") && !is_header("x = [1]"));
    }
}
