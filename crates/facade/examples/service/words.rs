//! What is done with a line: it is counted, and the longest is kept.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use workfleet::worker::{AsyncDispatcher, DispatchEventError, EventMessage};

/// A line that somebody sent.
#[derive(Debug)]
pub(crate) struct Line(pub(crate) String);

impl EventMessage for Line {
    fn event_type(&self) -> &str {
        "line"
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    lines: AtomicU64,
    words: AtomicU64,
    longest: Mutex<String>,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.longest.lock().unwrap_or_else(PoisonError::into_inner);
        // They order nothing: they are numbers to look at.
        let (lines, words) = (self.lines.load(Ordering::Relaxed), self.words.load(Ordering::Relaxed));
        write!(f, "{lines} lines, {words} words, the longest line has {} bytes", longest.len())
    }
}

/// The handlers of lines: both get every line, at the same time.
/// They take `work` for each.
pub(crate) fn dispatcher(
    totals: &Arc<Totals>,
    work: Duration,
) -> Result<AsyncDispatcher<Line>, DispatchEventError> {
    let dispatcher = AsyncDispatcher::new();
    let counted = Arc::clone(totals);
    dispatcher.register_handler("line.count", move |line: Arc<Line>| {
        counted.lines.fetch_add(1, Ordering::Relaxed);
        counted.words.fetch_add(line.0.split_whitespace().count() as u64, Ordering::Relaxed);
        std::future::ready(())
    })?;
    let kept = Arc::clone(totals);
    dispatcher.register_handler("line.longest", move |line: Arc<Line>| {
        let mut longest = kept.longest.lock().unwrap_or_else(PoisonError::into_inner);
        if line.0.len() > longest.len() {
            longest.clone_from(&line.0);
        }
        async move {
            if !work.is_zero() {
                tokio::time::sleep(work).await;
            }
        }
    })?;
    Ok(dispatcher)
}
