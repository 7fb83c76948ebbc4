//! Ctrl-C and SIGTERM, for everybody in a program who stops by them: the first stops all of them, the second ends what has not
//! ended.
//!
//! Signals are the process's, and so is what is known of them: whoever [watches](Watch) them in one program hears the same first
//! and the same second, in whichever crate it is. Who begins to watch after the first has come hears it at once.
//!
//! | who watches | the first signal | the second |
//! |---|---|---|
//! | nobody, any more | ends the process | |
//! | some who [hear](Second::IsHeard) the second | is heard by all | is heard by all; when one has [had its turn](Heard::arm), the next ends the process |
//! | one, beside others or alone, for whom the second [ends the process](Second::EndsProcess) | is heard by all | ends the process, in the handler |
//!
//! Before anybody has watched, signals do what they do by default. What ends the process here is `_exit` with 128 and the signal's
//! number, as shells expect it.
//!
//! ```no_run
//! use workfleet_signals::{Second, Watch};
//!
//! let watch = Watch::begin("signals", Second::EndsProcess, |mut heard| {
//!     if let Some(signal) = heard.first() {
//!         eprintln!("stopping because of signal {signal}");
//!     }
//! })?;
//! // …
//! drop(watch); // from here on, a signal ends the process
//! # Ok::<_, std::io::Error>(())
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod state;

use std::{
    fmt, io,
    sync::{Arc, atomic::AtomicBool},
    thread::{self, JoinHandle},
};

use signal_hook::{
    iterator::{Handle, Signals},
    low_level,
};
use workfleet_fork::Home;

pub use state::{SIGNAL_CODE, Second};

/// Ends the process at once: no code of anybody runs any more, as after a signal that nobody hears.
pub fn exit_at_once(code: i32) -> ! {
    low_level::exit(code)
}

/// Watches for signals, on a thread of its own that nobody blocks; until it is dropped, which waits for that thread.
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    second: Second,
    is_armed: Arc<AtomicBool>,
    signals: Handle,
    thread: Option<JoinHandle<()>>,
    /// A fork has no such thread.
    home: Home,
}

impl Watch {
    /// Begins to watch; `listen` is called on a thread of this name.
    ///
    /// # Errors
    /// The signals cannot be caught, or there is no thread to be had.
    pub fn begin(
        name: &str,
        second: Second,
        listen: impl FnOnce(Heard) + Send + 'static,
    ) -> io::Result<Self> {
        state::catch_signals()?;
        let signals = Signals::new(state::SIGNALS)?;
        let handle = signals.handle();
        // The thread looks at what has come before it waits: so nothing is missed from here on.
        state::begin(second);
        let is_armed = Arc::new(AtomicBool::new(false));
        let heard = Heard { signals, is_armed: Arc::clone(&is_armed) };
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || listen(heard));
        let thread = spawned.inspect_err(|_| state::end(second, &is_armed))?;
        Ok(Self { second, is_armed, signals: handle, thread: Some(thread), home: Home::here() })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.home.is_here() {
            state::end_process_by_signals();
            return;
        }
        state::end(self.second, &self.is_armed);
        self.signals.close();
        // What it does on its own thread may drop it.
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| !is_own(thread)) {
            // What its listener panics with is on standard error.
            workfleet_panics::discard(thread.join());
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("second", &self.second).finish_non_exhaustive()
    }
}

/// What a [`Watch`] hears.
pub struct Heard {
    signals: Signals,
    is_armed: Arc<AtomicBool>,
}

impl Heard {
    /// Waits for the first signal, by its number; it may have come before. None once the watch has ended.
    pub fn first(&mut self) -> Option<i32> {
        self.wait_until(state::first)
    }

    /// Waits for the second signal, by its number: if there were more since, the last of them. None once the watch has ended.
    pub fn second(&mut self) -> Option<i32> {
        self.wait_until(state::second)
    }

    /// The second signal was served: from now on, until the watch ends, a signal ends the process in its handler.
    pub fn arm(&self) {
        state::arm(&self.is_armed);
    }

    fn wait_until(&mut self, came: fn() -> Option<i32>) -> Option<i32> {
        let handle = self.signals.handle();
        loop {
            if handle.is_closed() {
                return None;
            }
            if let Some(signal) = came() {
                return Some(signal);
            }
            // They only wake: what has come stands in the state.
            self.signals.wait().for_each(drop);
        }
    }
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heard").finish_non_exhaustive()
    }
}

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
