//! The command line.

use std::{path::PathBuf, thread};

use clap::{Parser, ValueEnum};

/// The most workers that a manager takes.
const MOST_WORKERS: i64 = 4096;

/// Writes a manifest of the SHA-256 digests of files that `sha256sum -c` accepts, sorted by path.
#[derive(Debug, Parser)]
#[command(
    name = "manifest",
    after_help = "Below a directory, every regular file is digested and no symbolic link followed; a PATH itself is \
                  followed. A file that the manifest is written to is left out of it, under each of its names.\n\n\
                  Exit codes: 0 complete; 1 something could not be read, the rest is complete; 2 no manifest; \
                  130 interrupted."
)]
pub(crate) struct Options {
    /// How many worker processes digest files [default: the processor's cores]
    #[arg(
        long,
        value_name = "N",
        default_value_t = cores(),
        hide_default_value = true,
        value_parser = clap::value_parser!(u16).range(1..=MOST_WORKERS)
    )]
    pub(crate) workers: u16,

    /// Write the manifest to FILE, which stays as it was unless the manifest is complete [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Write what the workers print to files in DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) log_directory: Option<PathBuf>,

    /// Whether to show a bar on standard error; auto: if that is a terminal
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = When::Auto)]
    pub(crate) progress: When,

    /// Files, and directories to search for files
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

/// When to show a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

fn cores() -> u16 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cores).unwrap_or(u16::MAX).min(MOST_WORKERS as u16)
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    #[test]
    fn the_command_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn paths_are_bytes() {
        let name = OsStr::from_bytes(b"\xff\n");
        let options = Options::try_parse_from([OsStr::new("manifest"), name]).expect("it parses");
        assert_eq!(options.paths, [PathBuf::from(name)]);
        assert!(options.workers >= 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (arguments, kind) in [
            (&["manifest"][..], ErrorKind::MissingRequiredArgument),
            (&["manifest", "--workers", "0", "x"], ErrorKind::ValueValidation),
            (&["manifest", "--workers", "4097", "x"], ErrorKind::ValueValidation),
            (&["manifest", "--progress", "often", "x"], ErrorKind::InvalidValue),
        ] {
            let error = Options::try_parse_from(arguments).expect_err("it is refused");
            assert_eq!(error.kind(), kind, "{arguments:?}");
        }
    }
}
