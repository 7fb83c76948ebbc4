//! One line of text, of a bounded length, that is composed without memory from elsewhere.
//!
//! Invariants:
//! - It is one line, whatever is put into it: control characters are escaped.
//! - It is not longer than what a pipe takes whole. What does not fit is cut, and the cut shows.

use std::fmt::{self, Write};

/// A write of so much to a pipe is whole on every system that we know of (`PIPE_BUF`, which POSIX allows to be 512).
const LINE_BYTES: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };
const BEGIN: &str = "workfleet: ";
const CUT: &str = "…";
/// The room that is kept for what comes behind the text: a note of lines that are missing, and the end.
const KEPT_BYTES: usize = 80;

pub(crate) struct Line {
    bytes: [u8; LINE_BYTES],
    len_bytes: usize,
    /// Something did not fit.
    cut: bool,
}

impl Line {
    pub(crate) fn new() -> Self {
        let mut line = Self { bytes: [0; LINE_BYTES], len_bytes: 0, cut: false };
        line.push(BEGIN, LINE_BYTES);
        line
    }

    /// Adds a text, as far as there is room for it.
    pub(crate) fn add(&mut self, text: fmt::Arguments<'_>) {
        // An error means that the text is cut, or that a value could not say itself, and then the rest is missing.
        self.cut |= self.write_fmt(text).is_err();
    }

    /// The line with its end; `lost` lines before it are missing.
    pub(crate) fn end(mut self, lost: u64) -> Ended {
        if self.cut {
            self.push(CUT, LINE_BYTES);
        }
        if lost > 0 {
            let mut note = Note(&mut self);
            // There is room for it, whatever the number.
            let _ = write!(note, " [{lost} lines before this one could not be written]");
        }
        self.push("\n", LINE_BYTES);
        Ended(self)
    }

    /// Adds as many characters as fit below the limit. False if it was not all of them.
    fn push(&mut self, text: &str, limit_bytes: usize) -> bool {
        let room_bytes = limit_bytes - self.len_bytes;
        let fits_bytes = if text.len() <= room_bytes { text.len() } else { floor_boundary(text, room_bytes) };
        let end = self.len_bytes + fits_bytes;
        self.bytes[self.len_bytes..end].copy_from_slice(&text.as_bytes()[..fits_bytes]);
        self.len_bytes = end;
        fits_bytes == text.len()
    }

    fn push_text(&mut self, text: &str) -> bool {
        self.push(text, LINE_BYTES - KEPT_BYTES)
    }
}

/// The last place before or at `at` where the text can be cut.
fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.cut {
            return Err(fmt::Error);
        }
        for piece in text.split_inclusive(char::is_control) {
            let control = piece.chars().next_back().filter(|last| last.is_control());
            let plain = control.map_or(piece, |control| &piece[..piece.len() - control.len_utf8()]);
            let mut fits = self.push_text(plain);
            for escaped in control.into_iter().flat_map(char::escape_default) {
                fits = fits && self.push_text(escaped.encode_utf8(&mut [0; 4]));
            }
            if !fits {
                self.cut = true;
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

/// Writes into the room that is kept.
struct Note<'a>(&'a mut Line);

impl Write for Note<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.push(text, LINE_BYTES - 1) { Ok(()) } else { Err(fmt::Error) }
    }
}

/// A whole line.
pub(crate) struct Ended(Line);

impl Ended {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes[..self.0.len_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(text: fmt::Arguments<'_>, lost: u64) -> String {
        let mut line = Line::new();
        line.add(text);
        String::from_utf8(line.end(lost).bytes().to_vec()).expect("it is text")
    }

    #[test]
    fn it_is_one_line_whatever_is_in_it() {
        assert_eq!(ended(format_args!("a\nb\r\x1b[0m{}", "ü\n"), 0), "workfleet: a\\nb\\r\\u{1b}[0mü\\n\n");
        assert_eq!(ended(format_args!(""), 0), "workfleet: \n");
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_shows_it() {
        for begin in 0..4 {
            let long = format!("{}{}", "x".repeat(begin), "€".repeat(LINE_BYTES));
            let line = ended(format_args!("{long}{}", "not there"), u64::MAX);
            assert!(line.len() <= LINE_BYTES, "{}", line.len());
            let note = format!("€… [{} lines before this one could not be written]\n", u64::MAX);
            assert!(line.ends_with(&note), "{line}");
        }
    }

    #[test]
    fn a_value_that_cannot_say_itself_cuts_it() {
        struct Broken;
        impl fmt::Display for Broken {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                Err(fmt::Error)
            }
        }
        assert_eq!(
            ended(format_args!("a {Broken} b"), 2),
            "workfleet: a … [2 lines before this one could not be written]\n"
        );
    }
}
