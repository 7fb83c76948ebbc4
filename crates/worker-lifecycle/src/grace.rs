//! The grace period of workers that set none: from the environment, or 10 seconds.

use std::{env, sync::OnceLock, time::Duration};

/// The variable that sets the grace period of workers that set none, in seconds, such as `30` or `0.5`.
pub const GRACE_PERIOD_VARIABLE: &str = "WORKFLEET_STOPPING_GRACE_PERIOD";

const DEFAULT: Duration = Duration::from_secs(10);

/// `WORKFLEET_STOPPING_GRACE_PERIOD` is set to something that is no number of seconds.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{GRACE_PERIOD_VARIABLE} is {value:?}: it must be a number of seconds, such as 10 or 0.5")]
pub struct GracePeriodError {
    value: String,
}

workfleet_causes::readable!(struct GracePeriodError { value });

impl GracePeriodError {
    /// What the variable is set to.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// Read once in a process, when the first worker needs it.
pub(crate) fn default_period() -> Result<Duration, GracePeriodError> {
    static PERIOD: OnceLock<Result<Duration, GracePeriodError>> = OnceLock::new();
    PERIOD.get_or_init(read).clone()
}

fn read() -> Result<Duration, GracePeriodError> {
    match env::var_os(GRACE_PERIOD_VARIABLE) {
        None => Ok(DEFAULT),
        Some(value) => parse(&value.to_string_lossy()),
    }
}

pub(crate) fn parse(value: &str) -> Result<Duration, GracePeriodError> {
    let seconds = value.trim().parse().ok();
    let period = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    period.ok_or_else(|| GracePeriodError { value: value.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_be_parts_of_one() {
        assert_eq!(parse("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse(" 30 "), Ok(Duration::from_secs(30)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_no_number_of_seconds_is_refused_by_name() {
        for value in ["", "soon", "-1", "nan", "inf", "1e30", "10s", "1,5"] {
            let error = parse(value).unwrap_err();
            assert_eq!(error.value(), value);
            assert!(error.to_string().starts_with(GRACE_PERIOD_VARIABLE), "{error}");
        }
    }
}
