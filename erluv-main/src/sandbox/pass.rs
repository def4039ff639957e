//! What a process on its way to its exec shows to a filter that it has inherited, so as to make the calls that its worker
//! is refused.

use std::fmt;

/// 128 bits by chance, in the last two arguments of a call that reads fewer than five. No program learns them: they are
/// main's alone, who shows no one its memory; a filter can be read back by nobody who has one; and the exec clears the
/// registers. What a filter compares takes as long whichever bits are wrong.
#[derive(Clone, Copy)]
pub(crate) struct Pass([u64; 2]);

impl Pass {
    /// Of bytes that nobody can guess.
    pub(crate) fn new(secret: [u8; 16]) -> Self {
        let number = u128::from_ne_bytes(secret);
        let low = u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
        Self([low, u64::try_from(number.wrapping_shr(64)).unwrap_or(0)])
    }

    /// The fifth and the sixth argument.
    pub(crate) fn arguments(self) -> [u64; 2] {
        self.0
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pass")
    }
}
