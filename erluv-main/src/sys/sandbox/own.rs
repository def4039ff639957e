//! The folder of this process in /proc, opened before its own view of the file system is made: there may be no /proc in
//! that one, or one that shows less.

use std::ffi::CStr;

use libc::c_int;

use super::attributes::write_and_close;
use crate::sys::forked::{Called, check};
use crate::sys::os::control;

/// The descriptor, close-on-exec; -1 where nothing needs it.
pub(in crate::sys) struct Own {
    folder: c_int,
    /// Whether main may change users. Where not, these files belong to root for as long as nobody may trace us.
    root: bool,
}

impl Own {
    /// # Errors
    /// Those of open(2).
    pub(in crate::sys) fn open(needed: bool, root: bool) -> Called<Self> {
        if !needed {
            return Ok(Self { folder: -1, root });
        }
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: the path ends with NUL.
        let folder = check(unsafe { libc::open(c"/proc/self".as_ptr(), flags) })?;
        Ok(Self { folder, root })
    }

    /// Writes a text to a file of the folder, in one write.
    ///
    /// Without root, the process can be traced meanwhile by others of main's own user, who may read all that main may
    /// read anyway.
    pub(super) fn write(&self, name: &CStr, text: &[u8]) -> Called {
        if self.root {
            return self.write_it(name, text);
        }
        control(libc::PR_SET_DUMPABLE, 1, 0)?;
        let written = self.write_it(name, text);
        control(libc::PR_SET_DUMPABLE, 0, 0)?;
        written
    }

    fn write_it(&self, name: &CStr, text: &[u8]) -> Called {
        // SAFETY: the name ends with NUL.
        let fd = check(unsafe { libc::openat(self.folder, name.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) })?;
        write_and_close(fd, text)
    }
}
