//! Writes a manifest of files, one line of SHA-256 and name for each, that `sha256sum -c` accepts.
//!
//! ```sh
//! cargo run --release --example manifest -- --output SHA256SUMS directory file …
//! sha256sum --check --quiet SHA256SUMS
//! ```
//!
//! One thread walks the paths and submits tasks as it goes; worker processes digest the files; the main thread reads
//! their progress, then takes the digests out of the tasks' handles, sorts them and writes them.
//!
//! Invariants:
//! - A digest comes through its task's handle, so exactly once, however many workers die on the way. Progress comes
//!   by messages, which a second attempt repeats, so it only moves a bar.
//! - A file that cannot be read costs its own line and the exit code 0, nothing else.
//! - No line is written before every file has been digested or named as unreadable.

mod batch;
mod digest;
mod interruption;
mod line;
mod meter;
mod name;
mod options;
mod output;
mod standard;
mod walk;

use std::{
    io,
    process::ExitCode,
    sync::{Arc, mpsc},
    thread,
};

use clap::Parser;
use workfleet::{
    prelude::*,
    task::{ManagerStartError, MessageError, ScheduleError},
};

use crate::{
    batch::{Batch, Batcher},
    digest::{Digest, Progress, Results},
    interruption::Interruption,
    line::Line,
    meter::Meter,
    name::{FileName, Problem},
    options::Options,
    output::{Output, OutputError},
    walk::Walk,
};

/// Every file was digested.
const COMPLETE: u8 = 0;
/// The manifest is written, but lacks what could not be read.
const UNREADABLE: u8 = 1;
/// There is no manifest.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let registry = digest::registry();
    // In a worker process, this never returns.
    workfleet::init(&registry);
    let options = Options::parse();
    let code = match run(registry, options) {
        Ok(0) => COMPLETE,
        Ok(_unreadable) => UNREADABLE,
        Err(error) => {
            if !error.is_closed_pipe() {
                meter::say(&format_args!("{}", with_sources(&error)));
            }
            FAILED
        }
    };
    ExitCode::from(code)
}

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the workers did not start")]
    Start(#[from] ManagerStartError),
    #[error("a thread did not start")]
    Thread(#[source] io::Error),
    #[error("signals cannot be caught")]
    Signals(#[source] io::Error),
    #[error("a task was not taken")]
    Schedule(#[from] ScheduleError<Digest>),
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Error {
    /// Whoever read the output has seen enough, and needs no word about it.
    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.is_closed_pipe())
    }
}

/// Writes the manifest, and returns how many files it lacks.
fn run(registry: Registry, options: Options) -> Result<usize, Error> {
    let output = Output::new(options.output)?;
    let mut builder = ProcessManager::builder(registry).workers(usize::from(options.workers));
    if let Some(directory) = options.log_directory {
        builder = builder.log_directory(directory);
    }
    let manager = Arc::new(builder.start()?);
    let meter = Arc::new(Meter::new(options.progress));
    let watched = Interruption::watch(&manager, &meter).map_err(Error::Signals);
    let digested = watched.and_then(|interruption| {
        let walk = Walk::new(options.paths, output.identity());
        let found = digest_all(&manager, walk, &meter, &interruption)?;
        Ok((found, interruption))
    });
    // Here rather than by a drop, which would not come: the thread that watches for signals keeps the manager, too.
    let policy = if digested.is_ok() { ClosePolicy::Join } else { ClosePolicy::Kill };
    if let Err(error) = manager.close(policy) {
        meter.say(&format_args!("{error}"));
    }
    let ((submitted, unwalkable), interruption) = digested?;
    // If it was interrupted, the thread that watches for signals ends the program, and this one waits for that here.
    drop(interruption.gate());
    meter.finish();
    let (mut lines, unreadable) = collect(submitted);
    lines.sort_unstable();
    output.write(&lines, &interruption)?;
    Ok(unwalkable + unreadable)
}

/// A task and the files that it was given.
struct Submitted {
    files: Vec<FileName>,
    handle: TaskHandle<Results>,
}

/// Digests what is found, and returns the tasks, all of which have ended, and how many paths could not be walked.
fn digest_all(
    manager: &Arc<ProcessManager>,
    walk: Walk,
    meter: &Arc<Meter>,
    interruption: &Arc<Interruption>,
) -> Result<(Vec<Submitted>, usize), Error> {
    let (submit, receive) = mpsc::channel();
    let walker = Walker {
        manager: Arc::clone(manager),
        meter: Arc::clone(meter),
        interruption: Arc::clone(interruption),
        submitted: submit,
    };
    let walker =
        thread::Builder::new().name("walk".into()).spawn(move || walker.run(walk)).map_err(Error::Thread)?;

    let mut submitted = Vec::new();
    // The messages end whenever all tasks have ended, also if the walk is only slow: then the next task restarts them.
    while let Ok(task) = receive.recv() {
        submitted.push(task);
        for message in manager.messages::<Progress>() {
            match message {
                Ok(Message { content, task: Some(task), .. }) => meter.advance(task, content),
                Ok(_) => {}
                Err(error) => complain(meter, &error),
            }
        }
    }
    let unwalkable = walker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok((submitted, unwalkable))
}

fn complain(meter: &Meter, error: &MessageError) {
    meter.say(&format_args!("progress: {}", with_sources(error)));
}

/// Finds files and submits tasks, on a thread of its own.
struct Walker {
    manager: Arc<ProcessManager>,
    meter: Arc<Meter>,
    interruption: Arc<Interruption>,
    submitted: mpsc::Sender<Submitted>,
}

impl Walker {
    /// Returns how many paths could not be walked.
    fn run(self, walk: Walk) -> Result<usize, ScheduleError<Digest>> {
        let mut unwalkable = 0;
        let mut batcher = Batcher::default();
        for found in walk.take_while(|_| !self.interruption.is_requested()) {
            match found {
                Ok(file) => batcher.push(file).map_or(Ok(()), |batch| self.submit(batch))?,
                Err(problem) => {
                    unwalkable += 1;
                    self.meter.say(&problem);
                }
            }
        }
        batcher.finish().map_or(Ok(()), |batch| self.submit(batch))?;
        Ok(unwalkable)
    }

    fn submit(&self, batch: Batch) -> Result<(), ScheduleError<Digest>> {
        let Batch { files, len_bytes, priority } = batch;
        self.meter.add(files.len() as u64, len_bytes);
        let handle = self.manager.submit_with(Digest::new(files.clone()), priority)?;
        // Nobody receives it if the main thread has failed: then nobody wants it.
        let _ = self.submitted.send(Submitted { files, handle });
        Ok(())
    }
}

/// Takes the digests out of the handles, and names what has none on standard error, sorted; returns how many that are.
fn collect(submitted: Vec<Submitted>) -> (Vec<Line>, usize) {
    let mut lines = Vec::with_capacity(submitted.iter().map(|task| task.files.len()).sum());
    let mut problems = Vec::new();
    let mut failures = Vec::new();
    for Submitted { files, handle } in submitted {
        match handle.wait() {
            Ok(results) => {
                assert_eq!(results.len(), files.len(), "a task yields one result for each of its files");
                for (name, result) in files.into_iter().zip(results) {
                    match result {
                        Ok(sum) => lines.push(Line { name, sum }),
                        Err(reason) => problems.push(Problem { name, reason }),
                    }
                }
            }
            Err(failure) => {
                let reason = format!("its task failed: {}", failure.cause);
                problems.extend(files.into_iter().map(|name| Problem { name, reason: reason.clone() }));
                failures.push(failure);
            }
        }
    }
    problems.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    problems.iter().for_each(|problem| meter::say(problem));
    failures.iter().for_each(|failure| meter::say(failure));
    (lines, problems.len())
}

/// An error's text and those of its sources, in one line. A source that the text before it ends with is not said twice.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    // An error may be its own source.
    for _ in 0..64 {
        let Some(error) = source else { break };
        texts.push(error.to_string());
        source = error.source();
    }
    texts.dedup_by(|source, before| before.ends_with(&**source));
    texts.join(": ")
}
