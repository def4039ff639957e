//! Frames after the handshake: four bytes of length, big endian, and a body. A frame of length 0 is a tick.

use crate::etf::Cursor;

/// What stands at the start of a receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// A sign of life.
    Tick {
        /// Bytes to consume, always 4.
        used: usize,
    },
    /// A whole frame.
    Frame {
        /// Its body, for [`super::parse`].
        body: &'a [u8],
        /// Bytes to consume, header and body.
        used: usize,
    },
    /// A frame longer than allowed: look at its start with [`super::parse_head`], drop `length` bytes, stay connected.
    Oversize {
        /// Bytes in the body.
        length: usize,
        /// Bytes to consume, those of the header: always 4.
        used: usize,
    },
    /// Not whole yet.
    More {
        /// Bytes that header and body have together, as far as is known.
        wanted: usize,
    },
}

/// Looks at the start of `buffer`; bodies of up to `max` bytes are taken.
pub fn next(buffer: &[u8], max: usize) -> Next<'_> {
    let mut at = Cursor(buffer);
    let Ok(length) = at.u32() else { return Next::More { wanted: 4 } };
    // Where a usize has fewer bits than the length, no such body can be held anyway.
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let wanted = length.saturating_add(4);
    if length == 0 {
        return Next::Tick { used: 4 };
    }
    if length > max {
        return Next::Oversize { length, used: 4 };
    }
    match at.take(length) {
        Ok(body) => Next::Frame { body, used: wanted },
        Err(_) => Next::More { wanted },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_zero_is_a_tick_wherever_it_stands() {
        assert_eq!(next(&[0, 0, 0, 0], 10), Next::Tick { used: 4 });
        assert_eq!(next(&[0, 0, 0, 0, 0, 0], 10), Next::Tick { used: 4 });
    }

    #[test]
    fn a_frame_is_given_once_it_is_whole() {
        assert_eq!(next(&[], 10), Next::More { wanted: 4 });
        assert_eq!(next(&[0, 0, 0], 10), Next::More { wanted: 4 });
        assert_eq!(next(&[0, 0, 0, 2, 7], 10), Next::More { wanted: 6 });
        assert_eq!(next(&[0, 0, 0, 2, 7, 8, 9], 10), Next::Frame { body: &[7, 8], used: 6 });
    }

    #[test]
    fn a_frame_over_the_limit_is_known_by_its_header_alone() {
        assert_eq!(next(&[0, 0, 0, 10], 10), Next::More { wanted: 14 });
        assert_eq!(next(&[0, 0, 0, 11], 10), Next::Oversize { length: 11, used: 4 });
        assert_eq!(next(&[255; 9], 1 << 20), Next::Oversize { length: 0xffff_ffff, used: 4 });
    }
}
