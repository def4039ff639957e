use super::*;
use crate::settings::scenarios::settings;

/// A small machine.
pub(crate) struct Machine;

const USERS: [(&str, u32, u32, &[u32]); 8] = [
    ("root", 0, 0, &[0]),
    ("_erluv", 200, 200, &[200, 0, 27]),
    ("nobody", 65534, 65534, &[65534]),
    ("worker", 1000, 1000, &[4, 1000, 27, 4]),
    ("wheel", 1001, 1001, &[1001, 0]),
    ("twin", 200, 1002, &[1002]),
    ("mate", 1003, 1003, &[1003, 200]),
    ("crowd", 1004, 1004, &[]),
];

impl Accounts for Machine {
    fn by_name(&self, name: &str) -> Result<Option<Account>, Errno> {
        let found = USERS.iter().find(|user| user.0 == name);
        Ok(found.map(|&(name, uid, gid, _)| Account {
            name: name.to_owned(),
            uid,
            gid,
            home: PathBuf::from(format!("/home/{name}")),
            shell: PathBuf::from("/bin/sh"),
        }))
    }
    fn by_id(&self, uid: u32) -> Result<Option<Account>, Errno> {
        USERS.iter().find(|user| user.1 == uid).map_or(Ok(None), |user| self.by_name(user.0))
    }
    fn group(&self, name: &str) -> Result<Option<u32>, Errno> {
        Ok((name == "erluv").then_some(300))
    }
    fn groups(&self, name: &str, _gid: u32) -> Result<Vec<u32>, Errno> {
        match USERS.iter().find(|user| user.0 == name) {
            Some(user) if !user.3.is_empty() => Ok(user.3.to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// A machine without `_erluv`.
struct Bare;

impl Accounts for Bare {
    fn by_name(&self, name: &str) -> Result<Option<Account>, Errno> {
        if name == "_erluv" { Ok(None) } else { Machine.by_name(name) }
    }
    fn by_id(&self, uid: u32) -> Result<Option<Account>, Errno> {
        Machine.by_id(uid)
    }
    fn group(&self, name: &str) -> Result<Option<u32>, Errno> {
        Machine.group(name)
    }
    fn groups(&self, name: &str, gid: u32) -> Result<Vec<u32>, Errno> {
        Machine.groups(name, gid)
    }
}

fn roles(euid: u32, text: &str) -> Result<Roles, String> {
    let settings = settings(euid, text).unwrap();
    resolve(&settings, &Machine).map(|mut roles| roles.remove(0)).map_err(|error| error.to_string())
}

/// Who somebody is, by what a list of users says.
fn who(text: &str, min_uid: u32, allow_root: bool) -> Result<Identity, AccountError> {
    let bounds = Bounds { min_uid, allow_root, group: None, groups: None };
    Person::of_user(&Machine, text, &bounds).map(|person| person.identity.unwrap())
}

fn refused(euid: u32, text: &str, about: &str) {
    let error = roles(euid, text).unwrap_err();
    assert!(error.contains(about), "{text}: {error}");
}

#[test]
fn s05_an_id_is_decimal_digits_below_the_largest_number() {
    for (good, id) in [("0", 0), ("1", 1), ("65534", 65534), ("2147483648", 1 << 31), ("4294967294", u32::MAX - 1)] {
        assert_eq!(parse_id(good), Ok(id));
    }
    for bad in [
        "",
        " 0",
        "0 ",
        "-1",
        "+1",
        "0x0",
        "1e3",
        "4294967295",
        "4294967296",
        "99999999999",
        "00",
        "01",
        "1.0",
        "1\0",
        "1\n",
        "\u{661}",
        "18446744073709551616",
        "root",
    ] {
        assert!(parse_id(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn s09_the_primary_group_comes_first_and_none_comes_twice() {
    let worker = who("worker", 1, false).unwrap();
    assert_eq!(worker.groups, [1000, 4, 27]);
    assert_eq!((worker.uid, worker.gid), (1000, 1000));
}

#[test]
fn s04_a_number_without_a_user_is_refused() {
    assert_eq!(who("1000", 1, false).unwrap().name.as_ref(), "worker");
    assert_eq!(who("1234", 1, false), Err(AccountError::NoGroup("1234".to_owned())));
    for text in ["-1", "4294967295", "stranger", "", "+1000", "01000"] {
        assert_eq!(who(text, 1, false), Err(AccountError::Unknown(text.to_owned())));
    }
    assert_eq!(who("-1:5", 1, false), Err(AccountError::Unknown("-1".to_owned())));
}

#[test]
fn s04_a_number_with_a_group_has_that_group_alone() {
    let numbers = who("1234:5678", 1, false).unwrap();
    assert_eq!((&*numbers.name, numbers.uid, numbers.gid), ("1234", 1234, 5678));
    assert_eq!(numbers.groups, [5678]);
    assert_eq!(who("1234:erluv", 1, false).unwrap().groups, [300]);
    assert_eq!(who("worker:erluv", 1, false).unwrap().groups, [300, 4, 1000, 27]);
    for group in ["", "-1", "4294967295", "none", "5:6"] {
        assert_eq!(who(&format!("1234:{group}"), 1, false), Err(AccountError::UnknownGroup(group.to_owned())));
    }
    assert_eq!(who("0:5", 1, false), Err(AccountError::Root("root".to_owned())));
    assert_eq!(who("1234:0", 1, false), Err(AccountError::RootGroup("1234".to_owned())));
    assert!(matches!(who("1234:5", 2000, false), Err(AccountError::Low { .. })));
}

#[test]
fn s03_a_list_of_groups_takes_the_place_of_the_user_s_own() {
    let groups = |text: &str| roles(0, text).unwrap().workers[0][0].identity.clone().unwrap().groups;
    assert_eq!(groups("[workers]\nusers = 'worker'"), [1000, 4, 27]);
    assert_eq!(groups("[workers]\nusers = 'worker'\ngroups = ['erluv', '7']"), [1000, 300, 7]);
    assert_eq!(groups("[workers]\nusers = 'worker'\ngroups = []"), [1000]);
    let profile = "[workers]\nusers = 'worker'\ngroups = ['7']\n[profile.default]\n";
    assert_eq!(groups(&format!("{profile}groups = []\ngroup = 'erluv'")), [300]);
    refused(0, "[workers]\nusers = 'worker'\ngroups = ['none']", "\"none\": no such group");
    refused(0, "[workers]\nusers = 'worker'\ngroups = ['0']", "group 0");
    refused(0, "[workers]\nusers = 'worker'\ngroups = ['200']", "share group 200");
    refused(1000, "[workers]\ngroups = []", "workers.groups: only root");
    refused(1000, "[profile.default]\ngroup = 'erluv'", "profile.default.groups: only root");
}

#[test]
fn a_profile_can_fix_the_user() {
    let text = "[workers]\nusers = ['nobody', 'worker']\nprofiles = ['default', 'x']\n[profile.x]\nuser = ";
    let roles = roles(0, &format!("{text}'1234:5'")).unwrap();
    let names = |people: &[Person]| people.iter().map(|person| person.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&roles.workers[0]), ["nobody", "worker"]);
    assert_eq!(names(&roles.workers[1]), ["1234"]);
    assert_eq!(roles.worker_users(), ["nobody", "worker", "1234"]);
    refused(0, &format!("{text}'root'"), "profile.x.user: user \"root\": is root");
    refused(0, &format!("{text}'twin'"), "as which workers may run");
    assert!(self::roles(0, "[profile.x]\nuser = 'root'").is_ok(), "nobody may ask for it");
    refused(1000, "[workers]\nprofile = 'x'\n[profile.x]\nuser = 'nobody'", "profile.x.user: only root");
}

#[test]
fn s08_no_child_has_the_user_of_any_node_s_workers() {
    let nodes = |one: &str, two: &str| {
        let text = format!("[[node]]\nname = 'a@localhost'\n{one}\n[[node]]\nname = 'b@localhost'\n{two}");
        resolve(&settings(0, &text).unwrap(), &Machine).map_err(|error| error.to_string())
    };
    let error = nodes("user = 'worker'", "workers.users = 'worker'").unwrap_err();
    assert!(error.contains("as which workers may run"), "{error}");
    let error = nodes("workers.users = 'mate'", "user = 'nobody'").unwrap_err();
    assert!(error.contains("share group 200") || error.contains("as which workers"), "{error}");
    assert!(nodes("user = 'worker'", "user = '_erluv'").is_ok());
}

#[test]
fn workers_of_two_nodes_with_one_user_are_told_by_name() {
    let warnings = |one: &str, two: &str| {
        let text = format!(
            "[[node]]\nname = 'a@localhost'\nworkers.users = {one}\n[[node]]\nname = 'b@localhost'\nworkers.users = {two}"
        );
        let roles = resolve(&settings(0, &text).unwrap(), &Machine).unwrap();
        roles.into_iter().flat_map(|roles| roles.warnings).collect::<Vec<_>>()
    };
    assert!(warnings("['worker']", "['nobody']").is_empty());
    let told = warnings("['worker', 'nobody']", "['1000:5']");
    assert!(matches!(told.as_slice(), [one] if one.contains("a@localhost, b@localhost") && one.contains("\"worker\"")));
}

#[test]
fn s06_root_and_its_group_are_refused_unless_allowed_by_name() {
    for text in ["root", "0"] {
        assert_eq!(who(text, 1, false), Err(AccountError::Root("root".to_owned())));
    }
    assert_eq!(who("wheel", 1, false), Err(AccountError::RootGroup("wheel".to_owned())));
    assert!(who("root", 500, true).is_ok());
    let roles = roles(0, "[workers]\nusers = ['nobody', 'root']\nallow_root = true").unwrap();
    assert!(roles.warnings[0].contains("\"root\""), "{:?}", roles.warnings);
}

#[test]
fn s07_a_user_below_the_least_uid_is_refused() {
    assert!(who("worker", 1000, false).is_ok());
    let low = AccountError::Low { name: "worker".to_owned(), uid: 1000, min: 1001 };
    assert_eq!(who("worker", 1001, false), Err(low));
}

#[test]
fn s10_too_many_groups_are_a_refusal_and_not_cut_off() {
    let error = AccountError::Groups("crowd".to_owned(), Errno::EINVAL);
    assert_eq!(who("crowd", 1, false), Err(error));
}

#[test]
fn child_has_one_user_and_one_group_of_its_own() {
    let roles = roles(0, "").unwrap();
    let child = roles.child.as_ref().unwrap();
    assert_eq!((&*child.name, child.uid, child.groups.as_slice()), ("_erluv", 200, [200].as_slice()));
    assert_eq!((roles.main_user.as_str(), roles.child_user()), ("root", "_erluv"));
    assert_eq!(roles.worker_users(), ["nobody"]);
    assert_eq!(self::roles(0, "group = 'erluv'").unwrap().child.unwrap().gid, 300);
    assert_eq!(self::roles(0, "group = '301'").unwrap().child.unwrap().gid, 301);
}

#[test]
fn without_a_user_of_its_own_child_is_nobody() {
    let with = |text: &str| resolve(&settings(0, text).unwrap(), &Bare).map(|mut roles| roles.remove(0));
    assert_eq!(with("[workers]\nusers = 'worker'").unwrap().child_user(), "nobody");
    let error = with("").unwrap_err().to_string();
    assert!(error.contains("useradd"), "{error}");
}

#[test]
fn s08_child_is_never_root_and_never_a_workers() {
    refused(0, "user = 'root'", "never runs as root");
    refused(0, "group = '0'", "never runs as root");
    refused(0, "group = 'none'", "no such group");
    refused(0, "user = 'stranger'", "no such user");
    refused(0, "user = 'nobody'", "as which workers may run");
    refused(0, "[workers]\nusers = 'twin'", "as which workers may run");
    refused(0, "group = '65534'", "share group 65534");
    refused(0, "[workers]\nusers = ['worker', 'mate']", "share group 200");
    refused(0, "[workers]\nusers = ['worker', '1000']", "named twice");
}

#[test]
fn s71_without_root_there_is_one_user_and_it_is_said() {
    let roles = roles(1000, "").unwrap();
    assert_eq!((roles.child.as_ref(), &roles.workers[0][0].identity), (None, &None));
    assert_eq!((roles.child_user(), roles.worker_users()), ("worker", vec!["worker".to_owned()]));
    assert!(roles.warnings[0].contains("not root"), "{:?}", roles.warnings);
    assert!(self::roles(1000, "user = 'worker'\n[workers]\nusers = '1000'").is_ok());
    refused(1000, "user = 'nobody'", "only root");
    refused(1000, "group = 'erluv'", "only root");
    refused(1000, "[workers]\nusers = ['worker', 'nobody']", "only root");
}

#[test]
fn s03_the_systems_own_database_gives_a_user_its_groups_alone() {
    let nobody = Person::of_user(
        &SystemAccounts,
        "nobody",
        &Bounds { min_uid: 1, allow_root: false, group: None, groups: None },
    );
    let nobody = nobody.unwrap().identity.unwrap();
    assert_eq!(nobody.groups.first(), Some(&nobody.gid));
    assert!(!nobody.groups.contains(&0));
    assert_eq!(SystemAccounts.by_name("no such user"), Ok(None));
    assert_eq!(SystemAccounts.by_name("a\0b"), Ok(None));
    assert_eq!(SystemAccounts.by_id(0).unwrap().unwrap().uid, 0);
}
