//! The one byte that says what a frame is.
//!
//! - Any byte is a `Kind`: whether it is known, and which way it may go, is the business of a protocol's
//!   [`Table`](crate::Table).
//! - A kind has no name of its own, because a byte means one thing in one protocol and another in the next. A table names it:
//!   [`Table::named`](crate::Table::named).

use std::fmt;

use crate::kinds::SCHEDULE_KINDS;

/// What a frame is: its first byte.
///
/// Every byte is a valid `Kind`, so that a frame of an unknown kind can be carried, named in an error and logged;
/// [`Table::check`](crate::Table::check) tells the known from the unknown. Ordered as the bytes are.
///
/// `Debug` and [`Display`](fmt::Display) print the byte; [`Table::named`](crate::Table::named) adds its name.
///
/// ```
/// use workfleet_wire::Kind;
///
/// assert_eq!(Kind(0x12).to_string(), "0x12");
/// assert_eq!(format!("{:?}", Kind(0x1f)), "Kind(0x1f)");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// The priority of a kind that asks for a task to be scheduled (`0x80..=0xff`), and `None` for every other kind.
    ///
    /// The inverse of [`undr::schedule`](crate::undr::schedule). 0 is the most urgent.
    ///
    /// ```
    /// use workfleet_wire::{Kind, undr};
    ///
    /// assert_eq!(Kind(0x81).schedule_priority(), Some(1));
    /// assert_eq!(undr::MESSAGE.schedule_priority(), None);
    /// ```
    #[doc(alias = "type")]
    #[inline]
    #[must_use]
    pub const fn schedule_priority(self) -> Option<u8> {
        self.0.checked_sub(*SCHEDULE_KINDS.start())
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({self})")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::undr;

    #[test]
    fn texts_print_the_byte_in_two_digits() {
        assert_eq!(format!("{:?}", Kind(b'n')), "Kind(0x6e)");
        assert_eq!(format!("{:?}", Kind(0x82)), "Kind(0x82)");
        assert_eq!(Kind(0x05).to_string(), "0x05");
        assert_eq!(Kind(0x00).to_string(), "0x00");
    }

    #[test]
    fn every_priority_has_its_kind_and_no_other_kind_has_a_priority() {
        for byte in 0..=u8::MAX {
            let priority = Kind(byte).schedule_priority();
            assert_eq!(priority.is_some(), SCHEDULE_KINDS.contains(&byte));
            if let Some(priority) = priority {
                assert_eq!(undr::schedule(priority), Some(Kind(byte)));
            } else {
                assert_eq!(undr::schedule(byte + SCHEDULE_KINDS.start()), None);
            }
        }
    }
}
