//! What erluv-main keeps of root's capabilities, capabilities(7): those that its configuration needs, each for a named
//! reason. The rest goes at the start, for good, and of what is kept only what a profile gives may come back to what is
//! executed (the bounding set). Runs in erluv-main once the configuration is known, before the first fork; SIGHUP takes
//! no configuration in that needs more.
//!
//! What is left still is much: main stays uid 0, and root's files are its own. What it cannot do any more is what no
//! file of root's gives back at once: load modules, trace, change network and clock, reach devices.

use std::collections::{BTreeMap, BTreeSet};

use crate::settings::{CgroupUse, Settings};

/// Why main needs each capability, by its name as in capabilities(7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    own: BTreeMap<String, &'static str>,
    /// What its workers may have in their bounding set.
    gives: BTreeMap<String, &'static str>,
}

/// What root's main needs whatever its configuration says.
const ALWAYS: [(&str, &str); 8] = [
    ("CAP_SETUID", "workers and erluv-child have users of their own"),
    ("CAP_SETGID", "workers and erluv-child have groups of their own"),
    ("CAP_SETPCAP", "workers and erluv-child have empty bounding sets"),
    ("CAP_KILL", "workers of other users are ended"),
    ("CAP_CHOWN", "a worker's terminal is its user's"),
    ("CAP_SYS_CHROOT", "erluv-child has a root directory of its own"),
    ("CAP_DAC_READ_SEARCH", "programs may lie in folders of their users'"),
    // Beyond the limits of one user, pipe(7) makes small pipes, and unix(7) passes no descriptors on.
    ("CAP_SYS_RESOURCE", "limits above main's own, and more pipes than one user may have"),
];

impl Needs {
    /// What this configuration needs, on this system.
    pub(crate) fn of(settings: &Settings) -> Self {
        // An error is a number that no priority has; then nothing is taken away.
        Self::at(settings, rustix::process::getpriority_process(None).unwrap_or(i32::MAX))
    }

    fn at(settings: &Settings, own_nice: i32) -> Self {
        let mut needs = Self::default();
        let root = settings.euid == 0;
        if root {
            needs.own.extend(ALWAYS.map(|(name, why)| (name.to_owned(), why)));
        }
        let nodes = settings.nodes.iter().map(|node| &node.workers);
        let held = nodes.flat_map(|workers| workers.profiles.iter().map(move |held| (workers, &held.profile)));
        for (workers, profile) in held {
            let lowest = [Some(i32::from(workers.nice_min)), profile.nice].into_iter().flatten().min();
            if lowest.is_some_and(|lowest| lowest < own_nice) {
                needs.add("CAP_SYS_NICE", "priorities above main's own (nice, nice_min)");
            }
            if !root {
                continue;
            }
            let namespaces = &profile.namespaces;
            let any = namespaces.pid || namespaces.net || namespaces.ipc || namespaces.user || namespaces.cgroup;
            if profile.mounts.is_some() || any || namespaces.uts.is_some() {
                needs.add("CAP_SYS_ADMIN", "a profile has mounts or namespaces");
            }
            if namespaces.net {
                needs.add("CAP_NET_ADMIN", "a profile has a network with a loopback that is up");
            }
            if namespaces.pid {
                needs.add("CAP_SYS_PTRACE", "a profile has a pid namespace, whose init is another user's");
            }
            needs
                .gives
                .extend(system::named(profile.bounding | profile.ambient).map(|name| (name, "a profile gives it")));
        }
        if root && settings.pid_file.as_deref().is_some_and(is_not_in_roots_folder) {
            needs.add("CAP_DAC_OVERRIDE", "the folder of the pid file is not root's");
        }
        if root && settings.cgroup != CgroupUse::Never && crate::tree::needs_override() {
            needs.add("CAP_DAC_OVERRIDE", "main stands in a control group whose folder is not root's to write");
        }
        for (name, why) in &needs.gives {
            needs.own.entry(name.clone()).or_insert(why);
        }
        needs
    }

    fn add(&mut self, name: &str, why: &'static str) {
        self.own.insert(name.to_owned(), why);
    }

    /// What this one needs and `other` does not, each with its reason.
    pub(crate) fn beyond(&self, other: &Self) -> Vec<String> {
        let more = self.own.iter().filter(|(name, _)| !other.own.contains_key(*name));
        let given = self.gives.iter().filter(|(name, _)| !other.gives.contains_key(*name));
        let all = more.chain(given).map(|(name, why)| format!("{name} ({why})"));
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn is_not_in_roots_folder(file: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.parent().and_then(|folder| folder.metadata().ok()).is_some_and(|about| about.uid() != 0)
}

pub(crate) use system::keep_only;

#[cfg(target_os = "linux")]
mod system {
    use std::collections::BTreeMap;
    use std::str::FromStr;

    use caps::errors::CapsError;
    use caps::{CapSet, Capability, CapsHashSet};

    use super::Needs;

    /// The names of a set of bits, as far as they are known here.
    pub(super) fn named(bits: u64) -> impl Iterator<Item = String> {
        let known = caps::all().into_iter().filter(move |capability| capability.bitmask() & bits != 0);
        known.map(|capability| capability.to_string())
    }

    /// Gives up all capabilities but those needed, for good. What is needed and was never there comes back, each with
    /// its reason: what depends on it will fail.
    ///
    /// # Errors
    /// Those of capset(2) and prctl(2), and `EPERM` where more is left than there should be.
    pub(crate) fn keep_only(needs: &Needs) -> std::io::Result<Vec<String>> {
        keep(needs).map_err(|error| std::io::Error::new(std::io::ErrorKind::PermissionDenied, error.to_string()))
    }

    fn keep(needs: &Needs) -> Result<Vec<String>, CapsError> {
        let had = caps::read(None, CapSet::Permitted)?;
        let set = |names: &BTreeMap<String, &str>| {
            names.keys().filter_map(|name| Capability::from_str(name).ok()).collect::<CapsHashSet>()
        };
        let kept = &set(&needs.own) & &had;
        let given = &set(&needs.gives) & &had;
        // A kernel before Linux 4.3 has no ambient set.
        if caps::runtime::ambient_set_supported().is_ok() {
            caps::clear(None, CapSet::Ambient)?;
        }
        // An ordinary user's main has nothing to give, and no right to change the bounding set.
        let root = had.contains(&Capability::CAP_SETPCAP);
        // erluv-child, executed as root, has from its start what main hands down here. A worker does not: it gives that
        // up with all the rest, and the bounding set, from which root's programs have theirs, is as small as its own by
        // then, so that it need not be made smaller for each.
        let handed = if root { kept.clone() } else { CapsHashSet::new() };
        caps::set(None, CapSet::Inheritable, &handed)?;
        if root {
            for capability in caps::read(None, CapSet::Bounding)?.difference(&given) {
                caps::drop(None, CapSet::Bounding, *capability)?;
            }
        }
        caps::set(None, CapSet::Effective, &kept)?;
        caps::set(None, CapSet::Permitted, &kept)?;
        for set in [CapSet::Effective, CapSet::Permitted] {
            if caps::read(None, set)? != kept {
                return Err("capabilities are left that were given up".into());
            }
        }
        let lacking =
            needs.own.iter().filter(|(name, _)| Capability::from_str(name).is_ok_and(|it| !kept.contains(&it)));
        Ok(lacking.map(|(name, why)| format!("{name} ({why})")).collect())
    }
}

/// Linux alone has capabilities of this kind.
#[cfg(not(target_os = "linux"))]
mod system {
    use super::Needs;

    pub(super) fn named(_bits: u64) -> impl Iterator<Item = String> {
        std::iter::empty()
    }

    #[allow(clippy::unnecessary_wraps, reason = "the same shape as on Linux, where it can fail")]
    pub(crate) fn keep_only(_needs: &Needs) -> std::io::Result<Vec<String>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::scenarios::settings;

    #[test]
    fn root_keeps_what_its_configuration_needs_and_no_more() {
        let needs = |text: &str| Needs::at(&settings(0, &format!("cgroup = false\n{text}")).unwrap(), 0);
        let plain = needs("");
        assert!(plain.own.contains_key("CAP_SETUID") && !plain.own.contains_key("CAP_SYS_ADMIN"));
        assert_eq!(plain.own.len(), ALWAYS.len());
        let nice = needs("[workers]\nnice_min = -5\n");
        assert_eq!(nice.beyond(&plain), ["CAP_SYS_NICE (priorities above main's own (nice, nice_min))"]);
        assert!(plain.beyond(&nice).is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_it_keeps_for_itself_it_cannot_give_later() {
        let needs = |text: &str| Needs::at(&settings(0, &format!("cgroup = false\n{text}")).unwrap(), 0);
        let gives = needs("[profile.default]\ncapabilities = ['CAP_KILL']\n");
        assert_eq!(gives.own, needs("").own);
        assert_eq!(gives.beyond(&needs("")), ["CAP_KILL (a profile gives it)"]);
    }

    #[test]
    fn an_ordinary_user_needs_nothing() {
        assert_eq!(Needs::at(&settings(1000, "").unwrap(), 0), Needs::default());
    }
}
