//! Cutting text without cutting a character.

/// Where to cut a text so that at most `limit_bytes` are left, and no character is cut.
pub(crate) fn floor_char_boundary(text: &str, limit_bytes: usize) -> usize {
    (0..=limit_bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0)
}
