//! A subscriber of `tracing` that has a function called with each event.

use std::fmt;

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::Field,
    span::{Attributes, Id, Record},
};

/// Calls `hears` with each event, up to that level.
pub(crate) struct Listener<F> {
    pub(crate) up_to: Level,
    pub(crate) hears: F,
}

impl<F: Fn(&Event<'_>) + 'static> Subscriber for Listener<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.up_to
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        (self.hears)(event);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// Calls `each` with the name and the value of each field of an event, in their order; its text is the field `message`.
pub(crate) fn fields(event: &Event<'_>, mut each: impl FnMut(&str, &dyn fmt::Debug)) {
    event.record(&mut |field: &Field, value: &dyn fmt::Debug| each(field.name(), value));
}
