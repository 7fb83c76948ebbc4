//! What every pool keeps, whatever its workers are: written against the `Manager` and the `builder` of the test binary
//! that includes it. Where kinds of workers differ by nature, a test says for each `KIND` how.

mod cancel;
mod close;
mod debug_forms;
mod errors;
mod events;
mod frame_limits;
mod heartbeats;
mod limits;
mod messages;
mod pool;
mod services;
mod travel;
mod values;

use workfleet_task_manager::Registry;

use crate::support::tasks;

/// The tasks of all these tests: the workers of one test binary have one registry.
pub(crate) fn registry() -> Registry {
    [
        cancel::register,
        close::register,
        debug_forms::register,
        errors::register,
        frame_limits::register,
        events::register,
        heartbeats::register,
        limits::register,
        messages::register,
        pool::register,
        services::register,
        travel::register,
        values::register,
    ]
    .iter()
    .fold(tasks::registry(), |registry, register| register(registry))
}
