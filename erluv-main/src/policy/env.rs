//! The names that a node may set in the environment of a worker. Nothing else is in it.

use std::collections::BTreeSet;
use std::ffi::CString;

use erluv_proto::ipc::Failure;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::refused;

/// Names that make a loader, a shell or a language run the code of whoever sets them (S-26). A `*` at the end stands
/// for any rest. Patterns of the configuration never admit them, the exact name does.
const DANGEROUS: [&str; 24] = [
    "LD_*",
    "DYLD_*",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "MALLOC_*",
    "BASH_ENV",
    "BASHOPTS",
    "ENV",
    "IFS",
    "PS4",
    "SHELLOPTS",
    "PERL5*",
    "PERLLIB",
    "PYTHON*",
    "RUBY*",
    "NODE_OPTIONS",
    "ERL_*",
    "LOCALDOMAIN",
    "RES_OPTIONS",
    "HOSTALIASES",
    "NLSPATH",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
];

/// Which names pass.
#[derive(Debug, Clone)]
pub(super) struct EnvRules {
    exact: BTreeSet<String>,
    patterns: GlobSet,
}

impl EnvRules {
    /// Rules by names and patterns of names.
    ///
    /// # Errors
    /// What is wrong with a pattern.
    pub(super) fn new(names: &[String]) -> Result<Self, String> {
        let (mut exact, mut patterns) = (BTreeSet::new(), GlobSetBuilder::new());
        for name in names {
            if is_name(name.as_bytes()) {
                exact.insert(name.clone());
            } else {
                patterns.add(GlobBuilder::new(name).build().map_err(|error| error.to_string())?);
            }
        }
        Ok(Self { exact, patterns: patterns.build().map_err(|error| error.to_string())? })
    }

    /// The environment of a worker, `NAME=value` each.
    ///
    /// # Errors
    /// The refusal, for the first name that is not one, is there twice or does not pass, or a value with a NUL.
    pub(super) fn check(&self, wanted: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Vec<CString>, Failure> {
        let (mut seen, mut env) = (BTreeSet::new(), Vec::new());
        for (name, value) in wanted {
            if !self.admits(&name, &value) || seen.contains(&name) {
                return Err(refused("env", &name));
            }
            let text = [name.as_slice(), b"=", &value].concat();
            env.push(CString::new(text).map_err(|_| refused("env", &name))?);
            seen.insert(name);
        }
        Ok(env)
    }

    fn admits(&self, name: &[u8], value: &[u8]) -> bool {
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| is_name(name.as_bytes())) else { return false };
        self.exact.contains(name) || (self.patterns.is_match(name) && !is_dangerous(name, value))
    }
}

/// Whether a text of the configuration is a name or a pattern of names.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_pattern(text: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_*?[]{},!".contains(&byte);
    let marked = text.bytes().any(|byte| b"*?[{".contains(&byte));
    if is_name(text.as_bytes()) || (marked && text.bytes().all(plain)) {
        EnvRules::new(&[text.to_owned()]).map(|_| ())
    } else {
        Err(format!("{text:?}: write a name of letters, digits and '_', or a pattern such as \"APP_*\""))
    }
}

/// `[A-Za-z_][A-Za-z0-9_]*`.
pub(crate) fn is_name(name: &[u8]) -> bool {
    name.first().is_some_and(|byte| !byte.is_ascii_digit())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn is_dangerous(name: &str, value: &[u8]) -> bool {
    let listed = DANGEROUS.iter().any(|entry| match entry.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *entry,
    });
    listed || (name == "TZ" && is_zone_file(value))
}

/// Whether a value of TZ makes libc read a file of the caller's choice: a path that is absolute or goes up.
fn is_zone_file(value: &[u8]) -> bool {
    let zone = value.strip_prefix(b":").unwrap_or(value);
    zone.starts_with(b"/") || zone.split(|byte| *byte == b'/').any(|part| part == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(rules: &[&str], name: &str, value: &str) -> bool {
        let rules = rules.iter().map(|rule| (*rule).to_owned()).collect::<Vec<_>>();
        let wanted = [(name.into(), value.into())];
        EnvRules::new(&rules).unwrap().check(wanted.into_iter()).is_ok()
    }

    #[test]
    fn s26_a_pattern_never_admits_what_makes_others_run_code() {
        for name in [
            "LD_PRELOAD",
            "LD_AUDIT",
            "LD_",
            "DYLD_INSERT_LIBRARIES",
            "GCONV_PATH",
            "GLIBC_TUNABLES",
            "MALLOC_CHECK_",
            "BASH_ENV",
            "ENV",
            "IFS",
            "PERL5LIB",
            "PERL5OPT",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "RUBYOPT",
            "NODE_OPTIONS",
            "ERL_FLAGS",
            "ERL_AFLAGS",
            "LOCALDOMAIN",
            "RES_OPTIONS",
            "SHELLOPTS",
            "_JAVA_OPTIONS",
        ] {
            assert!(!admits(&["*"], name, "x"), "{name}");
            assert!(!admits(&["?*", &format!("{}*", &name[..2])], name, "x"), "{name}");
            assert!(admits(&[name], name, "x"), "{name}");
        }
        for name in ["PATH", "HOME", "LANG", "ENVIRONMENT", "IFS_", "LDX", "ld_preload", "_"] {
            assert!(admits(&["*"], name, "x"), "{name}");
        }
    }

    #[test]
    fn s26_a_time_zone_is_no_path() {
        for zone in ["Europe/Berlin", "UTC", ":Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3", ""] {
            assert!(admits(&["*"], "TZ", zone), "{zone}");
        }
        for zone in ["/etc/shadow", ":/etc/shadow", "../../etc/shadow", "Europe/../../x", ":.."] {
            assert!(!admits(&["*"], "TZ", zone), "{zone}");
            assert!(admits(&["TZ"], "TZ", zone), "{zone}");
        }
    }

    #[test]
    fn s26_names_have_their_letters_and_values_no_nul() {
        for name in ["", "1A", "A-B", "A B", "A=B", "A\0", "\u{e4}", "A.B", "BASH_FUNC_x%%"] {
            assert!(!admits(&["*"], name, "x"), "{name:?}");
        }
        assert!(!admits(&["*"], "A", "x\0y"));
        assert!(admits(&["*"], "A", "line\nline = \u{1b}"));
    }

    #[test]
    fn only_names_of_the_policy_pass_and_each_once() {
        assert!(admits(&["APP_*"], "APP_X", "1") && admits(&["APP_*", "HOME"], "HOME", "/"));
        assert!(!admits(&["APP_*"], "XAPP_X", "1") && !admits(&[], "A", "1") && !admits(&["A"], "AB", "1"));
        let rules = EnvRules::new(&["*".to_owned()]).unwrap();
        let twice = [(b"A".to_vec(), b"1".to_vec()), (b"A".to_vec(), b"2".to_vec())];
        assert_eq!(rules.check(twice.into_iter()), Err(refused("env", b"A")));
        let two = [(b"A".to_vec(), b"1".to_vec()), (b"B".to_vec(), b"\xff".to_vec())];
        let env = rules.check(two.into_iter()).unwrap();
        assert_eq!(env.iter().map(|text| text.to_bytes()).collect::<Vec<_>>(), [b"A=1".as_slice(), b"B=\xff"]);
    }

    #[test]
    fn a_rule_is_a_name_or_a_pattern_of_names() {
        for good in ["*", "A", "APP_*", "[A-F]*".replace('-', "").as_str(), "{A,B}_*", "?"] {
            assert!(check_pattern(good).is_ok(), "{good}");
        }
        for bad in ["", "A-B", "A=*", "/*", "1", "[A", "A B", "*.x"] {
            assert!(check_pattern(bad).is_err(), "{bad}");
        }
    }
}
