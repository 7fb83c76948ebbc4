//! Where the manifest goes.
//!
//! Invariants:
//! - A file has its old content until the new manifest is complete, and the new one from then on. It is replaced by another
//!   file of the same owner and permissions. Where the system lets no file take its place, it is written over.
//! - Nothing is left beside it, however the program ends: what is written first has a name for no longer than the
//!   writing takes, and [`Interruption`] knows it.

use std::{
    fs::{self, File, Metadata, Permissions},
    io::{self, BufWriter, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{interruption::Interruption, line::Line, standard, walk::FileId};

const BUFFER_LEN_BYTES: usize = 256 << 10;

/// As many as the system follows.
const LINKS_LIMIT: usize = 40;

/// Where the manifest goes.
#[derive(Debug)]
pub(crate) enum Output {
    Standard(File),
    File { path: PathBuf, directory: PathBuf },
}

/// Why the manifest cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("{} is not a regular file, and the manifest would replace it", .0.display())]
    NotAFile(PathBuf),
    #[error("cannot write {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot write to standard output")]
    Standard(#[source] io::Error),
}

impl OutputError {
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Standard(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl Output {
    /// Standard output unless a file is given. What would make writing fail at the end of a long run is found now, as
    /// far as it can be.
    pub(crate) fn new(file: Option<PathBuf>) -> Result<Self, OutputError> {
        let Some(given) = file.filter(|file| !standard::is_named_by(file)) else {
            return standard::open().map(Self::Standard).map_err(OutputError::Standard);
        };
        let failed = |source| OutputError::File { path: given.clone(), source };
        // What a link leads to is replaced, not the link.
        let path = match fs::metadata(&given) {
            Ok(metadata) if metadata.is_file() => {
                // It is refused to those who may not write to it, though it could be replaced.
                File::options().write(true).open(&given).map_err(failed)?;
                given.canonicalize().map_err(failed)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = end_of_links(&given).map_err(failed)?;
                if names_directory(&path) {
                    return Err(failed(error));
                }
                path
            }
            Ok(_) => return Err(OutputError::NotAFile(given)),
            Err(error) => return Err(failed(error)),
        };
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        // It has no name where the system can do without, and is gone again.
        tempfile::tempfile_in(&directory).map_err(failed)?;
        Ok(Self::File { path, directory })
    }

    /// The file that is written to, if there is one already: the manifest cannot have a right line for itself.
    pub(crate) fn identity(&self) -> Option<FileId> {
        let metadata = match self {
            Self::File { path, .. } => fs::metadata(path),
            Self::Standard(file) => file.metadata(),
        };
        metadata.ok().filter(Metadata::is_file).map(|metadata| FileId::of(&metadata))
    }

    /// Writes the lines in their order.
    pub(crate) fn write(&self, lines: &[Line], interruption: &Interruption) -> Result<(), OutputError> {
        match self {
            Self::Standard(file) => write_lines(lines, file).map_err(OutputError::Standard),
            Self::File { path, directory } => replace(path, directory, lines, interruption)
                .map_err(|source| OutputError::File { path: path.clone(), source }),
        }
    }
}

fn replace(path: &Path, directory: &Path, lines: &[Line], interruption: &Interruption) -> io::Result<()> {
    let before = fs::metadata(path).ok();
    let mut gate = interruption.gate();
    let mut temporary = tempfile::Builder::new()
        .prefix(".manifest-")
        // As any new file has; the process's umask applies.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)?;
    *gate = Some(temporary.path().to_owned());
    drop(gate);

    let written = write_lines(lines, temporary.as_file_mut());

    let mut gate = interruption.gate();
    *gate = None;
    written?;
    match take_place(temporary, path, before.as_ref()) {
        // It is a mount point, or another user's and in a directory that protects those.
        Err(error) if before.is_some() && is_refused(&error) => {
            write_lines(lines, File::options().write(true).truncate(true).open(path)?)
        }
        taken => taken,
    }
}

/// Puts a file in the place of one that is like this.
fn take_place(file: NamedTempFile, path: &Path, before: Option<&Metadata>) -> io::Result<()> {
    if let Some(before) = before {
        let now = file.as_file().metadata()?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
        }
        file.as_file().set_permissions(before.permissions())?;
    }
    file.persist(path)?;
    Ok(())
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ResourceBusy)
}

fn write_lines(lines: &[Line], output: impl Write) -> io::Result<()> {
    let mut output = BufWriter::with_capacity(BUFFER_LEN_BYTES, output);
    for line in lines {
        line.write(&mut output)?;
    }
    output.flush()
}

/// Where a path leads by way of its last name, be anything there or not.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_LIMIT {
        // It is no link, or there is nothing.
        let Ok(target) = fs::read_link(&path) else { return Ok(path) };
        path.pop();
        path.push(target);
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// Whether a path that leads nowhere could only be a directory's.
fn names_directory(path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    path.ends_with(b"/") || path.ends_with(b"/.")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::tempdir;

    use super::*;

    #[test]
    fn what_cannot_become_a_manifest_is_refused_at_once() {
        let directory = tempdir().expect("a directory");
        let at = |name: &str| Some(directory.path().join(name));
        assert!(matches!(Output::new(at("")), Err(OutputError::NotAFile(_))));
        assert!(matches!(Output::new(Some("/dev/null".into())), Err(OutputError::NotAFile(_))));
        assert!(matches!(Output::new(at("new/")), Err(OutputError::File { .. })));
        assert!(matches!(Output::new(at("new/.")), Err(OutputError::File { .. })));
        assert!(matches!(Output::new(at("no/such/directory")), Err(OutputError::File { .. })));
        assert!(matches!(Output::new(at("new")), Ok(Output::File { .. })));
        assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 0);
    }

    #[test]
    fn a_link_stays_and_leads_to_the_new_content() {
        let directory = tempdir().expect("a directory");
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "old").expect("a file");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("it is ours");
        symlink("file", &link).expect("a link");
        let output = Output::new(Some(link.clone())).expect("it is a file");
        assert_eq!(output.identity(), Some(FileId::of(&fs::metadata(&file).expect("it is there"))));

        output.write(&[], &Interruption::default()).expect("it is written");
        assert_eq!(fs::read(&file).expect("it is there"), b"");
        assert!(link.is_symlink());
        assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 2);
    }
}
