//! The poller's tokens: what an event is about. The three low bits are the kind, the rest the node or the worker.

use erluv_proto::ids::WorkerId;
use mio::Token;

use crate::order::NodeIndex;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Signals,
    /// A child of main has ended (Linux).
    Ended,
    /// The control socket of a node's child.
    Control(NodeIndex),
    /// The log pipe of a node's child.
    Log(NodeIndex),
    /// The socket on the way to a node.
    Link(NodeIndex),
    /// The error pipe of a worker whose exec has not been seen.
    Exec(WorkerId),
}

pub(crate) const SIGNALS: Token = Token(0);

#[cfg(target_os = "linux")]
pub(crate) const ENDED: Token = Token(8);

pub(crate) fn control(node: NodeIndex) -> Token {
    make(1, node.0)
}

pub(crate) fn log(node: NodeIndex) -> Token {
    make(2, node.0)
}

pub(crate) fn link(node: NodeIndex) -> Token {
    make(3, node.0)
}

pub(crate) fn exec(worker: WorkerId) -> Token {
    make(4, usize::try_from(worker.0).unwrap_or(usize::MAX >> 3))
}

fn make(kind: usize, number: usize) -> Token {
    Token(number.saturating_mul(8).saturating_add(kind))
}

/// What a token stands for; `None` for one that was never given.
pub(crate) fn source(token: Token) -> Option<Source> {
    let number = token.0 >> 3;
    match token.0 & 7 {
        0 if number == 0 => Some(Source::Signals),
        0 if number == 1 => Some(Source::Ended),
        1 => Some(Source::Control(NodeIndex(number))),
        2 => Some(Source::Log(NodeIndex(number))),
        3 => Some(Source::Link(NodeIndex(number))),
        4 => Some(Source::Exec(WorkerId(u64::try_from(number).ok()?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_leads_back_to_its_source() {
        assert_eq!(source(SIGNALS), Some(Source::Signals));
        #[cfg(target_os = "linux")]
        assert_eq!(source(ENDED), Some(Source::Ended));
        assert_eq!(source(control(NodeIndex(3))), Some(Source::Control(NodeIndex(3))));
        assert_eq!(source(log(NodeIndex(0))), Some(Source::Log(NodeIndex(0))));
        assert_eq!(source(link(NodeIndex(7))), Some(Source::Link(NodeIndex(7))));
        assert_eq!(source(exec(WorkerId(1 << 40))), Some(Source::Exec(WorkerId(1 << 40))));
        assert_eq!(source(Token(7)), None);
    }
}
