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
    first: u8,
    last: u8,
    name: &'static str,
    to_manager: Rule,
    to_worker: Rule,
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

    /// The kinds that the row is about.
    #[must_use]
    pub const fn kinds(&self) -> RangeInclusive<u8> {
        self.first..=self.last
    }

    /// Their name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What the row says of them in this direction.
    #[must_use]
    pub const fn rule(&self, direction: Direction) -> Rule {
        match direction {
            Direction::ToManager => self.to_manager,
            Direction::ToWorker => self.to_worker,
        }
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
        self.rows.iter().find(|row| row.kinds().contains(&kind.0)).map(|row| row.name)
    }

    /// Its rows, in the order in which they were given.
    #[must_use]
    pub const fn rows(&self) -> &'static [Row] {
        self.rows
    }

    /// A kind to print, with the table's name for it.
    ///
    /// ```
    /// use workfleet_wire::{Kind, undr};
    ///
    /// assert_eq!(undr::TABLE.named(undr::MESSAGE).to_string(), "0x6d (MESSAGE)");
    /// assert_eq!(undr::TABLE.named(Kind(0x12)).to_string(), "0x12");
    /// ```
    pub fn named(&self, kind: Kind) -> impl fmt::Display + use<> {
        Named { kind, name: self.name(kind) }
    }

    /// An error to print, with the table's name for its kind.
    ///
    /// ```
    /// use workfleet_wire::kinds::Direction;
    /// use workfleet_wire::undr;
    ///
    /// let error = undr::check(undr::TASK_ACCEPTED, Direction::ToWorker, 5).unwrap_err();
    /// assert_eq!(
    ///     undr::TABLE.describe(&error).to_string(),
    ///     "frame kind 0x73 (TASK_ACCEPTED) with 5 bytes to a worker: must be empty"
    /// );
    /// ```
    pub fn describe<'a>(&'a self, error: &'a FrameError) -> impl fmt::Display + 'a {
        Described { table: self, error }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.rows).finish()
    }
}

struct Named {
    kind: Kind,
    name: Option<&'static str>,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "{} ({name})", self.kind),
            None => write!(f, "{}", self.kind),
        }
    }
}

struct Described<'a> {
    table: &'a Table,
    error: &'a FrameError,
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.write(f, |kind| self.table.named(kind))
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

    #[test]
    fn check_answers_as_the_table_says_for_every_kind_direction_and_length() {
        static EVERY: Table = Table::new(&[
            Row::range(0x01..=0x0f, "worker's", Rule::Carries, Rule::Never),
            Row::one(Kind(0x10), "manager's", Rule::Never, Rule::Carries),
            Row::one(Kind(0x11), "both ways", Rule::Empty, Rule::Carries),
            Row::one(Kind(0x12), "both ways", Rule::Carries, Rule::Empty),
            Row::range(0x20..=0x2f, "service's", Rule::Any, Rule::Any),
            Row::range(0x80..=0xff, "manager's", Rule::Never, Rule::Empty),
        ]);
        for byte in 0..=u8::MAX {
            let kind = Kind(byte);
            let row = EVERY.rows().iter().find(|row| row.kinds().contains(&byte));
            for direction in [Direction::ToManager, Direction::ToWorker] {
                for len_bytes in [0, 1, 64, u64::MAX] {
                    let unexpected =
                        |violation| Err(FrameError::Unexpected { kind, direction, len_bytes, violation });
                    let expected = match row.map(|row| row.rule(direction)) {
                        None => Err(FrameError::UnknownKind { kind }),
                        Some(Rule::Never) => unexpected(Violation::WrongDirection),
                        Some(Rule::Empty) if len_bytes > 0 => unexpected(Violation::MustBeEmpty),
                        Some(Rule::Carries) if len_bytes == 0 => unexpected(Violation::MustCarry),
                        Some(_) => Ok(()),
                    };
                    assert_eq!(
                        EVERY.check(kind, direction, len_bytes),
                        expected,
                        "{kind} {direction} {len_bytes}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_table_names_its_kinds_in_the_texts_of_errors() {
        static ROWS: [Row; 1] = [Row::one(Kind(0x58), "PROGRESS", Rule::Carries, Rule::Never)];
        let table = Table::new(&ROWS);
        let (kind, other) = (Kind(0x58), Kind(0x59));
        let wrong = table.check(kind, Direction::ToWorker, 1).unwrap_err();
        let unknown = table.check(other, Direction::ToWorker, 1).unwrap_err();
        for (error, with_name, without) in [
            (
                wrong,
                "frame kind 0x58 (PROGRESS) with 1 bytes to a worker: goes only the other way",
                "frame kind 0x58 with 1 bytes to a worker: goes only the other way",
            ),
            (unknown, "unknown frame kind 0x59", "unknown frame kind 0x59"),
            (
                FrameError::TooLarge { kind, len_bytes: 2, limit_bytes: 1 },
                "frame of kind 0x58 (PROGRESS) has a payload of 2 bytes, above the limit of 1 bytes",
                "frame of kind 0x58 has a payload of 2 bytes, above the limit of 1 bytes",
            ),
            (
                FrameError::Truncated { have_bytes: 1, need_bytes: 9 },
                "stream ended inside a frame, after 1 of 9 bytes",
                "stream ended inside a frame, after 1 of 9 bytes",
            ),
        ] {
            assert_eq!(table.describe(&error).to_string(), with_name);
            assert_eq!(error.to_string(), without);
        }
    }
}
