//! A service that sends back what it gets, and its other half.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{
        Condvar, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use workfleet_task_manager::{
    Extension, Peer, Service, ServiceSender, Task, TaskContext, TaskError, TaskSpec, WorkerIncarnation,
};
use workfleet_wire::Kind;

pub(crate) const ECHO_KINDS: RangeInclusive<u8> = 0x58..=0x5f;
pub(crate) const ECHO: Kind = Kind(0x58);
/// The manager's half answers with a panic.
pub(crate) const PANIC: Kind = Kind(0x59);
/// The manager's half answers with a frame on which the worker's half panics.
pub(crate) const PANIC_THERE: Kind = Kind(0x5a);
/// The manager's half tries to close its manager.
pub(crate) const CLOSE: Kind = Kind(0x5b);
/// Nobody's.
pub(crate) const STRANGE: Kind = Kind(0x60);

/// Sends back what it gets, counts, and notes who is gone.
#[derive(Default)]
pub(crate) struct EchoService {
    pub(crate) frames: AtomicU64,
    pub(crate) by_incarnation: Mutex<HashMap<WorkerIncarnation, u64>>,
    pub(crate) gone: Mutex<Vec<WorkerIncarnation>>,
    pub(crate) ready: Mutex<Vec<Peer>>,
    pub(crate) peers: Mutex<Vec<Peer>>,
    /// Closes the manager, and says what came of it.
    pub(crate) close: OnceLock<Box<dyn Fn() -> String + Send + Sync>>,
    pub(crate) closed: Mutex<Vec<String>>,
}

impl Service for EchoService {
    fn kinds(&self) -> RangeInclusive<u8> {
        ECHO_KINDS
    }

    fn on_worker_ready(&self, peer: &Peer) {
        self.ready.lock().expect("no panic").push(peer.clone());
    }

    fn on_frame(&self, peer: &Peer, kind: Kind, payload: &[u8]) {
        let ready = self.ready.lock().expect("no panic");
        assert!(
            ready.iter().any(|ready| ready.incarnation() == peer.incarnation()),
            "not before it is ready"
        );
        drop(ready);
        self.frames.fetch_add(1, Ordering::Relaxed);
        *self.by_incarnation.lock().expect("no panic").entry(peer.incarnation()).or_default() += 1;
        let mut peers = self.peers.lock().expect("no panic");
        if peers.iter().all(|known| known.incarnation() != peer.incarnation()) {
            peers.push(peer.clone());
        }
        drop(peers);
        match kind {
            PANIC => panic!("a service that fails"),
            CLOSE => {
                let closed = self.close.get().expect("it can")();
                self.closed.lock().expect("no panic").push(closed);
            }
            _ => {
                // It may have died meanwhile.
                let _ = peer.send(kind, payload);
            }
        }
    }

    fn on_worker_gone(&self, incarnation: WorkerIncarnation) {
        self.gone.lock().expect("no panic").push(incarnation);
    }
}

/// Keeps the answers for whoever waits for them.
pub(crate) struct EchoExtension {
    pub(crate) line: ServiceSender,
    answers: Mutex<Vec<Vec<u8>>>,
    answered: Condvar,
}

impl Extension for EchoExtension {
    const KINDS: RangeInclusive<u8> = ECHO_KINDS;

    fn attach(line: ServiceSender) -> Self {
        Self { line, answers: Mutex::default(), answered: Condvar::new() }
    }

    fn on_frame(&self, kind: Kind, payload: &[u8]) {
        assert!(kind != PANIC_THERE, "an extension that fails");
        self.answers.lock().expect("no panic").push(payload.to_vec());
        self.answered.notify_all();
    }
}

impl EchoExtension {
    /// Waits, by blocking the task's thread, for so many answers, and takes them.
    pub(crate) fn take(&self, count: usize) -> Vec<Vec<u8>> {
        let answers = self.answers.lock().expect("no panic");
        let mut answers =
            self.answered.wait_while(answers, |answers| answers.len() < count).expect("no panic");
        std::mem::take(&mut *answers)
    }
}

/// Sends payloads of these lengths, each a number's bytes again and again, and waits for all to come back in order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Echo(pub(crate) Vec<usize>);

impl TaskSpec for Echo {
    const NAME: &'static str = "echo";
    type Output = bool;
}

fn payload(number: usize, len_bytes: usize) -> Vec<u8> {
    vec![number as u8; len_bytes]
}

impl Task for Echo {
    fn run(self, cx: &TaskContext) -> Result<bool, TaskError> {
        let echo = cx.extension::<EchoExtension>();
        for (number, &len_bytes) in self.0.iter().enumerate() {
            echo.line.send(ECHO, &payload(number, len_bytes))?;
        }
        let expected = self.0.iter().enumerate().map(|(number, &len_bytes)| payload(number, len_bytes));
        Ok(echo.take(self.0.len()).into_iter().eq(expected))
    }
}
