//! Stands in the place of erluv-child: hands its control socket to the test that waits for it, at `fake.sock` beside
//! this program, and lives for as long as the test holds the other end.

use std::io::{IoSlice, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Where erluv-main puts the control socket.
const CONTROL: i32 = 3;

fn main() {
    let place = std::env::current_exe().expect("it has a path").with_file_name("fake.sock");
    let mut test = loop {
        match UnixStream::connect(&place) {
            Ok(test) => break test,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let rights = [ControlMessage::ScmRights(&[CONTROL])];
    sendmsg::<()>(test.as_raw_fd(), &[IoSlice::new(b"x")], &rights, MsgFlags::empty(), None).expect("the test listens");
    nix::unistd::close(CONTROL).expect("erluv-main has opened it for this program");
    let _ = test.read(&mut [0]);
}
