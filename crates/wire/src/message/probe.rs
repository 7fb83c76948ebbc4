//! What is told while a value is written or read, beside its bytes.
//!
//! Invariant: for a type whose `Serialize` and `Deserialize` fit each other, both sides tell the same.

/// A unit that takes bytes in a message. What takes none (structs, tuples, units, newtypes) is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char {
        len_bytes: usize,
    },
    Str {
        len_bytes: usize,
    },
    Bytes {
        len_bytes: usize,
    },
    /// An option's tag.
    Option,
    /// The length of a sequence.
    Seq,
    /// The length of a map.
    Map,
    /// The index of an enum's variant.
    Variant,
}

/// Is told what is written or read, in order.
pub(super) trait Probe {
    /// A token, and its bytes.
    #[inline]
    fn token(&mut self, _token: Token, _bytes: &[u8]) {}

    /// A struct, or a variant with fields, of this name begins. Each of its fields is told, then its end. Whoever reads knows
    /// the names that it expects, with those that fields have beside (`alias`).
    #[inline]
    fn open(&mut self, _name: &'static str, _fields: usize, _expected: &'static [&'static str]) {}

    /// The next field of what was opened last; without a name, an element.
    #[inline]
    fn field(&mut self, _name: Option<&'static str>) {}

    /// What was opened last ends.
    #[inline]
    fn close(&mut self) {}

    /// A variant is written. Its token follows.
    #[inline]
    fn variant(&mut self, _of: &'static str, _index: u32, _name: &'static str) {}
}

/// Nobody wants to know.
impl Probe for () {}
