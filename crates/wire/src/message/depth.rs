//! How deep a value may nest.

/// How many levels a value may nest: 256.
///
/// A level is a struct, a tuple, a sequence, a map, a variant with fields, a newtype or the inside of an option, within
/// another. So a list whose nodes are structs that hold an optional box of the next has at most 128 of them, and a tree of
/// enums whose variants hold vectors of it is 128 deep at most: as deep as `serde_json` goes.
///
/// Beyond it, a value is an error where it is written and where it is read, rather than a stack that overflows: the levels
/// take less than a megabyte of stack, in a build without optimisation, for types of ordinary size.
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
