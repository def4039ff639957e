//! What of main's memory is wiped in a process that lives on as a copy of main without an exec.

use std::io::{self, Read};

use super::call::{call, word};
use super::forked::Called;

/// Around an address that is kept: enough for the frames and the thread's own variables there, in whole pages.
const KEPT: usize = 64 << 10;

/// The most ranges; main's memory has some ten.
const MOST: usize = 256;

/// The longest list of mappings that is read.
const LONGEST: usize = 64 << 10;

/// Ranges of private memory that no file stands behind: start and end, in whole pages.
pub(super) struct Ranges {
    list: [(usize, usize); MOST],
    count: usize,
}

impl Ranges {
    /// Those of this process, to be made right before the fork, without what the forked process stands on.
    ///
    /// # Errors
    /// Those of reading /proc/self/maps, and `E2BIG` where it is longer than any of main's.
    pub(super) fn own() -> io::Result<Self> {
        // Room first: from here on the heap does not grow.
        let mut maps = String::with_capacity(LONGEST);
        let file = std::fs::File::open("/proc/self/maps")?;
        file.take(u64::try_from(LONGEST).unwrap_or(0)).read_to_string(&mut maps)?;
        let here = std::ptr::from_ref(&maps).addr();
        // SAFETY: the function takes nothing and tells where this thread's errno is.
        let errno = unsafe { libc::__errno_location() }.addr();
        let too_long = || io::Error::from_raw_os_error(libc::E2BIG);
        if maps.len() >= LONGEST { Err(too_long()) } else { Self::of(&maps, &[here, errno]).ok_or_else(too_long) }
    }

    /// By the text of proc_pid_maps(5).
    fn of(maps: &str, kept: &[usize]) -> Option<Self> {
        let mut ranges = Self { list: [(0, 0); MOST], count: 0 };
        for (start, mut end) in maps.lines().filter_map(anonymous) {
            // From the top down, with a gap around each kept address.
            for kept in [kept.iter().max(), kept.iter().min()].into_iter().flatten() {
                let page = kept & !(KEPT.saturating_sub(1));
                if (start..end).contains(kept) {
                    ranges.push(page.saturating_add(KEPT.saturating_mul(2)).max(start), end)?;
                    end = page.saturating_sub(KEPT).clamp(start, end);
                }
            }
            ranges.push(start, end)?;
        }
        Some(ranges)
    }

    fn push(&mut self, start: usize, end: usize) -> Option<()> {
        if start < end {
            *self.list.get_mut(self.count)? = (start, end);
            self.count = self.count.checked_add(1)?;
        }
        Some(())
    }

    fn ranges(&self) -> impl Iterator<Item = &(usize, usize)> {
        self.list.iter().take(self.count)
    }

    /// Makes zeros of them all. Nothing that lies there may be used after that.
    pub(super) fn wipe(&self) -> Called {
        for (start, end) in self.ranges() {
            let length = end.saturating_sub(*start);
            // SAFETY: the range is private memory of this process, and the caller uses nothing of it any more.
            unsafe { call(libc::SYS_madvise, [*start, length, word(libc::MADV_DONTNEED)]) }?;
        }
        Ok(())
    }
}

/// Start and end of a mapping that can be written, is private and no file's, and not the first thread's stack.
fn anonymous(line: &str) -> Option<(usize, usize)> {
    // START-END PERMISSIONS OFFSET DEVICE INODE [NAME]
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (writable, inode) = (fields.next()?.starts_with("rw-p"), fields.nth(2)?);
    let named = fields.next().is_some_and(|name| name != "[heap]");
    let number = |hex| usize::from_str_radix(hex, 16).ok();
    if writable && inode == "0" && !named { Some((number(start)?, number(end)?)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_s_is_wiped_but_for_the_surroundings_of_what_is_kept() {
        let maps = "00100000-00200000 rw-p 00000000 08:01 77 /bin/x\n\
                    00200000-00300000 rw-p 00000000 00:00 0 [heap]\n\
                    00300000-00400000 r--p 00000000 00:00 0\n\
                    01000000-02000000 rw-p 00000000 00:00 0 \n\
                    03000000-03100000 rw-s 00000000 00:00 0\n\
                    7f000000-7f100000 rw-p 00000000 00:00 0 [stack]\n";
        let ranges = |kept: &[usize]| Ranges::of(maps, kept).unwrap().ranges().copied().collect::<Vec<_>>();
        assert_eq!(ranges(&[0x7f00_0000]), [(0x20_0000, 0x30_0000), (0x100_0000, 0x200_0000)]);
        let parts =
            [(0x20_0000, 0x30_0000), (0x182_0000, 0x200_0000), (0x142_0000, 0x17f_0000), (0x100_0000, 0x13f_0000)];
        assert_eq!(ranges(&[0x140_1234, 0x180_0001]), parts);
        assert_eq!(ranges(&[0x180_0001, 0x140_1234]), parts);
        assert_eq!(ranges(&[0x100_0001])[1..], [(0x102_0000, 0x200_0000)]);
    }
}
