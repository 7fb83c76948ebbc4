//! The one byte that says what a frame is.
//!
//! - Any byte is a `Kind`: whether it is known, and which way it may go, is the table's business ([`kinds`](crate::kinds)).
//! - Its texts name the known kinds from that same table (`kind_texts`), so that a log line and the documentation use one word.

/// What a frame is: its first byte.
///
/// Every byte is a valid `Kind`, so that a frame of an unknown kind can be carried, named in an error and logged;
/// [`kinds::check`](crate::kinds::check) tells the known from the unknown. Ordered as the bytes are.
///
/// `Debug` and [`Display`](std::fmt::Display) name the kinds that the table knows.
///
/// ```
/// use workfleet_wire::{Kind, kinds};
///
/// assert_eq!(kinds::RESULT, Kind(0x12));
/// assert_eq!(kinds::RESULT.to_string(), "0x12 (RESULT)");
/// assert_eq!(format!("{:?}", Kind(0x1f)), "Kind(0x1f)");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);
