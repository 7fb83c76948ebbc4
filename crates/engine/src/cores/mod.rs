//! What decides: an engine's state as a pure state machine, without clock, thread, randomness, IO or tokio.
//!
//! [`EngineCore`] is whole: members, tasks, locks, and what each call answers. An engine in memory needs a mutex and a timer around
//! it. An engine with a store of its own decides the same, and its tests can hold it against this one.

mod answers;
mod checks;
mod engine;
mod inspect;
mod locks;
mod members;
mod queue;
mod ready;
mod record;
mod series;
mod tasks;
#[cfg(test)]
mod tests;
mod timers;

pub use engine::EngineCore;
