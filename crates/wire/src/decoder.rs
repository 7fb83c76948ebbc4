//! The decoder: bytes in, frames out. A core, with no IO in it.
//!
//! - Frames depend on the bytes alone, not on how they were split on their way.
//! - A header's length is checked against the limit as soon as the header has arrived, before memory is reserved.
//! - Memory grows with the bytes that arrived: the decoder reserves at most twice what is buffered, plus a constant. It touches
//!   only what has arrived and the free space on offer. A header's claim can only make a reservation smaller.
//! - A large frame's memory is given back once it has passed.
//! - After an error nothing more is decoded and nothing more is kept.

use std::fmt;

use crate::frame::{MAX_LIMIT_BYTES, measure, truncated};
use crate::{DEFAULT_FRAME_LIMIT_BYTES, FrameError, FrameRef, HEADER_LEN_BYTES};

/// The free space that a decoder first offers, and the least it offers.
const MIN_SPARE_BYTES: usize = 16 << 10;
/// The free space up to which a decoder doubles its offer while reads fill all of it.
const MAX_SPARE_BYTES: usize = 256 << 10;
/// The memory that a decoder may keep after a large frame has passed. It is enough for a steady stream of 1 MiB frames to reuse:
/// fresh pages cost several times what reading into them does.
const RETAIN_BYTES: usize = 2 << 20;

/// Turns a stream of bytes into frames, however the stream is split.
///
/// It does no IO: read into [`spare`](Self::spare) and say how much came with [`advance`](Self::advance) (or copy with
/// [`extend`](Self::extend)), then take frames with [`next_frame`](Self::next_frame) until there is none. At the end of
/// the stream, [`finish`](Self::finish) tells an end between frames from one inside a frame.
///
/// The frames depend on the bytes alone. Memory follows what has arrived, never what a header claims: a peer that announces 60 MiB
/// and sends ten bytes costs no more than a peer that announces ten. A header that claims more than the limit is
/// [`FrameError::TooLarge`] at once.
///
/// ```
/// use workfleet_wire::{Decoder, FrameRef, Kind, encode_frame};
///
/// let mut stream = Vec::new();
/// encode_frame(Kind(b'm'), b"hello", &mut stream);
/// encode_frame(Kind(b'n'), b"", &mut stream);
///
/// let mut decoder = Decoder::default();
/// let mut received = Vec::new();
/// for piece in stream.chunks(4) {
///     let spare = decoder.spare();
///     spare[..piece.len()].copy_from_slice(piece); // a read, in earnest
///     decoder.advance(piece.len());
///     while let Some(FrameRef { kind, payload }) = decoder.next_frame()? {
///         received.push((kind, payload.to_vec()));
///     }
/// }
/// decoder.finish()?;
/// assert_eq!(received, [(Kind(b'm'), b"hello".to_vec()), (Kind(b'n'), vec![])]);
/// # Ok::<(), workfleet_wire::FrameError>(())
/// ```
pub struct Decoder {
    /// Initialised memory; `start..end` holds the bytes that arrived and have not been taken.
    buffer: Vec<u8>,
    /// Where the next frame begins; at most `end`. Moved by `next_frame`, and by compacting.
    start: usize,
    /// Where the next byte goes; at most `buffer.len()`. Moved by `advance` and `extend`, and by compacting.
    end: usize,
    /// How much free space the next `spare` offers at least: doubles when a read has filled all of it.
    spare_bytes: usize,
    /// The longest payload accepted; at most `MAX_LIMIT_BYTES`.
    limit_bytes: u64,
    /// The first error. Once it is set, the buffer stays empty.
    failed: Option<FrameError>,
}

impl Decoder {
    /// A decoder that accepts payloads of at most `limit_bytes`; [`Decoder::default`] accepts 64 MiB.
    ///
    /// Takes no memory until the first bytes are to come.
    ///
    /// ```
    /// use workfleet_wire::{Decoder, FrameError, Kind, encode_header};
    ///
    /// let mut decoder = Decoder::new(100);
    /// decoder.extend(&encode_header(Kind(b'm'), 101));
    /// assert!(matches!(decoder.next_frame(), Err(FrameError::TooLarge { len_bytes: 101, .. })));
    /// ```
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            spare_bytes: MIN_SPARE_BYTES,
            limit_bytes: limit_bytes.min(MAX_LIMIT_BYTES),
            failed: None,
        }
    }

    /// Space to read into, at least 16 KiB of it.
    ///
    /// The contents are initialised and mean nothing. After a read, call [`advance`](Self::advance) with the number of bytes that
    /// were read; a second `spare` without it gives the same space.
    ///
    /// The space doubles, up to 256 KiB, each time a read fills all of it. So a busy stream takes few reads, and a quiet
    /// stream takes little memory. This call also gives back the memory of a large frame: a decoder with nothing buffered keeps
    /// at most 2 MiB, and 16 KiB if every read was small.
    pub fn spare(&mut self) -> &mut [u8] {
        self.give_back(self.spare_bytes);
        self.reserve(self.spare_bytes);
        let offered = self.end + self.spare_bytes;
        if self.buffer.len() < offered {
            self.buffer.resize(offered, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Takes in the first `n_bytes` of [`spare`](Self::spare).
    ///
    /// # Panics
    /// If `n_bytes` is more than `spare` offered.
    pub fn advance(&mut self, n_bytes: usize) {
        let offered_bytes = self.buffer.len() - self.end;
        assert!(
            n_bytes <= offered_bytes,
            "advanced by {n_bytes} bytes, but only {offered_bytes} were offered"
        );
        if self.failed.is_some() {
            return;
        }
        if n_bytes == offered_bytes {
            self.spare_bytes = (self.spare_bytes * 2).min(MAX_SPARE_BYTES);
        }
        self.end += n_bytes;
    }

    /// Takes in a copy of `bytes`.
    ///
    /// For bytes that are already in memory. To read from a file or a socket without this copy, use [`spare`](Self::spare).
    ///
    /// ```
    /// use workfleet_wire::Decoder;
    ///
    /// let mut decoder = Decoder::default();
    /// decoder.extend(b"n\0\0\0\0\0");
    /// assert!(!decoder.is_ready());
    /// decoder.extend(b"\0\0\0");
    /// assert!(decoder.is_ready());
    /// assert_eq!(decoder.buffered_bytes(), 9);
    /// ```
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        self.give_back(bytes.len().max(self.spare_bytes));
        self.reserve(bytes.len());
        let initialised = &mut self.buffer[self.end..];
        let (over, beyond) = bytes.split_at(initialised.len().min(bytes.len()));
        initialised[..over.len()].copy_from_slice(over);
        // Where there is anything beyond, all that was initialised is now in use.
        self.buffer.extend_from_slice(beyond);
        self.end += bytes.len();
    }

    /// The next whole frame, or `None` until more bytes have come.
    ///
    /// The payload is borrowed from the decoder: no copy is made. A kind is not judged here; that is
    /// [`Table::check`](crate::Table::check), which knows the direction.
    ///
    /// ```
    /// use workfleet_wire::{Decoder, FrameRef, Kind};
    ///
    /// let mut decoder = Decoder::default();
    /// decoder.extend(b"m\x02\0\0\0\0\0\0\0hi");
    /// assert_eq!(decoder.next_frame()?, Some(FrameRef { kind: Kind(b'm'), payload: b"hi" }));
    /// assert_eq!(decoder.next_frame()?, None);
    /// # Ok::<(), workfleet_wire::FrameError>(())
    /// ```
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] as soon as a header announces more than the limit. Frames before it are still given
    /// out. The stream cannot be followed any further: the error stays, and what comes after is dropped.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<FrameRef<'_>>, FrameError> {
        let arrived = &self.buffer[self.start..self.end];
        let (kind, len_bytes) = match measure(arrived, self.limit_bytes) {
            Ok(Some((kind, len_bytes))) if arrived.len() - HEADER_LEN_BYTES >= len_bytes => (kind, len_bytes),
            // A decoder that has failed is empty, so it comes here too.
            Ok(_) => return self.failed.map_or(Ok(None), Err),
            Err(error) => return Err(self.fail(error)),
        };
        let payload_start = self.start + HEADER_LEN_BYTES;
        self.start = payload_start + len_bytes;
        Ok(Some(FrameRef { kind, payload: &self.buffer[payload_start..self.start] }))
    }

    /// Whether [`next_frame`](Self::next_frame) would give something now, a frame or an error.
    ///
    /// For loops that read until there is a frame and then return what they borrow.
    #[inline]
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let arrived = &self.buffer[self.start..self.end];
        match measure(arrived, self.limit_bytes) {
            Ok(Some((_, len_bytes))) => arrived.len() - HEADER_LEN_BYTES >= len_bytes,
            Ok(None) => self.failed.is_some(),
            Err(_) => true,
        }
    }

    /// Says that the stream has ended.
    ///
    /// `Ok` means that it ended between two frames. Whole frames that have not been taken yet stay, and do no harm.
    ///
    /// ```
    /// use workfleet_wire::{Decoder, FrameError};
    ///
    /// let mut decoder = Decoder::default();
    /// assert_eq!(decoder.finish(), Ok(()));
    /// decoder.extend(b"m\x05\0");
    /// assert!(matches!(decoder.finish(), Err(FrameError::Truncated { have_bytes: 3, need_bytes: 9 })));
    /// ```
    ///
    /// # Errors
    /// - [`FrameError::Truncated`]: part of a frame is left.
    /// - What [`next_frame`](Self::next_frame) has failed with, or would have come to.
    pub fn finish(&self) -> Result<(), FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut rest = &self.buffer[self.start..self.end];
        while !rest.is_empty() {
            let header = measure(rest, self.limit_bytes)?;
            let after = header.and_then(|(_, len_bytes)| rest.get(HEADER_LEN_BYTES + len_bytes..));
            rest = after.ok_or_else(|| truncated(rest, self.limit_bytes))?;
        }
        Ok(())
    }

    /// How many bytes have arrived and have not been taken as frames.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.end - self.start
    }

    /// How much memory the decoder holds.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// Keeps `error`, drops the rest.
    #[cold]
    fn fail(&mut self, error: FrameError) -> FrameError {
        *self = Self { failed: Some(error), ..Self::new(self.limit_bytes) };
        error
    }

    /// Moves what is buffered to the front.
    fn compact(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    /// Shrinks a buffer of which less than a quarter is needed, unless it is small anyway.
    ///
    /// Costs a copy of what is buffered: less than a quarter of what had to arrive for the buffer to become so large.
    #[inline]
    fn give_back(&mut self, wanted_bytes: usize) {
        let needed_bytes = self.buffered_bytes().saturating_add(wanted_bytes);
        if self.buffer.capacity() > RETAIN_BYTES && self.buffer.capacity() / 4 > needed_bytes {
            self.compact();
            self.buffer.truncate(self.end);
            self.buffer.shrink_to(needed_bytes.max(RETAIN_BYTES));
        }
    }

    /// Makes the capacity reach `wanted_bytes` beyond `end`.
    #[inline]
    fn reserve(&mut self, wanted_bytes: usize) {
        // Stays at the front of its memory, where the caches are warm. Frees at least as much as it copies, so this costs a
        // share of what has passed.
        if self.start > 0 && self.start >= self.buffered_bytes() {
            self.compact();
        }
        if self.buffer.capacity() - self.end < wanted_bytes {
            self.grow(wanted_bytes);
        }
    }

    /// Makes the capacity reach `wanted_bytes` beyond `end`, which it does not.
    #[cold]
    fn grow(&mut self, wanted_bytes: usize) {
        let buffered_bytes = self.buffered_bytes();
        self.compact();
        // Doubles, so that a large frame is copied a constant number of times; but not beyond the end of the frame that
        // is under way.
        let doubled_bytes = buffered_bytes.saturating_mul(2);
        let grown_bytes = match measure(&self.buffer[..self.end], self.limit_bytes) {
            Ok(Some((_, len_bytes))) if HEADER_LEN_BYTES + len_bytes > buffered_bytes => {
                doubled_bytes.min(HEADER_LEN_BYTES + len_bytes)
            }
            _ => doubled_bytes,
        };
        let capacity_bytes = grown_bytes.max(buffered_bytes.saturating_add(wanted_bytes));
        self.buffer.reserve_exact(capacity_bytes.saturating_sub(self.buffer.len()));
    }
}

impl Default for Decoder {
    /// A decoder with the limit [`DEFAULT_FRAME_LIMIT_BYTES`].
    fn default() -> Self {
        Self::new(DEFAULT_FRAME_LIMIT_BYTES)
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("buffered_bytes", &self.buffered_bytes())
            .field("capacity_bytes", &self.capacity_bytes())
            .field("limit_bytes", &self.limit_bytes)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, encode_frame, encode_header};

    /// Reads all of `bytes` as a socket would, taking every frame; calls `look` after each read.
    fn read_all(decoder: &mut Decoder, mut bytes: &[u8], mut look: impl FnMut(&Decoder)) -> usize {
        let mut frames = 0;
        while !bytes.is_empty() {
            let spare = decoder.spare();
            let n_bytes = spare.len().min(bytes.len());
            let (now, later) = bytes.split_at(n_bytes);
            spare[..n_bytes].copy_from_slice(now);
            decoder.advance(n_bytes);
            look(decoder);
            bytes = later;
            while decoder.next_frame().unwrap().is_some() {
                frames += 1;
            }
        }
        frames
    }

    #[test]
    fn a_new_decoder_takes_no_memory() {
        assert_eq!(Decoder::default().capacity_bytes(), 0);
    }

    #[test]
    fn the_offer_doubles_while_reads_fill_it_and_has_a_cap() {
        let mut decoder = Decoder::default();
        decoder.extend(&encode_header(Kind(0x12), 60 << 20));
        let mut offers = Vec::new();
        for _ in 0..7 {
            let offered = decoder.spare().len();
            decoder.advance(offered);
            offers.push(offered >> 10);
        }
        assert_eq!(offers, [16, 32, 64, 128, 256, 256, 256]);
        assert_eq!(decoder.spare().len(), decoder.spare().len());
    }

    #[test]
    fn a_quiet_stream_of_small_frames_stays_at_the_first_offer() {
        let mut frame = Vec::new();
        encode_frame(Kind(0x12), &[7; 64], &mut frame);
        let mut decoder = Decoder::default();
        for _ in 0..10_000 {
            read_all(&mut decoder, &frame, |_| ());
        }
        assert_eq!(decoder.capacity_bytes(), MIN_SPARE_BYTES);
    }

    #[test]
    fn a_large_frame_takes_memory_as_it_arrives_and_gives_it_back() {
        let large = vec![7; 32 << 20];
        let mut stream = Vec::new();
        encode_frame(Kind(0x12), &large, &mut stream);
        let mut decoder = Decoder::default();
        let mut peak_bytes = 0;
        let frames = read_all(&mut decoder, &stream, |decoder| {
            let buffered_bytes = decoder.buffered_bytes();
            assert!(decoder.capacity_bytes() <= 2 * buffered_bytes + MAX_SPARE_BYTES, "{decoder:?}");
            assert!(
                decoder.buffer.len() <= buffered_bytes + MAX_SPARE_BYTES,
                "touched {}",
                decoder.buffer.len()
            );
            peak_bytes = peak_bytes.max(decoder.capacity_bytes());
        });
        assert_eq!(frames, 1);
        assert!(
            peak_bytes <= stream.len() + MAX_SPARE_BYTES,
            "the frame's end bounds what is reserved: {peak_bytes}"
        );
        decoder.spare();
        assert!(decoder.capacity_bytes() <= RETAIN_BYTES, "{decoder:?}");
    }

    #[test]
    fn memory_is_given_back_also_when_the_next_frame_has_begun() {
        let mut stream = Vec::new();
        encode_frame(Kind(0x12), &vec![7; 8 << 20], &mut stream);
        stream.extend_from_slice(&encode_header(Kind(b'm'), 5));
        stream.extend_from_slice(b"hel");
        let mut decoder = Decoder::default();
        read_all(&mut decoder, &stream, |_| ());
        decoder.extend(b"l");
        assert!(decoder.capacity_bytes() <= RETAIN_BYTES, "{decoder:?}");
        decoder.extend(b"o");
        assert_eq!(decoder.next_frame(), Ok(Some(FrameRef { kind: Kind(b'm'), payload: b"hello" })));
    }

    #[test]
    fn a_busy_stream_stays_at_the_front_of_its_memory() {
        let mut frame = Vec::new();
        encode_frame(Kind(0x12), &[7; 64], &mut frame);
        let stream = frame.repeat(10_000);
        let mut decoder = Decoder::default();
        // Each piece ends inside a frame, so something is always left.
        for piece in stream.chunks(1000) {
            decoder.spare()[..piece.len()].copy_from_slice(piece);
            assert_eq!(decoder.start, 0);
            assert!(decoder.end < frame.len());
            decoder.advance(piece.len());
            while decoder.next_frame().unwrap().is_some() {}
        }
        assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn steady_frames_of_a_moderate_size_reuse_their_memory() {
        let mut stream = Vec::new();
        for len_bytes in [200 << 10, 1 << 20] {
            stream.clear();
            encode_frame(Kind(0x12), &vec![7; len_bytes], &mut stream);
            let mut decoder = Decoder::default();
            for _ in 0..10 {
                read_all(&mut decoder, &stream, |_| ());
            }
            let settled_bytes = decoder.capacity_bytes();
            for _ in 0..10 {
                read_all(&mut decoder, &stream, |decoder| {
                    assert_eq!(decoder.capacity_bytes(), settled_bytes)
                });
            }
        }
    }

    #[test]
    fn a_backlog_that_is_not_taken_grows_by_doubling() {
        let mut frame = Vec::new();
        encode_frame(Kind(0x12), &[7; 1000], &mut frame);
        let mut decoder = Decoder::default();
        let mut capacities = std::collections::BTreeSet::new();
        for _ in 0..10_000 {
            decoder.extend(&frame);
            capacities.insert(decoder.capacity_bytes());
        }
        assert!(capacities.len() < 20, "{capacities:?}");
    }

    #[test]
    fn frames_before_an_error_are_given_out_and_the_error_stays() {
        let mut decoder = Decoder::new(10);
        let mut stream = Vec::new();
        encode_frame(Kind(b'm'), b"fine", &mut stream);
        encode_frame(Kind(b'm'), b"not so fine", &mut stream);
        decoder.extend(&stream);
        assert!(decoder.next_frame().unwrap().is_some());
        let error = FrameError::TooLarge { kind: Kind(b'm'), len_bytes: 11, limit_bytes: 10 };
        assert_eq!(decoder.finish(), Err(error), "foreseen");
        assert_eq!(decoder.next_frame(), Err(error));
        assert_eq!(decoder.capacity_bytes(), 0);
        // What comes after is taken from the reader and dropped.
        for _ in 0..100 {
            let offered = decoder.spare().len();
            decoder.advance(offered);
            decoder.extend(&stream);
            assert!(decoder.is_ready());
            assert_eq!(decoder.next_frame(), Err(error));
            assert_eq!(decoder.finish(), Err(error));
            assert_eq!(decoder.buffered_bytes(), 0);
        }
        assert_eq!(decoder.capacity_bytes(), MIN_SPARE_BYTES);
    }

    #[test]
    fn finish_looks_past_whole_frames_that_were_not_taken() {
        let mut decoder = Decoder::default();
        let mut stream = Vec::new();
        encode_frame(Kind(b'm'), b"whole", &mut stream);
        decoder.extend(&stream);
        assert_eq!(decoder.finish(), Ok(()));
        decoder.extend(&stream[..12]);
        assert_eq!(decoder.finish(), Err(FrameError::Truncated { have_bytes: 12, need_bytes: 14 }));
        assert!(decoder.next_frame().unwrap().is_some());
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.finish(), Err(FrameError::Truncated { have_bytes: 12, need_bytes: 14 }));
    }

    #[test]
    fn the_largest_limit_does_not_overflow() {
        let mut decoder = Decoder::new(u64::MAX);
        decoder.extend(&encode_header(Kind(b'm'), u64::MAX));
        let limit_bytes = MAX_LIMIT_BYTES;
        assert_eq!(
            decoder.next_frame(),
            Err(FrameError::TooLarge { kind: Kind(b'm'), len_bytes: u64::MAX, limit_bytes })
        );
        // The longest claim that can be believed costs what has arrived.
        let mut decoder = Decoder::new(u64::MAX);
        decoder.extend(&encode_header(Kind(b'm'), MAX_LIMIT_BYTES));
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.spare();
        assert!(decoder.capacity_bytes() <= 2 * MIN_SPARE_BYTES);
        assert!(matches!(decoder.finish(), Err(FrameError::Truncated { have_bytes: 9, .. })));
    }

    #[test]
    #[should_panic(expected = "advanced by 16385 bytes, but only 16384 were offered")]
    fn advancing_past_the_offer_is_a_bug() {
        let mut decoder = Decoder::default();
        let offered = decoder.spare().len();
        decoder.advance(offered + 1);
    }
}
