//! A worker's own view of the file system, made in its mount namespace: carries out the steps of [`super::mount_plan`]
//! in their order, with main's privileges, before anything of the worker runs there.

use std::cell::Cell;
use std::ffi::CStr;

use libc::c_int;

use super::landlock::is_folder;
use super::mount_calls::{self as calls, NODEV, NOEXEC, NOSUID, RDONLY};
use super::mount_plan::{MountPlan, Step};
use crate::sys::forked::{Called, close};

/// Nothing to see, no way in.
const CLOSED: [(&CStr, &CStr); 3] = [(c"mode", c"0"), (c"size", c"4k"), (c"nr_inodes", c"1")];

/// All steps; each of them ends it where it fails.
pub(in crate::sys) fn arrange(plan: Option<&MountPlan>) -> Called {
    let Some(plan) = plan else { return Ok(()) };
    make_own()?;
    plan.steps.iter().try_for_each(|step| carry_out(step, &plan.held))
}

/// From here on no mount goes from here to the host or comes from there. Main's root has to be a mount, pivot_root(2).
pub(super) fn make_own() -> Called {
    let root = calls::open_place(c"/", false)?;
    calls::make_private(root)?;
    close(root)
}

fn carry_out(step: &Step, held: &[Cell<c_int>]) -> Called {
    match step {
        Step::Hold { slot, path, attributes, recursive, optional } => {
            let Some(slot) = held.get(*slot) else { return Err(libc::EINVAL) };
            match copy(path, *attributes, *recursive) {
                Err(libc::ENOENT) if *optional => slot.set(-1),
                mount => slot.set(mount?),
            }
            Ok(())
        }
        Step::Place { slot, target, links, optional } => {
            let Some(slot) = held.get(*slot) else { return Err(libc::EINVAL) };
            match slot.replace(-1) {
                -1 => Ok(()),
                mount => attach(mount, target, *links, *optional),
            }
        }
        Step::Mount { kind, options, attributes, target, links } => {
            let mount = calls::new_mount(kind, options, *attributes)?;
            attach(mount, target, *links, false)
        }
        Step::Enter { slot, path } => {
            let Some(slot) = held.get(*slot) else { return Err(libc::EINVAL) };
            let (root, place) = (slot.replace(-1), calls::open_place(path, false)?);
            calls::attach(root, place)?;
            close(place)?;
            calls::enter(root)?;
            close(root)
        }
        Step::Restrict { path, attributes, recursive } => {
            let place = calls::open_place(path, true)?;
            calls::add_attributes(place, *attributes, *recursive)?;
            close(place)
        }
        Step::Hide { path, empty } => {
            let Some(empty) = held.get(*empty) else { return Err(libc::EINVAL) };
            hide(path, empty.get())
        }
        Step::Folder { path, mode } => calls::make_folder(path, *mode),
        Step::File { path } => calls::make_file(path),
        Step::Link { path, to } => calls::make_link(path, to),
    }
}

fn copy(path: &CStr, attributes: u64, recursive: bool) -> Called<c_int> {
    let place = calls::open_place(path, false)?;
    let mount = calls::copy_mount(place, recursive)?;
    close(place)?;
    calls::add_attributes(mount, attributes, recursive)?;
    Ok(mount)
}

/// Attaches a mount and gives its descriptor up.
fn attach(mount: c_int, target: &CStr, links: bool, optional: bool) -> Called {
    match calls::open_place(target, links) {
        Err(libc::ENOENT | libc::ENOTDIR) if optional => {}
        place => {
            let place = place?;
            calls::attach(mount, place)?;
            close(place)?;
        }
    }
    close(mount)
}

/// A folder is empty from here on, and closed to all; anything else is `/dev/null`, of which `empty` is a copy. What is
/// not there needs not be hidden.
fn hide(path: &CStr, empty: c_int) -> Called {
    let place = match calls::open_place(path, true) {
        Err(libc::ENOENT | libc::ENOTDIR) => return Ok(()),
        place => place?,
    };
    let mount = match is_folder(place)? {
        true => calls::new_mount(c"tmpfs", &CLOSED, RDONLY | NOSUID | NODEV | NOEXEC)?,
        false => calls::copy_mount(empty, false)?,
    };
    calls::attach(mount, place)?;
    close(place)?;
    close(mount)
}
