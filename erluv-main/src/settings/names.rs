//! Our own node names, and which hosts are this machine's loopback.

use std::net::IpAddr;

use erluv_proto::ids::NodeName;

use super::error::ConfigError;

/// Whether what is sent to a host stays on this machine: `localhost`, 127.0.0.0/8 and `::1`. Names are not looked up.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The random part for the node with this place in the configuration: no two nodes of one life see the same name.
pub(super) fn life_of(life: u32, index: usize) -> u32 {
    // Wraps around: an odd step meets no number twice.
    life.wrapping_add(u32::try_from(index).unwrap_or(u32::MAX).wrapping_mul(0x9e37_79b1))
}

/// `<prefix>_<8 hexadecimal digits>@<host>`. A node takes only names of its own style (long names have a dot in the
/// host, short ones none), so the host is the peer's own where that is the loopback; else this machine's host name: up
/// to its first dot for a peer with a short name, whole for one with a long name. Nothing is looked up for it.
///
/// # Errors
/// Where the machine has no name of that style.
pub(super) fn own_name(prefix: &str, peer: &NodeName, host: Option<&str>, life: u32) -> Result<NodeName, ConfigError> {
    let theirs = peer.host();
    let long = theirs.contains('.') || theirs.contains(':');
    let ours = if is_loopback(theirs) {
        theirs
    } else {
        match host {
            Some(host) if long && host.contains('.') => host,
            Some(host) if !long => host.split('.').next().unwrap_or(host),
            _ => {
                let what = format!(
                    "none is set, and this machine's host name {:?} makes no long one as {peer} has: write name = \
                     \"{prefix}_1@host.domain\"",
                    host.unwrap_or_default()
                );
                return Err(ConfigError::rule("name", what));
            }
        }
    };
    NodeName::parse(&format!("{prefix}_{life:08x}@{ours}")).map_err(|error| {
        ConfigError::rule("name", format!("none is set, and this machine makes no valid one: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(peer: &str, host: Option<&str>) -> Option<String> {
        let peer = NodeName::parse(peer).unwrap();
        own_name("erluv", &peer, host, 0xab).ok().map(|name| name.as_str().to_owned())
    }

    #[test]
    fn our_name_has_the_style_of_the_peers() {
        let expect = |host: &str| Some(format!("erluv_000000ab@{host}"));
        assert_eq!(own("a@127.0.0.1", None), expect("127.0.0.1"));
        assert_eq!(own("a@localhost", Some("x.y")), expect("localhost"));
        assert_eq!(own("a@::1", Some("x.y")), expect("::1"));
        assert_eq!(own("a@far", Some("here.example.org")), expect("here"));
        assert_eq!(own("a@far.example.org", Some("here.example.org")), expect("here.example.org"));
        assert_eq!(own("a@192.0.2.1", Some("here.example.org")), expect("here.example.org"));
        assert_eq!(own("a@far.example.org", Some("here")), None);
        assert_eq!(own("a@far", None), None);
        assert_eq!(own("a@far", Some("")), None);
    }

    #[test]
    fn s65_only_the_loopback_is_the_loopback() {
        for near in ["localhost", "127.0.0.1", "127.1.2.3", "::1"] {
            assert!(is_loopback(near), "{near}");
        }
        for far in ["127.0.0.1.example.org", "localhost.example.org", "128.0.0.1", "0.0.0.0", "myhost", "LOCALHOST"] {
            assert!(!is_loopback(far), "{far}");
        }
    }

    #[test]
    fn the_nodes_of_one_life_see_different_names() {
        let mut lives = (0..1000).map(|index| life_of(7, index)).collect::<Vec<_>>();
        lives.sort_unstable();
        lives.dedup();
        assert_eq!(lives.len(), 1000);
        assert_eq!(life_of(7, 0), 7);
    }
}
