//! The ranges of frame kinds that protocols own, and the two ways of a frame.
//!
//! - A range has one owner. Which kinds stand in it, and what they mean, is in the owner's [`Table`](crate::Table), beside
//!   the owner's code.
//! - The ranges cover every byte, and a test compares the front page with them.

use std::ops::RangeInclusive;

pub use crate::direction::Direction;

/// The kinds of a pool's own connection; those without a name are unknown, and kept for later versions.
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
/// The kinds that are letters of [`undr`](crate::undr). Those that `undr` does not have are unknown.
pub const LETTER_KINDS: RangeInclusive<u8> = 0x68..=0x7f;
/// The kinds that schedule a task, one for each priority: see [`undr::schedule`](crate::undr::schedule).
pub const SCHEDULE_KINDS: RangeInclusive<u8> = 0x80..=0xff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_page_shows_the_ranges_and_they_cover_every_byte() {
        let ranges = [
            POOL_KINDS,
            STREAM_KINDS,
            EVENT_KINDS,
            LOCK_KINDS,
            BROKER_KINDS,
            APPLICATION_KINDS,
            LETTER_KINDS,
            SCHEDULE_KINDS,
        ];
        let documented: Vec<&str> = include_str!("lib.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `0x")?.split(" | ").next())
            .collect();
        let expected = ranges.clone().map(|range| format!("{:02x}..={:#04x}`", range.start(), range.end()));
        assert_eq!(documented, expected);
        assert!(ranges.into_iter().flatten().eq(0..=0xff));
    }
}
