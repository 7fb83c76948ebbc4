//! What every engine promises, as tests for the author of an engine.
//!
//! A [`Subject`] makes engines and lets time pass for them. [`conformance_tests!`](crate::conformance_tests) makes one `#[test]` of each
//! promise, and a function of yours runs it:
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//!
//! use futures_core::future::BoxFuture;
//! use workfleet_engine::{
//!     Engine, EngineOptions,
//!     conformance::{Subject, Test},
//!     memory::Memory,
//! };
//!
//! #[derive(Debug)]
//! struct InMemory;
//!
//! impl Subject for InMemory {
//!     fn engine(&self, options: EngineOptions) -> BoxFuture<'_, Arc<dyn Engine>> {
//!         Box::pin(async { Arc::new(Memory::new(options)) as Arc<dyn Engine> })
//!     }
//!
//!     fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
//!         Box::pin(tokio::time::sleep(time)) // the clock is paused: it takes no time
//!     }
//! }
//!
//! fn run(test: Test) {
//!     let mut runtime = tokio::runtime::Builder::new_current_thread();
//!     runtime.enable_time().start_paused(true).build().expect("it starts").block_on(test(&InMemory));
//! }
//!
//! workfleet_engine::conformance_tests!(run);
//! ```
//!
//! A test fails by a panic. Each one is to pass under faults too: put a [`Faulty`](crate::faults::Faulty) engine with a seed
//! around yours, and a [`Repeating`](crate::repeat::Repeating) one around that. The tests ask for times by [`Subject::options`]; for an engine
//! whose clock cannot be paused, let it give a lease of a second.
//!
//! Tests of what an engine's [capabilities](crate::Capabilities) leave out pass at once.

mod client;
mod locks;
mod members;
mod repeats;
mod tasks;
mod waits;

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures_core::future::BoxFuture;

pub use self::{locks::*, members::*, repeats::*, tasks::*, waits::*};
use crate::{Engine, EngineOptions};

/// What the tests need of the author of an engine.
pub trait Subject: Debug + Send + Sync {
    /// A new engine, without members and tasks, with these options.
    fn engine(&self, options: EngineOptions) -> BoxFuture<'_, Arc<dyn Engine>>;

    /// Lets at least so much time pass, by the clocks of the engine and of tokio.
    fn pass(&self, time: Duration) -> BoxFuture<'_, ()>;

    /// The options of the engines in the tests. A test changes bounds in them. The lease is to be longer than it takes to make a few dozens
    /// of calls; the repeat window is to be a few leases.
    fn options(&self) -> EngineOptions {
        EngineOptions {
            lease: Duration::from_secs(60),
            lock_delay: Duration::from_secs(20),
            repeat_window: Duration::from_secs(240),
            ..EngineOptions::default()
        }
    }
}

/// One test.
pub type Test = for<'a> fn(&'a dyn Subject) -> BoxFuture<'a, ()>;

/// Makes a `#[test]` of each promise of an engine, which the given function runs: see [`conformance`](crate::conformance).
#[macro_export]
macro_rules! conformance_tests {
    ($run:path) => {
        $crate::conformance_tests!(@ $run;
            a_member_that_joins_again_is_the_same_member
            a_member_that_beats_lives_and_one_that_does_not_is_gone
            whatever_a_member_says_when_it_is_gone_is_refused
            a_member_that_left_cannot_join_again
            an_id_that_is_not_of_this_time_is_refused
            beats_say_what_is_cancelled_and_what_is_gone
            bounds_are_named
            tasks_come_by_priority_then_as_they_arrived
            series_do_not_wait_for_one_another
            a_member_gets_only_names_that_it_knows
            a_task_comes_as_it_was_enqueued
            all_tasks_of_a_call_are_taken_or_none
            a_unique_key_gives_back_the_first_task
            a_unique_key_for_a_time_outlives_its_task
            no_more_tasks_run_at_once_than_their_key_allows
            a_series_has_its_rate
            a_task_waits_for_its_time
            a_task_past_its_deadline_is_dead
            what_is_settled_has_ended_and_what_is_not_comes_again
            the_tasks_of_a_lost_member_come_again_with_a_larger_run
            a_task_that_members_are_lost_with_runs_alone
            a_fenced_run_has_no_children
            cancelled_tasks_end
            dead_letters_are_listed_retried_and_dropped
            outcomes_are_kept_for_their_time
            details_of_heartbeats_reach_the_next_run
            an_operator_sees_what_there_is
            a_repeated_call_gets_the_first_answer
            a_repeated_batch_is_the_same_batch
            a_confirmed_call_is_outdated
            a_call_is_forgotten_after_the_window
            a_wait_for_work_ends_when_there_is_some
            a_wait_for_an_outcome_ends_when_there_is_one
            a_wait_for_a_lock_ends_with_the_grant
            a_wait_ends_when_its_member_is_gone
            readers_share_and_writers_do_not
            nobody_is_overtaken
            fences_increase
            a_try_does_not_wait
            a_wait_is_given_up
            a_repeated_lock_operation_changes_nothing
            an_expired_members_locks_end_after_the_delay
            the_locks_of_a_member_that_leaves_end_at_once
            a_cycle_of_owners_is_refused
            locks_are_shown
        );
    };
    (@ $run:path; $($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                $run($crate::conformance::$name);
            }
        )+
    };
}
