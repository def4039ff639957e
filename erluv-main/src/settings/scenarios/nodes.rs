//! `[[node]]` tables, and what nodes may ask for.

use super::*;

#[test]
fn what_stands_in_a_node_s_table_goes_before_the_same_key_above() {
    let text = "epmd_port = 7\nuser = 'top'\n[workers]\nmax = 5\nshell = false\n\
                [[node]]\nname = 'a@localhost'\nown_name = 'me@localhost'\ncookie_file = '/a'\nuser = 'one'\n\
                [node.workers]\nmax = 3\nprofiles = ['strict']\n[[node]]\nname = 'b@localhost'";
    let settings = settings(0, text).unwrap();
    let [a, b] = settings.nodes.as_slice() else { panic!("{settings:?}") };
    assert_eq!((a.peer.as_str(), a.own.as_str()), ("a@localhost", "me@localhost"));
    assert_eq!((b.peer.as_str(), b.own.alive().starts_with("erluv_")), ("b@localhost", true));
    assert_eq!((a.user.as_deref(), b.user.as_deref()), (Some("one"), Some("top")));
    assert_eq!(
        (a.cookie_file.as_path(), b.cookie_file.as_path()),
        (Path::new("/a"), Path::new("/home/me/.erlang.cookie"))
    );
    assert_eq!((a.epmd_port, b.epmd_port, a.workers.max, b.workers.max), (7, 7, 3, 5));
    assert!(!a.workers.shell && !b.workers.shell);
    let names = [a, b].map(|node| node.workers.profiles[0].profile.name.to_string());
    assert_eq!(names, ["strict", "default"]);
    let origins = [a, b].map(|node| node.origins.of("workers.max").unwrap().to_owned());
    assert_eq!(origins, ["/etc/erluv.conf: [[node]] a@localhost", "/etc/erluv.conf"]);
}

#[test]
fn the_command_line_chooses_among_the_tables_and_does_not_lose_them() {
    let text = "[[node]]\nname = 'a@localhost'\nworkers.max = 3\n[[node]]\nname = 'b@localhost'";
    let settings = layered(0, text, &[], "--node c@localhost --node a@localhost -o workers.max=9").unwrap();
    let max = settings.nodes.iter().map(|node| (node.peer.as_str(), node.workers.max)).collect::<Vec<_>>();
    assert_eq!(max, [("c@localhost", 9), ("a@localhost", 3)]);
}

#[test]
fn a_mistake_in_a_node_s_table_is_told_with_the_node() {
    let of = |keys: &str| format!("[[node]]\nname = 'a@localhost'\n{keys}");
    let place = "/etc/erluv.conf: [[node]] a@localhost: ";
    for (keys, message) in [
        ("usr = 'x'", "usr: no such key"),
        ("workers.user = 'x'", "workers.user: no such key"),
        ("workers.max = 0", "workers.max: write a whole number"),
        ("own_name = 'x'", "own_name: \"x\": not a node name"),
        ("cgroup = true", "cgroup: is for all nodes: write it above"),
        ("pid_file = '/x'", "pid_file: is for all nodes"),
        ("profile.x.nice = 5", "profile: is for all nodes"),
        ("node = 'b@localhost'", "node: is for all nodes"),
    ] {
        wrong(&of(keys), &format!("{place}{message}"));
    }
    wrong(&of("workers.profile = 'x'"), "[[node]] a@localhost: workers.profile: there is no profile \"x\"");
    wrong(&of("hang_timeout = '1s'"), "[[node]] a@localhost: hang_timeout: write a time above");
    wrong("[[node]]\nuser = 'x'", "/etc/erluv.conf: node.name: write name = \"name@host\" in each");
    wrong("[[node]]\nname = 5", "/etc/erluv.conf: node.name: write name =");
    wrong("[[node]]\nname = 'x'", "/etc/erluv.conf: node.name: \"x\": not a node name");
    wrong(&format!("{}\n{}", of(""), of("")), "/etc/erluv.conf: node: a@localhost is named twice");
    wrong("node = ['b@localhost', { name = 'a@localhost' }]", "/etc/erluv.conf: node: write names alone, or");
    wrong(&format!("name = 'e@localhost'\n{}\n[[node]]\nname = 'b@localhost'", of("")), "name: one name cannot");
}

#[test]
fn the_warnings_are_those_of_each_node() {
    let text = "[[node]]\nname = 'a@far'\nplaintext = true\n[[node]]\nname = 'b@localhost'\nweak_cookie = true";
    let warnings = settings(0, text).unwrap().warnings;
    assert!(matches!(warnings.as_slice(), [far, weak] if far.contains("a@far") && weak.starts_with("weak_cookie")));
    wrong(
        "[[node]]\nname = 'a@far'\n[[node]]\nname = 'b@far'\nplaintext = true",
        "[[node]] a@far: node: a@far is not on",
    );
}

#[test]
fn profiles_that_may_be_asked_for_are_listed_and_the_default_is_among_them() {
    let names = |keys: &str| {
        let settings = settings(0, &format!("[workers]\n{keys}\n[profile.x]\nnice = 5")).unwrap();
        let names = settings.nodes[0].workers.profiles.iter().map(|profile| profile.profile.name.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(""), ["default"]);
    assert_eq!(names("profile = 'x'"), ["x"]);
    assert_eq!(names("profiles = ['strict', 'x']"), ["strict", "x"]);
    assert_eq!(names("profiles = ['strict', 'x']\nprofile = 'x'"), ["x", "strict"]);
    wrong("[workers]\nprofiles = ['strict']\nprofile = 'default'", "workers.profile: \"default\" is not in workers");
    wrong(
        "[workers]\nprofiles = ['strict', 'none']",
        "workers.profiles: there is no profile \"none\": write [profile.none], or one of: build, default, strict",
    );
    wrong("[workers]\nprofiles = []", "/etc/erluv.conf: workers.profiles: is empty");
    wrong("[workers]\nprofiles = ['strict', 'strict']", "/etc/erluv.conf: workers.profiles: strict is named twice");
    wrong("[workers]\nprofiles = ['../x']", "/etc/erluv.conf: workers.profiles: \"../x\": a profile name");
}

#[test]
fn every_key_of_the_workers_is_taken() {
    let text = "[workers]\nusers = ['u', '5:6']\ngroups = ['g']\nallow_root = true\nmin_uid = 7\nmax = 8\n\
                max_per_user = 9\n\
                max_per_profile = 10\nstarts_per_second = 11\nmax_time = '12s'\nprograms = '/p'\npin = true\n\
                shell = false\nfolders = ['/f/**']\nenv = 'E'\npath = '/a:/b'\nmax_args_bytes = 256\nnice_min = -1";
    let workers = settings(0, text).unwrap().nodes[0].workers.clone();
    assert_eq!((workers.users.len(), workers.groups), (2, Some(vec!["g".to_owned()])));
    assert!(workers.allow_root && workers.pin && !workers.shell && !workers.trial);
    assert_eq!((workers.min_uid, workers.max, workers.max_per_user), (7, 8, Some(9)));
    assert_eq!((workers.max_per_profile, workers.starts_per_second), (Some(10), Some(11)));
    assert_eq!([workers.max_time, workers.profiles[0].profile.wall], [Some(Duration::from_secs(12)); 2]);
    assert_eq!((workers.programs, workers.folders), (vec!["/p".to_owned()], Some(vec!["/f/**".to_owned()])));
    assert_eq!((workers.max_args_bytes, workers.nice_min, workers.path.len()), (256, -1, 2));
    wrong("[workers]\nfolders = ['srv/*']", "/etc/erluv.conf: workers.folders: \"srv/*\": write an absolute");
    wrong(
        "[workers]\nstarts_per_second = 0",
        "/etc/erluv.conf: workers.starts_per_second: write a whole number from 1",
    );
    wrong("[workers]\nmax_time = '0s'", "/etc/erluv.conf: workers.max_time: write a time from 10ms");
}

#[test]
fn a_profile_is_tried_by_hand_without_being_opened_to_nodes() {
    let folder = Folder::new("trial");
    let own = nix::unistd::geteuid().as_raw();
    let environment = Environment { home: Some(folder.0.clone()), ..self::environment(own, &[]) };
    let file = folder.file("conf", "[workers]\nprofiles = ['default', 'build']", 0o600);
    let load = |line: &str| load(&args(&format!("-f {} -o chroot=/ {line}", file.display())), &environment);
    let names = |settings: Settings| {
        let workers = settings.nodes[0].workers.clone();
        let names = workers.profiles.iter().map(|profile| profile.profile.name.to_string()).collect::<Vec<_>>();
        (names.join(" "), workers.is_trial(names.len() - 1))
    };
    assert_eq!(names(load("explain").unwrap()), ("default build".to_owned(), false));
    assert_eq!(names(load("explain --profile build").unwrap()), ("default build".to_owned(), false));
    assert_eq!(names(load("exec --profile strict -- ls").unwrap()), ("default build strict".to_owned(), true));
    assert!(load("explain --profile none").unwrap_err().to_string().contains("not one of: build, default, strict"));
    assert!(load("").unwrap_err().to_string().contains("none is named"), "a node is needed to serve it");
}
