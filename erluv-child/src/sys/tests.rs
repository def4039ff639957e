use std::{
    io::{IoSlice, Write},
    os::fd::AsFd,
};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg, socketpair,
};

use super::*;

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).unwrap()
}

fn send(to: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)));
    assert_eq!(sendmsg(to, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()), Ok(bytes.len()));
}

/// What refers to the pipe's write end must be closed for its reader to see the end of the file.
fn at_end(mut reader: io::PipeReader) -> bool {
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    matches!(io::Read::read(&mut reader, &mut [0]), Ok(0))
}

#[test]
fn reading_appends_and_keeps_to_its_limit() {
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(b"abcdefgh").unwrap();
    let mut out = b"_".to_vec();
    assert_eq!(read_append(reader.as_fd(), &mut out, 5).unwrap(), 5);
    assert_eq!(out, b"_abcde");
    assert_eq!(read_append(reader.as_fd(), &mut out, 0).unwrap(), 0);
    assert_eq!(read_append(reader.as_fd(), &mut out, 4096).unwrap(), 3);
    drop(writer);
    assert_eq!(read_append(reader.as_fd(), &mut out, 4096).unwrap(), 0);
    assert_eq!(out, b"_abcdefgh");
}

#[test]
fn reading_nothing_leaves_the_buffer_alone() {
    let (reader, _writer) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let mut out = b"kept".to_vec();
    assert_eq!(read_append(reader.as_fd(), &mut out, 64).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(out, b"kept");
}

#[test]
fn a_frame_comes_with_its_descriptors_in_order_and_close_on_exec() {
    let (main, child) = pair();
    let (reader, writer) = io::pipe().unwrap();
    send(&main, b"frame", &[reader.as_fd(), main.as_fd()]);
    let mut buf = [0; 16];
    let Datagram { length, descriptors, lacks_room } = receive(child.as_fd(), &mut buf).unwrap().unwrap();
    assert_eq!((&buf[..length], lacks_room), (b"frame".as_slice(), false));
    let kinds: Vec<_> = descriptors.iter().map(|fd| fd_kind(fd.as_fd()).unwrap()).collect();
    assert_eq!(kinds, [FdKind::Fifo, FdKind::Socket]);
    for fd in &descriptors {
        assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
    drop((descriptors, reader, writer));
    assert_eq!(receive(child.as_fd(), &mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(main);
    assert!(receive(child.as_fd(), &mut buf).unwrap().is_none());
}

#[test]
fn s19_more_descriptors_than_any_frame_has_are_an_error_and_closed() {
    let (main, child) = pair();
    let (reader, writer) = io::pipe().unwrap();
    send(&main, b"ping", &[writer.as_fd(); 253]);
    drop(writer);
    assert_eq!(receive(child.as_fd(), &mut [0; 16]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(at_end(reader));
}

#[test]
fn s19_a_datagram_that_does_not_fit_is_an_error_and_its_descriptors_are_closed() {
    let (main, child) = pair();
    let (reader, writer) = io::pipe().unwrap();
    send(&main, b"a long frame", &[writer.as_fd()]);
    drop(writer);
    assert_eq!(receive(child.as_fd(), &mut [0; 4]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(at_end(reader));
}

#[test]
fn s20_the_kind_of_a_descriptor_is_known() {
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(fd_kind(file.as_fd()).unwrap(), FdKind::File);
    let null = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(fd_kind(null.as_fd()).unwrap(), FdKind::Device);
    let folder = std::fs::File::open("/").unwrap();
    assert_eq!(fd_kind(folder.as_fd()).unwrap(), FdKind::Other);
}
