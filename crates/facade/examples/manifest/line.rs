//! The manifest's format: that of GNU `sha256sum`.
//!
//! Invariant: a line is one line, whatever its name contains: a name with a backslash, newline or carriage return is
//! escaped, and a backslash before the digest says so.

use std::io::{self, Write};

use crate::{digest::Sum, name::FileName};

/// A line of the manifest. Lines are ordered by the bytes of their names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) name: FileName,
    pub(crate) sum: Sum,
}

impl Line {
    pub(crate) fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let name = self.name.as_bytes();
        let is_escaped = name.iter().any(|&byte| escape(byte).is_some());
        if is_escaped {
            output.write_all(b"\\")?;
        }
        output.write_all(&hex(&self.sum))?;
        output.write_all(b"  ")?;
        if is_escaped {
            for byte in name {
                output.write_all(escape(*byte).unwrap_or(&[*byte]))?;
            }
        } else {
            output.write_all(name)?;
        }
        output.write_all(b"\n")
    }
}

fn escape(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b'\\' => Some(b"\\\\"),
        b'\n' => Some(b"\\n"),
        b'\r' => Some(b"\\r"),
        _ => None,
    }
}

fn hex(sum: &Sum) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 64];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(sum) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
    hex
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::PathBuf};

    use super::*;

    fn line(name: &[u8]) -> Line {
        let mut sum = [0; 32];
        sum[0] = 0x0f;
        sum[31] = 0xa5;
        Line { name: FileName::from(PathBuf::from(OsStr::from_bytes(name))), sum }
    }

    fn written(name: &[u8]) -> Vec<u8> {
        let mut written = Vec::new();
        line(name).write(&mut written).expect("a vector takes everything");
        written
    }

    #[test]
    fn names_are_escaped_as_sha256sum_escapes_them() {
        let hex = format!("0f{}a5", "0".repeat(60));
        for (name, before, shown) in [
            (&b"plain"[..], "", &b"plain"[..]),
            (b" a space, a *star, a \t tab", "", b" a space, a *star, a \t tab"),
            (b"-dash/\xff\xfe", "", b"-dash/\xff\xfe"),
            (b"a\nb", "\\", b"a\\nb"),
            (b"a\rb", "\\", b"a\\rb"),
            (b"a\\b", "\\", b"a\\\\b"),
            (b"\\n\n\xff", "\\", b"\\\\n\\n\xff"),
        ] {
            let expected = [before.as_bytes(), hex.as_bytes(), b"  ", shown, b"\n"].concat();
            assert_eq!(written(name), expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn lines_are_ordered_by_the_bytes_of_their_names() {
        let mut lines = [&b"b"[..], b"a/b", b"a", b"\xff", b"a.b", b"B"].map(line);
        lines.sort();
        let names: Vec<_> = lines.iter().map(|line| line.name.as_bytes()).collect();
        assert_eq!(names, [&b"B"[..], b"a", b"a.b", b"a/b", b"b", b"\xff"]);
    }
}
