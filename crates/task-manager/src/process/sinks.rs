//! Where what workers print is written: their logs, and the program's standard error.
//!
//! Invariants:
//! - Nothing is lost silently: what cannot be written is counted, a warning begins the count, and another ends it.
//! - A log is the file that has its name. One that was renamed or removed gets no more lines.
//! - The text of other writers does not get into a line on standard error, unless the line is longer than
//!   [`WHOLE_BYTES`].

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use rustix::event::{PollFd, PollFlags, poll};

/// A pipe takes a write of so much whole (`PIPE_BUF`, which POSIX allows to be 512). In a larger one there may be what others
/// write at the same time: this process, or another that has the same standard error.
const WHOLE_BYTES: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

/// The program's own standard error, which every worker without a log shares.
#[derive(Default)]
pub(super) struct StandardError {
    /// Lines that could not be written since some last could; none while all goes well.
    lost: Option<u64>,
}

impl StandardError {
    pub(super) fn write(&mut self, text: &[u8]) {
        // What the program prints by this handle does not come between.
        let lock = io::stderr().lock();
        let (written_bytes, written) = write_lines(rustix::stdio::stderr(), text);
        drop(lock);
        match written {
            Ok(()) => self.report_the_lost(),
            Err(error) => {
                if self.lost.is_none() {
                    tracing::warn!(%error, "what workers print cannot be written to standard error");
                }
                let lost = self.lost.get_or_insert_default();
                *lost = lost.saturating_add(lines_in(&text[written_bytes..]));
            }
        }
    }

    /// It can be written again, or nothing is written any more.
    pub(super) fn report_the_lost(&mut self) {
        if let Some(lines) = self.lost.take() {
            workfleet_notice::warn!(lines, "lines of workers are missing in standard error");
        }
    }
}

fn lines_in(text: &[u8]) -> u64 {
    // A piece of a line without its end counts too: no more than a few bytes are at stake.
    let ends = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
    ends + u64::from(!text.is_empty() && !text.ends_with(b"\n"))
}

/// The log of a slot: of one worker after the other.
pub(super) struct LogFile {
    directory: PathBuf,
    path: PathBuf,
    file: Option<File>,
    /// What could not be written since it last could; none while all goes well.
    lost: Option<Lost>,
    /// How often it was to be opened again, and how often it was seen.
    reopenings: Arc<AtomicU64>,
    reopened: u64,
}

#[derive(Clone, Copy, Default)]
struct Lost {
    lines: u64,
    /// The last that was written is no whole line.
    torn: bool,
}

impl LogFile {
    /// A log in a directory, opened again whenever the number grows.
    pub(super) fn new(directory: PathBuf, name: &str, reopenings: Arc<AtomicU64>) -> Self {
        let path = directory.join(name);
        Self { directory, path, file: None, lost: None, reopenings, reopened: 0 }
    }

    /// Writes lines, each behind the time at which it was read. A piece of a line is made one.
    pub(super) fn write(&mut self, lines: &[u8], at: SystemTime) {
        let time = humantime::format_rfc3339_millis(at).to_string();
        let mut text = Vec::with_capacity(lines.len() + 64);
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            text.extend_from_slice(time.as_bytes());
            text.push(b' ');
            text.extend_from_slice(line);
            if !line.ends_with(b"\n") {
                text.push(b'\n');
            }
        }
        self.write_text(&text, at);
    }

    /// Writes whole lines, or counts them as lost.
    fn write_text(&mut self, text: &[u8], now: SystemTime) {
        if let Err(error) = self.make_up_for_the_lost(now) {
            return self.lose(text, 0, &error);
        }
        let written = self.open().map_or_else(|error| (0, Err(error)), |file| write_counted(file, text));
        if let (written_bytes, Err(error)) = written {
            self.lose(text, written_bytes, &error);
        }
    }

    /// After an outage, says in the log what is missing there.
    fn make_up_for_the_lost(&mut self, now: SystemTime) -> io::Result<()> {
        let Some(Lost { lines, torn }) = self.lost else { return Ok(()) };
        if lines == 0 && !torn {
            // Nothing was to be written.
            self.open()?;
            self.lost = None;
            return Ok(());
        }
        let time = humantime::format_rfc3339_millis(now);
        let begin = if torn { "\n" } else { "" };
        let note = format!("{begin}{time} workfleet: {lines} lines could not be written\n");
        let (written_bytes, written) = write_counted(self.open()?, note.as_bytes());
        if let Err(error) = written {
            self.lost = Some(Lost { lines, torn: torn || written_bytes > 0 });
            return Err(error);
        }
        self.report_the_lost();
        Ok(())
    }

    /// The text was written up to there, and the rest is lost.
    fn lose(&mut self, text: &[u8], written_bytes: usize, error: &io::Error) {
        let (written, rest) = text.split_at(written_bytes);
        let lines = lines_in(rest);
        if self.lost.is_none() {
            workfleet_notice::warn!(path = %self.path.display(), %error, "a worker's log cannot be written");
        }
        let lost = self.lost.get_or_insert_default();
        lost.lines = lost.lines.saturating_add(lines);
        lost.torn |= !written.is_empty() && !written.ends_with(b"\n");
    }

    /// An outage is over, or nothing is written any more.
    pub(super) fn report_the_lost(&mut self) {
        if let Some(Lost { lines, .. }) = self.lost.take()
            && lines > 0
        {
            workfleet_notice::warn!(path = %self.path.display(), lines, "lines of a worker are missing in its log");
        }
    }

    /// The file, opened if it is not, or is not the one that has its name any more.
    fn open(&mut self) -> io::Result<&File> {
        let asked = self.reopenings.load(Ordering::Relaxed);
        let file = match self.file.take().filter(|file| asked == self.reopened && self.has_the_name(file)) {
            Some(file) => file,
            None => {
                fs::create_dir_all(&self.directory)?;
                // Does not wait for a reader, if it is a pipe.
                let no_wait = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
                let file =
                    OpenOptions::new().append(true).create(true).custom_flags(no_wait).open(&self.path)?;
                let flags = rustix::fs::fcntl_getfl(&file)?;
                rustix::fs::fcntl_setfl(&file, flags - rustix::fs::OFlags::NONBLOCK)?;
                file
            }
        };
        self.reopened = asked;
        Ok(self.file.insert(file))
    }

    fn has_the_name(&self, file: &File) -> bool {
        let Ok(open) = file.metadata() else { return false };
        match fs::metadata(&self.path) {
            Ok(named) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => false,
            // The program may not look there any more, and could not open it again either.
            Err(_) => open.nlink() > 0,
        }
    }
}

/// Writes all of it, as [`write_counted`] does, and in each write as many whole lines as a pipe takes whole. A longer line has
/// a write of its own.
fn write_lines(to: impl AsFd, text: &[u8]) -> (usize, io::Result<()>) {
    let mut written_bytes = 0;
    while written_bytes < text.len() {
        let rest = &text[written_bytes..];
        let (more_bytes, written) = write_counted(&to, &rest[..whole_lines_bytes(rest)]);
        written_bytes += more_bytes;
        if written.is_err() {
            return (written_bytes, written);
        }
    }
    (written_bytes, Ok(()))
}

/// How long the lines are with which the text begins and which a pipe takes whole together, or else its first line.
fn whole_lines_bytes(text: &[u8]) -> usize {
    if text.len() <= WHOLE_BYTES {
        return text.len();
    }
    let end = |byte: &u8| *byte == b'\n';
    let fits = text[..WHOLE_BYTES].iter().rposition(end);
    fits.or_else(|| text.iter().position(end)).map_or(text.len(), |at| at + 1)
}

/// Writes all of it, and waits where that would block, whatever mode the descriptor is in. If it fails, the number says how
/// much was written.
fn write_counted(to: impl AsFd, text: &[u8]) -> (usize, io::Result<()>) {
    let mut written_bytes = 0;
    while written_bytes < text.len() {
        let waited = match rustix::io::write(&to, &text[written_bytes..]) {
            Ok(0) => return (written_bytes, Err(ErrorKind::WriteZero.into())),
            Ok(more_bytes) => {
                written_bytes += more_bytes;
                Ok(0)
            }
            Err(rustix::io::Errno::AGAIN) => poll(&mut [PollFd::new(&to, PollFlags::OUT)], None),
            Err(error) => Err(error),
        };
        match waited {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return (written_bytes, Err(error.into())),
        }
    }
    (written_bytes, Ok(()))
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use std::{os::unix::net::UnixDatagram, thread};

    use super::*;

    fn log(directory: PathBuf) -> LogFile {
        LogFile::new(directory, "worker-0.log", Arc::default())
    }

    /// Without the times.
    fn lines(log: &LogFile) -> Vec<String> {
        let text = fs::read_to_string(&log.path).expect("a text");
        text.lines().map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest).to_owned()).collect()
    }

    /// What is written to standard error, one element for each write.
    fn writes(text: &[u8]) -> Vec<Vec<u8>> {
        // Of these, each write is one message.
        let (to, from) = UnixDatagram::pair().expect("two sockets");
        thread::scope(|scope| {
            scope.spawn(move || {
                let (written_bytes, written) = write_lines(&to, text);
                written.expect("it is written");
                assert_eq!(written_bytes, text.len());
            });
            let (mut writes, mut left_bytes) = (Vec::new(), text.len());
            while left_bytes > 0 {
                let mut write = vec![0; text.len()];
                let write_bytes = from.recv(&mut write).expect("a message");
                write.truncate(write_bytes);
                left_bytes -= write_bytes;
                writes.push(write);
            }
            writes
        })
    }

    #[test]
    fn a_write_to_standard_error_has_whole_lines_in_it_and_no_more_than_a_pipe_takes_whole() {
        let line = |len_bytes: usize| [vec![b'x'; len_bytes - 1], vec![b'\n']].concat();
        let texts: [(&[usize], &[u8]); 9] = [
            (&[], b""),
            (&[9], b""),
            (&[100; 300], b""),
            (&[100; 300], b"the begin of a line"),
            (&[1, WHOLE_BYTES, 1, 1, WHOLE_BYTES - 1, 1], b""),
            (&[1, WHOLE_BYTES + 1, 1], b""),
            (&[WHOLE_BYTES; 3], b"x"),
            (&[4 * WHOLE_BYTES, 4 * WHOLE_BYTES], b""),
            (&[9], &[b'x'; 4 * WHOLE_BYTES]),
        ];
        for (number, (lens_bytes, rest)) in texts.into_iter().enumerate() {
            let mut text: Vec<u8> = lens_bytes.iter().flat_map(|&len_bytes| line(len_bytes)).collect();
            text.extend(rest);
            let writes = writes(&text);
            assert_eq!(writes.concat(), text);
            let begins = writes.iter().skip(1).zip(&writes);
            assert!(begins.clone().all(|(_, before)| before.ends_with(b"\n")), "{number}");
            assert!(
                writes.iter().all(|write| write.len() <= WHOLE_BYTES || lines_in(write) == 1),
                "{number}"
            );
            // There are no more of them than it takes.
            assert!(
                begins.clone().all(|(write, before)| before.len() + write.len() > WHOLE_BYTES),
                "{number}"
            );
        }
    }

    #[test]
    fn a_log_comes_back_with_its_directory_and_tells_how_many_lines_are_missing() {
        let home = tempfile::tempdir().expect("a directory");
        let mut log = log(home.path().join("logs"));
        let now = SystemTime::UNIX_EPOCH;
        log.write(b"one\n", now);
        fs::remove_dir_all(&log.directory).expect("it is there");
        fs::write(&log.directory, "in the way").expect("a file");
        log.write(b"two\nthree\nfour\n", now);
        log.write(b"five\n", now);
        fs::remove_file(&log.directory).expect("it is there");
        log.write(b"six\n", now);
        assert_eq!(lines(&log), ["workfleet: 4 lines could not be written", "six"]);
        assert!(log.lost.is_none());
    }

    #[test]
    fn a_log_that_is_removed_is_made_again() {
        let home = tempfile::tempdir().expect("a directory");
        let mut log = log(home.path().join("logs"));
        let now = SystemTime::UNIX_EPOCH;
        for text in ["one", "two"] {
            log.write(format!("{text}\n").as_bytes(), now);
            assert_eq!(lines(&log), [text]);
            fs::remove_dir_all(&log.directory).expect("it is there");
        }
    }

    /// As when the disk is full amid a line.
    #[test]
    fn a_line_that_was_torn_is_ended_before_the_next() {
        let home = tempfile::tempdir().expect("a directory");
        let mut log = log(home.path().to_owned());
        let now = SystemTime::UNIX_EPOCH;
        log.write_text(b"- one\n- tw", now);
        log.lose(b"- one\n- two\n- three\n", 9, &ErrorKind::StorageFull.into());
        log.write_text(b"- four\n", now);
        assert_eq!(lines(&log), ["one", "tw", "workfleet: 2 lines could not be written", "four"]);
    }

    #[test]
    fn a_log_that_is_renamed_gets_no_more_lines_and_one_that_is_to_be_opened_again_neither() {
        let home = tempfile::tempdir().expect("a directory");
        let mut log = log(home.path().to_owned());
        let now = SystemTime::UNIX_EPOCH;
        log.write(b"one\n", now);
        fs::rename(&log.path, home.path().join("old")).expect("it is there");
        log.write(b"two\n", now);
        assert_eq!(lines(&log), ["two"]);
        // Another has its name meanwhile, and the same number maybe.
        fs::rename(&log.path, home.path().join("older")).expect("it is there");
        fs::write(&log.path, "- made\n").expect("a file");
        log.write(b"three\n", now);
        assert_eq!(lines(&log), ["made", "three"]);
        let before = log.file.as_ref().expect("it is open").metadata().expect("it can be looked at").ino();
        log.reopenings.fetch_add(1, Ordering::Relaxed);
        log.write(b"", now);
        let after = log.file.as_ref().expect("it is open").metadata().expect("it can be looked at").ino();
        assert_eq!((before == after, lines(&log).len()), (true, 2));
        assert_eq!(log.reopened, 1);
    }
}
