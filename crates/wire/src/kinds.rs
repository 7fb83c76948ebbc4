//! The frame kinds that a manager and its workers know, which way each may go, and whether it carries a payload.
//!
//! - `TABLE` is the only place that says so. The lookup behind [`check`] is a [`Table`] made of it at compile time, the names
//!   in error texts come from it, and a test compares the table of the crate's front page with it.
//! - No two rows share a byte.
//! - The letters and `0x80..=0xff` are those of Python's `undr.task` and keep their meaning.

use std::ops::RangeInclusive;

pub use crate::direction::Direction;
use crate::{FrameError, Kind, Row, Rule, Table};

/// Worker → manager, empty: the worker is idle, give it a task.
pub const IDLE: Kind = Kind(b'n');
/// Worker → manager, empty: the worker's task is done, next please. The same byte as [`TASK`], the other way.
#[doc(alias = "acknowledge_and_next_task")]
pub const DONE_NEXT: Kind = Kind(b't');
/// Manager → worker, carries: a task, "none yet", or the request to close. The same byte as [`DONE_NEXT`], the other way.
#[doc(alias = "CloseRequest")]
pub const TASK: Kind = Kind(b't');
/// Worker → manager, carries: a message for the inbox. Manager → worker, empty: that message has been accepted.
pub const MESSAGE: Kind = Kind(b'm');
/// Manager → worker, empty: what [`schedule`] asked for has been accepted.
pub const SCHEDULED: Kind = Kind(b's');
/// The kind that asks for a task at priority 0; priority `p` is this plus `p`. See [`schedule`].
pub const SCHEDULE_BASE: u8 = 0x80;

/// Manager → worker, carries: the manager's half of the handshake.
pub const WELCOME: Kind = Kind(0x01);
/// Manager → worker, carries: a running attempt should end.
pub const CANCEL: Kind = Kind(0x02);
/// Manager → worker, carries: give prefetched tasks back.
pub const RECALL: Kind = Kind(0x03);
/// Manager → worker, empty: are you there? Answered by [`PONG`].
pub const PING: Kind = Kind(0x04);
/// Manager → worker, carries: the answer to a [`FLUSH`].
pub const FLUSHED: Kind = Kind(0x05);

/// Worker → manager, carries: the worker's half of the handshake.
pub const HELLO: Kind = Kind(0x10);
/// Worker → manager, carries: this worker cannot start, and why.
pub const START_FAILED: Kind = Kind(0x11);
/// Worker → manager, carries: an attempt ended with an output.
pub const RESULT: Kind = Kind(0x12);
/// Worker → manager, carries: an attempt ended without an output.
pub const FAILURE: Kind = Kind(0x13);
/// Worker → manager, carries: prefetched tasks given back.
pub const RETURNED: Kind = Kind(0x14);
/// Worker → manager, carries: say when everything before this has been handled. Answered by [`FLUSHED`].
pub const FLUSH: Kind = Kind(0x15);
/// Worker → manager, empty: the answer to a [`PING`].
pub const PONG: Kind = Kind(0x16);
/// Worker → manager, carries: an attempt has begun, or beats, with what it says by that.
pub const HEARTBEAT: Kind = Kind(0x17);

/// The kinds of the pool's own connection; those without a name are unknown, and kept for later versions.
pub const POOL_KINDS: RangeInclusive<u8> = 0x00..=0x1f;
/// The kinds of streams.
pub const STREAM_KINDS: RangeInclusive<u8> = 0x20..=0x2f;
/// The kinds of events and heartbeats.
pub const EVENT_KINDS: RangeInclusive<u8> = 0x30..=0x3f;
/// The kinds of locks.
pub const LOCK_KINDS: RangeInclusive<u8> = 0x40..=0x4f;
/// The kinds of a broker's connections.
pub const BROKER_KINDS: RangeInclusive<u8> = 0x50..=0x57;
/// The kinds that an application may give to services of its own: workfleet never sends them.
pub const APPLICATION_KINDS: RangeInclusive<u8> = 0x58..=0x67;

const fn one(kind: Kind, name: &'static str, to_manager: Rule, to_worker: Rule) -> Row {
    Row::one(kind, name, to_manager, to_worker)
}

const fn service(range: RangeInclusive<u8>, name: &'static str) -> Row {
    Row::range(range, name, Rule::Any, Rule::Any)
}

const TABLE: &[Row] = &[
    one(WELCOME, "WELCOME", Rule::Never, Rule::Carries),
    one(CANCEL, "CANCEL", Rule::Never, Rule::Carries),
    one(RECALL, "RECALL", Rule::Never, Rule::Carries),
    one(PING, "PING", Rule::Never, Rule::Empty),
    one(FLUSHED, "FLUSHED", Rule::Never, Rule::Carries),
    one(HELLO, "HELLO", Rule::Carries, Rule::Never),
    one(START_FAILED, "START_FAILED", Rule::Carries, Rule::Never),
    one(RESULT, "RESULT", Rule::Carries, Rule::Never),
    one(FAILURE, "FAILURE", Rule::Carries, Rule::Never),
    one(RETURNED, "RETURNED", Rule::Carries, Rule::Never),
    one(FLUSH, "FLUSH", Rule::Carries, Rule::Never),
    one(PONG, "PONG", Rule::Empty, Rule::Never),
    one(HEARTBEAT, "HEARTBEAT", Rule::Carries, Rule::Never),
    service(STREAM_KINDS, "streams"),
    service(EVENT_KINDS, "events and heartbeats"),
    service(LOCK_KINDS, "locks"),
    service(BROKER_KINDS, "broker connections"),
    service(APPLICATION_KINDS, "application"),
    one(MESSAGE, "MESSAGE", Rule::Carries, Rule::Empty),
    one(IDLE, "IDLE", Rule::Empty, Rule::Never),
    one(SCHEDULED, "SCHEDULED", Rule::Never, Rule::Empty),
    one(TASK, "DONE_NEXT/TASK", Rule::Empty, Rule::Carries),
    Row::range(SCHEDULE_BASE..=0xff, "schedule", Rule::Carries, Rule::Never),
];

/// `TABLE`, to look kinds up in.
static POOL: Table = Table::new(TABLE);

/// The kind that asks for a task to be scheduled at `priority` (worker → manager, carries), `None` above 127.
///
/// 0 is the most urgent. [`Kind::schedule_priority`] is the inverse.
///
/// ```
/// use workfleet_wire::{Kind, kinds};
///
/// assert_eq!(kinds::schedule(1), Some(Kind(0x81)));
/// assert_eq!(kinds::schedule(128), None);
/// ```
#[inline]
#[must_use]
pub const fn schedule(priority: u8) -> Option<Kind> {
    match priority.checked_add(SCHEDULE_BASE) {
        Some(byte) => Some(Kind(byte)),
        None => None,
    }
}

/// Holds one frame's kind and payload length against the table.
///
/// `Ok` means that a frame of this `kind` may go this way with a payload of this length. The ranges of the services
/// (streams, events, locks, brokers, an application's own) go both ways, with or without a payload: the service judges
/// them. A kind that must carry needs at least one byte, so a message that encodes to nothing (the unit type does) needs
/// a kind that may be empty.
///
/// ```
/// use workfleet_wire::kinds::{self, Direction};
///
/// // A worker that is idle says so without a payload …
/// assert!(kinds::check(kinds::IDLE, Direction::ToManager, 0).is_ok());
/// // … and the byte `t` carries a task only on its way to the worker.
/// assert!(kinds::check(kinds::TASK, Direction::ToWorker, 512).is_ok());
/// let error = kinds::check(kinds::DONE_NEXT, Direction::ToManager, 512).unwrap_err();
/// assert_eq!(error.to_string(), "frame kind 0x74 (DONE_NEXT/TASK) with 512 bytes to the manager: must be empty");
/// ```
///
/// # Errors
/// - [`FrameError::UnknownKind`]: the table has no such kind in either direction.
/// - [`FrameError::Unexpected`]: it goes only the other way, or has a payload where none may be, or none where one must be.
#[inline]
pub fn check(kind: Kind, direction: Direction, payload_len_bytes: u64) -> Result<(), FrameError> {
    POOL.check(kind, direction, payload_len_bytes)
}

/// The table's name for a kind.
pub(crate) fn name(kind: Kind) -> Option<&'static str> {
    POOL.name(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Violation;

    /// The rows of the front page's tables that begin with a kind and have this many cells.
    fn documented(cells: usize) -> Vec<Vec<&'static str>> {
        include_str!("lib.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `0x"))
            .map(|line| line.trim_end_matches('|').split('|').map(str::trim).collect::<Vec<_>>())
            .filter(|row| row.len() == cells)
            .collect()
    }

    fn cell(rule: Rule) -> &'static str {
        match rule {
            Rule::Never => "–",
            Rule::Empty => "empty",
            Rule::Carries => "carries",
            Rule::Any => "either",
        }
    }

    #[test]
    fn the_front_page_shows_this_table() {
        let documented = documented(5);
        assert_eq!(documented.len(), TABLE.len(), "rows on the front page");
        for (documented, row) in documented.iter().zip(TABLE) {
            let kinds = match row.first {
                first if first != row.last => format!("{first:02x}..={:#04x}`", row.last),
                first if first.is_ascii_lowercase() => format!("{first:02x}` `{}`", char::from(first)),
                first => format!("{first:02x}`"),
            };
            // A name is a link there: [`NAME`](target).
            let name = documented[1].replace(['`', '['], "");
            let name = name.split(']').next().unwrap_or_default();
            let expected = [&kinds, row.name, cell(row.to_manager), cell(row.to_worker)];
            assert_eq!([documented[0], name, documented[2], documented[3]], expected);
            assert!(!documented[4].is_empty(), "{documented:?}");
        }
    }

    #[test]
    fn the_front_page_shows_the_ranges_and_they_cover_every_byte() {
        let ranges = [
            POOL_KINDS,
            STREAM_KINDS,
            EVENT_KINDS,
            LOCK_KINDS,
            BROKER_KINDS,
            APPLICATION_KINDS,
            0x68..=0x7f,
            SCHEDULE_BASE..=0xff,
        ];
        let documented: Vec<&str> = documented(2).iter().map(|row| row[0]).collect();
        let expected = ranges.clone().map(|range| format!("{:02x}..={:#04x}`", range.start(), range.end()));
        assert_eq!(documented, expected);
        assert!(ranges.into_iter().flatten().eq(0..=0xff));
    }

    #[test]
    fn rows_are_in_the_order_of_their_bytes() {
        assert!(TABLE.windows(2).all(|pair| pair[0].last < pair[1].first));
    }

    #[test]
    fn check_answers_as_the_table_says_for_every_kind_direction_and_length() {
        for byte in 0..=u8::MAX {
            let kind = Kind(byte);
            let row = TABLE.iter().find(|row| row.first <= byte && byte <= row.last);
            for direction in [Direction::ToManager, Direction::ToWorker] {
                for len_bytes in [0, 1, 64, u64::MAX] {
                    let rule = row.map(|row| match direction {
                        Direction::ToManager => row.to_manager,
                        Direction::ToWorker => row.to_worker,
                    });
                    let unexpected =
                        |violation| Err(FrameError::Unexpected { kind, direction, len_bytes, violation });
                    let expected = match rule {
                        None => Err(FrameError::UnknownKind { kind }),
                        Some(Rule::Never) => unexpected(Violation::WrongDirection),
                        Some(Rule::Empty) if len_bytes > 0 => unexpected(Violation::MustBeEmpty),
                        Some(Rule::Carries) if len_bytes == 0 => unexpected(Violation::MustCarry),
                        Some(_) => Ok(()),
                    };
                    assert_eq!(check(kind, direction, len_bytes), expected, "{kind} {direction} {len_bytes}");
                }
            }
        }
    }

    #[test]
    fn the_letters_of_undr_keep_their_meaning() {
        let allowed = |kind, direction| {
            (check(kind, direction, 0).is_ok(), check(kind, direction, 1).is_ok()) // (empty, with a payload)
        };
        for (kind, to_manager, to_worker) in [
            (Kind(b'n'), (true, false), (false, false)),
            (Kind(b't'), (true, false), (false, true)),
            (Kind(b'm'), (false, true), (true, false)),
            (Kind(b's'), (false, false), (true, false)),
            (Kind(0x80), (false, true), (false, false)),
            (Kind(0xff), (false, true), (false, false)),
        ] {
            assert_eq!(allowed(kind, Direction::ToManager), to_manager, "{kind}");
            assert_eq!(allowed(kind, Direction::ToWorker), to_worker, "{kind}");
        }
    }

    #[test]
    fn what_the_pool_has_not_named_is_unknown() {
        for byte in POOL_KINDS.filter(|byte| name(Kind(*byte)).is_none()) {
            assert_eq!(
                check(Kind(byte), Direction::ToWorker, 1),
                Err(FrameError::UnknownKind { kind: Kind(byte) })
            );
        }
    }
}
