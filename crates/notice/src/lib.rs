//! Warnings that something is lost or broken: through `tracing`, and on standard error if no subscriber is set.
//!
//! [`warn!`] and [`error!`] are called like the macros of `tracing`, and emit the same event. If no subscriber is set on
//! the calling thread, they also write the event to standard error, as one line that begins with `workfleet: `. So a
//! program without a subscriber does not miss it.
//!
//! Use them only for something that is lost or broken. Everything else is an event of `tracing`.
//!
//! Invariants:
//! - A line waits for no reader. If standard error does not take it at once, it is counted, and the next line says how
//!   many are missing. (Where a write cannot be made without waiting, the system is asked first whether it would wait;
//!   another writer may come between.)
//! - A line takes no lock, allocates no memory, and raises no signal. So lines work on any thread, in a fork, and while
//!   the program exits. There is one exception: the standard library reads [`VARIABLE`] once.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod line;
mod stderr;

use std::{
    env, fmt,
    sync::atomic::{AtomicU8, Ordering},
};

use line::Line;

/// For the macros.
#[doc(hidden)]
pub use tracing;

/// The environment variable that keeps lines from standard error if it is `off`.
///
/// It is a variable, and not an option of a builder: workers, heartbeaters and consumers have no builder in common, the
/// processes that a program starts inherit it, and cargo sets it for tests (`[env]` in `.cargo/config.toml`).
pub const VARIABLE: &str = "WORKFLEET_WARNINGS";

/// Warns the user, at level `WARN`.
///
/// ```
/// let (lines, path) = (3, std::path::Path::new("worker-0.log"));
/// workfleet_notice::warn!(path = %path.display(), lines, "lines of a worker are missing in its log");
/// // On standard error, if no subscriber is set:
/// // workfleet: lines of a worker are missing in its log (path=worker-0.log, lines=3)
/// ```
#[macro_export]
macro_rules! warn {
    ($($said:tt)+) => { $crate::__say!(warn, $($said)+) };
}

/// Says at level `ERROR` what a user has to know.
///
/// ```
/// let error = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
/// workfleet_notice::error!(%error, "a frame was lost");
/// ```
#[macro_export]
macro_rules! error {
    ($($said:tt)+) => { $crate::__say!(error, $($said)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __say {
    ($level:ident, $($said:tt)+) => {{
        $crate::tracing::$level!($($said)+);
        if $crate::is_unheard() {
            $crate::__write!([] $($said)+);
        }
    }};
}

/// Takes one field after the other, then the text.
#[doc(hidden)]
#[macro_export]
macro_rules! __write {
    ([$($fields:tt)*] $name:ident = % $value:expr, $($rest:tt)+) => {
        $crate::__write!([$($fields)* (stringify!($name), format_args!("{}", $value)),] $($rest)+)
    };
    ([$($fields:tt)*] $name:ident = ? $value:expr, $($rest:tt)+) => {
        $crate::__write!([$($fields)* (stringify!($name), format_args!("{:?}", $value)),] $($rest)+)
    };
    ([$($fields:tt)*] $name:ident = $value:expr, $($rest:tt)+) => {
        $crate::__write!([$($fields)* (stringify!($name), format_args!("{}", $value)),] $($rest)+)
    };
    ([$($fields:tt)*] % $name:ident, $($rest:tt)+) => {
        $crate::__write!([$($fields)* (stringify!($name), format_args!("{}", $name)),] $($rest)+)
    };
    ([$($fields:tt)*] ? $name:ident, $($rest:tt)+) => {
        $crate::__write!([$($fields)* (stringify!($name), format_args!("{:?}", $name)),] $($rest)+)
    };
    ([$($fields:tt)*] $name:ident, $($rest:tt)+) => {
        $crate::__write!([$($fields)* (stringify!($name), format_args!("{}", $name)),] $($rest)+)
    };
    ([$($fields:tt)*] $($text:tt)+) => {
        $crate::write(format_args!($($text)+), &[$($fields)*])
    };
}

/// Whether an event that is emitted here and now reaches no subscriber.
pub fn is_unheard() -> bool {
    tracing::dispatcher::get_default(|dispatch| dispatch.is::<tracing::subscriber::NoSubscriber>())
}

/// Writes a line to standard error, also where a subscriber listens: `text`, and behind it the fields by their names. If
/// [`VARIABLE`] says so, nothing is written.
pub fn write(text: fmt::Arguments<'_>, fields: &[(&str, fmt::Arguments<'_>)]) {
    if is_off() {
        return;
    }
    let mut line = Line::new();
    line.add(text);
    for (place, (name, value)) in fields.iter().enumerate() {
        let before = if place == 0 { " (" } else { ", " };
        line.add(format_args!("{before}{name}={value}"));
    }
    if !fields.is_empty() {
        line.add(format_args!(")"));
    }
    stderr::write(line);
}

/// Whether the variable says so: asked for once, because whoever sets it later does so where other threads run.
fn is_off() -> bool {
    const UNKNOWN: u8 = 0;
    const ON: u8 = 1;
    const OFF: u8 = 2;
    /// Relaxed: there is nothing but the number, and everybody finds the same.
    static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
    match STATE.load(Ordering::Relaxed) {
        UNKNOWN => {
            let off = env::var_os(VARIABLE).is_some_and(|value| value == "off");
            STATE.store(if off { OFF } else { ON }, Ordering::Relaxed);
            off
        }
        state => state == OFF,
    }
}

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
