//! What was told of a value while it was written or read: as a digest, and in full where the digests differ.

use std::collections::BTreeSet;

use super::{
    probe::{Probe, Token},
    seen::{self, Key},
};

/// What one side told, in few bytes however large the value.
#[derive(Debug)]
pub(super) struct Digest {
    hash: u64,
    /// The variants that were written.
    variants: BTreeSet<(&'static str, u32)>,
    /// The structs and variants that were written, by their keys.
    sites: Option<(Key, BTreeSet<(&'static str, u64)>)>,
}

impl Digest {
    pub(super) fn new() -> Self {
        Self { hash: 0, variants: BTreeSet::new(), sites: None }
    }

    /// One that remembers what was in the value of this type.
    pub(super) fn of_type(outermost: Key) -> Self {
        Self { sites: Some((outermost, BTreeSet::new())), ..Self::new() }
    }

    /// Whether the other side told the same.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.hash == other.hash
    }

    pub(super) fn variants(&self) -> &BTreeSet<(&'static str, u32)> {
        &self.variants
    }

    /// Counts what was in the value as seen.
    pub(super) fn count(self) {
        let Some((outermost, structs)) = self.sites else { return };
        for (name, fields) in structs {
            seen::of_struct(outermost, name, fields as usize).count();
        }
        for (of, index) in self.variants {
            seen::of_variant(outermost, of, index).count();
        }
    }

    fn mix(&mut self, value: u64) {
        let mixed = (self.hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash = mixed ^ (mixed >> 29);
    }

    fn mix_text(&mut self, text: &str) {
        self.mix(text.len() as u64);
        for &byte in text.as_bytes() {
            self.mix(u64::from(byte));
        }
    }
}

const OPEN: u64 = 0x100;
const FIELD: u64 = 0x101;
const ELEMENT: u64 = 0x102;
const CLOSE: u64 = 0x103;

/// What is the same of a token on both sides, of a type whose sides fit each other.
fn kind(token: Token) -> u64 {
    match token {
        Token::Bool => 1,
        Token::I8 => 2,
        Token::I16 => 3,
        Token::I32 => 4,
        Token::I64 => 5,
        Token::I128 => 6,
        Token::U8 => 7,
        Token::U16 => 8,
        Token::U32 => 9,
        Token::U64 => 10,
        Token::U128 => 11,
        Token::F32 => 12,
        Token::F64 => 13,
        Token::Char { .. } => 14,
        Token::Str { .. } => 15,
        Token::Bytes { .. } => 16,
        Token::Option => 17,
        Token::Seq => 18,
        Token::Map => 19,
        Token::Variant => 20,
    }
}

impl Probe for &mut Digest {
    fn token(&mut self, token: Token, _bytes: &[u8]) {
        self.mix(kind(token));
    }

    fn open(&mut self, name: &'static str, fields: usize, _expected: &'static [&'static str]) {
        if let Some((_, structs)) = &mut self.sites {
            structs.insert((name, fields as u64));
        }
        self.mix(OPEN);
        self.mix_text(name);
    }

    fn field(&mut self, name: Option<&'static str>) {
        match name {
            Some(name) => {
                self.mix(FIELD);
                self.mix_text(name);
            }
            None => self.mix(ELEMENT),
        }
    }

    fn close(&mut self) {
        self.mix(CLOSE);
    }

    fn variant(&mut self, of: &'static str, index: u32, _name: &'static str) {
        self.variants.insert((of, index));
    }
}

/// All that one side told.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) items: Vec<Item>,
    /// How many of them are tokens.
    pub(super) tokens: usize,
    /// The tokens with their bytes, in any order: maps and sets have none.
    pub(super) contents: u64,
    pub(super) variants: BTreeSet<(&'static str, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Token(Token),
    Open(&'static str, &'static [&'static str]),
    Field(Option<&'static str>),
    Close,
    /// Of this enum, of this name. Its token follows.
    Variant(&'static str, &'static str),
}

impl Probe for &mut Record {
    fn token(&mut self, token: Token, bytes: &[u8]) {
        self.items.push(Item::Token(token));
        self.tokens += 1;
        // A length may be corrected afterwards.
        let is_length = matches!(token, Token::Seq | Token::Map);
        let bytes = if is_length { &[] } else { bytes };
        let mut content = Digest::new();
        content.mix(kind(token));
        for &byte in bytes {
            content.mix(u64::from(byte));
        }
        self.contents = self.contents.wrapping_add(content.hash);
    }

    fn open(&mut self, name: &'static str, _fields: usize, expected: &'static [&'static str]) {
        self.items.push(Item::Open(name, expected));
    }

    fn field(&mut self, name: Option<&'static str>) {
        self.items.push(Item::Field(name));
    }

    fn close(&mut self) {
        self.items.push(Item::Close);
    }

    fn variant(&mut self, of: &'static str, index: u32, name: &'static str) {
        self.items.push(Item::Variant(of, name));
        self.variants.insert((of, index));
    }
}
