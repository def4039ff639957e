//! The readers on lines with known content, and on this process and a child of it.

use super::*;
use std::process::{Child, Command, Stdio};

fn cat() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).env_clear().env("A", "b c").spawn().unwrap()
}

fn own() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

#[test]
fn the_name_of_a_process_cannot_forge_its_state() {
    let line = "7 (a) Z 9 (b) S 3 7 8 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
    assert_eq!(read_stat(line), Some(Stat { state: 'S', parent: 3, session: 8, start: 4711 }));
    assert_eq!(read_stat("7 (a"), None);
}

#[test]
fn limits_have_a_soft_and_a_hard_value() {
    let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                Max core file size        0                    unlimited            bytes     \n";
    let limits = read_limits(text);
    assert_eq!(limits["Max core file size"], ("0".to_owned(), "unlimited".to_owned()));
}

#[test]
fn a_child_is_found_with_its_environment_and_descriptors_and_is_gone_when_killed() {
    let mut child = cat();
    let pid = i32::try_from(child.id()).unwrap();
    wait_until("cat is executed", || cmdline(pid) == ["cat"]);
    assert!(children(own()).contains(&pid) && descendants(own()).contains(&pid));
    assert_eq!(environ(pid), ["A=b c"]);
    assert!(fds(pid)[&0].starts_with("pipe:") && fds(pid)[&1] == "/dev/null");
    assert_eq!(uids(pid), uids(own()));
    assert!(exe(pid).ends_with("cat") || exe(pid).ends_with("busybox"));
    assert!(limits(pid).contains_key("Max open files"));
    let known = Known::of(pid).unwrap();
    known.kill();
    child.wait().unwrap();
    assert!(!known.is_alive() && !exists(pid));
}

#[test]
fn a_listening_socket_is_counted_and_a_connected_one_is_not() {
    // In a process of its own, as the other tests of this program open sockets too.
    let script = "use IO::Socket::INET; my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die; \
                  my $c = IO::Socket::INET->new($l->sockhost . ':' . $l->sockport) or die; $| = 1; print \"on\\n\"; <STDIN>";
    let mut child =
        Command::new("perl").args(["-e", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
    assert_eq!(listening_sockets(i32::try_from(child.id()).unwrap()), 1);
    drop(child.stdin.take());
    child.wait().unwrap();
}
