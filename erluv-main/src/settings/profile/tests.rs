use super::*;
use crate::sandbox::{IoPriority, Scheduler};
use crate::settings::Settings;
use crate::settings::scenarios::settings;

/// The profile `x` of a configuration that nobody may ask for.
fn profile(keys: &str) -> Result<ProfileSettings, String> {
    let Settings { profiles, .. } = settings(0, &format!("[profile.x]\n{keys}"))?;
    Ok(profiles.into_iter().find(|found| found.profile.name.as_str() == "x").unwrap())
}

fn wrong(keys: &str, message: &str) {
    let error = profile(keys).unwrap_err();
    assert!(error.contains(message) && !error.contains('\n'), "{keys}\n  {error}\n  {message}");
}

fn built_in(name: &str) -> Profile {
    let profiles = settings(0, "").unwrap().profiles;
    profiles.into_iter().find(|found| found.profile.name.as_str() == name).unwrap().profile
}

#[test]
fn what_a_profile_does_not_say_is_the_default_of_the_key() {
    let name = ProfileName::parse("x").unwrap();
    let plain = Profile { rlimits: vec![LimitName::CORE.rlimit((Some(0), Some(0)))], ..Profile::plain(name) };
    let expected = ProfileSettings { profile: plain, user: None, group: None, groups: None, env: Vec::new() };
    assert_eq!(profile("").unwrap(), expected);
    for table in ["landlock", "mounts", "namespaces", "cgroup", "limits", "env"] {
        wrong(&format!("{table} = 1"), table);
        wrong(&format!("[profile.x.{table}]\nNone-such = 1"), table);
    }
    assert_eq!(profile("[profile.x.mounts]\n[profile.x.cgroup]\n[profile.x.namespaces]\n").unwrap(), expected);
}

#[test]
fn every_key_of_the_table_is_taken() {
    let text = "on_missing = 'best_effort'\nuser = 'u'\ngroup = 'g'\ngroups = ['a', 'b']\nno_new_privs = true\n\
                umask = '022'\nnice = 5\nio_priority = 'idle'\nscheduler = 'batch'\noom_score_adj = 500\nkeyring = true\n\
                lock_personality = true\nmemory_deny_write_execute = true\nseccomp = 'strict'\nseccomp_action = 'kill'\n\
                wall_time = '5m'\noutput_limit = '1M'\nlimits.nofile = 5\nenv = { HOME = true, LANG = 'C', TERM = false }";
    let ProfileSettings { profile, user, group, groups, env } = profile(text).unwrap();
    let expected = Profile {
        need: SandboxNeed::BestEffort,
        no_new_privs: true,
        umask: 0o022,
        rlimits: profile.rlimits.clone(),
        nice: Some(5),
        io_priority: Some(IoPriority::Idle),
        scheduler: Some(Scheduler::Batch),
        oom_score_adj: Some(500),
        keyring: true,
        lock_personality: true,
        memory_deny_write_execute: true,
        seccomp: Seccomp { list: CallList::Strict, kill: true },
        wall: Some(Duration::from_secs(300)),
        output: Some(1 << 20),
        ..Profile::plain(profile.name.clone())
    };
    assert_eq!((profile.rlimits.len(), &profile), (2, &expected));
    assert_eq!((user.as_deref(), group.as_deref()), (Some("u"), Some("g")));
    assert_eq!(groups, Some(vec!["a".to_owned(), "b".to_owned()]));
    let text = |text: &str| Variable::Text(text.to_owned());
    let named = |name: &str, value| (name.to_owned(), value);
    assert_eq!(env, [named("HOME", Variable::Known), named("LANG", text("C")), named("TERM", Variable::Absent)]);
}

#[test]
fn every_key_of_the_inner_tables_is_taken() {
    let text = "[profile.x.landlock]\nread = '/r'\nwrite = ['/w']\nexecute = ['/e']\nbind = 1\nconnect = []\nscopes = true\n\
                [profile.x.mounts]\nroot = '/x'\nread_only = true\nprivate_tmp = '1M'\nprivate_dev = true\n\
                private_proc = true\nhidden = ['/h']\nbind = ['/b']\nbind_read_only = ['/c:/d']\n\
                [profile.x.namespaces]\npid = true\nnet = true\nipc = true\nuser = true\ncgroup = true\nhostname = 'n'\n\
                [profile.x.cgroup]\nfreeze = true\nmemory_max = '2M'\nmemory_high = '1M'\nswap_max = 0\npids_max = 9\ncpu_max = 1\n\
                cpu_weight = 7\nio_weight = 8\nio_max = ['8:0 wbps=1']";
    let found = profile(text).unwrap().profile;
    let rules = found.landlock.unwrap();
    assert_eq!((rules.read, rules.write, rules.execute), (vec![c"/r".into()], vec![c"/w".into()], vec![c"/e".into()]));
    assert_eq!((rules.bind, rules.connect, rules.scopes), (Some(vec![1]), Some(vec![]), true));
    let mounts = found.mounts.unwrap();
    assert_eq!((mounts.root, mounts.private_tmp), (Some(c"/x".to_owned()), Some(1 << 20)));
    assert!(mounts.read_only && mounts.private_dev && mounts.private_proc && mounts.hidden == [c"/h".to_owned()]);
    let [read_only, writable] = mounts.binds.as_slice() else { panic!("{:?}", mounts.binds) };
    assert_eq!((read_only.target.as_c_str(), read_only.writable), (c"/d", false));
    assert_eq!((writable.target.as_c_str(), writable.writable), (c"/b", true));
    let uts = Some(c"n".to_owned());
    assert_eq!(found.namespaces, Namespaces { pid: true, net: true, ipc: true, uts, user: true, cgroup: true });
    let cgroup = found.cgroup;
    assert!(cgroup.freeze);
    assert_eq!((cgroup.memory_max, cgroup.memory_high, cgroup.swap_max), (Some(2 << 20), Some(1 << 20), Some(0)));
    assert_eq!((cgroup.pids_max, cgroup.cpu_max), (Some(9), Some(100_000)));
    assert_eq!((cgroup.cpu_weight, cgroup.io_weight, cgroup.io_max.len()), (Some(7), Some(8), 1));
}

#[cfg(target_os = "linux")]
#[test]
fn what_does_not_go_together_is_an_error_that_names_the_key() {
    wrong("no_new_privs = false\nseccomp = 'default'", "profile.x.seccomp: works with no_new_privs = true alone");
    wrong("no_new_privs = false\n[profile.x.landlock]\nexecute = ['/']", "profile.x.landlock: works with no_new_privs");
    wrong("no_new_privs = false\nmemory_deny_write_execute = true", "profile.x.memory_deny_write_execute: works with");
    wrong("seccomp_action = 'kill'", "profile.x.seccomp_action: there is no list");
    wrong("ambient = ['chown']", "profile.x.ambient: has what is not in capabilities");
    let both = "capabilities = ['chown']\nambient = ['CAP_CHOWN']";
    assert_eq!(profile(both).unwrap().profile.ambient, 1);
    wrong(&format!("{both}\nnamespaces.user = true"), "profile.x.ambient: a user namespace");
    wrong("[profile.x.landlock]\nread = ['/']", "profile.x.landlock.execute: nothing could be executed");
    wrong("[profile.x.cgroup]\nmemory_max = 5\nmemory_high = 6", "profile.x.cgroup.memory_high: is above memory_max");
    wrong("cgroup.io_max = ['8:0 rbps=1', '8:0 wbps=1']", "profile.x.cgroup.io_max: a device is there twice");
    wrong("[profile.x.mounts]\nbind = ['/a:/b']\nbind_read_only = ['/b']", "profile.x.mounts.bind: \"/b\" is bound");
    wrong("[profile.x.mounts]\nbind = ['/a']\nhidden = ['/a']", "profile.x.mounts.hidden: \"/a\" is bound to and");
    wrong("mounts.hidden = ['/']", "profile.x.mounts.hidden: \"/\" cannot be hidden");
    wrong("env.LANG = true", "profile.x.env.LANG: write its value in quotes");
    wrong("env.A-B = 'x'", "profile.x.env");
    wrong("[profile.default]\nno_new_privs = false", "profile.default.seccomp: works with no_new_privs = true alone");
}

#[test]
fn a_profile_takes_what_it_does_not_say_from_the_one_that_it_extends() {
    let x = profile("extends = 'strict'\nseccomp = 'default'\nmounts.private_tmp = false\nlimits.nofile = 5")
        .unwrap()
        .profile;
    let strict = built_in("strict");
    assert_eq!((x.seccomp.list, x.need, x.rlimits.len()), (CallList::Default, SandboxNeed::Required, 3));
    assert_eq!((&x.namespaces, &x.landlock, x.keyring), (&strict.namespaces, &strict.landlock, true));
    let mounts = Mounts { private_tmp: None, ..strict.mounts.clone().unwrap() };
    assert_eq!(x.mounts, Some(mounts));
    let x = profile("extends = 'default'").unwrap().profile;
    assert_eq!((x.need, x.keyring), (SandboxNeed::Required, true), "on_missing is not taken over");
    let x =
        profile("extends = 'y'\n[profile.y]\nextends = 'build'\nnice = 3\n[profile.build]\nnice = 2\numask = '027'");
    let x = x.unwrap().profile;
    assert_eq!((x.nice, x.umask, x.cgroup.pids_max), (Some(3), 0o027, Some(512)));
    wrong("extends = 'none'", "profile.x.extends: there is no profile \"none\"");
    wrong("extends = 'x'", "profile.x.extends: \"x\" extends itself");
    wrong("extends = 'y'\n[profile.y]\nextends = 'x'", "extends itself");
    wrong("extends = 5", "profile.x.extends");
}

#[test]
fn built_in_profiles_are_changed_key_by_key() {
    let text = "[workers]\nprofile = 'strict'\n[profile.strict]\nmounts.private_tmp = '1M'\nnamespaces.net = false";
    let changed = settings(0, text).unwrap().nodes[0].workers.profiles[0].profile.clone();
    let mut expected = built_in("strict");
    expected.mounts.as_mut().unwrap().private_tmp = Some(1 << 20);
    expected.namespaces.net = false;
    assert_eq!(changed, expected);
    let names = settings(0, "").unwrap().profiles.into_iter().map(|found| found.profile.name.to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["build", "default", "strict"]);
}

#[test]
fn the_manual_prints_the_built_in_profiles_as_they_are() {
    let manual = include_str!("../../../erluv.conf.5");
    let (_, rest) = manual.split_once(".Ss Built-in profiles").unwrap();
    let (_, rest) = rest.split_once(".Bd -literal\n").unwrap();
    let (printed, _) = rest.split_once("\n.Ed\n").unwrap();
    let printed = printed.replace("\\(dq", "\"").replace("\\-", "-");
    assert_eq!(printed.trim(), crate::settings::BUILT_IN.trim());
}
