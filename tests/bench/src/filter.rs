//! The filter of system calls that the default profile puts in force, made by erluv-main's own code: for the limit that
//! holds its programs as erluv does.

#![allow(dead_code, reason = "erluv-main has use for all of it")]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "as in erluv-main, whose tests come along"))]

#[path = "../../../erluv-main/src/sandbox/bpf.rs"]
mod bpf;
#[path = "../../../erluv-main/src/sandbox/calls.rs"]
mod calls;
#[path = "../../../erluv-main/src/sandbox/pass.rs"]
mod pass;

/// As in erluv-main: the lists of refused calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CallList {
    None,
    Default,
    Strict,
}

/// As in erluv-main: which list, and what comes of a call in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seccomp {
    pub(crate) list: CallList,
    pub(crate) kill: bool,
}

/// The bytes of its instructions, `struct sock_filter` one after the other.
///
/// # Errors
/// Where there is no filter for this machine.
pub(crate) fn of_default_profile() -> Result<Vec<u8>, String> {
    let seccomp = Seccomp { list: CallList::Default, kill: false };
    let filter = calls::compile(seccomp, false, 0).map_err(|error| format!("filter of system calls: {error}"))?;
    let bytes = |instruction: &seccompiler::sock_filter| {
        let (code, k) = (instruction.code.to_ne_bytes(), instruction.k.to_ne_bytes());
        [code.as_slice(), &[instruction.jt, instruction.jf], &k].concat()
    };
    Ok(filter.iter().flatten().flat_map(bytes).collect())
}

#[cfg(test)]
mod own_tests {
    #[test]
    fn the_filter_is_whole_instructions_that_end_with_an_answer() {
        let bytes = super::of_default_profile().unwrap();
        assert!(bytes.len().is_multiple_of(8) && bytes.len() > 50 * 8);
        let last = bytes.chunks(8).next_back().unwrap();
        let code = u32::from(u16::from_ne_bytes([last[0], last[1]]));
        assert_eq!(code, libc::BPF_RET | libc::BPF_K);
    }
}
