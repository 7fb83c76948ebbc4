//! Whether what a client says is within its bounds.

use crate::{Concurrency, EngineError, EngineOptions, NewTask, Rate, Unique, Verdict};

impl EngineOptions {
    pub(crate) fn check_count(&self, what: &'static str, count: usize) -> Result<(), EngineError> {
        check_limit(what, count, self.batch)
    }

    pub(crate) fn check_text(&self, what: &'static str, text: &str) -> Result<(), EngineError> {
        check_len(what, text.len(), self.text_bytes)
    }

    /// A text that may not be empty.
    pub(crate) fn check_key(&self, what: &'static str, key: &str) -> Result<(), EngineError> {
        self.check_text(what, key)?;
        check_not_zero(what, !key.is_empty())
    }

    pub(crate) fn check_payload(&self, what: &'static str, len_bytes: usize) -> Result<(), EngineError> {
        check_len(what, len_bytes, self.payload_bytes)
    }

    pub(crate) fn check_details(&self, len_bytes: usize) -> Result<(), EngineError> {
        check_len("the details of a heartbeat", len_bytes, self.details_bytes)
    }

    pub(crate) fn check_task(&self, task: &NewTask) -> Result<(), EngineError> {
        self.check_key("a task's name", &task.name)?;
        self.check_text("a series", &task.series)?;
        self.check_payload("a payload", task.payload.bytes.len())?;
        if let Some(Unique { key, .. }) = &task.unique {
            self.check_key("a unique key", key)?;
        }
        if let Some(Concurrency { key, limit }) = &task.concurrency {
            self.check_key("a concurrency key", key)?;
            check_not_zero("a concurrency limit", *limit > 0)?;
        }
        if let Some(Rate { count, per }) = task.rate {
            check_not_zero("the count of a rate", count > 0)?;
            check_not_zero("the time of a rate", !per.is_zero())?;
        }
        self.check_text("a traceparent", task.traceparent.as_deref().unwrap_or_default())
    }

    pub(crate) fn check_verdict(&self, verdict: &Verdict) -> Result<(), EngineError> {
        match verdict {
            Verdict::Done(output) => self.check_payload("an output", output.bytes.len()),
            Verdict::Retry { failure, .. } | Verdict::Dead { failure } => {
                self.check_payload("a failure", failure.len())
            }
            Verdict::Returned => Ok(()),
        }
    }
}

pub(crate) fn check_limit(what: &'static str, count: usize, limit: usize) -> Result<(), EngineError> {
    if count > limit { Err(EngineError::TooMany { what, count, limit }) } else { Ok(()) }
}

fn check_len(what: &'static str, len_bytes: usize, limit_bytes: usize) -> Result<(), EngineError> {
    if len_bytes > limit_bytes { Err(EngineError::TooLong { what, len_bytes, limit_bytes }) } else { Ok(()) }
}

fn check_not_zero(what: &'static str, is_not: bool) -> Result<(), EngineError> {
    if is_not { Ok(()) } else { Err(EngineError::Zero { what }) }
}
