//! The names of files: bytes, whatever they mean to whom.
//!
//! Invariant: a name arrives in a worker, and in the manifest, byte for byte as the system gave it.

use std::{
    ffi::OsStr,
    fmt::{self, Write},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A file's path. `Display` shows it on a terminal, where control characters would do harm.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileName(Vec<u8>);

impl FileName {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

impl From<PathBuf> for FileName {
    fn from(path: PathBuf) -> Self {
        Self(path.into_os_string().into_vec())
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    control if control.is_control() => write!(f, "{}", control.escape_default())?,
                    printable => f.write_char(printable)?,
                }
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// As bytes in one piece: a sequence of numbers is what serde would make of a `Vec<u8>`, and a `PathBuf` has to be UTF-8.
impl Serialize for FileName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = FileName;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a file's name")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<FileName, E> {
                Ok(FileName(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A path that has no line in the manifest, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) name: FileName,
    pub(crate) reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

/// What the system says of an error, without its number.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let number = error.raw_os_error().map(|code| format!(" (os error {code})")).unwrap_or_default();
    text.strip_suffix(&number).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use workfleet::wire::message;

    use super::*;

    fn name(bytes: &[u8]) -> FileName {
        FileName(bytes.to_vec())
    }

    #[test]
    fn any_bytes_travel() {
        let every_byte: Vec<u8> = (0..=255).collect();
        for bytes in [&b""[..], b"plain", b"\xff\xfe", &every_byte] {
            let encoded = message::encode(&name(bytes)).expect("it encodes");
            assert_eq!(message::decode::<FileName>(&encoded).expect("it decodes"), name(bytes));
        }
    }

    #[test]
    fn what_is_shown_is_one_harmless_line() {
        assert_eq!(name("plain/ünï ✓".as_bytes()).to_string(), "plain/ünï ✓");
        assert_eq!(name(b"a\nb\\c\x1b[2J\xff").to_string(), r"a\nb\\c\u{1b}[2J\xff");
    }

    #[test]
    fn a_reason_has_no_number() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "No such file or directory");
        assert_eq!(reason(&io::Error::other("not a regular file")), "not a regular file");
    }
}
