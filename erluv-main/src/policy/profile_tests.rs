//! Profiles, users and ceilings: what a node may choose, and how often.

use std::time::Duration;

use super::tests::{launch, order, policy, rule};
use super::*;
use crate::settings::LimitName;

/// A policy with three profiles and two users.
const RULES: &str = "[workers]\nusers = ['worker', 'nobody']\nprofiles = ['default', 'x', 'own']\n\
                     [profile.x]\nnice = 5\numask = '027'\nlimits.nofile = 5\n[profile.own]\nuser = '1234:5'\n";

fn asks(profile: Option<&str>, user: Option<&str>) -> Launch {
    Launch { profile: profile.map(str::to_owned), user: user.map(str::to_owned), ..launch(&["/bin/sh"]) }
}

#[test]
fn s56_profiles_pass_by_the_names_of_the_policy_alone() {
    let policy = policy(0, RULES);
    let name = |order: Result<Order, Failure>| order.unwrap().sandbox.profile.name.to_string();
    assert_eq!(name(order(&policy, asks(None, None))), "default");
    assert_eq!(name(order(&policy, asks(Some("x"), None))), "x");
    for profile in ["strict", "build", "", "X", "x ", "../x", "x\0"] {
        assert_eq!(rule(order(&policy, asks(Some(profile), None))), "profiles", "{profile}");
    }
    let names = policy.sandboxes().map(|sandbox| sandbox.profile.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names, ["default", "x", "own"]);
}

#[test]
fn s56_the_order_is_that_of_its_profile() {
    let order = order(&policy(0, RULES), asks(Some("x"), None)).unwrap();
    assert_eq!((order.umask, order.nice), (0o027, Some(5)));
    let nofile = LimitName::try_from("nofile".to_owned()).unwrap().rlimit((Some(5), Some(5)));
    assert!(order.rlimits.contains(&nofile));
}

#[test]
fn s07_a_profile_s_own_user_is_the_only_one_under_it() {
    let policy = policy(0, RULES);
    let uid = |profile, user| order(&policy, asks(profile, user)).map(|order| order.identity.unwrap().uid);
    assert_eq!(uid(None, None), Ok(1000));
    assert_eq!(uid(Some("x"), Some("nobody")), Ok(65534));
    assert_eq!(uid(Some("own"), None), Ok(1234));
    assert_eq!(uid(Some("own"), Some("1234")), Ok(1234));
    for (profile, user) in [(Some("own"), "worker"), (Some("x"), "1234"), (None, "1234:5"), (None, "root")] {
        assert_eq!(rule(order(&policy, asks(profile, Some(user)))), "users", "{profile:?} {user}");
    }
}

#[test]
fn s56_a_request_lowers_the_priority_of_a_profile_and_never_raises_it() {
    let policy = policy(0, &RULES.replace("[profile.x]", "nice_min = -5\n[profile.x]"));
    let nice = |profile, nice| order(&policy, Launch { nice: Some(nice), ..asks(profile, None) });
    assert_eq!(nice(Some("x"), 5).unwrap().nice, Some(5));
    assert_eq!(nice(Some("x"), 19).unwrap().nice, Some(19));
    assert_eq!(nice(None, -5).unwrap().nice, Some(-5));
    for (profile, value) in [(Some("x"), 4), (Some("x"), -5), (None, -6)] {
        assert_eq!(rule(nice(profile, value)), "nice", "{value}");
    }
}

#[test]
fn s44_ceilings_hold_for_each_user_and_each_profile() {
    let mut policy = policy(0, &RULES.replace("users", "max = 9\nmax_per_user = 2\nmax_per_profile = 3\nusers"));
    let mut running = Running::default();
    let mut with = |running: &Running, profile: &str, user: &str| {
        policy.order(NodeIndex(0), asks(Some(profile), Some(user)), running, Instant::now())
    };
    running.add("worker", "x");
    assert!(with(&running, "x", "worker").is_ok());
    running.add("worker", "x");
    assert_eq!(rule(with(&running, "x", "worker")), "max_per_user");
    assert_eq!(rule(with(&running, "default", "worker")), "max_per_user");
    assert!(with(&running, "x", "nobody").is_ok());
    running.add("nobody", "x");
    assert_eq!(rule(with(&running, "x", "nobody")), "max_per_profile");
    assert!(with(&running, "default", "nobody").is_ok());
    running.remove("worker", "x");
    assert!(with(&running, "x", "worker").is_ok());
    running.all = 9;
    assert_eq!(rule(with(&running, "own", "1234")), "max");
}

#[test]
fn s44_without_privileges_all_workers_are_one_user_s() {
    let mut policy = policy(1000, "[workers]\nmax_per_user = 1");
    let mut running = Running::default();
    assert!(policy.order(NodeIndex(0), asks(None, None), &running, Instant::now()).is_ok());
    running.add("", "default");
    assert_eq!(rule(policy.order(NodeIndex(0), asks(None, None), &running, Instant::now())), "max_per_user");
}

#[test]
fn s44_starts_have_a_rate_and_refusals_do_not_count() {
    let mut policy = policy(0, "[workers]\nstarts_per_second = 2");
    let start = Instant::now();
    let mut at =
        |millis, launch| policy.order(NodeIndex(0), launch, &Running::default(), start + Duration::from_millis(millis));
    for _ in 0..5 {
        assert_eq!(rule(at(0, asks(None, Some("root")))), "users");
        assert_eq!(rule(at(0, launch(&["./x"]))), "program_path");
    }
    assert!(at(0, asks(None, None)).is_ok() && at(0, asks(None, None)).is_ok());
    assert_eq!(rule(at(499, asks(None, None))), "starts_per_second");
    assert!(at(500, asks(None, None)).is_ok());
    assert_eq!(rule(at(999, asks(None, None))), "starts_per_second");
}

#[test]
fn s26_a_profile_adds_to_the_environment_what_it_names() {
    let rules = "[workers]\nusers = ['worker', '1234:5']\npath = '/bin:/usr/bin'\n[profile.default.env]\nPATH = true\n\
                 HOME = true\nUSER = true\nLOGNAME = true\nSHELL = true\nTERM = true\nLANG = 'C'\nEMPTY = ''\n\
                 LD_X = 'y'";
    let policy = policy(0, rules);
    let env = |user: &str, launch: Launch| {
        let order = order(&policy, Launch { user: Some(user.to_owned()), ..launch }).unwrap();
        order.env.into_iter().map(|text| text.into_string().unwrap()).collect::<Vec<_>>()
    };
    let mut worker = vec!["EMPTY=", "HOME=/home/worker", "LANG=C", "LD_X=y", "LOGNAME=worker", "PATH=/bin:/usr/bin"];
    worker.extend(["SHELL=/bin/sh", "USER=worker"]);
    assert_eq!(env("worker", launch(&["/bin/sh"])), worker);
    assert!(env("1234", launch(&["/bin/sh"])).contains(&"HOME=/".to_owned()));
    let asked = vec![(ByteBuf::from("HOME"), ByteBuf::from("/tmp")), (ByteBuf::from("LAN"), ByteBuf::from("x"))];
    let mine = env("worker", Launch { env: asked, ..launch(&["/bin/sh"]) });
    assert!(mine.contains(&"HOME=/tmp".to_owned()) && !mine.contains(&"HOME=/home/worker".to_owned()));
    assert!(mine.contains(&"LANG=C".to_owned()), "{mine:?}");
    let terminal = Some(erluv_proto::ipc::Terminal { rows: 0, columns: 0, echo: false, settings: Vec::new() });
    let on = Launch { stdin: erluv_proto::ipc::InputFrom::Terminal, terminal, ..launch(&["/bin/sh"]) };
    assert!(env("worker", on).contains(&"TERM=xterm".to_owned()));
    let none = self::policy(0, "[profile.default.env]\nPATH = false");
    assert!(order(&none, launch(&["/bin/sh"])).unwrap().env.is_empty());
}

#[test]
fn s56_folders_pass_by_the_patterns_of_the_policy() {
    let policy = policy(0, "[workers]\nfolders = ['/usr/*', '/none']");
    let with = |cwd: Option<&str>| order(&policy, Launch { cwd: cwd.map(ByteBuf::from), ..launch(&["/bin/sh"]) });
    assert_eq!(with(Some("/usr/bin/")).unwrap().cwd.as_c_str(), c"/usr/bin");
    assert_eq!(with(None).unwrap().cwd.as_c_str(), c"/");
    assert_eq!(with(Some("/none")).unwrap_err(), Failure::Step(Step::Chdir, nix::libc::ENOENT));
    for cwd in ["/", "/etc", "/usr/../etc", "/usr/bin/../../etc"] {
        assert_eq!(rule(with(Some(cwd))), "folders", "{cwd}");
    }
}

#[test]
fn s58_no_worker_has_more_time_than_the_policy_gives() {
    let wall = |text: &str| policy(0, text).sandboxes().next().unwrap().profile.wall.map(|wall| wall.as_secs());
    assert_eq!(wall(""), None);
    assert_eq!(wall("[profile.default]\nwall_time = '5s'"), Some(5));
    assert_eq!(wall("[workers]\nmax_time = '3s'"), Some(3));
    assert_eq!(wall("[workers]\nmax_time = '3s'\n[profile.default]\nwall_time = '5s'"), Some(3));
    assert_eq!(wall("[workers]\nmax_time = '9s'\n[profile.default]\nwall_time = '5s'"), Some(5));
}

#[test]
fn s74_what_a_profile_may_do_without_is_told_and_what_it_may_not_is_an_error() {
    let lacks = |text: &str, missing: &[&str]| {
        let mut policy = policy(0, text);
        for held in &mut policy.profiles {
            let sandbox = Rc::get_mut(&mut held.sandbox).unwrap();
            sandbox.missing = missing.iter().map(|what| (*what).to_owned()).collect();
        }
        policy.lacks().map_err(|error| error.to_string())
    };
    assert_eq!(lacks("", &[]), Ok(Vec::new()));
    let told = lacks("", &["keyring", "seccomp"]).unwrap();
    assert_eq!(told, ["profile.default: this system lacks: keyring", "profile.default: this system lacks: seccomp"]);
    let error = lacks("[workers]\nprofiles = ['default', 'strict']", &["landlock", "net"]).unwrap_err();
    assert!(error.starts_with("profile.strict: this system lacks: landlock; net: set on_missing"), "{error}");
    let best_effort = "[workers]\nprofile = 'strict'\n[profile.strict]\non_missing = 'best_effort'";
    assert_eq!(lacks(best_effort, &["x"]).unwrap().len(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn what_mounts_start_from_has_to_be_there() {
    let check = |keys: &str| {
        let text = format!("[profile.default.mounts]\n{keys}");
        let mut policy = policy(0, &text);
        // Whether this system could mount them is not the question here.
        let profile = &mut Rc::get_mut(&mut policy.profiles[0].sandbox).unwrap().profile;
        profile.mounts =
            crate::settings::scenarios::settings(0, &text).unwrap().nodes[0].workers.profiles[0].profile.mounts.clone();
        policy.profiles[0].check_paths().map_err(|error| error.to_string())
    };
    assert_eq!(check("bind = ['/usr', '/dev/null']\nbind_read_only = '/etc:/x'\nhidden = ['/none']"), Ok(()));
    let told = check("bind = ['/none/such:/usr']").unwrap_err();
    assert!(told.starts_with("profile.default.mounts.bind: \"/none/such\": is not there: make it"), "{told}");
    assert!(check("bind_read_only = '/none'").unwrap_err().starts_with("profile.default.mounts.bind_read_only: "));
    assert!(check("root = '/dev/null'").unwrap_err().starts_with("profile.default.mounts.root: "));
}

#[cfg(target_os = "linux")]
#[test]
fn s24_a_pinned_program_is_the_file_that_was_looked_at() {
    use std::os::unix::fs::MetadataExt;
    let folder = crate::settings::TestFolder::new("policy-pin");
    let path = folder.file("prog", "", 0o755);
    std::os::unix::fs::symlink(&path, folder.0.join("link")).unwrap();
    let before = path.metadata().unwrap().ino();
    let pinned = policy(0, &format!("[workers]\npin = true\nprograms = '{}/*'", folder.0.display()));
    let order = order(&pinned, launch(&[folder.0.join("link").to_str().unwrap()])).unwrap();
    std::fs::rename(folder.file("other", "", 0o755), &path).unwrap();
    let file = std::fs::File::from(order.pinned.unwrap());
    assert_eq!((file.metadata().unwrap().ino(), order.path.to_str().unwrap()), (before, path.to_str().unwrap()));
    assert_ne!(path.metadata().unwrap().ino(), before);
    let with = |program: &std::path::Path| rule(self::order(&pinned, launch(&[program.to_str().unwrap()])));
    assert_eq!(with(std::path::Path::new("/bin/sh")), "programs");
    assert!(with(&folder.0).contains("Step(Exec, 13)"), "a folder");
    assert!(with(&folder.file("deaf", "", 0o644)).contains("Step(Exec, 13)"));
    let free = policy(0, "");
    assert!(self::order(&free, launch(&["/bin/sh"])).unwrap().pinned.is_none());
}

#[cfg(target_os = "linux")]
#[test]
fn s24_below_a_root_of_its_own_a_program_is_what_is_found_there() {
    let folder = crate::settings::TestFolder::new("policy-root");
    std::fs::create_dir_all(folder.0.join("usr/bin")).unwrap();
    folder.file("usr/bin/prog", "", 0o755);
    std::os::unix::fs::symlink("usr/bin", folder.0.join("bin")).unwrap();
    std::os::unix::fs::symlink("/usr/bin/prog", folder.0.join("absolute")).unwrap();
    std::os::unix::fs::symlink("../../../../../../bin/sh", folder.0.join("up")).unwrap();
    let rules =
        format!("[workers]\nprograms = '/usr/bin/*'\n[profile.default.mounts]\nroot = '{}'", folder.0.display());
    let mut policy = policy(0, &rules);
    // Whether this system could make it the root is not the question here.
    let profile = Rc::get_mut(&mut policy.profiles[0].sandbox).unwrap();
    profile.profile.mounts = Some(crate::sandbox::Mounts {
        root: Some(CString::new(folder.0.to_str().unwrap()).unwrap()),
        ..crate::sandbox::Mounts::default()
    });
    let found = |program: &str| order(&policy, launch(&[program])).map(|order| order.path.into_string().unwrap());
    for program in ["prog", "/bin/prog", "/usr/bin/prog", "/absolute", "/../bin/prog"] {
        assert_eq!(found(program), Ok("/usr/bin/prog".to_owned()), "{program}");
    }
    for program in ["/up", "/bin/sh", "sh"] {
        assert_eq!(found(program), Err(Failure::Step(Step::Exec, nix::libc::ENOENT)), "{program}");
    }
}
