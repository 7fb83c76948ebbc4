//! A key's text, as tables and guards keep it.
//!
//! Most keys are short, and a short key is copied: that is cheaper than to allocate and count what would be shared, and
//! takes less memory. A long one is allocated once, for its entry and its guards together.

use std::{fmt, hash, sync::Arc};

/// With the length and the kind it makes 24 bytes, one machine word more than a shared text.
const INLINE_BYTES: usize = 22;

#[derive(Clone)]
pub(super) struct Key(Text);

#[derive(Clone)]
enum Text {
    /// The first `len` of `bytes` are the text.
    Inline {
        len: u8,
        bytes: [u8; INLINE_BYTES],
    },
    Shared(Arc<str>),
}

impl Key {
    pub(super) fn as_str(&self) -> &str {
        match &self.0 {
            Text::Inline { .. } => match std::str::from_utf8(self.as_bytes()) {
                Ok(text) => text,
                Err(_) => unreachable!("these bytes were a text"),
            },
            Text::Shared(text) => text,
        }
    }

    /// Without a look at whether they are a text, which costs more than to compare them.
    pub(super) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Text::Shared(text) => text.as_bytes(),
        }
    }

    pub(super) fn to_shared(&self) -> Arc<str> {
        match &self.0 {
            Text::Inline { .. } => self.as_str().into(),
            Text::Shared(text) => Arc::clone(text),
        }
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        Self(match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(inline), Ok(len)) => {
                inline.copy_from_slice(text.as_bytes());
                Text::Inline { len, bytes }
            }
            _ => Text::Shared(text.into()),
        })
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl hash::Hash for Key {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn a_key_is_its_text_whether_it_is_copied_or_shared() {
        assert_eq!(size_of::<Key>(), 24);
        let hash = RandomState::new();
        for len in [0, 1, 2, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1, 300] {
            let text = "ä".repeat(len / 2) + &"a".repeat(len % 2);
            let key = Key::from(&*text);
            assert_eq!(matches!(key.0, Text::Inline { .. }), len <= INLINE_BYTES, "{len}");
            assert_eq!((key.as_str(), &*key.to_shared(), key.as_bytes()), (&*text, &*text, text.as_bytes()));
            assert_eq!(key, key.clone());
            assert_eq!(hash.hash_one(&key), hash.hash_one(text.as_bytes()));
        }
        assert_ne!(Key::from("a"), Key::from("a\0"));
        assert!(Key::from("a") < Key::from("b") && Key::from("z") < Key::from(&*"z".repeat(40)));
    }
}
