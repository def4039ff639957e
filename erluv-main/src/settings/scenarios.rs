//! Whole configurations, and what comes of them.

mod nodes;

use super::trusted::tests::Folder;
use erluv_proto::ids::ProfileName;

use super::*;
use crate::sandbox::{CallList, Seccomp};

/// The settings of a configuration file with this text, and one node where it names none.
pub(crate) fn settings(euid: u32, text: &str) -> Result<Settings, String> {
    layered(euid, text, &[], "")
}

fn layered(euid: u32, text: &str, vars: &[(&str, &str)], line: &str) -> Result<Settings, String> {
    let environment = environment(euid, vars);
    let args = args(line);
    let compose = || {
        let mut layers = vec![Layer::of_file(Path::new("/base"), "node = 'shop@127.0.0.1'")?];
        layers.push(Layer::of_file(Path::new("/etc/erluv.conf"), text)?);
        layers.extend(Layer::of_environment(&environment.vars)?);
        layers.extend(Layer::of_args(&args));
        resolve(merge::merge(layers)?, &environment)
    };
    compose().map_err(|error| error.to_string())
}

fn environment(euid: u32, vars: &[(&str, &str)]) -> Environment {
    let vars = vars.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let host = Some("here.example.org".to_owned());
    Environment { euid, home: Some(PathBuf::from("/home/me")), vars, host, life: 0xab }
}

fn args(line: &str) -> Args {
    Args::parse_words(format!("erluv-main {line}").split_whitespace().map(Into::into)).unwrap()
}

fn wrong(text: &str, message: &str) {
    let error = settings(0, text).unwrap_err();
    assert!(error.starts_with(message), "{text}\n  {error}\n  {message}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn the_defaults_are_those_of_the_manual() {
    let settings = settings(1000, "").unwrap();
    let node = &settings.nodes[0];
    assert_eq!((node.peer.as_str(), node.own.as_str()), ("shop@127.0.0.1", "erluv_000000ab@127.0.0.1"));
    assert_eq!(node.cookie_file, Path::new("/home/me/.erlang.cookie"));
    assert_eq!(node.cookie_trust, CookieTrust { owner: 1000, weak: false });
    assert_eq!((&node.chroot, node.user.as_deref()), (&resolve::default_chroot(), None));
    assert_eq!((node.epmd_port, node.node_port), (4369, None));
    let seconds = [node.die_timeout, node.heartbeat, node.hang_timeout, node.kill_timeout, node.peer_timeout];
    assert_eq!(seconds.map(|time| time.as_secs()), [30, 1, 10, 5, 90]);
    assert_eq!((node.connect_timeout.as_secs(), node.max_frame), (5, 1 << 20));
    assert_eq!((settings.cgroup, node.sandbox), (CgroupUse::Auto, SandboxNeed::BestEffort));
    assert!(!node.share_cookie && settings.pid_file.is_none() && settings.warnings.is_empty());
    let workers = &node.workers;
    assert!(workers.users.is_empty() && !workers.allow_root && workers.shell);
    assert_eq!((workers.min_uid, workers.max, workers.max_args_bytes, workers.nice_min), (1, 10_000, 65_536, 0));
    assert_eq!(
        (workers.programs.as_slice(), workers.env.as_slice()),
        (["/**".to_owned()].as_slice(), ["*".to_owned()].as_slice())
    );
    assert!(!workers.pin && workers.groups.is_none() && workers.folders.is_none());
    assert_eq!((workers.max_per_user, workers.max_per_profile, workers.starts_per_second), (None, None, None));
    assert_eq!((workers.profiles.len(), workers.max_time), (1, None));
    let core = Rlimit { resource: nix::sys::resource::Resource::RLIMIT_CORE as i32, soft: 0, hard: 0 };
    let default = Profile {
        need: SandboxNeed::BestEffort,
        rlimits: vec![core],
        keyring: true,
        seccomp: Seccomp { list: CallList::Default, kill: false },
        ..Profile::plain(ProfileName::parse("default").unwrap())
    };
    let (user, group, groups) = (None, None, None);
    assert_eq!(workers.profiles[0], ProfileSettings { profile: default, user, group, groups, env: Vec::new() });
}

#[test]
fn what_comes_later_wins() {
    let text = "die_timeout = '1s'\nuser = 'file'\nepmd_port = 1\nprefix = 'file'\n[workers]\nmax = 1\nshell = false";
    let vars = [("ERLUV_DIE_TIMEOUT", "2s"), ("ERLUV_USER", "007"), ("ERLUV_EPMD_PORT", "2"), ("HOME", "/x")];
    let line = "-o die_timeout=3s -o workers.max=3 -o epmd_port=3 --die-timeout 4s --node a@localhost";
    let settings = layered(0, text, &vars, line).unwrap();
    let node = &settings.nodes[0];
    assert_eq!((node.die_timeout.as_secs(), node.epmd_port), (4, 3));
    assert_eq!((node.user.as_deref(), node.own.alive()), (Some("007"), "file_000000ab"));
    assert_eq!((node.workers.max, node.workers.shell), (3, false));
    assert_eq!((settings.nodes.len(), node.peer.as_str()), (1, "a@localhost"));
}

#[test]
fn a_mistake_is_told_with_its_layer_and_its_key() {
    wrong("nod = 'a@h'", "/etc/erluv.conf: nod: no such key");
    wrong("[workers]\nuser = 'x'", "/etc/erluv.conf: workers.user: no such key");
    wrong("[profile.x.limits]\nfiles = 1", "/etc/erluv.conf: profile.x.limits");
    wrong("[profile.x]\nchroot = 1", "/etc/erluv.conf: profile.x.chroot: no such key");
    wrong("[profile.'../x']", "/etc/erluv.conf: profile");
    wrong("'workers.max' = 5", "/etc/erluv.conf: workers.max: no such key");
    wrong("epmd_port = '12'", "/etc/erluv.conf: epmd_port: write a whole number from 1 to 65535, not the string");
    wrong("epmd_port = 1.9", "/etc/erluv.conf: epmd_port: write a whole number");
    wrong("share_cookie = 'yes'", "/etc/erluv.conf: share_cookie: write true or false, not the string \"yes\"");
    wrong("share_cookie = 1", "/etc/erluv.conf: share_cookie: write true or false");
    wrong("user = 12", "/etc/erluv.conf: user: write a string in quotes, not the number 12");
    wrong("die_timeout = 30", "/etc/erluv.conf: die_timeout: a time has a unit, write \"30s\"");
    wrong("cookie_file = 'x'", "/etc/erluv.conf: cookie_file: write an absolute path");
    wrong("node = 'shop'", "/etc/erluv.conf: node: \"shop\": not a node name");
    wrong("node = ['a@localhost', 'a@localhost']", "/etc/erluv.conf: node: a@localhost is named twice");
    wrong("[workers]\nprograms = ['bin/*']", "/etc/erluv.conf: workers.programs: \"bin/*\": write an absolute");
    wrong("[workers]\nprograms = ['/bin/[']", "/etc/erluv.conf: workers.programs: ");
    wrong("[workers]\nenv = ['A-B']", "/etc/erluv.conf: workers.env: ");
    wrong("[workers]\npath = '/bin::/usr/bin'", "/etc/erluv.conf: workers.path: \"\": write absolute folders");
    wrong("[workers]\npath = '/bin:.'", "/etc/erluv.conf: workers.path: \".\": write absolute folders");
    wrong("node = ", "\"/etc/erluv.conf\": TOML parse error at line 1");
    wrong("cookie = 'x'", "/etc/erluv.conf: cookie: no such key");
}

#[test]
fn a_mistake_on_the_command_line_or_in_the_environment_is_told_so() {
    let wrong = |vars: &[(&str, &str)], line: &str, message: &str| {
        let error = layered(0, "", vars, line).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    };
    wrong(&[], "-o workers.maximum=5", "-o workers.maximum: workers.maximum: no such key");
    wrong(&[], "-o workers.max=0", "-o workers.max: workers.max: write a whole number from 1");
    wrong(&[], "-o workers=0", "-o workers: workers: ");
    wrong(&[], "--die-timeout 30", "--die-timeout: die_timeout: write a time such as \"30s\"");
    wrong(&[], "--name me", "--name: name: \"me\": not a node name");
    wrong(&[("ERLUV_MAX_FRAME", "lots")], "", "environment ERLUV_MAX_FRAME: max_frame: write a whole number");
    wrong(&[("ERLUV_PLAINTEXT", "1")], "", "environment ERLUV_PLAINTEXT: plaintext: write true or false");
    wrong(&[("ERLUV_NODES", "a@h")], "", "environment ERLUV_NODES: no such key");
    wrong(&[("ERLUV_WORKERS", "1")], "", "environment ERLUV_WORKERS: no such key");
}

#[test]
fn s59_the_environment_has_no_cookie() {
    let error = layered(0, "", &[("ERLUV_COOKIE", "secret")], "").unwrap_err();
    assert!(error.contains("write it into a file") && !error.contains("secret"), "{error}");
}

#[test]
fn variables_of_tests_and_of_others_are_passed_over() {
    assert!(layered(0, "", &[("ERLUV_TEST_X", "1"), ("ERL_FLAGS", "x"), ("erluv_node", "x")], "").is_ok());
}

#[test]
fn every_scalar_key_has_its_variable_and_its_option() {
    let values = [
        ("prefix", "p"),
        ("cookie_file", "/c"),
        ("user", "u"),
        ("group", "g"),
        ("chroot", "/r"),
        ("epmd_port", "1"),
        ("node_port", "1"),
        ("die_timeout", "1s"),
        ("heartbeat", "1s"),
        ("hang_timeout", "20s"),
        ("kill_timeout", "0s"),
        ("peer_timeout", "1m"),
        ("connect_timeout", "1s"),
        ("max_frame", "4096"),
        ("input_cap", "4096"),
        ("share_cookie", "true"),
        ("pid_file", "/p"),
        ("cgroup", "auto"),
        ("cgroup", "false"),
        ("sandbox", "required"),
        ("plaintext", "true"),
        ("weak_cookie", "false"),
        ("name", "e@localhost"),
        ("node", "a@localhost"),
    ];
    for (key, value) in values {
        let variable = format!("ERLUV_{}", key.to_uppercase());
        let by_variable = layered(0, "", &[(&variable, value)], "").unwrap();
        let by_option = layered(0, "", &[], &format!("-o {key}={value}")).unwrap();
        assert_eq!(by_variable.origins.of(key), Some(format!("environment {variable}").as_str()));
        assert_eq!(by_option.origins.of(key), Some(format!("-o {key}").as_str()));
        let [by_variable, by_option] = [by_variable, by_option].map(|mut settings| {
            settings.nodes.iter_mut().for_each(|node| node.origins = Origins::default());
            format!("{:?}", Settings { origins: Origins::default(), ..settings })
        });
        assert_eq!(by_variable, by_option, "{key}");
    }
}

#[test]
fn several_nodes_have_one_policy_and_names_of_their_own() {
    let settings = layered(0, "", &[("ERLUV_NODE", "a@localhost, b@127.0.0.1")], "").unwrap();
    let [a, b] = settings.nodes.as_slice() else { panic!("{settings:?}") };
    assert_eq!((a.peer.as_str(), b.peer.as_str()), ("a@localhost", "b@127.0.0.1"));
    assert_eq!((a.own.host(), b.own.host()), ("localhost", "127.0.0.1"));
    assert_ne!(a.own.alive(), b.own.alive());
    wrong("name = 'e@localhost'\nnode = ['a@localhost', 'b@localhost']", "name: one name cannot serve several");
}

#[test]
fn no_node_is_an_error_that_says_what_to_write() {
    wrong("node = []", "node: none is named: write node = \"name@host\"");
}

#[test]
fn s65_a_node_elsewhere_needs_the_word_plaintext() {
    wrong("node = 'a@far'", "node: a@far is not on this machine's loopback");
    let settings = settings(0, "node = 'a@far'\nplaintext = true").unwrap();
    assert_eq!(settings.nodes[0].own.as_str(), "erluv_000000ab@here");
    assert!(settings.warnings[0].contains("can be read"), "{:?}", settings.warnings);
}

#[test]
fn a_profile_is_the_default_but_for_what_it_says() {
    let text =
        "[workers]\nprofile = 'x'\n[profile.x]\numask = '022'\n[profile.x.limits]\nnofile = { soft = 1, hard = 2 }";
    let profile = settings(0, text).unwrap().nodes[0].workers.profiles[0].profile.clone();
    assert_eq!((profile.no_new_privs, profile.umask, profile.rlimits.len()), (true, 0o022, 2));
    let unlimited = "[profile.default.limits]\ncore = 'unlimited'";
    assert_ne!(settings(0, unlimited).unwrap().nodes[0].workers.profiles[0].profile.rlimits[0].soft, 0);
    wrong("[workers]\nprofile = 'x'", "workers.profile: there is no profile \"x\"");
    wrong("hang_timeout = '1s'", "hang_timeout: write a time above heartbeat");
}

#[test]
fn a_file_that_was_named_has_to_be_there_and_the_default_one_not() {
    let folder = Folder::new("load");
    let own = nix::unistd::geteuid().as_raw();
    let environment = Environment { home: Some(folder.0.clone()), ..self::environment(own, &[]) };
    let load = |line: &str| {
        // Root's default file is the machine's own, which a test leaves alone.
        load(&args(&format!("{line} -o chroot=/")), &environment).map_err(|error| error.to_string())
    };
    let missing = load(&format!("-f {}/none", folder.0.display())).unwrap_err();
    assert!(missing.ends_with("none\": no such file"), "{missing}");
    let file = folder.file("conf", "node = 'a@localhost'", 0o600);
    let settings = load(&format!("-f {}", file.display())).unwrap();
    assert_eq!(settings.nodes[0].peer.as_str(), "a@localhost");
    let open = folder.file("open", "node = 'a@localhost'", 0o602);
    assert!(load(&format!("-f {}", open.display())).unwrap_err().contains("chmod go-w"));
    let bytes = folder.0.join("bytes");
    std::fs::write(&bytes, b"node = '\xff'").unwrap();
    assert!(load(&format!("-f {}", bytes.display())).unwrap_err().contains("UTF-8"));
    let stranger = Environment { euid: if own == 0 { 4_000_000 } else { own }, ..environment };
    let default = file_layer(&args(""), &stranger);
    assert!(matches!(default, Ok(None)), "{default:?}");
}
