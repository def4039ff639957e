//! A process that makes the workers of one profile for main. It has put the profile's filter in force for itself, and
//! each worker inherits it: to have the kernel compile a filter, and give it back, is a fifth of a short worker's cost.
//!
//! It is root as main is, in main's memory and with main's descriptors, and does nothing but make a process when main
//! tells it to: a hand of main's, in reach of none but root. Its workers are main's children (CLONE_PARENT), as if main
//! had made them. What they have of the system beside their profile (limits, priority, affinity) is what main had when the
//! spawner was made. It dies with main, and with its profile.
//!
//! What the filter refuses to a worker and a worker needs on its way to its exec is allowed with a [`Pass`].
//!
//! While main runs it waits for a word to change. Like its workers it leaves errno alone, which is main's, too.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libc::{c_long, c_void};
use seccompiler::BpfProgram;

use super::slot::Slot;
use super::{PATIENCE, later, raw};
use crate::sandbox::pass::Pass;
use crate::sys::forked::Called;
use crate::sys::half::{is_half, keep_apart};
use crate::sys::os::{CLONE_CLEAR_SIGHAND, clone_args, die_with, exit, forbid_new_privileges};
use crate::sys::sandbox::filter::load_filter;

/// Its name in the lists of processes, comm.
const NAME: &std::ffi::CStr = c"erluv-spawner";

/// Bytes; it calls little.
const STACK: usize = 32 * 1024;

/// How long main waits for the death of those that it has killed, and how long at a time.
pub(super) const LAST_PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);

/// How long there is none where one could not be made, or has not made what it was asked for.
const PAUSE: Duration = Duration::from_secs(10);

/// What it says of itself: that it is not ready yet, that it is, or else the errno for which it is not.
const UNREADY: u32 = u32::MAX;
const READY: u32 = 0;

thread_local! {
    /// All spawners of main, which has one thread.
    static LIVING: RefCell<Vec<Weak<Spawner>>> = const { RefCell::new(Vec::new()) };
}

/// Ends all spawners. The next worker of each profile has another one made, which is what main is by then.
pub(crate) fn end_spawners() {
    let living = LIVING.with_borrow(|living| living.iter().filter_map(Weak::upgrade).collect::<Vec<_>>());
    for spawner in living {
        spawner.kill(later(Instant::now(), LAST_PATIENCE));
    }
}

/// What a spawner begins with, beside main's memory.
#[derive(Debug)]
pub(in crate::sys) struct Recipe {
    pub(in crate::sys) filter: BpfProgram,
    pub(in crate::sys) pass: Pass,
}

/// The spawner of a profile, made when it is first needed.
#[derive(Debug)]
pub(in crate::sys) struct Place {
    recipe: Option<Recipe>,
    spawner: RefCell<Option<Rc<Spawner>>>,
    /// Until when none is made.
    pause: Cell<Option<Instant>>,
}

impl Place {
    /// None where there is no recipe.
    pub(in crate::sys) fn new(recipe: Option<Recipe>) -> Self {
        Self { recipe, spawner: RefCell::new(None), pause: Cell::new(None) }
    }

    /// The one that lives, or a new one. `main` is the process that calls this.
    pub(super) fn spawner(&self, main: libc::pid_t) -> Option<Rc<Spawner>> {
        let recipe = self.recipe.as_ref().filter(|_| !self.is_resting())?;
        let mut place = self.spawner.borrow_mut();
        if let Some(spawner) = place.as_ref().filter(|spawner| spawner.lives()) {
            return Some(Rc::clone(spawner));
        }
        match Spawner::new(recipe, main) {
            Ok(spawner) => {
                let spawner = Rc::new(spawner);
                LIVING.with_borrow_mut(|living| {
                    living.retain(|other| other.strong_count() > 0);
                    living.push(Rc::downgrade(&spawner));
                });
                *place = Some(spawner);
            }
            Err(error) => {
                drop(place);
                self.rest(&error);
                return None;
            }
        }
        place.clone()
    }

    fn is_resting(&self) -> bool {
        self.pause.get().is_some_and(|end| end > Instant::now())
    }

    /// Ends the spawner, and has no other made for a while: each worker puts its filter in force by itself then, which
    /// costs time and nothing else.
    pub(super) fn rest(&self, error: &io::Error) {
        if self.is_resting() {
            return;
        }
        log::info!("no spawner for {} s: {error}", PAUSE.as_secs());
        self.pause.set(Instant::now().checked_add(PAUSE));
        drop(self.spawner.take());
    }
}

/// The words and the stack that a spawner has in main's memory, and nobody else there.
#[repr(C, align(4096))]
struct Desk {
    stack: UnsafeCell<[u8; STACK]>,
    /// Not 0 while it lives: the kernel clears it, CLONE_CHILD_CLEARTID.
    alive: AtomicU32,
    /// [`UNREADY`], [`READY`] or an errno.
    state: AtomicU32,
    /// The slots whose processes are wanted of it, a bit for each: it takes them out before it makes any.
    wanted: AtomicU32,
}

/// What it finds on main's stack while it gets ready.
struct Birth<'r> {
    desk: *const Desk,
    recipe: &'r Recipe,
    main: libc::pid_t,
}

/// A spawner that was ready once.
#[derive(Debug)]
pub(super) struct Spawner {
    desk: *mut Desk,
    pid: i32,
    pass: Pass,
}

impl Spawner {
    fn new(recipe: &Recipe, main: libc::pid_t) -> io::Result<Self> {
        let desk = Box::into_raw(Box::new(Desk {
            stack: UnsafeCell::new([0; STACK]),
            alive: AtomicU32::new(1),
            state: AtomicU32::new(UNREADY),
            wanted: AtomicU32::new(0),
        }));
        let birth = Birth { desk, recipe, main };
        let shared = u64::try_from(libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_CHILD_CLEARTID).unwrap_or(0);
        // SAFETY: the desk was made above, and nobody else has its address.
        let Desk { alive, stack, .. } = unsafe { &*desk };
        let args = libc::clone_args {
            child_tid: alive.as_ptr() as u64,
            stack: stack.get() as u64,
            stack_size: STACK as u64,
            ..clone_args(shared | CLONE_CLEAR_SIGHAND, None)
        };
        // SAFETY: the desk begins at a page and its stack with it; what `begin` reads of main's outlives the wait below,
        // in which main does nothing else.
        let made = unsafe { raw::clone(&raw const args, [0; 2], begin, (&raw const birth).cast()) };
        let Ok(pid @ 1..) = i32::try_from(made) else {
            // SAFETY: there is no process, so the desk is this function's alone.
            drop(unsafe { Box::from_raw(desk) });
            return Err(error_of(made.saturating_neg()));
        };
        let spawner = Self { desk, pid, pass: recipe.pass };
        let state = spawner.get_ready();
        keep_apart(pid);
        match state {
            READY => Ok(spawner),
            UNREADY => Err(error_of(libc::ETIMEDOUT.into())),
            errno => Err(error_of(errno.into())),
        }
    }

    /// What it says of itself in the end.
    fn get_ready(&self) -> u32 {
        let state = &self.desk().state;
        while state.load(Ordering::Acquire) == UNREADY && raw::wait(state, UNREADY, false, PATIENCE) {}
        state.load(Ordering::Acquire)
    }

    fn desk(&self) -> &Desk {
        // SAFETY: it lives until this is dropped, and what both write in it are atomic words and cells.
        unsafe { &*self.desk }
    }

    /// Whether its number is its own: neither has the kernel cleared the word, nor has main reaped it.
    pub(super) fn lives(&self) -> bool {
        self.desk().alive.load(Ordering::Acquire) != 0 && is_half(self.pid)
    }

    /// Whether it is gone by then. Where it is not, it runs nothing any more. A process may yet come of the clone3(2) that it is
    /// in, which looks for SIGKILL before its end.
    pub(super) fn kill(&self, end: Instant) -> bool {
        while self.lives() {
            raw::kill(self.pid);
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            raw::wait(&self.desk().alive, 1, true, left.min(LOOK));
        }
        true
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// What shows to the filter that a process comes from here.
    pub(super) fn pass(&self) -> Pass {
        self.pass
    }

    /// Has the process of a slot made that is laid out for it: this is its bit.
    pub(super) fn ask(&self, bit: u32) {
        let wanted = &self.desk().wanted;
        // Where another one waits to be made it has been woken.
        if wanted.fetch_or(bit, Ordering::AcqRel) == 0 {
            raw::wake(wanted, false);
        }
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        if self.kill(later(Instant::now(), LAST_PATIENCE)) {
            // SAFETY: it came from a box, and the only process that had it beside main is gone.
            drop(unsafe { Box::from_raw(self.desk) });
        } else {
            log::warn!("spawner {} does not end: its memory is lost", self.pid);
        }
    }
}

/// The first function of a spawner.
extern "C" fn begin(birth: *const c_void) -> ! {
    // SAFETY: main has given it the address of one, and waits until the state is another. What is used after that is
    // copied here: the place is on main's stack.
    let Birth { desk, recipe, main } = unsafe { birth.cast::<Birth<'_>>().read() };
    let pass = recipe.pass;
    // SAFETY: main gives it back after the death of this process alone.
    let desk = unsafe { &*desk };
    match prepare(recipe, main) {
        Ok(()) => {
            say(desk, READY);
            attend(desk, pass)
        }
        Err(errno) => {
            say(desk, errno.unsigned_abs());
            exit(1)
        }
    }
}

fn say(desk: &Desk, state: u32) {
    desk.state.store(state, Ordering::Release);
    raw::wake(&desk.state, false);
}

/// What it is from here on, beside what it has from main.
fn prepare(recipe: &Recipe, main: libc::pid_t) -> Called {
    let _ = rustix::thread::set_name(NAME);
    die_with(main, None)?;
    forbid_new_privileges()?;
    load_filter(Some(&recipe.filter))
}

/// Makes what is wanted.
fn attend(desk: &Desk, pass: Pass) -> ! {
    loop {
        let wanted = desk.wanted.swap(0, Ordering::AcqRel);
        if wanted == 0 {
            raw::wait_long(&desk.wanted, 0);
        }
        for (_, slot) in Slot::all().filter(|(bit, _)| wanted & bit != 0) {
            // SAFETY: main has laid it out before it asked, and keeps what it has laid out until the process is out of its
            // memory, or never will run in it again; it lays out anew only what it has not asked for or what is done.
            unsafe { slot.make(pass.arguments()) };
        }
    }
}

fn error_of(errno: c_long) -> io::Error {
    io::Error::from_raw_os_error(i32::try_from(errno).unwrap_or(libc::EOVERFLOW))
}

#[cfg(test)]
mod tests;
