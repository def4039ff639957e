//! Systems and processors where workers are made by fork(2) alone. The names are those of `vfork.rs`.

use std::io;

use super::{Made, Wanted};
use crate::order::Order;
#[cfg(target_os = "linux")]
use crate::sandbox::Profile;

/// What is launched together elsewhere is made one by one here.
pub(crate) const MOST_AT_ONCE: usize = 1;

/// There are none.
pub(in crate::sys) mod spawner {
    #[cfg(target_os = "linux")]
    use seccompiler::BpfProgram;

    #[cfg(target_os = "linux")]
    use crate::sandbox::pass::Pass;

    /// None.
    pub(crate) fn end_spawners() {}

    /// As on other processors.
    #[cfg(target_os = "linux")]
    #[derive(Debug)]
    #[allow(dead_code, reason = "nobody makes anything of it")]
    pub(in crate::sys) struct Recipe {
        pub(in crate::sys) filter: BpfProgram,
        pub(in crate::sys) pass: Pass,
    }

    /// Of nobody.
    #[cfg(target_os = "linux")]
    #[derive(Debug)]
    pub(in crate::sys) struct Place;

    #[cfg(target_os = "linux")]
    impl Place {
        /// Whatever the recipe.
        pub(in crate::sys) fn new(_: Option<Recipe>) -> Self {
            Self
        }
    }
}

/// No profile is.
#[cfg(target_os = "linux")]
pub(in crate::sys) fn is_brief(_: &Profile) -> bool {
    false
}

/// No order does.
pub(crate) fn suits(_: &Order) -> bool {
    false
}

/// Nothing is kept for any child.
pub(in crate::sys) fn forget(_: i32) {}

/// For nothing.
pub(crate) fn room() -> usize {
    0
}

/// Never called, since there is no room.
///
/// # Errors
/// Always `ENOSYS`.
pub(crate) fn spawn_and_wait(wanted: Vec<Wanted<'_>>) -> Vec<io::Result<Made>> {
    wanted.iter().map(|_| Err(io::Error::from_raw_os_error(libc::ENOSYS))).collect()
}
