//! A private epmd for the nodes of one test program, on a loopback port of its own.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::proc::{wait_for, wait_until};

/// Runs epmd as long as its own standard input stays open. The bench holds the other end, so that epmd ends with the
/// test program however that ends.
const KEEPER: &str = "epmd -address 127.0.0.1 -port \"$1\" & read -r _; kill $!; wait";

/// A running epmd, ended when the value is dropped.
#[derive(Debug)]
pub struct Epmd {
    port: u16,
    keeper: Mutex<Option<Child>>,
}

impl Epmd {
    /// The epmd that the nodes of this test program share, started by whoever asks first.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Epmd>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    /// Starts an epmd of its own, for a test that stops it.
    #[must_use]
    pub fn start() -> Self {
        let epmd = Self { port: free_port(), keeper: Mutex::new(None) };
        epmd.restart();
        epmd
    }

    /// The port it listens on, at 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends epmd; its registrations are lost, as when a machine's epmd is killed.
    pub fn stop(&self) {
        let Some(mut keeper) = self.keeper().take() else { return };
        drop(keeper.stdin.take());
        keeper.wait().unwrap();
    }

    /// Starts epmd again on the same port.
    pub fn restart(&self) {
        self.stop();
        let port = self.port.to_string();
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh", &port]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        *self.keeper() = Some(command.spawn().expect("sh starts"));
        wait_until(&format!("epmd answers on port {port}; is epmd installed?"), || self.ask().is_some());
    }

    /// The names registered here with their ports; empty when epmd does not answer.
    #[must_use]
    pub fn names(&self) -> BTreeMap<String, u16> {
        self.ask().unwrap_or_default()
    }

    /// Waits until a name is registered and returns the port of its node.
    #[must_use]
    pub fn wait_for_name(&self, name: &str) -> u16 {
        wait_for(&format!("epmd knows {name}"), || self.names().get(name).copied())
    }

    /// NAMES_REQ of the EPMD protocol: a 2-byte length and the byte 110; epmd answers its port as 4 bytes, then lines
    /// of text, and closes.
    fn ask(&self) -> Option<BTreeMap<String, u16>> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(&[0, 1, 110]).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let (port, text) = answer.split_first_chunk::<4>()?;
        (u32::from_be_bytes(*port) == u32::from(self.port)).then(|| read_names(&String::from_utf8_lossy(text)))
    }

    fn keeper(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Epmd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The lines `name NAME at port PORT`.
fn read_names(text: &str) -> BTreeMap<String, u16> {
    let line = |line: &str| {
        let (name, port) = line.strip_prefix("name ")?.split_once(" at port ")?;
        Some((name.to_owned(), port.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// A port of 127.0.0.1 that nothing listens on at the moment.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_epmd_are_read_with_their_ports() {
        let names = read_names("name a at port 1\nname b_2 at port 65535\nnothing\n");
        assert_eq!(names, BTreeMap::from([("a".to_owned(), 1), ("b_2".to_owned(), 65535)]));
    }
}
