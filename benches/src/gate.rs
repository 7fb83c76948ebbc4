//! A gate before which tasks of any process wait until it opens.
//!
//! A socket in a directory of its own: whoever wants to pass connects and waits for the end of the stream. If the
//! process that made the gate dies, it is open.

use std::io::{self, Read as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::Error;

/// Made where the tasks are scheduled. Dropping it opens it for good.
#[derive(Debug)]
pub(crate) struct Gate {
    path: PathBuf,
    listener: UnixListener,
    waiting: Vec<UnixStream>,
    _directory: TempDir,
}

/// Waits at the gate that has this path until it opens.
pub(crate) fn pass(path: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(path)?;
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

impl Gate {
    pub(crate) fn new() -> Result<Gate, Error> {
        let directory = tempfile::tempdir().map_err(Error::io("make a directory"))?;
        let path = directory.path().join("gate");
        let listener = UnixListener::bind(&path).map_err(Error::io("listen at a gate"))?;
        Ok(Gate { path, listener, waiting: Vec::new(), _directory: directory })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns once so many more are there.
    pub(crate) fn wait_for(&mut self, count: usize) -> Result<(), Error> {
        for _ in 0..count {
            let (stream, _) = self.listener.accept().map_err(Error::io("wait at a gate"))?;
            self.waiting.push(stream);
        }
        Ok(())
    }

    /// Lets those pass that were [waited for](Self::wait_for).
    pub(crate) fn open(&mut self) {
        self.waiting.clear();
    }

    /// How many descriptors it takes in the process that made it.
    pub(crate) fn descriptors(&self) -> usize {
        1 + self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn who_waits_passes_when_it_opens() -> Result<(), Error> {
        let mut gate = Gate::new()?;
        let path = gate.path().to_owned();
        let passer = thread::spawn(move || pass(&path));
        gate.wait_for(1)?;
        assert_eq!(gate.descriptors(), 2);
        gate.open();
        assert!(matches!(passer.join(), Ok(Ok(()))));
        assert_eq!(gate.descriptors(), 1);
        Ok(())
    }
}
