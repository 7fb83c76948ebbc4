//! The handshake: what a worker is told before all else, and its greeting and sessions, which are waited for.
//!
//! Invariant: nothing waits for a worker without a limit, neither for its greeting nor for its sessions.

use workfleet_heartbeat::cores::ThrottleLimits;
use workfleet_wire::{EncodeError, FrameRef};

use super::{Connection, Event, Mail};
use crate::{
    guards::guarded,
    kinds::{self, received::FromWorker},
    pool::{Limits, Shared, waits},
    protocol::{self, Hello, StartFailed, Violation, Welcome},
    registry::Registry,
    session_values::SessionFailed,
};

/// What the manager expects of every worker, and tells it.
pub(crate) struct Terms {
    pub(crate) registry: Registry,
    pub(crate) async_tasks: u32,
    pub(crate) throttle: ThrottleLimits,
    pub(crate) backtraces: bool,
    pub(crate) limits: Limits,
}

/// Why a worker is not ready.
pub(crate) enum HandshakeFailed {
    /// The connection ended before it was.
    Ended,
    /// The manager closes.
    Closing,
    NotReached,
    SessionsNotMade,
    Version(u16),
    Session(SessionFailed),
    /// The worker's digest, and what only we have and only the worker has.
    Registry(u64, Vec<String>, Vec<String>),
    Violation(Violation),
}

impl From<Violation> for HandshakeFailed {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl Terms {
    /// The first thing that a worker of this name reads.
    pub(crate) fn welcome(
        &self,
        shared: &Shared,
        worker: &str,
        holds_stdout: bool,
    ) -> Result<Vec<u8>, EncodeError> {
        let welcome = Welcome {
            registry_digest: self.registry.digest(),
            worker: worker.to_owned(),
            manager: shared.id,
            priority_levels: shared.levels,
            frame_limit_bytes: shared.frame_limit_bytes,
            children_limit: shared.children_limit,
            async_tasks: self.async_tasks,
            throttle: self.throttle.into(),
            backtraces: self.backtraces,
            holds_stdout,
        };
        let mut greeting = Vec::new();
        protocol::push_greeting(kinds::WELCOME, protocol::VERSION, &welcome, &mut greeting)?;
        Ok(greeting)
    }
}

impl Connection {
    /// Waits for the worker's greeting, and notes that it has come; then for its sessions, and serves it meanwhile: what makes
    /// them may use events.
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing that was not handled.
    pub(crate) async fn shake_hands(
        &mut self,
        shared: &Shared,
        terms: &Terms,
        greeted: &mut bool,
    ) -> Result<(), HandshakeFailed> {
        let services = &shared.services;
        let mut patience = waits::patience(terms.limits.init);
        loop {
            while let Some(FrameRef { kind, payload }) = self.decoder.next_frame().map_err(Violation::from)? {
                match FromWorker::of(kind) {
                    FromWorker::Hello if !*greeted => {
                        let hello: Hello =
                            protocol::decode_greeting(kind, payload)?.map_err(HandshakeFailed::Version)?;
                        if hello.registry_digest != terms.registry.digest() {
                            let (only_ours, only_theirs) = hello.names.compare(&terms.registry);
                            let theirs = hello.registry_digest;
                            return Err(HandshakeFailed::Registry(theirs, only_ours, only_theirs));
                        }
                        *greeted = true;
                        services.worker_ready(&self.peer);
                        patience = waits::patience(terms.limits.session);
                    }
                    FromWorker::Idle if *greeted => return Ok(()),
                    FromWorker::StartFailed if *greeted => {
                        let StartFailed { reason, of_value } = protocol::decode(kind, payload)?;
                        let failed = if of_value { SessionFailed::Value } else { SessionFailed::Made };
                        return Err(HandshakeFailed::Session(failed(reason)));
                    }
                    FromWorker::Service if *greeted => {
                        services.hand_over(&self.peer, vec![(kind, payload.into())])?;
                    }
                    // Before its turn, or of an attempt that nobody has begun.
                    FromWorker::Hello
                    | FromWorker::StartFailed
                    | FromWorker::Idle
                    | FromWorker::Service
                    | FromWorker::Result
                    | FromWorker::Failure
                    | FromWorker::Returned
                    | FromWorker::Flush
                    | FromWorker::Pong
                    | FromWorker::Heartbeat
                    | FromWorker::Message
                    | FromWorker::Schedule(_)
                    | FromWorker::Foreign => return Err(Violation::OutOfTurn { kind }.into()),
                }
            }
            match waits::within(&mut patience, self.next()).await {
                Some(Event::Received) => {}
                // Nothing has come that was not handled.
                Some(Event::Mail(Mail::CatchUp)) => {
                    self.sender.take_catch_ups().into_iter().for_each(guarded)
                }
                // Nobody has it retire before it has come up, and only `next` unblocks it.
                Some(Event::Mail(Mail::Retire | Mail::Blocked)) => {}
                Some(Event::Ended | Event::Mail(Mail::Broken | Mail::BreakOff)) => {
                    return Err(HandshakeFailed::Ended);
                }
                None if *greeted => return Err(HandshakeFailed::SessionsNotMade),
                None => return Err(HandshakeFailed::NotReached),
            }
        }
    }
}
