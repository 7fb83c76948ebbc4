//! Appending to a caller's vector: a whole piece or nothing.

/// Runs `append`; when it fails or panics, cuts `out` back to its former length.
///
/// A panic matters too: where it is caught, the buffer lives on, and half a frame in it would garble all that follows.
#[inline]
pub(crate) fn append_or_restore<E>(
    out: &mut Vec<u8>,
    append: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    struct Restore<'a> {
        out: &'a mut Vec<u8>,
        /// Where `out` is cut when this is dropped: its former length until `append` has succeeded.
        keep_bytes: usize,
    }
    impl Drop for Restore<'_> {
        fn drop(&mut self) {
            self.out.truncate(self.keep_bytes);
        }
    }
    let keep_bytes = out.len();
    let mut restore = Restore { out, keep_bytes };
    let result = append(restore.out);
    if result.is_ok() {
        restore.keep_bytes = restore.out.len();
    }
    result
}
