//! What the pool's table says of a kind: its name in texts, and the priority in it.

use std::fmt;

use crate::{Kind, kinds};

impl Kind {
    /// The priority of a kind that asks for a task to be scheduled (`0x80..=0xff`), and `None` for every other kind.
    ///
    /// The inverse of [`kinds::schedule`]. 0 is the most urgent.
    ///
    /// ```
    /// use workfleet_wire::{Kind, kinds};
    ///
    /// assert_eq!(Kind(0x81).schedule_priority(), Some(1));
    /// assert_eq!(kinds::MESSAGE.schedule_priority(), None);
    /// ```
    #[doc(alias = "type")]
    #[inline]
    #[must_use]
    pub const fn schedule_priority(self) -> Option<u8> {
        self.0.checked_sub(kinds::SCHEDULE_BASE)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({:#04x}", self.0)?;
        if let Some(name) = kinds::name(*self) {
            write!(f, " {name}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)?;
        match kinds::name(*self) {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_the_known_kinds_and_print_the_others() {
        assert_eq!(format!("{:?}", kinds::IDLE), "Kind(0x6e IDLE)");
        assert_eq!(format!("{:?}", kinds::TASK), "Kind(0x74 DONE_NEXT/TASK)");
        assert_eq!(format!("{:?}", Kind(0x82)), "Kind(0x82 schedule)");
        assert_eq!(Kind(0x05).to_string(), "0x05 (FLUSHED)");
        assert_eq!(Kind(0x00).to_string(), "0x00");
    }

    #[test]
    fn every_priority_has_its_kind_and_no_other_kind_has_a_priority() {
        for byte in 0..=u8::MAX {
            let priority = Kind(byte).schedule_priority();
            assert_eq!(priority.is_some(), byte >= kinds::SCHEDULE_BASE);
            if let Some(priority) = priority {
                assert_eq!(kinds::schedule(priority), Some(Kind(byte)));
            } else {
                assert_eq!(kinds::schedule(byte + kinds::SCHEDULE_BASE), None);
            }
        }
    }
}
