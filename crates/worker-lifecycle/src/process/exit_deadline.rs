//! Ends a process that cannot stop. A thread of its own does this; it does not wait for a worker, a destructor or a
//! reader of standard error.

use std::{
    io::{self, Write as _},
    process,
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{clock::FAR, reference::WorkerRef};

/// What the process exits with: as after a stop that had to be forced.
const EXIT_CODE: i32 = 1;

/// The limit is waited for in parts, so that a time in which the whole program was stopped takes no more than one.
const PARTS: u32 = 16;

/// How long the last words, and what the program does at its exit, may take.
const EXIT_LIMIT: Duration = Duration::from_secs(1);

/// Ends the process when this much time has passed.
///
/// # Errors
/// There is no thread to be had.
pub(super) fn arm(worker: WorkerRef, limit: Duration) -> io::Result<()> {
    let named = thread::Builder::new().name("exit deadline".into());
    named.spawn(move || {
        let part = limit.min(FAR) / PARTS;
        (0..PARTS).for_each(|_| wait(part));
        // Both the words and the exit may be held up: by a pipe that nobody reads, by somebody's exit handler.
        let said = thread::Builder::new().name("exit".into()).spawn(move || {
            let text = last_words(&worker, limit);
            // Whether or not anybody listens to the events of this program.
            let _ = writeln!(io::stderr(), "workfleet: {text}");
            process::exit(EXIT_CODE);
        });
        if said.is_ok() {
            wait(EXIT_LIMIT);
        }
        workfleet_signals::exit_at_once(EXIT_CODE);
    })?;
    Ok(())
}

/// Waits for this long: no message is ever sent.
fn wait(time: Duration) {
    let (_kept, never) = mpsc::channel::<()>();
    // It can only time out.
    let _ = never.recv_timeout(time);
}

fn last_words(worker: &WorkerRef, limit: Duration) -> String {
    let mut paths = Vec::new();
    collect(worker, &mut Vec::new(), &mut paths);
    let who = match &*paths {
        [] => "its workers have ended, and the program has not".to_owned(),
        paths => format!("it was held up by {}", paths.join(", ")),
    };
    format!("the process has not ended {limit:?} after it was asked to and is ended now: {who}")
}

/// The workers that have not ended, of a group only those of its children.
fn collect(worker: &WorkerRef, path: &mut Vec<String>, paths: &mut Vec<String>) {
    if !worker.has_started() || worker.is_stopped() {
        return;
    }
    path.push(worker.name().to_owned());
    let before = paths.len();
    if worker.is_group() {
        worker.workers().iter().for_each(|child| collect(child, path, paths));
    }
    if paths.len() == before {
        paths.push(format!("`{}` ({})", path.join("/"), worker.state()));
    }
    path.pop();
}
