//! A profile as a node may ask for it: who can be held by it, and what it puts into the environment.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use erluv_proto::ipc::Failure;

use super::refused;
use crate::identity::Person;
use crate::order::Identity;
use crate::sandbox::Sandbox;
use crate::settings::{ConfigError, ProfileSettings, Variable};

/// What TERM is where a profile leaves it to us: any terminal of today understands it.
const TERM: &[u8] = b"xterm";

/// A profile and its users.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) sandbox: Rc<Sandbox>,
    /// At least one; the first is the default.
    users: Vec<Member>,
}

/// A user under a profile.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    /// Without one, workers run as main does.
    pub(super) identity: Option<Identity>,
    env: Vec<Added>,
}

/// A variable of the profile's.
#[derive(Debug, Clone)]
struct Added {
    name: Vec<u8>,
    /// `NAME=value`.
    text: CString,
    /// Only where the worker has a terminal.
    with_terminal: bool,
}

impl Held {
    /// A profile made ready for this system; `path` are the folders of the look-up as an environment has them.
    ///
    /// # Errors
    /// A value with a NUL, which the configuration does not let through.
    pub(super) fn new(profile: &ProfileSettings, people: &[Person], path: &[u8]) -> Result<Self, ConfigError> {
        let root = people.iter().any(|person| person.identity.is_some());
        let member = |person: &Person| {
            let env = profile.env.iter().filter_map(|(name, value)| added(name, value, person, path).transpose());
            let env = env.collect::<Result<Vec<_>, _>>()?;
            Ok(Member { name: person.name.clone(), identity: person.identity.clone(), env })
        };
        Ok(Self {
            sandbox: Rc::new(Sandbox::of(profile.profile.clone(), root)),
            users: people.iter().map(member).collect::<Result<_, ConfigError>>()?,
        })
    }

    pub(super) fn name(&self) -> &str {
        self.sandbox.profile.name.as_str()
    }

    /// Whether what its mounts start from is there.
    ///
    /// # Errors
    /// A root or the source of a bind that is not.
    pub(super) fn check_paths(&self) -> Result<(), ConfigError> {
        let profile = &self.sandbox.profile;
        let Some(mounts) = &profile.mounts else { return Ok(()) };
        let roots = mounts.root.iter().map(|root| ("root", root));
        let binds = mounts.binds.iter();
        let sources = binds.map(|bind| (if bind.writable { "bind" } else { "bind_read_only" }, &bind.source));
        for (key, path) in roots.chain(sources) {
            let found = std::fs::metadata(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())));
            let wrong = |what: String| {
                let key = format!("profile.{}.mounts.{key}", profile.name);
                Err(ConfigError::rule(&key, format!("{path:?}: {what}: make it, or name another")))
            };
            match found {
                Ok(about) if key == "root" && !about.is_dir() => return wrong("not a folder".to_owned()),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return wrong("is not there".to_owned()),
                Err(error) => return wrong(error.to_string()),
            }
        }
        Ok(())
    }

    /// The user of that name, the first where none is named.
    ///
    /// # Errors
    /// Refused by `users`.
    pub(super) fn user(&self, name: Option<&str>) -> Result<&Member, Failure> {
        let found = match name {
            None => self.users.first(),
            Some(name) => self.users.iter().find(|user| user.name == name),
        };
        found.ok_or_else(|| refused("users", name.unwrap_or_default().as_bytes()))
    }
}

impl Member {
    /// What is in the environment beside what a request has put there.
    pub(super) fn complete(&self, env: &mut Vec<CString>, has_terminal: bool) {
        for added in self.env.iter().filter(|added| has_terminal || !added.with_terminal) {
            let is_set = |text: &CString| {
                text.to_bytes().strip_prefix(added.name.as_slice()).is_some_and(|rest| rest.starts_with(b"="))
            };
            if !env.iter().any(is_set) {
                env.push(added.text.clone());
            }
        }
    }

    /// The same for who asks what a worker would get.
    pub(super) fn variables(&self) -> impl Iterator<Item = &CStr> {
        self.env.iter().map(|added| added.text.as_c_str())
    }
}

fn added(name: &str, value: &Variable, person: &Person, path: &[u8]) -> Result<Option<Added>, ConfigError> {
    let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
    let known = match name {
        "PATH" => path.to_vec(),
        "HOME" => bytes(&person.home),
        "SHELL" => bytes(&person.shell),
        "TERM" => TERM.to_vec(),
        _ => person.name.clone().into_bytes(),
    };
    let value = match value {
        Variable::Absent => return Ok(None),
        Variable::Known => known,
        Variable::Text(text) => text.clone().into_bytes(),
    };
    let text = CString::new([name.as_bytes(), b"=", &value].concat());
    let text = text.map_err(|_| ConfigError::rule(&format!("env.{name}"), "has a NUL in it: take it out"))?;
    Ok(Some(Added { name: name.as_bytes().to_vec(), text, with_terminal: name == "TERM" }))
}
