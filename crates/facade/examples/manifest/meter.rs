//! What a person sees on standard error: the bar, and the lines that come between.
//!
//! Invariant: what counts of a task is the furthest that any attempt at it got, so the bar never runs back, nor beyond
//! its end, when a worker dies and its task begins again.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    io::{self, IsTerminal, Write as _, stderr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};
use workfleet::task::TaskId;

use crate::{digest::Progress, options::When};

const TEMPLATE: &str =
    "{bar:30} {files} files, {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left, {elapsed} gone";

/// The width of what is no terminal.
const COLUMNS: u16 = 120;

/// Counts files and bytes, and shows the counts.
#[derive(Debug)]
pub(crate) struct Meter {
    bar: ProgressBar,
    files: Arc<Files>,
    furthest: Mutex<HashMap<TaskId, Progress>>,
}

/// Numbers to look at: nothing else is ordered by them.
#[derive(Debug, Default)]
struct Files {
    found: AtomicU64,
    done: AtomicU64,
}

impl Meter {
    pub(crate) fn new(when: When) -> Self {
        let target = match when {
            When::Never => ProgressDrawTarget::hidden(),
            When::Always if !stderr().is_terminal() => ProgressDrawTarget::term_like(Box::new(Stream)),
            // This target shows nothing where there is no terminal.
            When::Always | When::Auto => ProgressDrawTarget::stderr(),
        };
        let files = Arc::new(Files::default());
        let shown = Arc::clone(&files);
        let style = ProgressStyle::with_template(TEMPLATE)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("files", move |_: &ProgressState, out: &mut dyn fmt::Write| {
                // A bar has nobody to tell that its text could not be made.
                let _ = write!(out, "{shown}");
            });
        let bar = ProgressBar::with_draw_target(Some(0), target).with_style(style);
        Self { bar, files, furthest: Mutex::default() }
    }

    /// More was found.
    pub(crate) fn add(&self, files: u64, len_bytes: u64) {
        self.files.found.fetch_add(files, Ordering::Relaxed);
        self.bar.inc_length(len_bytes);
    }

    /// An attempt at a task got this far.
    pub(crate) fn advance(&self, task: TaskId, progress: Progress) {
        let mut furthest = self.furthest.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match furthest.entry(task) {
            Entry::Occupied(mut entry) => {
                let before = *entry.get();
                entry.insert(before.furthest(progress));
                before
            }
            Entry::Vacant(entry) => {
                entry.insert(progress);
                Progress::default()
            }
        };
        drop(furthest);
        self.files.done.fetch_add(progress.files.saturating_sub(before.files), Ordering::Relaxed);
        self.bar.inc(progress.len_bytes.saturating_sub(before.len_bytes));
    }

    /// What has been found and not digested, beside what has been found.
    pub(crate) fn remaining(&self) -> (u64, u64) {
        let found = self.files.found.load(Ordering::Relaxed);
        (found.saturating_sub(self.files.done.load(Ordering::Relaxed)), found)
    }

    /// Everything is done: the bar stays where it is, and is not drawn again.
    pub(crate) fn finish(&self) {
        self.bar.finish();
    }

    /// Not everything will be done.
    pub(crate) fn abandon(&self) {
        self.bar.abandon();
    }

    /// Says something in a line of its own, above the bar.
    pub(crate) fn say(&self, what: &dyn fmt::Display) {
        self.bar.suspend(|| say(what));
    }
}

/// Says something on standard error, in the name of the program. If that is closed, nobody wants to know.
pub(crate) fn say(what: &dyn fmt::Display) {
    let _ = stderr().write_all(format!("manifest: {what}\n").as_bytes());
}

impl Progress {
    fn furthest(self, other: Self) -> Self {
        Self { files: self.files.max(other.files), len_bytes: self.len_bytes.max(other.len_bytes) }
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.done.load(Ordering::Relaxed), self.found.load(Ordering::Relaxed))
    }
}

/// Standard error as a terminal, though it is none: for those who always want a bar.
#[derive(Debug)]
struct Stream;

impl Stream {
    fn write(&self, text: fmt::Arguments<'_>) -> io::Result<()> {
        stderr().write_all(text.to_string().as_bytes())
    }
}

impl TermLike for Stream {
    fn width(&self) -> u16 {
        COLUMNS
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.write(format_args!("\x1b[{n}A")) } else { Ok(()) }
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.write(format_args!("\x1b[{n}B")) } else { Ok(()) }
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.write(format_args!("\x1b[{n}C")) } else { Ok(()) }
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.write(format_args!("\x1b[{n}D")) } else { Ok(()) }
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.write(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use workfleet::wire::message;

    use super::*;

    fn progress(files: u64, len_bytes: u64) -> Progress {
        Progress { files, len_bytes }
    }

    fn task(number: u128) -> TaskId {
        let encoded = message::encode(&number).expect("it encodes");
        message::decode(&encoded).expect("an id is a number")
    }

    #[test]
    fn a_second_attempt_counts_only_beyond_the_first() {
        let meter = Meter::new(When::Never);
        meter.add(3, 100);
        for (number, reached, position, remaining) in [
            (1, progress(0, 40), 40, 3),
            (1, progress(1, 60), 60, 2),
            (2, progress(0, 10), 70, 2),
            // The worker of task 1 died.
            (1, progress(0, 40), 70, 2),
            (1, progress(1, 60), 70, 2),
            (1, progress(2, 90), 100, 1),
            (2, progress(1, 10), 100, 0),
        ] {
            meter.advance(task(number), reached);
            assert_eq!((meter.bar.position(), meter.remaining()), (position, (remaining, 3)));
        }
    }

    #[test]
    fn the_template_is_well_formed() {
        ProgressStyle::with_template(TEMPLATE).expect("it is");
    }
}
