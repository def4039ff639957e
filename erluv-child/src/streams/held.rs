//! What an output stream holds between its pipe and the node: lines that are being put together, what has to be sent
//! once more after a lost connection, and what is kept for that.

use std::collections::VecDeque;

use super::output::PIECE;

/// Bytes of an output stream that have been read. Its size is bounded: a line at most is put together, a window at most
/// kept.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Output goes out by lines of at most so many bytes.
    lines: Option<usize>,
    bytes: Vec<u8>,
    /// The first of `bytes` that is not sent.
    at: usize,
    /// Bytes from `at` in which there is no end of a line.
    searched: usize,
    /// What was sent and is not acknowledged, for the next connection.
    sent: Option<VecDeque<u8>>,
    /// The pipe has reached its end.
    pub(super) ended: bool,
}

impl Held {
    /// For lines of at most `lines` bytes, and with `keep` for what has to be sent again.
    pub(super) fn new(lines: Option<u32>, keep: bool) -> Self {
        Self {
            lines: lines.and_then(|lines| usize::try_from(lines).ok()),
            sent: keep.then(VecDeque::new),
            ..Self::default()
        }
    }

    /// Whether nothing is held and nothing will be.
    pub(super) fn is_needless(&self) -> bool {
        self.lines.is_none() && self.sent.is_none() && self.is_empty() && !self.ended
    }

    /// Whether no byte waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn waiting(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// How many bytes may be read from the pipe, and where they go.
    pub(super) fn room(&mut self) -> (usize, &mut Vec<u8>) {
        if self.at > 0 {
            self.bytes.drain(..self.at.min(self.bytes.len()));
            self.at = 0;
        }
        (self.lines.unwrap_or(PIECE).saturating_sub(self.bytes.len()), &mut self.bytes)
    }

    /// The length of what can be sent in one message: a line, a piece of one that is too long, the rest at the end.
    pub(super) fn piece(&mut self, credit: usize) -> Option<usize> {
        let Some(longest) = self.lines else {
            return Some(self.waiting().len().min(PIECE).min(credit)).filter(|length| *length > 0);
        };
        let waiting = self.waiting();
        let line = waiting.get(..longest.min(waiting.len())).unwrap_or(waiting);
        let fresh = line.get(self.searched..).unwrap_or_default();
        if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
            return Some(self.searched.saturating_add(end).saturating_add(1));
        }
        let length = line.len();
        self.searched = length;
        (length > 0 && (length == longest || self.ended)).then_some(length)
    }

    /// Whether [`Held::piece`] has one.
    pub(super) fn has_piece(&mut self) -> bool {
        self.piece(usize::MAX).is_some()
    }

    /// Appends the next `length` bytes to `out`: they are sent.
    pub(super) fn send(&mut self, length: usize, out: &mut Vec<u8>) {
        let piece = self.bytes.get(self.at..self.at.saturating_add(length)).unwrap_or_default();
        out.extend_from_slice(piece);
        if let Some(sent) = &mut self.sent {
            sent.extend(piece);
        }
        self.at = self.at.saturating_add(length);
        self.searched = 0;
        if self.is_empty() {
            self.at = 0;
            self.bytes.clear();
            if self.bytes.capacity() > PIECE / 8 {
                // An idle worker costs no buffer.
                self.bytes = Vec::new();
            }
        }
    }

    /// So many bytes of what was sent are dealt with.
    pub(super) fn acknowledge(&mut self, bytes: u32) {
        if let Some(sent) = &mut self.sent {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(sent.len());
            sent.drain(..bytes);
        }
    }

    /// The connection is lost: what is not acknowledged, or else `unsent`, which was read and did not go out, is to be
    /// sent before anything else.
    pub(super) fn rewind(&mut self, unsent: &[u8]) {
        let mut bytes: Vec<u8> = match &mut self.sent {
            Some(sent) => std::mem::take(sent).into(),
            None => unsent.to_vec(),
        };
        bytes.extend_from_slice(self.waiting());
        self.bytes = bytes;
        self.at = 0;
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(held: &mut Held) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        while let Some(length) = held.piece(usize::MAX) {
            let mut out = Vec::new();
            held.send(length, &mut out);
            pieces.push(out);
        }
        pieces
    }

    fn fill(held: &mut Held, bytes: &[u8]) {
        let (room, space) = held.room();
        assert!(bytes.len() <= room, "{} bytes, room for {room}", bytes.len());
        space.extend_from_slice(bytes);
    }

    #[test]
    fn lines_come_whole_and_long_ones_in_pieces() {
        let mut held = Held::new(Some(8), false);
        fill(&mut held, b"a\nbc\nde");
        assert_eq!(all(&mut held), [b"a\n".to_vec(), b"bc\n".to_vec()]);
        fill(&mut held, b"f");
        assert!(!held.has_piece());
        fill(&mut held, b"\nx");
        assert_eq!(all(&mut held), [b"def\n".to_vec()]);
        fill(&mut held, b"1234567");
        assert_eq!(all(&mut held), [b"x1234567".to_vec()]);
        fill(&mut held, b"last");
        assert!(!held.has_piece());
        held.ended = true;
        assert_eq!(all(&mut held), [b"last".to_vec()]);
        assert!(held.is_empty());
    }

    #[test]
    fn a_line_is_held_in_no_more_than_its_longest_length() {
        let mut held = Held::new(Some(8), false);
        fill(&mut held, b"1234567");
        assert_eq!(held.room().0, 1);
        fill(&mut held, b"8");
        assert_eq!(held.room().0, 0);
        assert_eq!(all(&mut held), [b"12345678".to_vec()]);
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_before_all_else() {
        let mut held = Held::new(None, true);
        fill(&mut held, b"123456789");
        let mut out = Vec::new();
        held.send(7, &mut out);
        held.acknowledge(2);
        held.rewind(b"not used");
        assert_eq!(all(&mut held), [b"3456789".to_vec()]);
        held.acknowledge(100);
        held.rewind(b"");
        assert!(held.is_empty() && !held.is_needless());
    }

    #[test]
    fn what_did_not_go_out_is_sent_again_where_nothing_is_counted() {
        let mut held = Held::new(None, false);
        held.rewind(b"unsent");
        assert_eq!(held.piece(4), Some(4));
        assert_eq!(all(&mut held), [b"unsent".to_vec()]);
        assert!(held.is_needless());
    }
}
