//! Schedules: tasks that are enqueued again and again, by a cron expression.
//!
//! Invariant: every member that follows a schedule computes the same ticks from the engine's time, and gives the task of a tick the same
//! unique key. So a tick makes one task, however many members follow it.

use std::{sync::Arc, time::Duration};

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use workfleet_causes::readable;

use crate::{EngineTime, NewTask, Unique, UniqueFor};

/// Why a cron expression is none.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{expression:?} is no cron expression: {reason}")]
#[non_exhaustive]
pub struct ScheduleError {
    /// The expression.
    pub expression: String,
    /// What is wrong with it.
    pub reason: String,
}

readable!(struct ScheduleError { expression, reason });

/// When a task is to be enqueued, again and again.
///
/// The expression has five fields, for minute, hour, day of the month, month and day of the week, and may end with the name of a
/// time zone; without one it is UTC. At the change to or from summer time, a tick whose local time does not exist comes at the next
/// that does.
///
/// Each member that is to see to the schedule asks from time to time which ticks are [due](Self::due), by the engine's time that comes with each
/// beat, and enqueues a [task](Self::task) for each. Of those, one is kept. If no member does so for 5 minutes after a tick, that tick is
/// missed.
///
/// ```
/// use std::time::Duration;
///
/// use workfleet_engine::{EngineTime, NewTask, Payload, FleetTaskId, schedule::Schedule};
///
/// let schedule = Schedule::new("report", "30 9 * * MON-FRI Europe/Berlin")?;
/// // Friday, 29 March 2024, 08:29 UTC, and two minutes later.
/// let last = EngineTime::from_unix_ms(1_711_700_940_000);
/// let now = last + Duration::from_secs(120);
/// let ticks = schedule.due(last, now);
/// assert_eq!(ticks, [last + Duration::from_secs(60)]);
///
/// for tick in ticks {
///     let task = NewTask::new(FleetTaskId::generate(now)?, "report", Payload::json("{}"));
///     let task = schedule.task(tick, Duration::from_secs(600), task);
///     // … enqueue it …
/// #   assert_eq!(&*task.unique.unwrap().key, "schedule/report/1711701000000");
/// }
/// // Monday is behind the change to summer time.
/// let monday = schedule.next_after(now).expect("there is one");
/// assert_eq!(monday.since(last), Duration::from_secs(3 * 24 * 3600 - 3600 + 60));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Schedule {
    name: Arc<str>,
    crontab: Crontab,
}

/// A tick that is older is missed.
const LATEST: Duration = Duration::from_secs(300);

impl Schedule {
    /// A schedule of this name, by this cron expression.
    ///
    /// The name tells schedules apart: all members that follow one give it the same name.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] says what is wrong with the expression.
    pub fn new(name: impl Into<Arc<str>>, expression: &str) -> Result<Self, ScheduleError> {
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let crontab = cronexpr::parse_crontab_with(expression, options).map_err(|error| {
            // Its text shows the expression, and then the reason below it.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches([' ', '^']);
            ScheduleError { expression: expression.to_owned(), reason: reason.to_owned() }
        })?;
        Ok(Self { name: name.into(), crontab })
    }

    /// The first tick after this time; none if there is none within four years.
    #[must_use]
    pub fn next_after(&self, time: EngineTime) -> Option<EngineTime> {
        let start = MakeTimestamp::from_millisecond(i64::try_from(time.unix_ms()).ok()?).ok()?;
        let next = self.crontab.find_next(start).ok()?;
        Some(EngineTime::from_unix_ms(u64::try_from(next.timestamp().as_millisecond()).ok()?))
    }

    /// The ticks after `last` and up to `now`, but for those that are missed: 5 at most.
    #[must_use]
    pub fn due(&self, last: EngineTime, now: EngineTime) -> Vec<EngineTime> {
        let oldest = now.unix_ms().saturating_sub(u64::try_from(LATEST.as_millis()).unwrap_or(u64::MAX));
        let start = last.max(EngineTime::from_unix_ms(oldest));
        let ticks = std::iter::successors(self.next_after(start), |tick| self.next_after(*tick));
        ticks.take_while(|tick| *tick <= now).collect()
    }

    /// Makes a task that of a tick: by a unique key, which is held for longer than anybody enqueues it.
    ///
    /// `repeat_window` is [the engine's](crate::Joined::repeat_window). The name of the schedule and 24 bytes more must fit into a key.
    #[must_use]
    pub fn task(&self, tick: EngineTime, repeat_window: Duration, mut task: NewTask) -> NewTask {
        let key = format!("schedule/{}/{}", self.name, tick.unix_ms());
        // The call that enqueues it is made while the tick is not missed, and is repeated for the window at most.
        let until = UniqueFor::Time(LATEST.saturating_add(repeat_window.saturating_mul(2)));
        task.unique = Some(Unique { key: key.into(), until });
        task
    }
}

#[cfg(test)]
mod tests {
    use workfleet_causes::convention::breaches;

    use super::*;

    fn minutes(minutes: u64) -> EngineTime {
        EngineTime::from_unix_ms(minutes * 60_000)
    }

    #[test]
    fn ticks_that_are_older_than_five_minutes_are_missed() {
        let schedule = Schedule::new("each minute", "* * * * *").unwrap();
        assert_eq!(schedule.due(minutes(100), minutes(100)), []);
        assert_eq!(schedule.due(minutes(100), minutes(102)), [minutes(101), minutes(102)]);
        let late = schedule.due(minutes(100), minutes(200));
        assert_eq!(late, [196, 197, 198, 199, 200].map(minutes));
        assert_eq!(schedule.due(minutes(200), minutes(100)), []);
    }

    #[test]
    fn a_time_beyond_all_calendars_has_no_tick() {
        let schedule = Schedule::new("each minute", "* * * * *").unwrap();
        assert_eq!(schedule.next_after(EngineTime::from_unix_ms(u64::MAX)), None);
        let never = Schedule::new("never", "0 0 30 2 *").unwrap();
        assert_eq!(never.next_after(minutes(1)), None);
    }

    #[test]
    fn what_is_no_expression_is_named_with_the_reason() {
        for expression in ["", "* * * *", "61 * * * *", "* * * * * Nowhere/City", "x"] {
            let error = Schedule::new("wrong", expression).unwrap_err();
            assert_eq!(breaches(&error), [""; 0]);
            assert_eq!(error.expression, expression);
            assert!(!error.reason.is_empty());
        }
        let error = Schedule::new("wrong", "61 * * * *").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"61 * * * *\" is no cron expression: value must be in range 0..=59; found 61"
        );
    }

    #[test]
    fn the_key_of_a_tick_outlives_the_last_repetition_of_its_call() {
        let schedule = Schedule::new("name", "* * * * *").unwrap();
        let task = NewTask::new(crate::FleetTaskId::from_u128(1), "work", crate::Payload::default());
        let window = Duration::from_secs(600);
        let unique = schedule.task(minutes(7), window, task).unique.unwrap();
        assert_eq!(&*unique.key, "schedule/name/420000");
        assert_eq!(unique.until, UniqueFor::Time(Duration::from_secs(1500)));
    }
}
