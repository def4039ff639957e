//! The filter of system calls, tried by workers. Each test runs in a process of its own.

use erluv_proto::ipc::ExitStatus;

use super::tests::{python, says};
use crate::order::Order;
use crate::sandbox::{CallList, Profile, Seccomp};
use crate::sys::testing::alone_as_root;
use crate::tree::UseCgroup;
use crate::workers::bench::{Bench, order, sandbox, shell};

fn list(list: CallList) -> impl FnOnce(&mut Profile) {
    move |profile| profile.seccomp = Seccomp { list, kill: false }
}

/// Makes calls by number, and says of each its errno, or 0.
fn calls(calls: &str) -> Order {
    python(&format!(
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nfor call in {calls}:\n \
         ctypes.set_errno(0)\n libc.syscall(*call)\n print(ctypes.get_errno(), end=' ')"
    ))
}

/// Whether this architecture is the one whose numbers stand in the tests.
const X86: bool = cfg!(target_arch = "x86_64");

#[test]
fn ordinary_programs_run_unchanged_under_the_default_list() {
    alone_as_root(|| {
        let folder = std::env::temp_dir().join(format!("erluv-cc-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).unwrap();
        let lines = [
            "printf 'b\\na\\n' | sort | tr a-z A-Z | { read x; echo $x; }",
            "python3 -c 'import threading, subprocess; t = threading.Thread(target=print, args=(1,)); t.start(); \
             t.join(); print(subprocess.check_output([\"echo\", \"sub\"]).decode(), end=\"\")'",
            "echo 'int main(void){return 0;}' > m.c && cc m.c -o m && ./m && echo compiled",
            "sleep 1000 & kill $! && wait $!; echo waited",
            "python3 -c 'import socket; s = socket.socket(); s.bind((\"127.0.0.1\", 0)); print(\"bound\")'",
        ];
        for (line, wanted) in lines.into_iter().zip(["A\n", "1\nsub\n", "compiled\n", "waited\n", "bound\n"]) {
            let mut run = shell(line);
            run.cwd = std::ffi::CString::new(folder.to_str().unwrap()).unwrap();
            run.env.push(c"HOME=/nonexistent".to_owned());
            assert_eq!(says(run, list(CallList::Default)), wanted, "{line}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn s30_a_terminal_is_not_fed_whatever_stands_above_the_low_32_bits() {
    alone_as_root(|| {
        let line = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nfor high in (0, 1 << 32, 0xdead << 32):\n \
                    for low in (0x5412, 0x541c):\n  ctypes.set_errno(0)\n  \
                    libc.syscall(ctypes.c_long(16), 0, ctypes.c_ulong(high | low), b'x')\n  print(ctypes.get_errno())";
        if X86 {
            assert_eq!(says(python(line), list(CallList::Default)), "1\n".repeat(6));
            assert_eq!(says(python(line), |_| {}), format!("{}\n", libc::ENOTTY).repeat(6));
        }
    });
}

#[test]
fn unknown_numbers_and_those_of_x32_do_not_exist() {
    alone_as_root(|| {
        let text = says(calls("[(0x40000000 + 39,), (1000,), (435, 0, 0), (-1,)]"), list(CallList::Default));
        assert_eq!(text, format!("{} ", libc::ENOSYS).repeat(4));
    });
}

#[test]
fn another_architecture_s_calls_end_the_worker() {
    alone_as_root(|| {
        if !X86 {
            return;
        }
        // mov eax, 20 (getpid of i386); int 0x80; ret.
        let line = "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\n\
                    m.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')\n\
                    at = ctypes.addressof(ctypes.c_char.from_buffer(m))\n\
                    ctypes.CFUNCTYPE(ctypes.c_int)(at)()\nprint('called')";
        let mut bench = Bench::new(UseCgroup::Auto);
        let started = bench.start(Order { sandbox: sandbox(list(CallList::Default)), ..python(line) });
        let end = bench.end(started.id());
        bench.workers.close();
        assert!(matches!(end.status, ExitStatus::Signal(signal, _) if i32::from(signal) == libc::SIGSYS), "{end:?}");
    });
}

#[test]
fn no_new_namespaces_no_keys_and_no_programs_in_the_kernel() {
    alone_as_root(|| {
        if !X86 {
            return;
        }
        // clone with CLONE_NEWUSER, unshare, mount, keyctl, bpf, perf_event_open, io_uring_setup, userfaultfd.
        let list_of = "[(56, 0x10000011, 0, 0, 0, 0), (272, 0x10000000), (165, 0, 0, 0, 0, 0), (250, 0, -3, 0), \
                       (321, 0, 0, 0), (298, 0, 0, 0, 0, 0), (425, 1, 0), (323, 0)]";
        assert_eq!(says(calls(list_of), list(CallList::Default)), "1 ".repeat(8));
    });
}

#[test]
fn strict_opens_no_socket_and_traces_no_one_but_has_pairs() {
    alone_as_root(|| {
        let line = "import socket, os\na, b = socket.socketpair()\na.send(b'x')\nprint(b.recv(1))\n\
                    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK):\n \
                    try:\n  socket.socket(family, socket.SOCK_DGRAM)\n  print('open')\n \
                    except PermissionError: print('no')";
        assert_eq!(says(python(line), list(CallList::Strict)), format!("b'x'\n{}", "no\n".repeat(4)));
        if X86 {
            // ptrace, process_vm_readv, process_vm_writev, kcmp, pidfd_getfd.
            let others = "[(101, 0, 0, 0, 0), (310, 1, 0, 0, 0, 0, 0), (311, 1, 0, 0, 0, 0, 0), \
                          (312, 1, 1, 0, 0, 0), (438, 0, 0, 0)]";
            assert_eq!(says(calls(others), list(CallList::Strict)), "1 ".repeat(5));
        }
    });
}

#[test]
fn a_refused_call_can_end_the_worker() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let kill = sandbox(|profile| profile.seccomp = Seccomp { list: CallList::Strict, kill: true });
        let started = bench.start(Order { sandbox: kill, ..python("import socket; socket.socket()") });
        let end = bench.end(started.id());
        bench.workers.close();
        assert!(matches!(end.status, ExitStatus::Signal(signal, _) if i32::from(signal) == libc::SIGSYS), "{end:?}");
    });
}

#[test]
fn without_no_new_privs_a_filter_ends_the_launch_by_name() {
    alone_as_root(|| {
        let mut bench = Bench::new(UseCgroup::Auto);
        let open = sandbox(|profile| {
            profile.no_new_privs = false;
            profile.seccomp = Seccomp { list: CallList::Default, kill: false };
        });
        let refused = bench.refuse(Order { sandbox: open, ..order(&["/bin/true"]) });
        assert_eq!(refused, (erluv_proto::ipc::Step::Seccomp, libc::EACCES));
        bench.workers.close();
    });
}
