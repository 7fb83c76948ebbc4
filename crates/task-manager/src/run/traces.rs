//! Backtraces of the errors and panics of tasks.
//!
//! Walking the stack costs ten microseconds. Finding the names of the functions costs a hundred, and the first time,
//! when the program's symbols are read, a tenth of a second or more. So the names are looked up only when an attempt has
//! failed, on its own thread, and once for each place in the code.
//!
//! Invariants:
//! - A text is bounded, and so is the number of texts that are kept.
//! - Nothing of this is done in a fork: another thread may have held a lock, here or in the standard library.

use std::{
    backtrace::Backtrace,
    cell::Cell,
    collections::HashMap,
    fmt::{self, Write},
    mem,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use workfleet_fork::Home;

use crate::{cut::floor_char_boundary, sys::frames::return_addresses};

/// A longer backtrace is cut.
const TRACE_LIMIT_BYTES: usize = 8 << 10;

/// Two places that share so many innermost callers are taken for one.
const CALLERS: usize = 128;

/// The texts of so many places are kept; then it begins anew.
const PLACES: usize = 64;

/// What is below the first of these in a backtrace is the same for every task.
const RUNNERS: [&str; 3] = [
    "workfleet_task_manager::registry::entry::run_encoded",
    "workfleet_task_manager::registry::entry::block_on_encoded",
    "workfleet_task_manager::run::caught",
];

/// This process has run tasks.
#[derive(Debug)]
struct Traces {
    home: Home,
    /// What threads do of which nothing else is known.
    on: AtomicBool,
    known: Mutex<HashMap<Vec<usize>, Arc<str>>>,
}

static TRACES: OnceLock<Traces> = OnceLock::new();

thread_local! {
    /// What the pool wants whose tasks run on this thread.
    static ON: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Whether the environment leaves it to the program, as the standard library reads it.
pub(crate) fn are_allowed() -> bool {
    let said = std::env::var_os("RUST_LIB_BACKTRACE").or_else(|| std::env::var_os("RUST_BACKTRACE"));
    said.is_none_or(|said| said != "0")
}

/// From now on, the tasks of this thread, and of threads that they start, have backtraces or not.
pub(crate) fn keep(on: bool) {
    let traces = TRACES.get_or_init(|| Traces {
        home: Home::here(),
        on: AtomicBool::new(on),
        known: Mutex::default(),
    });
    traces.on.store(on, Ordering::Relaxed);
    ON.set(Some(on));
}

/// If backtraces are wanted here.
fn wanted() -> Option<&'static Traces> {
    let traces = TRACES.get().filter(|traces| traces.home.is_here())?;
    // An error means that the thread ends.
    let own = ON.try_with(Cell::get).ok()?;
    own.unwrap_or_else(|| traces.on.load(Ordering::Relaxed)).then_some(traces)
}

/// Where an error was made, or where a panic began.
#[derive(Debug, Default)]
pub(crate) enum Trace {
    #[default]
    None,
    Known(Arc<str>),
    /// Boxed, so that an error stays small.
    New(Box<(Vec<usize>, Backtrace)>),
}

impl Trace {
    #[inline(never)]
    pub(crate) fn capture() -> Self {
        let Some(traces) = wanted() else { return Self::None };
        let place = return_addresses(CALLERS);
        let known = traces.known.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
        match known {
            Some(text) => Self::Known(text),
            None => Self::New(Box::new((place, Backtrace::force_capture()))),
        }
    }

    /// Its text.
    pub(crate) fn into_text(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Known(text) => Some((*text).to_owned()),
            Self::New(new) => {
                let traces = wanted()?;
                let (place, backtrace) = *new;
                let text = text(&backtrace);
                if !place.is_empty() {
                    let mut known = traces.known.lock().unwrap_or_else(PoisonError::into_inner);
                    let full = known.len() >= PLACES;
                    let before = if full { mem::take(&mut *known) } else { HashMap::new() };
                    known.insert(place, text.as_str().into());
                    drop(known);
                    drop(before);
                }
                Some(text)
            }
        }
    }
}

/// The frames above the runner, as far as there is room.
fn text(backtrace: &dyn fmt::Display) -> String {
    let mut room = Room(String::new());
    // An error means that there is no more room.
    let _ = write!(room, "{backtrace}");
    let mut text = room.0;
    if let Some(runner) = RUNNERS.iter().filter_map(|runner| text.find(runner)).min() {
        text.truncate(text[..runner].rfind('\n').unwrap_or(0));
    }
    text
}

struct Room(String);

impl Write for Room {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TRACE_LIMIT_BYTES - self.0.len();
        let end = floor_char_boundary(text, room);
        self.0.push_str(&text[..end]);
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_what_is_below_the_runner_left_out() {
        assert_eq!(text(&"ä".repeat(TRACE_LIMIT_BYTES)).len(), TRACE_LIMIT_BYTES);
        for runner in RUNNERS {
            let frames = format!("   0: here\n             at here.rs:1\n   1: {runner}::x\n   2: main\n");
            assert_eq!(text(&frames), "   0: here\n             at here.rs:1");
        }
    }

    #[test]
    fn a_place_is_known_when_it_comes_again_and_no_more_than_so_many_are_kept() {
        keep(true);
        let mut texts = Vec::new();
        for again in [false, true] {
            let trace = Trace::capture();
            if !TRACES.get().expect("it was kept").known.lock().expect("nobody panics").is_empty() {
                assert_eq!(matches!(trace, Trace::Known(_)), again, "{trace:?}");
            }
            texts.push(trace.into_text().expect("it is wanted"));
        }
        assert_eq!(texts[0], texts[1]);
        assert!(texts[0].contains("a_place_is_known_when"), "{}", texts[0]);
        for place in 1..=2 * PLACES {
            let backtrace = Backtrace::disabled();
            Trace::New(Box::new((vec![place], backtrace))).into_text();
        }
        let known = TRACES.get().expect("it was kept").known.lock().expect("nobody panics").len();
        assert!((1..=PLACES).contains(&known), "{known}");
        keep(false);
        assert_eq!(Trace::capture().into_text(), None);
    }
}
