//! The frame kinds of a pool's connection to its worker processes: which way each goes, and whether it carries a payload.
//!
//! | kind | name | worker → manager | manager → worker | meaning |
//! |---|---|---|---|---|
//! | `0x01` | [`WELCOME`] | – | carries | the manager's half of the handshake |
//! | `0x02` | [`CANCEL`] | – | carries | a running attempt should end |
//! | `0x03` | [`RECALL`] | – | carries | give prefetched tasks back |
//! | `0x04` | [`PING`] | – | empty | are you there? |
//! | `0x05` | [`FLUSHED`] | – | carries | the answer to a flush |
//! | `0x10` | [`HELLO`] | carries | – | the worker's half of the handshake |
//! | `0x11` | [`START_FAILED`] | carries | – | this worker cannot start, and why |
//! | `0x12` | [`RESULT`] | carries | – | an attempt ended with an output |
//! | `0x13` | [`FAILURE`] | carries | – | an attempt ended without an output |
//! | `0x14` | [`RETURNED`] | carries | – | prefetched tasks given back |
//! | `0x15` | [`FLUSH`] | carries | – | say when everything before this has been handled |
//! | `0x16` | [`PONG`] | empty | – | the answer to a ping |
//! | `0x17` | [`HEARTBEAT`] | carries | – | an attempt has begun, or beats |
//! | `0x20..=0x2f` | streams | either | either | a service's own |
//! | `0x30..=0x3f` | events and heartbeats | either | either | a service's own |
//! | `0x40..=0x4f` | locks | either | either | a service's own |
//! | `0x50..=0x57` | broker connections | either | either | a service's own |
//! | `0x58..=0x67` | application | either | either | free for an application's own services |
//! | `0x6d` `m` | [`MESSAGE`] | carries | empty | a message for the inbox; it has been accepted |
//! | `0x6e` `n` | [`IDLE`] | empty | – | the worker is idle, give it a task |
//! | `0x73` `s` | [`SCHEDULED`] | – | empty | what was to be scheduled has been accepted |
//! | `0x74` `t` | [`DONE_NEXT/TASK`](TASK) | empty | carries | the task is done, next please; a task, none yet, or close |
//! | `0x80..=0xff` | [`schedule`] | carries | – | schedule a task at this priority, 0 to 127 |
//!
//! The letters and `0x80..=0xff` are those of Python's `undr.task` ([`undr`]) and keep their meaning. The pool
//! never sends, and does not take, undr's acknowledgements: `t` to the manager, and `m` and `s` to a worker. It answers by kinds
//! of its own, and only where a worker waits. [`check`] passes them as frames of undr, and the pool refuses them as
//! frames out of turn. What the table does not name is unknown; in `0x00..=0x1f`, it is kept for later versions.
//!
//! - [`TABLE`] is the only place that says so. The names in error texts come from it, and a test compares the table of this page
//!   with it.
//! - No two rows share a byte.

pub(crate) mod received;

use std::ops::RangeInclusive;

use workfleet_wire::{
    FrameError, Kind, Row, Rule, Table,
    kinds::{
        APPLICATION_KINDS, BROKER_KINDS, Direction, EVENT_KINDS, LOCK_KINDS, SCHEDULE_KINDS, STREAM_KINDS,
    },
    undr,
};

pub use workfleet_wire::undr::schedule;

/// Worker → manager, empty: the worker is idle, give it a task.
pub const IDLE: Kind = undr::NEXT_TASK;
/// Worker → manager, empty: the worker's task is done, next please. The same byte as [`TASK`], the other way. The pool has
/// [`RESULT`] and [`FAILURE`] in its place.
#[doc(alias = "acknowledge_and_next_task")]
pub const DONE_NEXT: Kind = undr::ACKNOWLEDGE_AND_NEXT_TASK;
/// Manager → worker, carries: a task, or the request to close. The same byte as [`DONE_NEXT`], the other way.
#[doc(alias = "CloseRequest")]
pub const TASK: Kind = undr::TASK;
/// Worker → manager, carries: a message for the inbox. Manager → worker, empty: that message has been accepted, which the pool
/// does not say.
pub const MESSAGE: Kind = undr::MESSAGE;
/// Manager → worker, empty: what [`schedule`] asked for has been accepted, which the pool does not say.
pub const SCHEDULED: Kind = undr::TASK_ACCEPTED;

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
/// Worker → manager, carries: an attempt has begun, or a heartbeat with its details.
pub const HEARTBEAT: Kind = Kind(0x17);

/// The frame kinds that services may own.
pub(crate) const SERVICE_KINDS: RangeInclusive<u8> = 0x20..=0x67;

const fn one(kind: Kind, name: &'static str, to_manager: Rule, to_worker: Rule) -> Row {
    Row::one(kind, name, to_manager, to_worker)
}

const fn service(range: RangeInclusive<u8>, name: &'static str) -> Row {
    Row::range(range, name, Rule::Any, Rule::Any)
}

/// The pool's kinds. The ranges of the services (streams, events, locks, brokers, an application's own) go both ways,
/// with or without a payload: the service checks them.
///
/// ```
/// use workfleet_task_manager::kinds;
///
/// assert_eq!(kinds::TABLE.named(kinds::RESULT).to_string(), "0x12 (RESULT)");
/// ```
pub static TABLE: Table = Table::new(&[
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
    Row::range(SCHEDULE_KINDS, "schedule", Rule::Carries, Rule::Never),
]);

/// Checks one frame's kind and payload length against [`TABLE`].
///
/// `Ok` means that a frame of this `kind` may go this way with a payload of this length. A kind that must carry needs at
/// least one byte, so a message that encodes to nothing (the unit type does) needs a kind that may be empty.
///
/// ```
/// use workfleet_task_manager::kinds;
/// use workfleet_wire::kinds::Direction;
///
/// // A worker that is idle says so without a payload …
/// assert!(kinds::check(kinds::IDLE, Direction::ToManager, 0).is_ok());
/// // … and the byte `t` carries a task only on its way to the worker.
/// assert!(kinds::check(kinds::TASK, Direction::ToWorker, 512).is_ok());
/// let error = kinds::check(kinds::DONE_NEXT, Direction::ToManager, 512).unwrap_err();
/// assert_eq!(
///     kinds::TABLE.describe(&error).to_string(),
///     "frame kind 0x74 (DONE_NEXT/TASK) with 512 bytes to the manager: must be empty"
/// );
/// ```
///
/// # Errors
/// As [`Table::check`].
#[inline]
pub fn check(kind: Kind, direction: Direction, payload_len_bytes: u64) -> Result<(), FrameError> {
    TABLE.check(kind, direction, payload_len_bytes)
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;
    use workfleet_wire::kinds::POOL_KINDS;

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
        let documented: Vec<Vec<&str>> = include_str!("kinds.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `0x"))
            .map(|line| line.trim_end_matches('|').split('|').map(str::trim).collect())
            .collect();
        assert_eq!(documented.len(), TABLE.rows().len(), "rows on the front page");
        for (documented, row) in documented.iter().zip(TABLE.rows()) {
            let kinds = match (*row.kinds().start(), *row.kinds().end()) {
                (first, last) if first != last => format!("{first:02x}..={last:#04x}`"),
                (first, _) if first.is_ascii_lowercase() => format!("{first:02x}` `{}`", char::from(first)),
                (first, _) => format!("{first:02x}`"),
            };
            // A name is a link there: [`NAME`](target).
            let name = documented[1].replace(['`', '['], "");
            let name = name.split(']').next().unwrap_or_default();
            let [to_manager, to_worker] =
                [Direction::ToManager, Direction::ToWorker].map(|direction| cell(row.rule(direction)));
            let expected = [&kinds, row.name(), to_manager, to_worker];
            assert_eq!([documented[0], name, documented[2], documented[3]], expected);
            assert!(!documented[4].is_empty(), "{documented:?}");
        }
    }

    #[test]
    fn rows_are_in_the_order_of_their_bytes() {
        assert!(TABLE.rows().windows(2).all(|pair| pair[0].kinds().end() < pair[1].kinds().start()));
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
        for byte in POOL_KINDS.filter(|byte| TABLE.name(Kind(*byte)).is_none()) {
            assert_eq!(
                check(Kind(byte), Direction::ToWorker, 1),
                Err(FrameError::UnknownKind { kind: Kind(byte) })
            );
        }
    }

    #[test]
    fn texts_name_the_known_kinds_and_print_the_others() {
        let text = |kind| TABLE.named(kind).to_string();
        assert_eq!(text(IDLE), "0x6e (IDLE)");
        assert_eq!(text(TASK), "0x74 (DONE_NEXT/TASK)");
        assert_eq!(text(Kind(0x82)), "0x82 (schedule)");
        assert_eq!(text(Kind(0x05)), "0x05 (FLUSHED)");
        assert_eq!(text(Kind(0x00)), "0x00");
    }
}
