//! Who is who: main itself, each erluv-child, and the users that workers may run as. Everything is looked up here, by
//! erluv-main at its start and on SIGHUP, never between a fork and an exec (S-10), and checked to be apart (S-08).

use std::ffi::CString;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use thiserror::Error;

use crate::order::Identity;
use crate::settings::{ConfigError, NodeSettings, Settings};

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
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }
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
    #[error("user {0:?}: {1}")]
    Lookup(String, Errno),
    #[error("user {0:?}: is root: set workers.allow_root = true where that is meant, or name another")]
    Root(String),
    #[error("user {0:?}: is in group 0: take it out of that group or name another")]
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

fn account(accounts: &dyn Accounts, text: &str) -> Result<Account, AccountError> {
    let lookup = |errno| AccountError::Lookup(text.to_owned(), errno);
    let found = match accounts.by_name(text).map_err(lookup)? {
        Some(account) => Some(account),
        // A number without a user has no group and no name (S-04).
        None => match parse_id(text) {
            Ok(uid) => accounts.by_id(uid).map_err(lookup)?,
            Err(_) => None,
        },
    };
    found.ok_or_else(|| AccountError::Unknown(text.to_owned()))
}

impl Identity {
    /// A user that workers may run as, by name or number: with exactly that user's groups, none of main's (S-03).
    ///
    /// # Errors
    /// [`AccountError`]: unknown, root or in its group without `allow_root` (S-06), below `min_uid` (S-07), or with
    /// more groups than a process can have.
    pub(crate) fn of_user(
        accounts: &dyn Accounts,
        text: &str,
        min_uid: u32,
        allow_root: bool,
    ) -> Result<Self, AccountError> {
        let Account { name, uid, gid } = account(accounts, text)?;
        if uid == 0 && !allow_root {
            return Err(AccountError::Root(name));
        }
        if uid != 0 && uid < min_uid {
            return Err(AccountError::Low { name, uid, min: min_uid });
        }
        let others = accounts.groups(&name, gid).map_err(|errno| AccountError::Groups(name.clone(), errno))?;
        let mut groups = vec![gid];
        for group in others {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        if groups.contains(&0) && !allow_root {
            return Err(AccountError::RootGroup(name));
        }
        Ok(Self { name, uid, gid, groups })
    }

    /// Whom erluv-child of this node becomes: one user, one group, never root's.
    fn of_child(accounts: &dyn Accounts, node: &NodeSettings) -> Result<Self, ConfigError> {
        let rule = |error: AccountError| ConfigError::rule("user", error.to_string());
        let Account { name, uid, mut gid } = match &node.user {
            Some(user) => account(accounts, user).map_err(rule)?,
            None => match account(accounts, "_erluv") {
                Err(AccountError::Unknown(_)) => account(accounts, "nobody").map_err(rule)?,
                found => found.map_err(rule)?,
            },
        };
        if let Some(group) = &node.group {
            let wrong = |what: String| ConfigError::rule("group", format!("{group:?}: {what}"));
            let known = accounts.group(group).map_err(|errno| wrong(errno.to_string()))?;
            gid = known.or_else(|| parse_id(group).ok()).ok_or_else(|| {
                wrong("no such group: create it, name another, or leave the key away for the user's own".to_owned())
            })?;
        }
        if uid == 0 || gid == 0 {
            return Err(ConfigError::rule("user", "erluv-child never runs as root: name another user and group"));
        }
        Ok(Self { name, uid, gid, groups: vec![gid] })
    }
}

/// Who serves one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roles {
    /// The user that main runs as.
    pub(crate) main_user: String,
    /// Whom erluv-child becomes; `None` where main is not root and child runs as main does.
    pub(crate) child: Option<Identity>,
    /// Whom workers may become, the first by default; empty where main is not root and they run as main does.
    pub(crate) workers: Vec<Identity>,
    /// What is not apart, and what is allowed that rarely should be, for the log at start.
    pub(crate) warnings: Vec<String>,
}

impl Roles {
    /// The name of the user that child runs as.
    pub(crate) fn child_user(&self) -> &str {
        self.child.as_ref().map_or(&self.main_user, |child| &child.name)
    }

    /// The names of the users that workers may run as, at least one.
    pub(crate) fn worker_users(&self) -> Vec<String> {
        match self.workers.as_slice() {
            [] => vec![self.main_user.clone()],
            workers => workers.iter().map(|worker| worker.name.clone()).collect(),
        }
    }
}

/// Who is who, for each node in the order of the settings.
///
/// # Errors
/// Where a user cannot be one, or two that have to be apart are one and the same.
pub(crate) fn resolve(settings: &Settings, accounts: &dyn Accounts) -> Result<Vec<Roles>, ConfigError> {
    let found = accounts.by_id(settings.euid);
    let found = found.map_err(|errno| ConfigError::rule("user", format!("uid {}: {errno}", settings.euid)))?;
    let main = found.map_or_else(|| settings.euid.to_string(), |account| account.name);
    let one = |node| match settings.euid {
        0 => separate(node, accounts, &main),
        _ => share(node, &main, settings.euid),
    };
    settings.nodes.iter().map(one).collect()
}

/// As root: three kinds of users, apart from each other.
fn separate(node: &NodeSettings, accounts: &dyn Accounts, main: &str) -> Result<Roles, ConfigError> {
    let child = Identity::of_child(accounts, node)?;
    let policy = &node.workers;
    let none = ["nobody".to_owned()];
    let users = if policy.users.is_empty() { &none } else { policy.users.as_slice() };
    let (mut workers, mut warnings) = (Vec::<Identity>::new(), Vec::new());
    for user in users {
        let worker = Identity::of_user(accounts, user, policy.min_uid, policy.allow_root)
            .map_err(|error| ConfigError::rule("workers.users", error.to_string()))?;
        keep_apart(&child, &worker)?;
        if workers.iter().any(|other| other.name == worker.name) {
            return Err(ConfigError::rule("workers.users", format!("{:?} is named twice", worker.name)));
        }
        if worker.uid == 0 {
            warnings.push(format!("workers.allow_root: workers may run as {:?}", worker.name));
        }
        workers.push(worker);
    }
    Ok(Roles { main_user: main.to_owned(), child: Some(child), workers, warnings })
}

/// A worker that had child's user could trace or kill it, and with its group open what is child's (S-08).
fn keep_apart(child: &Identity, worker: &Identity) -> Result<(), ConfigError> {
    let (ours, theirs) = (&child.name, &worker.name);
    let advice = "create a user for erluv alone (useradd -r -d /var/empty -s /usr/sbin/nologin _erluv), or name \
                  other users in workers.users";
    if child.uid == worker.uid {
        let what = format!("erluv-child would run as {ours:?}, as which workers may run, too: {advice}");
        return Err(ConfigError::rule("user", what));
    }
    if worker.groups.contains(&child.gid) {
        let what =
            format!("erluv-child as {ours:?} and workers as {theirs:?} would share group {}: {advice}", child.gid);
        return Err(ConfigError::rule("user", what));
    }
    Ok(())
}

/// Not as root: everything runs as the user that started it.
fn share(node: &NodeSettings, main: &str, euid: u32) -> Result<Roles, ConfigError> {
    let own = |text: &String| text == main || parse_id(text) == Ok(euid);
    let advice = format!("only root can change users: write {main:?}, leave the key away, or start erluv as root");
    if !node.user.iter().all(own) {
        return Err(ConfigError::rule("user", advice));
    }
    if node.group.is_some() {
        return Err(ConfigError::rule("group", "only root can change groups: leave the key away"));
    }
    if !node.workers.users.iter().all(own) {
        return Err(ConfigError::rule("workers.users", advice));
    }
    let warnings = vec![format!(
        "not root: erluv-child and workers run as {main:?}, as erluv-main does: a worker can reach what is {main}'s, \
         erluv's processes and the cookie file included; start erluv as root to keep them apart"
    )];
    Ok(Roles { main_user: main.to_owned(), child: None, workers: Vec::new(), warnings })
}

#[cfg(test)]
pub(crate) mod tests;
