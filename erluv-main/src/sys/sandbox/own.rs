//! The folder of this process in /proc, opened before its own view of the file system is made: there may be no /proc in
//! that one, or one that shows less.

use std::ffi::CStr;
use std::os::fd::IntoRawFd;

use libc::c_int;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::attributes::write_and_close;
use crate::sys::call::control;
use crate::sys::forked::{Called, borrowed, open};

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
        let folder = open(c"/proc/self", flags, 0)?;
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
        let (folder, flags) = (borrowed(self.folder)?, OFlags::WRONLY | OFlags::CLOEXEC);
        let file = openat(folder, name, flags, Mode::empty()).map_err(Errno::raw_os_error)?;
        write_and_close(file.into_raw_fd(), text)
    }
}
