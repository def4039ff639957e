//! Who is who: main itself, each erluv-child, and the users that workers may run as. Everything is looked up here, by
//! erluv-main at its start and on SIGHUP, never between a fork and an exec (S-10), and checked to be apart (S-08).

use std::ffi::CString;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use thiserror::Error;

use crate::order::Identity;
use crate::settings::{ConfigError, NodeSettings, ProfileSettings, Settings};

mod apart;

/// The user database, so that tests can have their own.
pub(crate) trait Accounts {
    /// A user by name.
    ///
    /// # Errors
    /// What the system says; a user that does not exist is `None`.
    fn by_name(&self, name: &str) -> Result<Option<Account>, Errno>;
    /// A user by number.
    ///
    /// # Errors
    /// As [`Accounts::by_name`].
    fn by_id(&self, uid: u32) -> Result<Option<Account>, Errno>;
    /// The number of a group.
    ///
    /// # Errors
    /// As [`Accounts::by_name`].
    fn group(&self, name: &str) -> Result<Option<u32>, Errno>;
    /// All groups of a user, `gid` among them.
    ///
    /// # Errors
    /// Where there are more than a process can have, too (S-10): a part of them is never taken.
    fn groups(&self, name: &str, gid: u32) -> Result<Vec<u32>, Errno>;
}

/// A user of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: PathBuf,
    pub(crate) shell: PathBuf,
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        let User { name, uid, gid, dir: home, shell, .. } = user;
        Self { name, uid: uid.as_raw(), gid: gid.as_raw(), home, shell }
    }
}

/// The user database of this system (getpwnam(3), getgrouplist(3)).
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemAccounts;

impl Accounts for SystemAccounts {
    fn by_name(&self, name: &str) -> Result<Option<Account>, Errno> {
        Ok(User::from_name(name)?.map(Account::from))
    }
    fn by_id(&self, uid: u32) -> Result<Option<Account>, Errno> {
        Ok(User::from_uid(Uid::from_raw(uid))?.map(Account::from))
    }
    fn group(&self, name: &str) -> Result<Option<u32>, Errno> {
        Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
    }
    fn groups(&self, name: &str, gid: u32) -> Result<Vec<u32>, Errno> {
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        Ok(getgrouplist(&name, Gid::from_raw(gid))?.into_iter().map(Gid::as_raw).collect())
    }
}

/// Why nobody can run as a user.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum AccountError {
    #[error("user {0:?}: no such user: create it or name another")]
    Unknown(String),
    #[error("user {0:?}: no such user, and a number alone has no group: write \"{0}:GROUP\"")]
    NoGroup(String),
    #[error("group {0:?}: no such group: create it or name another")]
    UnknownGroup(String),
    #[error("{0:?}: {1}")]
    Lookup(String, Errno),
    #[error("user {0:?}: is root: set workers.allow_root = true where that is meant, or name another")]
    Root(String),
    #[error("user {0:?}: is in group 0: take it out of that group, name another, or set workers.allow_root = true")]
    RootGroup(String),
    #[error("user {name:?}: uid {uid} is below min_uid, which is {min}: name another or lower min_uid")]
    Low { name: String, uid: u32, min: u32 },
    #[error("user {0:?}: the groups cannot be listed: {1}: a process cannot have all of them, perhaps")]
    Groups(String, Errno),
}

/// Why a text is no id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?}: not an id: write decimal digits, up to 4294967294")]
pub(crate) struct IdError(String);

/// A user or group id: 1 to 10 decimal digits, at most 2^32 - 2; no sign, no blank, no leading zero (S-05).
///
/// # Errors
/// [`IdError`] for anything else.
pub(crate) fn parse_id(text: &str) -> Result<u32, IdError> {
    let wrong = || IdError(text.to_owned());
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return Err(wrong());
    }
    match text.parse() {
        Ok(u32::MAX) | Err(_) => Err(wrong()),
        Ok(id) => Ok(id),
    }
}

fn account(accounts: &dyn Accounts, text: &str) -> Result<Option<Account>, AccountError> {
    let lookup = |errno| AccountError::Lookup(text.to_owned(), errno);
    match accounts.by_name(text).map_err(lookup)? {
        Some(account) => Ok(Some(account)),
        None => match parse_id(text) {
            Ok(uid) => accounts.by_id(uid).map_err(lookup),
            Err(_) => Ok(None),
        },
    }
}

fn group(accounts: &dyn Accounts, text: &str) -> Result<u32, AccountError> {
    let known = accounts.group(text).map_err(|errno| AccountError::Lookup(text.to_owned(), errno))?;
    known.or_else(|| parse_id(text).ok()).ok_or_else(|| AccountError::UnknownGroup(text.to_owned()))
}

/// What the configuration says of the users in a list, whoever they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'s> {
    pub(crate) min_uid: u32,
    pub(crate) allow_root: bool,
    /// The primary group, in place of the user's own.
    pub(crate) group: Option<&'s str>,
    /// The supplementary groups, in place of the user's own.
    pub(crate) groups: Option<&'s [String]>,
}

/// A user that workers may run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// What it is asked for by.
    pub(crate) name: String,
    /// `None` is main itself, which cannot change users.
    pub(crate) identity: Option<Identity>,
    pub(crate) home: PathBuf,
    pub(crate) shell: PathBuf,
}

impl Person {
    /// A user by name or number, perhaps with a group behind a colon: with exactly that user's groups, none of main's
    /// (S-03), or exactly those of the configuration. A number that is no user's has to have a group (S-04).
    ///
    /// # Errors
    /// [`AccountError`]: unknown, root or in its group without `allow_root` (S-06), below `min_uid` (S-07), or with
    /// more groups than a process can have.
    pub(crate) fn of_user(accounts: &dyn Accounts, entry: &str, bounds: &Bounds<'_>) -> Result<Self, AccountError> {
        let (user, own_group) = entry.split_once(':').map_or((entry, None), |(user, group)| (user, Some(group)));
        let gid = bounds.group.or(own_group).map(|text| group(accounts, text)).transpose()?;
        let (account, is_listed) = match (account(accounts, user)?, parse_id(user), gid) {
            (Some(account), _, _) => (account, true),
            (None, Ok(uid), Some(gid)) => {
                let (home, shell) = (PathBuf::from("/"), PathBuf::from("/bin/sh"));
                (Account { name: user.to_owned(), uid, gid, home, shell }, false)
            }
            (None, Ok(_), None) => return Err(AccountError::NoGroup(user.to_owned())),
            (None, Err(_), _) => return Err(AccountError::Unknown(user.to_owned())),
        };
        let Account { name, uid, gid: listed, home, shell } = account;
        let gid = gid.unwrap_or(listed);
        let others = match bounds.groups {
            Some(groups) => groups.iter().map(|text| group(accounts, text)).collect::<Result<_, _>>()?,
            None if is_listed => {
                accounts.groups(&name, gid).map_err(|errno| AccountError::Groups(name.clone(), errno))?
            }
            None => Vec::new(),
        };
        let identity = Identity::new(name.clone(), uid, gid, others);
        if uid == 0 && !bounds.allow_root {
            return Err(AccountError::Root(name));
        }
        if uid != 0 && uid < bounds.min_uid {
            return Err(AccountError::Low { name, uid, min: bounds.min_uid });
        }
        if identity.groups.contains(&0) && !bounds.allow_root {
            return Err(AccountError::RootGroup(name));
        }
        Ok(Self { name, identity: Some(identity), home, shell })
    }
}

impl Identity {
    /// The primary group comes first, and none twice (S-09).
    fn new(name: String, uid: u32, gid: u32, others: Vec<u32>) -> Self {
        let mut groups = vec![gid];
        for group in others {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        Self { name: name.into(), uid, gid, groups }
    }

    /// Whom erluv-child of this node becomes: one user, one group, never root's.
    fn of_child(accounts: &dyn Accounts, node: &NodeSettings) -> Result<Self, ConfigError> {
        let rule = |error: AccountError| ConfigError::rule("user", error.to_string());
        let find = |text: &str| match account(accounts, text) {
            Ok(found) => found.ok_or_else(|| rule(AccountError::Unknown(text.to_owned()))),
            Err(error) => Err(rule(error)),
        };
        let Account { name, uid, mut gid, .. } = match &node.user {
            Some(user) => find(user)?,
            None => match account(accounts, "_erluv").map_err(rule)? {
                Some(account) => account,
                None => find("nobody")?,
            },
        };
        if let Some(text) = &node.group {
            gid = group(accounts, text).map_err(|error| {
                ConfigError::rule("group", format!("{error}, or leave the key away for the user's own"))
            })?;
        }
        if uid == 0 || gid == 0 {
            return Err(ConfigError::rule("user", "erluv-child never runs as root: name another user and group"));
        }
        Ok(Self { name: name.into(), uid, gid, groups: vec![gid] })
    }
}

/// Who serves one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roles {
    /// The user that main runs as.
    pub(crate) main_user: String,
    /// Whom erluv-child becomes; `None` where main is not root and child runs as main does.
    pub(crate) child: Option<Identity>,
    /// Whom workers may become under each of the node's profiles, the first by default; at least one.
    pub(crate) workers: Vec<Vec<Person>>,
    /// What is not apart, and what is allowed that rarely should be, for the log at start.
    pub(crate) warnings: Vec<String>,
}

impl Roles {
    /// The name of the user that child runs as.
    pub(crate) fn child_user(&self) -> &str {
        self.child.as_ref().map_or(&self.main_user, |child| &child.name)
    }

    /// The names of the users that workers may run as, at least one, each once.
    pub(crate) fn worker_users(&self) -> Vec<String> {
        let mut names = Vec::<String>::new();
        for person in self.workers.iter().flatten() {
            if !names.contains(&person.name) {
                names.push(person.name.clone());
            }
        }
        names
    }
}

/// Who is who, for each node in the order of the settings.
///
/// # Errors
/// Where a user cannot be one, or two that have to be apart are one and the same.
pub(crate) fn resolve(settings: &Settings, accounts: &dyn Accounts) -> Result<Vec<Roles>, ConfigError> {
    let found = accounts.by_id(settings.euid);
    let found = found.map_err(|errno| ConfigError::rule("user", format!("uid {}: {errno}", settings.euid)))?;
    let main = found.unwrap_or_else(|| Account {
        name: settings.euid.to_string(),
        uid: settings.euid,
        gid: 0,
        home: PathBuf::from("/"),
        shell: PathBuf::from("/bin/sh"),
    });
    let one = |node| match settings.euid {
        0 => separate(node, accounts, &main.name),
        _ => share(node, &main),
    };
    let mut roles = settings.nodes.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    apart::check_nodes(&settings.nodes, &mut roles)?;
    Ok(roles)
}

/// As root: three kinds of users, apart from each other.
fn separate(node: &NodeSettings, accounts: &dyn Accounts, main: &str) -> Result<Roles, ConfigError> {
    let child = Identity::of_child(accounts, node)?;
    let mut roles = Roles { main_user: main.to_owned(), child: Some(child), workers: Vec::new(), warnings: Vec::new() };
    for profile in &node.workers.profiles {
        let people = people(node, profile, accounts)?;
        for person in people.iter().filter(|person| person.identity.as_ref().is_some_and(|who| who.uid == 0)) {
            let warning = format!("workers.allow_root: workers may run as {:?}", person.name);
            if !roles.warnings.contains(&warning) {
                roles.warnings.push(warning);
            }
        }
        roles.workers.push(people);
    }
    Ok(roles)
}

/// Whom workers may run as under a profile: its own user, else those of the policy.
fn people(node: &NodeSettings, profile: &ProfileSettings, accounts: &dyn Accounts) -> Result<Vec<Person>, ConfigError> {
    let policy = &node.workers;
    let bounds = Bounds {
        min_uid: policy.min_uid,
        allow_root: policy.allow_root,
        group: profile.group.as_deref(),
        groups: profile.groups.as_deref().or(policy.groups.as_deref()),
    };
    let none = ["nobody".to_owned()];
    let (key, users) = match &profile.user {
        Some(user) => (format!("profile.{}.user", profile.profile.name), std::slice::from_ref(user)),
        None if policy.users.is_empty() => ("workers.users".to_owned(), none.as_slice()),
        None => ("workers.users".to_owned(), policy.users.as_slice()),
    };
    let mut people = Vec::<Person>::new();
    for user in users {
        let person = Person::of_user(accounts, user, &bounds).map_err(|error| match &error {
            AccountError::UnknownGroup(_) if bounds.groups.is_some() || bounds.group.is_some() => {
                ConfigError::rule(&format!("{key}, group or groups"), error.to_string())
            }
            _ => ConfigError::rule(&key, error.to_string()),
        })?;
        if people.iter().any(|other| other.name == person.name) {
            return Err(ConfigError::rule(&key, format!("{:?} is named twice", person.name)));
        }
        people.push(person);
    }
    Ok(people)
}

/// Not as root: everything runs as the user that started it.
fn share(node: &NodeSettings, main: &Account) -> Result<Roles, ConfigError> {
    let name = &main.name;
    let own = |text: &String| text == name || parse_id(text) == Ok(main.uid);
    let advice = format!("only root can change users: write {name:?}, leave the key away, or start erluv as root");
    if !node.user.iter().all(own) {
        return Err(ConfigError::rule("user", advice));
    }
    let groups = "only root can change groups: leave the key away";
    if node.group.is_some() {
        return Err(ConfigError::rule("group", groups));
    }
    if !node.workers.users.iter().all(own) {
        return Err(ConfigError::rule("workers.users", advice));
    }
    if node.workers.groups.is_some() {
        return Err(ConfigError::rule("workers.groups", groups));
    }
    for profile in &node.workers.profiles {
        let key = |key: &str| format!("profile.{}.{key}", profile.profile.name);
        if !profile.user.iter().all(own) {
            return Err(ConfigError::rule(&key("user"), advice));
        }
        if profile.group.is_some() || profile.groups.is_some() {
            return Err(ConfigError::rule(&key("groups"), groups));
        }
    }
    let warnings = vec![format!(
        "not root: erluv-child and workers run as {name:?}, as erluv-main does: a worker can reach what is {name}'s, \
         erluv's processes and the cookie file included; start erluv as root to keep them apart"
    )];
    let (home, shell) = (main.home.clone(), main.shell.clone());
    let person = Person { name: name.clone(), identity: None, home, shell };
    let workers = node.workers.profiles.iter().map(|_| vec![person.clone()]).collect();
    Ok(Roles { main_user: name.clone(), child: None, workers, warnings })
}

#[cfg(test)]
pub(crate) mod tests;
