//! A table of frame kinds: which kinds a protocol has, which way each may go, and whether it carries a payload.
//!
//! - A table is a value. Each protocol has its own, and this crate checks a frame against the one that it is given.
//! - No two rows of a table share a byte.
//! - The lookup is computed when the table is made: at compile time, for a `static`.

use std::fmt;
use std::ops::RangeInclusive;

use crate::direction::Direction;
use crate::{FrameError, Kind, Violation};

/// What a table says about one kind in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The kind does not go this way.
    Never,
    /// The kind goes this way without a payload.
    Empty,
    /// The kind goes this way with a payload of at least one byte.
    Carries,
    /// The kind goes this way with or without a payload.
    Any,
}

/// One row of a table: a kind, or a range of kinds that follow the same rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub(crate) first: u8,
    pub(crate) last: u8,
    pub(crate) name: &'static str,
    pub(crate) to_manager: Rule,
    pub(crate) to_worker: Rule,
}

impl Row {
    /// A row for one kind.
    #[must_use]
    pub const fn one(kind: Kind, name: &'static str, to_manager: Rule, to_worker: Rule) -> Self {
        Self { first: kind.0, last: kind.0, name, to_manager, to_worker }
    }

    /// A row for each kind of a range.
    #[must_use]
    pub const fn range(
        kinds: RangeInclusive<u8>,
        name: &'static str,
        to_manager: Rule,
        to_worker: Rule,
    ) -> Self {
        Self { first: *kinds.start(), last: *kinds.end(), name, to_manager, to_worker }
    }
}

/// The rules of one byte, both ways.
#[derive(Clone, Copy)]
struct Rules {
    to_manager: Rule,
    to_worker: Rule,
}

/// The kinds of one protocol. [`check`](Self::check) holds a frame against it.
///
/// ```
/// use workfleet_wire::kinds::Direction;
/// use workfleet_wire::{FrameError, Kind, Row, Rule, Table};
///
/// const PROGRESS: Kind = Kind(0x58);
/// static PROTOCOL: Table = Table::new(&[Row::one(PROGRESS, "PROGRESS", Rule::Carries, Rule::Never)]);
///
/// assert!(PROTOCOL.check(PROGRESS, Direction::ToManager, 8).is_ok());
/// assert!(PROTOCOL.check(PROGRESS, Direction::ToWorker, 8).is_err());
/// let unknown = PROTOCOL.check(Kind(0x59), Direction::ToManager, 8);
/// assert_eq!(unknown, Err(FrameError::UnknownKind { kind: Kind(0x59) }));
/// ```
pub struct Table {
    rows: &'static [Row],
    /// `rows`, one entry for each byte.
    rules: [Rules; 256],
}

impl Table {
    /// Makes a table of these rows. In a `static`, the compiler does it.
    ///
    /// # Panics
    /// If two rows share a byte. In a `static` this is an error of the compiler.
    #[must_use]
    pub const fn new(rows: &'static [Row]) -> Self {
        let mut rules = [Rules { to_manager: Rule::Never, to_worker: Rule::Never }; 256];
        let mut row = 0;
        while row < rows.len() {
            let Row { first, last, to_manager, to_worker, .. } = rows[row];
            let mut byte = first as usize;
            while byte <= last as usize {
                assert!(
                    matches!(rules[byte], Rules { to_manager: Rule::Never, to_worker: Rule::Never }),
                    "two rows of the table share a byte"
                );
                rules[byte] = Rules { to_manager, to_worker };
                byte += 1;
            }
            row += 1;
        }
        Self { rows, rules }
    }

    /// Checks one frame's kind and payload length.
    ///
    /// `Ok` means that a frame of this `kind` may go this way with a payload of this length.
    ///
    /// # Errors
    /// - [`FrameError::UnknownKind`]: the table has no such kind in either direction.
    /// - [`FrameError::Unexpected`]: it goes only the other way, or has a payload where none may be, or none where one must be.
    #[inline]
    pub fn check(&self, kind: Kind, direction: Direction, payload_len_bytes: u64) -> Result<(), FrameError> {
        let rules = self.rules[usize::from(kind.0)];
        let rule = match direction {
            Direction::ToManager => rules.to_manager,
            Direction::ToWorker => rules.to_worker,
        };
        let violation = match (rule, payload_len_bytes) {
            (Rule::Any, _) | (Rule::Empty, 0) | (Rule::Carries, 1..) => return Ok(()),
            (Rule::Empty, 1..) => Violation::MustBeEmpty,
            (Rule::Carries, 0) => Violation::MustCarry,
            (Rule::Never, _) if rules.to_manager == rules.to_worker => {
                return Err(FrameError::UnknownKind { kind });
            }
            (Rule::Never, _) => Violation::WrongDirection,
        };
        Err(FrameError::Unexpected { kind, direction, len_bytes: payload_len_bytes, violation })
    }

    /// The table's name for a kind, or `None` for a kind that the table does not have.
    #[must_use]
    pub fn name(&self, kind: Kind) -> Option<&'static str> {
        self.rows.iter().find(|row| (row.first..=row.last).contains(&kind.0)).map(|row| row.name)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.rows).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "two rows of the table share a byte")]
    fn rows_that_share_a_byte_make_no_table() {
        static ROWS: [Row; 2] = [
            Row::range(0x10..=0x1f, "range", Rule::Any, Rule::Any),
            Row::one(Kind(0x1f), "within it", Rule::Empty, Rule::Never),
        ];
        let _ = Table::new(&ROWS);
    }
}
