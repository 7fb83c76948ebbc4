//! What comes of frames: in which order others are told of them, and what is refused.

use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex},
};

use workfleet_wire::{Decoder, Kind};

use super::{ReadyWorker, Shared};
use crate::{
    kinds,
    pool::{CaughtUp, GiveTasks, Remote, SendFrames, Supervise, settings::Settings},
    protocol::{self, Cancel, Recall, ScheduleFrame, TaskFrame, Violation},
    registry::Registry,
    service::{Peer, Service, WorkerIncarnation},
};

const KIND: Kind = Kind(0x58);

/// A worker's connection and a service of its manager, which note what they are told.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().expect("no panic").push(what.into());
    }
}

impl GiveTasks for Notes {
    fn dispatch(&self, _task: &TaskFrame<'_>) {}
    fn cancel(&self, _cancel: &Cancel) {}
}

impl Supervise for Notes {
    fn catch_up(&self) {}
    fn retire(&self) {}
}

impl Remote for Notes {
    fn recall(&self, _recall: &Recall) {}
    fn ping(&self) {}
    fn flushed(&self, request: u64) {
        self.note(format!("flushed {request}"));
    }
    fn break_off(&self) {}
}

impl SendFrames for Notes {
    fn send_frame(
        &self,
        _kind: Kind,
        _payload: &[u8],
        _limit_bytes: u64,
    ) -> Result<(), crate::MessageSendError> {
        Ok(())
    }
    fn when_caught_up(&self, done: CaughtUp) {
        done();
    }
}

impl Service for Notes {
    fn kinds(&self) -> RangeInclusive<u8> {
        KIND.0..=KIND.0
    }
    fn on_frame(&self, _peer: &Peer, _kind: Kind, _payload: &[u8]) {
        self.note("a service's frame");
    }
    fn on_worker_gone(&self, _incarnation: WorkerIncarnation) {}
}

fn ready(notes: &Arc<Notes>) -> ReadyWorker {
    let remote: Option<Arc<dyn Remote>> = Some(notes.clone());
    ReadyWorker { tasks: notes.clone(), supervisor: notes.clone(), remote, name: "worker".into(), pid: None }
}

fn peer(notes: &Arc<Notes>) -> Peer {
    Peer {
        sender: notes.clone(),
        remote: Some(notes.clone()),
        worker: "worker".into(),
        incarnation: WorkerIncarnation(0),
        frame_limit_bytes: 1 << 20,
    }
}

#[test]
fn a_flush_is_answered_when_services_have_had_what_came_before_it() {
    let notes = Arc::new(Notes::default());
    let mut settings = Settings::new(Registry::new());
    settings.services.push(notes.clone());
    let shared = Shared::new(settings.setup(1, None, true));
    shared.worker_ready(0, ready(&notes));
    let peer = peer(&notes);

    let mut sent = Vec::new();
    workfleet_wire::encode_frame(KIND, b"x", &mut sent);
    protocol::push(kinds::FLUSH, &1_u64, &mut sent).expect("it encodes");
    protocol::push(kinds::FLUSH, &2_u64, &mut sent).expect("it encodes");
    let mut decoder = Decoder::default();
    decoder.spare()[..sent.len()].copy_from_slice(&sent);
    decoder.advance(sent.len());
    shared.handle_frames(0, &mut decoder, &peer).expect("it keeps the rules");
    assert_eq!(*notes.0.lock().expect("no panic"), ["a service's frame", "flushed 2"]);
}

#[test]
fn a_worker_that_schedules_more_children_than_a_task_may_have_violates_the_protocol() {
    let notes = Arc::new(Notes::default());
    let mut settings = Settings::new(Registry::new());
    settings.children_limit = 1;
    let shared = Shared::new(settings.setup(1, None, true));
    let peer = peer(&notes);
    let schedule = |index| {
        let child = ScheduleFrame { lease: 1, index, task_type: 0, payload: b"" };
        let mut sent = Vec::new();
        protocol::push(Kind(0x81), &child, &mut sent).expect("it encodes");
        let mut decoder = Decoder::default();
        decoder.spare()[..sent.len()].copy_from_slice(&sent);
        decoder.advance(sent.len());
        shared.handle_frames(0, &mut decoder, &peer)
    };
    schedule(0).expect("it keeps the rules");
    let violation = schedule(1).expect_err("one is the limit");
    assert!(matches!(violation, Violation::TooManyChildren { index: 1, limit: 1 }), "{violation}");
}
