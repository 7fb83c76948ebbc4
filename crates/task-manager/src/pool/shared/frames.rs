//! Frames of a worker process: each is checked, decoded, and passed on.
//!
//! Invariants:
//! - A frame that breaks the rules changes nothing, and costs its worker the connection.
//! - Services have had what a worker sent before a flush is answered, and before others are told of what came behind it.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use workfleet_heartbeat::remote::Pins;
use workfleet_scheduler::Lease;
use workfleet_wire::{Decoder, FrameError, FrameRef, Kind, kinds::Direction};

use super::{Shared, body::Body, core::Core, deliveries::Deliveries};
use crate::{
    ids::TaskId,
    inbox::Item,
    kinds::received::FromWorker,
    message::EncodedMessage,
    protocol::{
        self, FailureFrame, HeartbeatFrame, MessageFrame, ResultFrame, ReturnedFrame, ScheduleFrame,
        Violation,
    },
    service::Peer,
    task::EncodedTask,
};

impl Shared {
    /// Handles every frame that the decoder holds.
    pub(crate) fn handle_frames(
        &self,
        slot: usize,
        decoder: &mut Decoder,
        peer: &Peer,
    ) -> Result<(), Violation> {
        let (handled, mut deliveries) = self.run_scheduler_untold(|core, deliveries| {
            let now = Instant::now();
            core.scheduler.heard(now, slot);
            while let Some(frame) = decoder.next_frame()? {
                core.handle_frame(self, now, slot, frame, deliveries)?;
            }
            Ok(())
        });
        // Before anybody is told of the rest: once a reader has a message or an outcome, it finds what the task told a service
        // before.
        let served = self.services.hand_over(peer, std::mem::take(&mut deliveries.frames));
        let flush = deliveries.flush;
        self.tell(deliveries);
        if let (Some(id), Some(remote)) = (flush, &peer.remote) {
            // Only now: everybody has what the worker had sent before.
            remote.flushed(id);
        }
        served.and(handled)
    }
}

impl Core {
    fn handle_frame(
        &mut self,
        shared: &Shared,
        now: Instant,
        slot: usize,
        frame: FrameRef<'_>,
        deliveries: &mut Deliveries,
    ) -> Result<(), Violation> {
        let FrameRef { kind, payload } = frame;
        protocol::check(kind, Direction::ToManager, payload)?;
        protocol::check_len(kind, payload, shared.frame_limit_bytes)?;
        match FromWorker::of(kind) {
            FromWorker::Result => {
                let result: ResultFrame<'_> = protocol::decode(kind, payload)?;
                let took = Duration::from_nanos(result.took_ns);
                let output = Cow::Borrowed(result.output);
                self.ended(shared, now, slot, result.lease, took, Ok(output), deliveries);
            }
            FromWorker::Failure => {
                let failure: FailureFrame = protocol::decode(kind, payload)?;
                let took = Duration::from_nanos(failure.took_ns);
                if failure.last_heartbeat.is_some() {
                    self.heartbeat(&shared.index, now, slot, failure.lease, failure.last_heartbeat);
                }
                self.ended(shared, now, slot, failure.lease, took, Err(failure.failed), deliveries);
            }
            FromWorker::Message => {
                let message: MessageFrame<'_> = protocol::decode(kind, payload)?;
                // Of an attempt that has ended nothing more is accepted; its worker knows that too.
                if let Some((task, attempt)) = self.scheduler.leased(slot, Lease::from_bits(message.lease)) {
                    deliveries.items.push(Item::Message {
                        task: Some(TaskId::new(shared.id, task.sequence)),
                        attempt,
                        message: EncodedMessage {
                            name: message.name.into(),
                            payload: message.payload.into(),
                        },
                    });
                }
            }
            FromWorker::Returned => {
                let returned: ReturnedFrame = protocol::decode(kind, payload)?;
                for lease in returned.leases {
                    self.scheduler.given_back(slot, Lease::from_bits(lease));
                }
                if returned.recalled {
                    self.scheduler.recall_answered(slot);
                }
            }
            FromWorker::Flush => {
                let id: u64 = protocol::decode(kind, payload)?;
                deliveries.flush = Some(id);
            }
            FromWorker::Pong => {}
            FromWorker::Heartbeat => {
                let beat: HeartbeatFrame<'_> = protocol::decode(kind, payload)?;
                let details = beat.details.map(|bytes| protocol::details(kind, bytes)).transpose()?;
                self.heartbeat(&shared.index, now, slot, beat.lease, details);
            }
            FromWorker::Schedule(priority) => self.schedule_child(shared, slot, kind, priority, payload)?,
            FromWorker::Service => deliveries.frames.push((kind, payload.into())),
            FromWorker::Hello | FromWorker::StartFailed | FromWorker::Idle | FromWorker::Foreign => {
                return Err(Violation::OutOfTurn { kind });
            }
        }
        Ok(())
    }

    fn schedule_child(
        &mut self,
        shared: &Shared,
        slot: usize,
        kind: Kind,
        priority: u8,
        payload: &[u8],
    ) -> Result<(), Violation> {
        let child: ScheduleFrame<'_> = protocol::decode(kind, payload)?;
        if priority >= shared.levels {
            return Err(Violation::Priority { priority, levels: shared.levels });
        }
        if child.index >= shared.children_limit {
            return Err(Violation::TooManyChildren { index: child.index, limit: shared.children_limit });
        }
        let spec = shared.index.spec(child.task_type).ok_or(Violation::TaskType {
            kind,
            index: child.task_type,
            known: shared.index.len(),
        })?;
        let len_bytes = child.payload.len() as u64;
        if len_bytes > shared.frame_limit_bytes {
            let limit_bytes = shared.frame_limit_bytes;
            return Err(FrameError::TooLarge { kind, len_bytes, limit_bytes }.into());
        }
        // What is in the payload is not known here. But what its parent passes on came to the parent in most cases in its own.
        let parent = self.scheduler.leased(slot, Lease::from_bits(child.lease));
        let pins = parent.map_or_else(Pins::default, |(parent, _)| parent.body.task.pins.clone());
        let task = EncodedTask { spec, payload: child.payload.into(), pins };
        let body = Body::new(task, child.task_type, None);
        let class = shared.index.class(child.task_type);
        self.add_child(shared, slot, child.lease, child.index, priority, class, body);
        Ok(())
    }
}
