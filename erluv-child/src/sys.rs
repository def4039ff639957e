//! All of erluv-child's unsafe code: what neither std, nix nor rustix wraps. Runs in erluv-child, the first two
//! functions with the privileges that it was started with, the rest with none.

#![allow(unsafe_code, reason = "the one module of erluv-child that may")]

#[cfg(target_os = "linux")]
pub(crate) mod attempts;

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

use erluv_proto::ipc::MAX_DESCRIPTORS;
use rustix::{
    fs::FileType,
    io::retry_on_intr,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags},
};

/// The descriptors above 2 that erluv-main starts erluv-child with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inherited {
    /// The control socket, descriptor 3.
    Control,
    /// The write end of the log pipe, descriptor 4.
    Log,
}

/// Takes an inherited descriptor, once, and marks it close-on-exec.
///
/// # Errors
/// `EBADF` where the descriptor is not open, [`io::ErrorKind::AlreadyExists`] the second time.
pub(crate) fn take_inherited(which: Inherited) -> io::Result<OwnedFd> {
    static TAKEN: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];
    let [control, log] = &TAKEN;
    let (number, taken): (RawFd, &AtomicBool) = match which {
        Inherited::Control => (3, control),
        Inherited::Log => (4, log),
    };
    if taken.swap(true, Ordering::Relaxed) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // SAFETY: F_SETFD takes an int and touches no memory; on a number that is not open it fails and does nothing.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open, as the call above has shown, came with exec, and is given out once in this process.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Reads at most `max` bytes into the spare capacity of `out`, which grows by what was read. Nothing is zeroed first.
///
/// Returns the number of bytes, 0 at end of file (or for a `max` of 0).
///
/// # Errors
/// Those of read(2), `EAGAIN` among them; `out` is unchanged then. An interrupted call is repeated.
pub(crate) fn read_append(fd: BorrowedFd<'_>, out: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    out.reserve(max);
    let before = out.len();
    let spare = out.spare_capacity_mut();
    let room = max.min(spare.len());
    let Some(space) = spare.get_mut(..room) else { return Ok(0) };
    let read = retry_on_intr(|| rustix::io::read(fd, &mut *space).map(|(filled, _)| filled.len()))?;
    // SAFETY: the kernel has written the `read` bytes behind `before`, and they are within the capacity.
    unsafe { out.set_len(before.saturating_add(read)) };
    Ok(read)
}

/// A whole datagram of the control socket.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) length: usize,
    /// In their order, close-on-exec.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// More of them came, and this process has no room for them: the limit of open files.
    pub(crate) lacks_room: bool,
}

/// Receives one datagram of the control socket into `buf`; `None` once the other end is closed.
///
/// # Errors
/// Those of recvmsg(2), `EAGAIN` among them; [`io::ErrorKind::InvalidData`] where the datagram was cut short or more
/// descriptors came than any frame has (S-19): what did arrive of them is closed. An interrupted call is repeated.
pub(crate) fn receive(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Option<Datagram>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = retry_on_intr(|| {
        let mut parts = [io::IoSliceMut::new(&mut *buf)];
        rustix::net::recvmsg(fd, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    let lacks_room = message.flags.contains(ReturnFlags::CTRUNC) && descriptors.len() < MAX_DESCRIPTORS;
    if message.flags.contains(ReturnFlags::TRUNC) || (message.flags.contains(ReturnFlags::CTRUNC) && !lacks_room) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "control socket: datagram or descriptors cut short"));
    }
    match (message.bytes, descriptors.is_empty() && !lacks_room) {
        (0, true) => Ok(None),
        (0, false) => Err(io::Error::new(io::ErrorKind::InvalidData, "control socket: descriptors without a frame")),
        (length, _) => Ok(Some(Datagram { length, descriptors, lacks_room })),
    }
}

/// What a descriptor refers to, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FdKind {
    /// A pipe or named pipe.
    Fifo,
    /// A socket of any family.
    Socket,
    /// A regular file: of those that child is handed, `cgroup.kill`.
    File,
    /// A character device: of those that child is handed, a worker's terminal.
    Device,
    /// Anything else.
    Other,
}

/// What `fd` refers to, by fstat(2) (S-20).
///
/// # Errors
/// Those of fstat(2).
pub(crate) fn fd_kind(fd: BorrowedFd<'_>) -> io::Result<FdKind> {
    // rustix: the C library's fstat may be newfstatat(2), which takes a path and so is refused by our filter.
    let stat = rustix::fs::fstat(fd)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => FdKind::Fifo,
        FileType::Socket => FdKind::Socket,
        FileType::RegularFile => FdKind::File,
        FileType::CharacterDevice => FdKind::Device,
        FileType::Directory | FileType::Symlink | FileType::BlockDevice | FileType::Unknown => FdKind::Other,
    })
}

/// The settings of the terminal behind `fd`. tcgetattr(3).
///
/// # Errors
/// Those of tcgetattr(3): `ENOTTY` where it is none.
pub(crate) fn terminal_settings(fd: BorrowedFd<'_>) -> io::Result<libc::termios> {
    let mut settings = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the descriptor is open, and the pointer is to memory of the size that is written.
    if unsafe { libc::tcgetattr(fd.as_raw_fd(), settings.as_mut_ptr()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so it has filled all of it.
    Ok(unsafe { settings.assume_init() })
}

/// Changes the settings of the terminal behind `fd`, at once. tcsetattr(3).
///
/// # Errors
/// Those of tcsetattr(3).
pub(crate) fn set_terminal(fd: BorrowedFd<'_>, settings: &libc::termios) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the pointer is to settings that are read alone.
    match unsafe { libc::tcsetattr(fd.as_raw_fd(), libc::TCSANOW, &raw const *settings) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Changes the size of the terminal behind `fd`; its foreground processes get SIGWINCH. ioctl(2), `TIOCSWINSZ`.
///
/// # Errors
/// Those of ioctl(2): `ENOTTY` where it is none.
pub(crate) fn set_size(fd: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize from the pointer, which is valid for the call.
    match unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The character that means the end of input on the terminal behind `fd`; `^D` where that cannot be had.
pub(crate) fn end_character(fd: BorrowedFd<'_>) -> u8 {
    let set = terminal_settings(fd).ok().and_then(|settings| settings.c_cc.get(libc::VEOF).copied());
    set.unwrap_or(4)
}

/// Hides all files, for good: no path is visible after it. unveil(2).
///
/// # Errors
/// Those of unveil(2).
#[cfg(target_os = "openbsd")]
pub(crate) fn hide_files() -> io::Result<()> {
    // SAFETY: both arguments are strings that end with NUL and live for ever.
    let hidden = unsafe { libc::unveil(c"/".as_ptr(), c"".as_ptr()) };
    // SAFETY: two null pointers end the unveiling, by the manual page.
    let locked = unsafe { libc::unveil(std::ptr::null(), std::ptr::null()) };
    if hidden == -1 || locked == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Keeps to the calls on open descriptors, terminals among them, and to taking descriptors from a socket. pledge(2).
///
/// # Errors
/// Those of pledge(2).
#[cfg(target_os = "openbsd")]
pub(crate) fn keep_to_descriptors() -> io::Result<()> {
    // SAFETY: both arguments are strings that end with NUL and live for ever.
    match unsafe { libc::pledge(c"stdio recvfd tty".as_ptr(), c"".as_ptr()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Enters capability mode: no name of anything global works after it. cap_enter(2).
///
/// # Errors
/// Those of cap_enter(2); `ENOSYS` where the kernel has no Capsicum.
#[cfg(target_os = "freebsd")]
pub(crate) fn keep_to_descriptors() -> io::Result<()> {
    // SAFETY: it takes nothing and touches no memory.
    match unsafe { libc::cap_enter() } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Forbids debuggers to attach, and core files. procctl(2), `PROC_TRACE_CTL`.
///
/// # Errors
/// Those of procctl(2).
#[cfg(target_os = "freebsd")]
pub(crate) fn forbid_tracing() -> io::Result<()> {
    let own = libc::id_t::from(std::process::id());
    let mut what: libc::c_int = libc::PROC_TRACE_CTL_DISABLE;
    // SAFETY: PROC_TRACE_CTL reads one int from the pointer, which is valid for the call.
    match unsafe { libc::procctl(libc::P_PID, own, libc::PROC_TRACE_CTL, (&raw mut what).cast()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
