//! Work that takes as long as asked, whatever the processor: for all contenders the same, in Python as well.

use std::time::{Duration, Instant};

/// Keeps the processor busy for this long.
pub(crate) fn spin(duration: Duration) {
    let started = Instant::now();
    while started.elapsed() < duration {
        std::hint::spin_loop();
    }
}

/// The share, in per cent, of the time that `workers` needed which the tasks themselves were to take.
pub(crate) fn share_used(task: Duration, tasks: u64, workers: usize, took: Duration) -> f64 {
    100.0 * task.as_secs_f64() * tasks as f64 / workers as f64 / took.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_takes_at_least_as_long_as_asked() {
        let started = Instant::now();
        spin(Duration::from_millis(2));
        assert!(started.elapsed() >= Duration::from_millis(2));
    }

    #[test]
    fn all_of_the_time_is_a_hundred_per_cent() {
        let share = share_used(Duration::from_millis(1), 2000, 2, Duration::from_secs(1));
        assert_eq!(share, 100.0);
        assert_eq!(share_used(Duration::from_millis(1), 2000, 2, Duration::from_secs(2)), 50.0);
    }
}
