//! Searching the memory of another process, for a secret that must not be in it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// How much is read at a time, in bytes.
const PIECE: usize = 1 << 20;

/// How often `needle` stands in the readable memory of a process; for root, of any process.
///
/// # Panics
/// When the process's maps or memory cannot be opened.
#[must_use]
pub fn count_in_memory(pid: i32, needle: &[u8]) -> usize {
    let maps = format!("/proc/{pid}/maps");
    let maps = std::fs::read_to_string(&maps).unwrap_or_else(|error| panic!("{maps}: {error}"));
    let memory = format!("/proc/{pid}/mem");
    let mut memory = File::open(&memory).unwrap_or_else(|error| panic!("{memory}: {error}"));
    maps.lines().filter_map(readable_range).map(|(start, end)| count_in_range(&mut memory, start, end, needle)).sum()
}

/// The addresses of a line of /proc/PID/maps, if the process may read them and they are memory rather than the
/// kernel's.
fn readable_range(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let readable = fields.next()?.starts_with('r') && !line.contains("[v");
    let address = |text| u64::from_str_radix(text, 16).ok();
    readable.then_some((address(start)?, address(end)?))
}

/// Searches in pieces that overlap by one byte less than the needle's length: no place is missed or counted twice.
fn count_in_range(memory: &mut File, start: u64, end: u64, needle: &[u8]) -> usize {
    let mut buffer = vec![0; PIECE + needle.len() - 1];
    let mut count = 0;
    let mut at = start;
    while at < end && memory.seek(SeekFrom::Start(at)).is_ok() {
        let wanted = usize::try_from(end - at).unwrap().min(buffer.len());
        let mut got = 0;
        // A page may be gone since the listing: what was read until then is searched, the rest is not there any more.
        while let Ok(more @ 1..) = memory.read(&mut buffer[got..wanted]) {
            got += more;
        }
        count += buffer[..got].windows(needle.len()).filter(|window| *window == needle).count();
        at += PIECE as u64;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::{Folder, random_hex};
    use crate::proc::wait_until;
    use std::process::{Command, Stdio};

    #[test]
    fn a_range_of_the_kernels_is_not_searched() {
        assert_eq!(readable_range("1000-2000 r-xp 0 00:00 0 /bin/cat"), Some((0x1000, 0x2000)));
        assert_eq!(readable_range("1000-2000 ---p 0 00:00 0"), None);
        assert_eq!(readable_range("1000-2000 r--p 0 00:00 0   [vvar]"), None);
    }

    #[test]
    fn a_place_at_the_seam_of_two_pieces_is_counted_once() {
        let folder = Folder::new();
        let mut content = vec![b'.'; 2 * PIECE + 10];
        for at in [0, PIECE - 2, PIECE + 100, 2 * PIECE] {
            content[at..at + 4].copy_from_slice(b"here");
        }
        let path = folder.file("memory", 0o600, &content);
        let end = u64::try_from(content.len()).unwrap();
        assert_eq!(count_in_range(&mut File::open(path).unwrap(), 0, end, b"here"), 4);
    }

    #[test]
    fn a_secret_in_memory_is_found_and_another_is_not() {
        let (secret, absent) = (random_hex(16), random_hex(16));
        let folder = Folder::new();
        let script = folder.file("script", 0o600, format!("x={secret}; read -r wait").as_bytes());
        let mut child = Command::new("sh").arg(script).stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        wait_until("sh has read its script", || count_in_memory(pid, secret.as_bytes()) > 0);
        assert_eq!(count_in_memory(pid, absent.as_bytes()), 0);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
