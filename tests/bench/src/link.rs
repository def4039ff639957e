//! The connection of the limit's C program with its node: made here, by erluv's own handshake, and then handed over, so
//! that the C program has nothing to do but its work.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use erluv_proto::dist::{Cookie, Handshake, Progress, handshake};
use erluv_proto::ids::{Creation, NodeName};
use erluv_tests::node::Node;

/// Connects with the node as a hidden node of that name.
pub(crate) fn connect(node: &Node, name: &str) -> Result<TcpStream, String> {
    let cookie = Cookie::new(node.cookie().as_bytes().to_vec()).map_err(|error| error.to_string())?;
    let own = NodeName::parse(name).map_err(|error| error.to_string())?;
    let peer = NodeName::parse(node.name()).map_err(|error| error.to_string())?;
    let port = node.epmd().wait_for_name(peer.alive());
    let io = |error: std::io::Error| format!("connection with {}: {error}", node.name());
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(io)?;
    stream.set_nodelay(true).map_err(io)?;
    // A challenge that is always the same proves nothing, and there is nobody here to whom it should.
    let (mut state, first) = Handshake::start(&own, &peer, Creation::from_random(std::process::id()), 1, false);
    stream.write_all(&first).map_err(io)?;
    loop {
        let frame = next_frame(&mut stream).map_err(io)?;
        match state.receive(&frame, &cookie).map_err(|error| error.to_string())? {
            Progress::Wait => {}
            Progress::Send(bytes) => stream.write_all(&bytes).map_err(io)?,
            Progress::Done { .. } => return Ok(stream),
        }
    }
}

/// Reads one frame and nothing of what follows it: that is for the C program.
fn next_frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; usize::from(u16::from_be_bytes(length))];
    if frame.len() > handshake::MAX_HANDSHAKE_FRAME {
        return Err(std::io::Error::other("a frame too long for a handshake"));
    }
    stream.read_exact(&mut frame)?;
    Ok(frame)
}
