use super::*;

fn seccomp(list: CallList) -> Seccomp {
    Seccomp { list, kill: false }
}

fn names(list: CallList, ambient: u64) -> Vec<c_long> {
    refused(list, ambient, &SeccompAction::KillProcess).into_keys().collect()
}

#[test]
fn where_nothing_is_refused_there_is_no_filter() {
    assert_eq!(compile(seccomp(CallList::None), false, 0).unwrap(), None);
    assert!(compile(seccomp(CallList::None), true, 0).unwrap().is_some());
}

#[test]
fn each_list_has_all_of_the_one_before() {
    let (default, strict) = (names(CallList::Default, 0), names(CallList::Strict, 0));
    assert_eq!(names(CallList::None, 0), Vec::<c_long>::new());
    assert!(default.len() > 50 && default.iter().all(|call| strict.contains(call)));
    let only_strict = [libc::SYS_socket, libc::SYS_ptrace, libc::SYS_process_vm_writev];
    assert!(only_strict.iter().all(|call| strict.contains(call) && !default.contains(call)));
}

#[test]
fn what_comes_after_the_filter_and_what_programs_live_by_stays_allowed() {
    let strict = names(CallList::Strict, 0);
    let needed = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_write,
        libc::SYS_exit_group,
        libc::SYS_mmap,
        libc::SYS_openat,
        libc::SYS_socketpair,
        libc::SYS_futex,
        libc::SYS_wait4,
    ];
    assert!(needed.iter().all(|call| !strict.contains(call)));
}

#[test]
fn a_capability_opens_its_calls_but_not_those_of_the_strict_list() {
    let admin = 1 << lists::SYS_ADMIN;
    assert!(names(CallList::Default, 0).contains(&libc::SYS_mount));
    assert!(!names(CallList::Default, admin).contains(&libc::SYS_mount));
    assert!(!names(CallList::Default, admin).contains(&libc::SYS_clone));
    assert!(names(CallList::Default, admin).contains(&libc::SYS_init_module));
    assert!(names(CallList::Strict, admin).contains(&libc::SYS_mount));
}

#[test]
fn no_known_call_is_above_the_highest_number() {
    let strict = names(CallList::Strict, 0);
    assert!(strict.iter().all(|call| *call <= c_long::from(HIGHEST)), "{strict:?}");
}

#[test]
fn every_list_makes_a_filter_whatever_capabilities_a_worker_has() {
    for list in [CallList::None, CallList::Default, CallList::Strict] {
        for ambient in (0..41).map(|capability| 1 << capability).chain([0, u64::MAX]) {
            for kill in [false, true] {
                assert!(
                    compile(Seccomp { list, kill }, true, ambient).unwrap().is_some_and(|filter| filter.len() < 200)
                );
            }
        }
    }
}
