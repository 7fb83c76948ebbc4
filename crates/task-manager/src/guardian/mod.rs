//! The guardian: a process that ends what a program's workers leave, when the program itself cannot.
//!
//! A worker kills its own process group when its connection ends, and a manager kills the group of a worker that has
//! died. Neither happens where the worker is stopped and the manager is killed, or where both are killed at once. So
//! each program that has a manager also has a guardian: one more process of the workers' program. It sleeps until the
//! program dies, and then kills the group of each worker.
//!
//! ```text
//!   the program ── keeper ──(socket: its pidfd; each worker, before and after its start)──▶ the guardian ── guard
//!        │                                                                                     │
//!        └── worker (leads a process group) ── what its tasks start          ◀── SIGKILL ──────┘  when the program is dead
//! ```
//!
//! - [`keeper`], in the program: starts the guardian, tells it of each worker, starts it again if it dies or is stopped, and
//!   ends it when the last manager is closed.
//! - [`guard`], in the guardian: knows the workers, and waits for the program's death.
//!
//! Invariants:
//! - The guardian is told that a worker will be started before that is, and which process it became before the worker is
//!   greeted. So no session and no task runs in a group that the guardian does not know. What was written into its socket
//!   reaches it also if the writer dies.
//! - It kills by pidfd only, so that no signal reaches a process that has got an old number.
//! - It is in a session of its own, in the root directory, and holds no descriptor of the program open.

mod guard;
mod keeper;
mod record;

pub(crate) use guard::become_guardian;
pub(crate) use keeper::{Guardian, Ward, hold};

/// The environment variable that markers a guardian, as [`WORKER`](crate::markers::WORKER) markers a worker.
const MARKER: &str = "WORKFLEET_GUARDIAN";
