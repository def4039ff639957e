//! The values of profiles: sizes, paths, capabilities, priorities and what else a worker is held by.

use std::ffi::CString;
use std::time::Duration;

use serde::Deserialize;

use super::{Found, expected, flag, path, text, time, whole};
use crate::sandbox::{Bind, CallList, IoMax, IoPriority, Scheduler};

value! { /// Bytes: a whole number, or one with K, M, G or T; `None` for "unlimited".
Bytes(Option<u64>), |found| unlimited(found, |found| size(found, 0)) }
value! { /// Bytes, at least 4096; `None` for false.
TmpSize(Option<u64>), |found| unless_false(found, |found| size(found, 4096)) }
value! { /// Bytes, at least 1; `None` for "unlimited".
OutputSize(Option<u64>), |found| unlimited(found, |found| size(found, 1)) }
value! { /// A time; `None` for "unlimited".
WallTime(Option<Duration>), |found| unlimited(found, |found| time(found, Duration::from_millis(10))) }
value! { /// Processes and threads; `None` for "unlimited".
Pids(Option<u64>), |found| unlimited(found, |found| whole(found, 1, 4_194_304)) }
value! { /// Microseconds in each 100 ms, of a part or a number of processors; `None` for "unlimited".
CpuMax(Option<u64>), |found| unlimited(found, cpu_max) }
value! { /// A weight among siblings.
Weight(u16), |found| whole(found, 1, 10_000) }
value! { /// Lines for devices.
IoLimits(Vec<IoMax>), |found| list(found, io_max) }
value! { /// A priority.
Priority(i32), |found| whole(found, -20, 19) }
value! { /// A level of input and output.
IoLevel(IoPriority), io_level }
value! { /// A way of scheduling.
Scheduling(Scheduler), scheduling }
value! { /// Who is killed first for want of memory.
OomScore(i32), |found| whole(found, -1000, 1000) }
value! { /// A list of system calls that are refused.
Calls(CallList), calls }
value! { /// Whether a refused call kills.
KillsCaller(bool), kills_caller }
value! { /// Absolute paths without "." and "..".
Paths(Vec<CString>), |found| list(found, plain_path) }
value! { /// A folder; `None` for "/".
Root(Option<CString>), |found| plain_path(found).map(|path| (path.as_c_str() != c"/").then_some(path)) }
value! { /// What is bound to where: "/source" or "/source:/target".
Binds(Vec<Bind>), |found| list(found, bind) }
value! { /// Ports of TCP; `None` for "any".
Ports(Option<Vec<u16>>), ports }
value! { /// A host name; `None` for false.
HostName(Option<CString>), |found| unless_false(found, host_name) }
value! { /// Capabilities, a bit for each number.
Capabilities(u64), capabilities }
value! { /// A variable of the environment: its value, or whether it is there.
EnvValue(Variable), variable }

/// What a profile says of a variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Variable {
    /// It is not there.
    Absent,
    /// It is what the system knows of the worker's user or the policy.
    Known,
    /// It is this.
    Text(String),
}

fn unlimited<T>(found: Found, make: impl FnOnce(Found) -> Result<T, String>) -> Result<Option<T>, String> {
    match found {
        Found::Text(text) if text == "unlimited" => Ok(None),
        found => make(found).map(Some).map_err(|what| format!("{what}; or \"unlimited\"")),
    }
}

fn unless_false<T>(found: Found, make: impl FnOnce(Found) -> Result<T, String>) -> Result<Option<T>, String> {
    match found {
        Found::Flag(false) => Ok(None),
        found => make(found).map(Some).map_err(|what| format!("{what}; or false")),
    }
}

/// A list, or one in place of a list of one.
fn list<T>(found: Found, make: impl Fn(Found) -> Result<T, String>) -> Result<Vec<T>, String> {
    match found {
        Found::List(items) => items.into_iter().map(make).collect(),
        one => make(one).map(|one| vec![one]),
    }
}

fn size(found: Found, least: i64) -> Result<u64, String> {
    let wrong = |found: &Found| expected(&format!("bytes from {least} as in 65536, \"64K\", \"16M\" or \"2G\""), found);
    match &found {
        Found::Whole(number) if *number >= least => u64::try_from(*number).map_err(|_| wrong(&found)),
        Found::Text(text) => parse_size(text)
            .filter(|bytes| i64::try_from(*bytes).is_ok_and(|bytes| bytes >= least))
            .ok_or_else(|| wrong(&found)),
        other => Err(wrong(other)),
    }
}

/// Digits and one of K, M, G, T, each 1024 times the one before.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().next_back()? {
        (at, 'K') => (text.get(..at)?, 10),
        (at, 'M') => (text.get(..at)?, 20),
        (at, 'G') => (text.get(..at)?, 30),
        (at, 'T') => (text.get(..at)?, 40),
        _ => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1_u64.checked_shl(shift)?)
}

/// 100 ms of each 100 ms are one processor.
fn cpu_max(found: Found) -> Result<u64, String> {
    const EACH: u64 = 100_000;
    const MOST: u64 = 4096;
    let wrong = || expected("\"1%\" or more, or a number of processors up to 4096, such as 2 or \"150%\"", &found);
    let micros = match &found {
        Found::Whole(cores) => u64::try_from(*cores).ok().filter(|cores| *cores <= MOST).map(|cores| (cores, EACH)),
        Found::Text(text) => {
            let percent = text.strip_suffix('%').filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
            let percent = percent.and_then(|digits| digits.parse::<u64>().ok());
            percent.filter(|percent| *percent <= MOST.saturating_mul(100)).map(|percent| (percent, EACH / 100))
        }
        _ => None,
    };
    match micros {
        Some((count @ 1.., each)) => Ok(count.saturating_mul(each)),
        _ => Err(wrong()),
    }
}

/// "8:0 rbps=10M wbps=1M riops=100 wiops=100", as in `io.max`.
fn io_max(found: Found) -> Result<IoMax, String> {
    let line = text(found)?;
    let wrong = || format!("{line:?}: write \"MAJOR:MINOR\" of a device and rbps=, wbps=, riops=, wiops= with numbers");
    let mut words = line.split_ascii_whitespace();
    let device = words.next().and_then(|device| device.split_once(':')).ok_or_else(wrong)?;
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|_| digits.bytes().all(|d| d.is_ascii_digit()));
    let device = number(device.0).zip(number(device.1)).ok_or_else(wrong)?;
    let mut limits = IoMax { device, read_bytes: None, write_bytes: None, reads: None, writes: None };
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(wrong)?;
        let place = match key {
            "rbps" => &mut limits.read_bytes,
            "wbps" => &mut limits.write_bytes,
            "riops" => &mut limits.reads,
            "wiops" => &mut limits.writes,
            _ => return Err(wrong()),
        };
        let limit = parse_size(value).filter(|limit| *limit > 0).ok_or_else(wrong)?;
        if place.replace(limit).is_some() {
            return Err(wrong());
        }
    }
    match limits {
        IoMax { read_bytes: None, write_bytes: None, reads: None, writes: None, .. } => Err(wrong()),
        limits => Ok(limits),
    }
}

fn io_level(found: Found) -> Result<IoPriority, String> {
    match &found {
        Found::Text(text) if text == "idle" => Ok(IoPriority::Idle),
        Found::Whole(level @ 0..=7) => u8::try_from(*level).map(IoPriority::BestEffort).map_err(|e| e.to_string()),
        other => Err(expected("0, the highest, to 7, or \"idle\"", other)),
    }
}

fn scheduling(found: Found) -> Result<Scheduler, String> {
    match &found {
        Found::Text(text) if text == "other" => Ok(Scheduler::Other),
        Found::Text(text) if text == "batch" => Ok(Scheduler::Batch),
        Found::Text(text) if text == "idle" => Ok(Scheduler::Idle),
        other => Err(expected("\"other\", \"batch\" or \"idle\"", other)),
    }
}

fn calls(found: Found) -> Result<CallList, String> {
    match &found {
        Found::Text(text) if text == "none" => Ok(CallList::None),
        Found::Text(text) if text == "default" => Ok(CallList::Default),
        Found::Text(text) if text == "strict" => Ok(CallList::Strict),
        other => Err(expected("\"none\", \"default\" or \"strict\"", other)),
    }
}

fn kills_caller(found: Found) -> Result<bool, String> {
    match &found {
        Found::Text(text) if text == "errno" => Ok(false),
        Found::Text(text) if text == "kill" => Ok(true),
        other => Err(expected("\"errno\" or \"kill\"", other)),
    }
}

fn plain_path(found: Found) -> Result<CString, String> {
    let path = path(found)?;
    let wrong = || format!("{path:?}: write a path without \"//\", \".\", \"..\" and without \"/\" at its end");
    let text = path.to_str().ok_or_else(wrong)?;
    let parts = text.strip_prefix('/').ok_or_else(wrong)?;
    if !parts.is_empty() && parts.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong());
    }
    CString::new(text).map_err(|_| wrong())
}

fn bind(found: Found) -> Result<Bind, String> {
    let line = text(found)?;
    let of = |path: &str| plain_path(Found::Text(path.to_owned()));
    let (source, target) = match line.split_once(':') {
        Some((_, target)) if target.contains(':') => return Err(format!("{line:?}: write \"/source:/target\"")),
        Some((source, target)) => (of(source)?, of(target)?),
        None => (of(&line)?, of(&line)?),
    };
    if target.as_c_str() == c"/" {
        return Err(format!("{line:?}: nothing can be bound over \"/\", use root"));
    }
    Ok(Bind { source, target, writable: false })
}

fn ports(found: Found) -> Result<Option<Vec<u16>>, String> {
    match found {
        Found::Text(text) if text == "any" => Ok(None),
        found => list(found, |port| whole(port, 1, 65535)).map(Some).map_err(|what| format!("{what}; or \"any\"")),
    }
}

fn host_name(found: Found) -> Result<CString, String> {
    let name = text(found)?;
    let wrong = || format!("{name:?}: write 1 to 64 letters, digits, '-' or '.'");
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if name.len() > 64 || !name.chars().all(plain) {
        return Err(wrong());
    }
    CString::new(name.as_str()).map_err(|_| wrong())
}

fn capabilities(found: Found) -> Result<u64, String> {
    list(found, text)?.iter().try_fold(0, |all, name| {
        let bit = bit_of(&name.to_ascii_uppercase())?;
        Ok(all | bit)
    })
}

#[cfg(target_os = "linux")]
fn bit_of(name: &str) -> Result<u64, String> {
    let whole = if name.starts_with("CAP_") { name.to_owned() } else { format!("CAP_{name}") };
    let found = whole.parse::<caps::Capability>();
    found
        .map(|capability| capability.bitmask())
        .map_err(|_| format!("{name:?}: no such capability, see capabilities(7)"))
}

#[cfg(not(target_os = "linux"))]
fn bit_of(name: &str) -> Result<u64, String> {
    Err(format!("{name:?}: this system has no capabilities: leave the list empty"))
}

fn variable(found: Found) -> Result<Variable, String> {
    match found {
        Found::Text(value) if value.contains('\0') => Err("has a NUL in it".to_owned()),
        Found::Text(value) => Ok(Variable::Text(value)),
        other => flag(other)
            .map(|known| if known { Variable::Known } else { Variable::Absent })
            .map_err(|what| format!("{what}; or a string")),
    }
}

#[cfg(test)]
mod tests;
