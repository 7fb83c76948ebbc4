//! How deep a value may nest.

/// How many levels a value may nest: 256.
///
/// A level is a struct, a tuple, a sequence, a map, a variant with fields, a newtype or the inside of an option, within another. So
/// a linked list of structs, each with an `Option<Box<_>>` of the next, has at most 128 nodes. A tree of enums whose variants
/// hold vectors of it is at most 128 deep. `serde_json` has the same limit.
///
/// A value that nests deeper is an error where it is written and where it is read; the stack does not overflow. For types of
/// ordinary size, the levels take less than a megabyte of stack in a build without optimisation.
pub const NESTING_LIMIT: u32 = 256;

/// The levels that an encoder or a decoder is within.
pub(super) struct Levels {
    /// How many more may be entered.
    left: u32,
}

/// One more level would be beyond [`NESTING_LIMIT`].
pub(super) struct TooDeep;

impl Levels {
    pub(super) fn new() -> Self {
        Self { left: NESTING_LIMIT }
    }

    /// Enters a level, which the caller [leaves](Self::leave) unless something fails within it.
    #[inline]
    pub(super) fn enter(&mut self) -> Result<(), TooDeep> {
        self.left = self.left.checked_sub(1).ok_or(TooDeep)?;
        Ok(())
    }

    #[inline]
    pub(super) fn leave(&mut self) {
        self.left += 1;
    }
}
