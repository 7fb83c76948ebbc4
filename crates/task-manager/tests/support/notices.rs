//! What the library logs, counted: some events are told nowhere else.

use std::{
    collections::HashMap,
    fmt,
    sync::{Condvar, Mutex, Once, PoisonError},
};

use tracing::{Event, Level, Metadata, Subscriber, field, span};

/// How often each text was logged since [`count`] was first called.
static COUNTS: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

/// How often a warning or an error of this text was logged up to now. The first call begins the counting.
pub(crate) fn count(text: &str) -> u64 {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| tracing::subscriber::set_global_default(Counter).expect("it is the only one"));
    let counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    counts.as_ref().and_then(|counts| counts.get(text)).copied().unwrap_or(0)
}

/// Waits until it was logged `times` more often than it was `before`.
pub(crate) fn await_more(text: &str, before: u64, times: u64) {
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    while counts.as_ref().and_then(|counts| counts.get(text)).copied().unwrap_or(0) < before + times {
        counts = CHANGED.wait(counts).unwrap_or_else(PoisonError::into_inner);
    }
}

struct Counter;

impl Subscriber for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("workfleet") && *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl field::Visit for Text {
            fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.get_or_insert_default().entry(text.0).or_default() += 1;
        CHANGED.notify_all();
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}
