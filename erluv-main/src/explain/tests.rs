use super::*;
use crate::identity::tests::Machine;
use crate::settings::scenarios::settings;

fn answer(text: &str, profile: Option<&str>, node: Option<&str>) -> Result<String, String> {
    let wanted = Explain { profile: profile.map(str::to_owned), node: node.map(str::to_owned) };
    let settings = settings(0, text).unwrap();
    let roles = crate::identity::resolve(&settings, &Machine).unwrap();
    let policies = crate::policy::resolve(&settings, &roles).unwrap();
    explain(&wanted, &settings, &roles, &policies).map_err(|error| error.to_string())
}

/// What is said of a key in a part of the answer.
fn said<'t>(text: &'t str, key: &str) -> &'t str {
    text.lines().find(|line| line.trim_start_matches("# ").starts_with(key)).unwrap_or_else(|| panic!("{key}\n{text}"))
}

#[test]
fn each_key_comes_with_its_layer() {
    let text = "kill_timeout = '7s'\n[workers]\nusers = ['worker', '1234:5']\nprofiles = ['default', 'x']\nmax = 5\n\
                max_time = '5s'\n[profile.x]\nextends = 'default'\nnice = 5\nlimits.nofile = { soft = 1, hard = 2 }\n\
                env = { HOME = true, LANG = 'C' }\ncgroup.cpu_max = 2";
    let text = answer(text, None, None).unwrap();
    assert!(said(&text, "max = 5 ").ends_with("  # /etc/erluv.conf"));
    assert!(said(&text, "min_uid = 1 ").ends_with("  # default"));
    assert!(said(&text, "kill_timeout = \"7s\"").ends_with("  # /etc/erluv.conf"));
    let (default, x) = text.split_once("[profile.x]").unwrap();
    assert!(default.contains("# Profile default, for who asks for none\n[profile.default]"), "{text}");
    assert!(said(default, "keyring = true").ends_with("  # built-in profile"));
    assert!(said(default, "environment").ends_with("empty but for what is asked for"));
    for (key, origin) in [
        ("nice = 5", "/etc/erluv.conf"),
        ("limits.nofile = { soft = 1, hard = 2 }", "/etc/erluv.conf"),
        ("cgroup.cpu_max = \"200%\"", "/etc/erluv.conf"),
        ("keyring = true", "profile.default, built-in profile"),
        ("on_missing = \"required\"", "default"),
        ("wall_time = \"5s\"", "workers.max_time, /etc/erluv.conf"),
    ] {
        assert!(said(x, key).ends_with(&format!("  # {origin}")), "{key}\n{x}");
    }
    assert!(said(x, "user worker").ends_with("uid 1000, gid 1000, groups [1000, 4, 27] (who asks for none)"));
    assert!(said(x, "user 1234").ends_with("uid 1234, gid 5, groups [5]"));
    assert!(said(x, "environment").ends_with("HOME=/home/worker, LANG=C"));
}

#[test]
fn what_is_printed_is_toml_that_means_the_same() {
    for name in ["default", "strict", "build"] {
        let base = format!("[workers]\nprofile = '{name}'");
        let printed = answer(&base, Some(name), None).unwrap();
        let (_, profile) = printed.split_once("\n# Profile ").unwrap();
        let (_, profile) = profile.split_once('\n').unwrap();
        let of = |text: &str| settings(0, text).unwrap().nodes[0].workers.profiles[0].profile.clone();
        assert_eq!(of(&format!("{base}\n{profile}")), of(&base), "{profile}");
    }
}

#[test]
fn one_node_or_profile_can_be_asked_for() {
    let text = "[[node]]\nname = 'a@localhost'\nworkers.max = 7\n[[node]]\nname = 'b@localhost'";
    let both = answer(text, None, None).unwrap();
    assert!(both.contains("# Node a@localhost") && both.contains("# Node b@localhost"));
    let a = answer(text, None, Some("a@localhost")).unwrap();
    assert!(
        !a.contains("Node b@localhost") && said(&a, "max = 7").ends_with("# /etc/erluv.conf: [[node]] a@localhost")
    );
    let error = answer(text, None, Some("c@localhost")).unwrap_err();
    assert_eq!(error, "node: \"c@localhost\": not one of: a@localhost, b@localhost");
}

#[test]
fn s74_what_this_system_lacks_stands_at_its_key() {
    let settings = settings(0, "[workers]\nprofile = 'strict'").unwrap();
    let profile = &settings.nodes[0].workers.profiles[0];
    let mut sandbox = Sandbox::of(profile.profile.clone(), true);
    sandbox.profile.namespaces.net = false;
    sandbox.missing = vec!["net: no\u{1b}".to_owned()];
    let text = of_profile(profile, &[], &sandbox, &settings.nodes[0]);
    assert!(said(&text, "namespaces.net = true").ends_with("# built-in profile; missing on this system"), "{text}");
    assert!(said(&text, "missing on this system: net").ends_with("no\\x1b") || !text.contains('\u{1b}'), "{text}");
}
