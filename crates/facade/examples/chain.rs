//! Copies files into a directory in which nothing unverified ever stands: each file is a chain of three tasks, and what
//! fails is named with the link that failed.
//!
//! ```sh
//! cargo run --release --example chain -- backup Cargo.toml README.md no-such-file
//! ```
//!
//! A chain runs on one worker and is tried again as a whole if that worker dies. Its links are tasks of different types;
//! the first that fails skips the rest, so a copy that differs from its original is never published.
//!
//! After Ctrl-C no copy begins, and each that has not ended is named. The second Ctrl-C ends the program at once.

use std::{
    env, fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use workfleet::prelude::*;

/// Copies a file to a place beside its target; how many bytes it has.
#[derive(Debug, Serialize, Deserialize)]
struct Copy {
    from: PathBuf,
    to: PathBuf,
}

impl TaskSpec for Copy {
    const NAME: &'static str = "copy";
    type Output = u64;
}

impl Task for Copy {
    fn run(self, _cx: &TaskContext) -> Result<u64, TaskError> {
        Ok(fs::copy(self.from, self.to)?)
    }
}

/// Compares a copy with its original; their SHA-256.
#[derive(Debug, Serialize, Deserialize)]
struct Compare {
    original: PathBuf,
    copy: PathBuf,
}

impl TaskSpec for Compare {
    const NAME: &'static str = "compare";
    type Output = [u8; 32];
}

impl Task for Compare {
    fn run(self, _cx: &TaskContext) -> Result<[u8; 32], TaskError> {
        let (original, copy) = (sha256(&self.original)?, sha256(&self.copy)?);
        if original != copy {
            fs::remove_file(&self.copy)?;
            return Err("the copy differs from its original".into());
        }
        Ok(copy)
    }
}

fn sha256(file: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut hasher) = (fs::File::open(file)?, Sha256::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            read_bytes => hasher.update(&buffer[..read_bytes]),
        }
    }
}

/// Gives a verified copy its name, and replaces what has it.
#[derive(Debug, Serialize, Deserialize)]
struct Publish {
    from: PathBuf,
    to: PathBuf,
}

impl TaskSpec for Publish {
    const NAME: &'static str = "publish";
    type Output = ();
}

impl Task for Publish {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        if let Err(error) = fs::rename(&self.from, &self.to) {
            fs::remove_file(&self.from)?;
            return Err(error.into());
        }
        Ok(())
    }
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let registry = Registry::new().task::<Copy>().task::<Compare>().task::<Publish>();
    workfleet::init(&registry); // in a worker process this never returns

    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let directory = arguments.next().ok_or("usage: chain <directory> <file>…")?;
    fs::create_dir_all(&directory)?;
    let manager = ProcessManager::builder(registry).workers(2).start()?;
    let interrupted = manager.close_on_signal(ClosePolicy::Cancel)?;
    let mut copies = Vec::new();
    for (number, file) in arguments.enumerate() {
        let name = file.file_name().ok_or_else(|| format!("{} has no name", file.display()))?;
        let part = directory.join(format!(".{number}.part"));
        let chain = Chain::new()
            .then(&Copy { from: file.clone(), to: part.clone() })?
            .then(&Compare { original: file.clone(), copy: part.clone() })?
            .then(&Publish { from: part, to: directory.join(name) })?;
        let handle = manager.submit(chain)?;
        copies.push((file, handle));
    }

    let mut failed = 0;
    for (file, handle) in copies {
        match handle.wait() {
            Ok(outputs) => {
                let sum: String =
                    outputs.get::<Compare>(1)?.iter().map(|byte| format!("{byte:02x}")).collect();
                println!("{}: {} bytes, {sum}", file.display(), outputs.get::<Copy>(0)?);
            }
            Err(failure) => {
                failed += 1;
                let link = failure.links.first().map_or("no link", |link| &link.name);
                println!("{}: {link} failed: {}", file.display(), failure.cause);
            }
        }
    }
    manager.close(ClosePolicy::Join)?;
    let code = u8::from(failed > 0);
    Ok(interrupted.exit_code().unwrap_or(code).into())
}
