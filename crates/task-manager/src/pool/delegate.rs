//! How a manager is its pool: the same for every kind of workers.

/// Makes a struct with a field `pool` a manager: it dereferences to the pool, and gives what it is given to it.
macro_rules! manages_by_its_pool {
    ($manager:ident) => {
        impl std::ops::Deref for $manager {
            type Target = $crate::pool::Pool;

            fn deref(&self) -> &$crate::pool::Pool {
                &self.pool
            }
        }

        impl $crate::manager::Manager for $manager {
            fn priority_levels(&self) -> u8 {
                self.pool.priority_levels()
            }

            fn schedule_encoded(
                &self,
                task: $crate::task::EncodedTask,
                options: $crate::options::TaskOptions,
            ) -> Result<(), $crate::refusal::ScheduleError<$crate::task::EncodedTask>> {
                self.pool.schedule_encoded(task, options)
            }

            fn send_encoded(
                &self,
                message: $crate::message::EncodedMessage,
            ) -> Result<(), $crate::refusal::MessageSendError> {
                self.pool.send_encoded(message)
            }

            fn heartbeaters(
                &self,
            ) -> Result<
                std::sync::Arc<dyn workfleet_heartbeat::HeartbeaterRegistry>,
                $crate::heartbeat::HeartbeatersError,
            > {
                self.pool.heartbeaters()
            }
        }

        impl std::fmt::Debug for $manager {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($manager)).field("stats", &self.stats()).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use manages_by_its_pool;
