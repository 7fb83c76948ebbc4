//! A program that substitutes its own implementation for `Heartbeaters`: the same tasks, in worker processes, on threads and in place.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Sender, channel},
    },
};

use serde::{Deserialize, Serialize};
use workfleet::{
    heartbeat::{
        Event, HeartbeatCallback, HeartbeatError, HeartbeatReceiver, HeartbeaterOptions, HeartbeaterRegistry,
        RegisterError, Report, Token, UnregisterError, Unregistering,
    },
    prelude::*,
    task::{HeartbeatersError, Manager, NullManager, Pool, WithHeartbeaters},
};

/// Waits until it may begin, beats with each of these numbers, says so, and waits until it may end.
#[derive(Debug, Serialize, Deserialize)]
struct Beat {
    begin: Event,
    sender: HeartbeatSender,
    numbers: Vec<u64>,
    sent: Event,
    end: Event,
}

impl TaskSpec for Beat {
    const NAME: &'static str = "own-heartbeaters-beat";
    type Output = ();
}

impl Task for Beat {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        self.begin.blocking_wait()?;
        self.numbers.iter().try_for_each(|number| self.sender.send(number))?;
        self.sent.set()?;
        Ok(self.end.blocking_wait()?)
    }
}

/// Registers a token where the task runs, beats, and unregisters it: the number of beats, or why there is nothing to register with.
#[derive(Debug, Serialize, Deserialize)]
struct RegisterThere;

impl TaskSpec for RegisterThere {
    const NAME: &'static str = "own-heartbeaters-register-there";
    type Output = Result<usize, String>;
}

impl Task for RegisterThere {
    fn run(self, cx: &TaskContext) -> Result<Result<usize, String>, TaskError> {
        let heartbeaters = match cx.heartbeaters() {
            Ok(heartbeaters) => heartbeaters,
            Err(error @ (HeartbeatersError::InWorkerProcess | HeartbeatersError::NotGiven)) => {
                return Ok(Err(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let beats = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&beats);
        let count = move |_report| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        let sender = heartbeaters.register("there".into(), HeartbeaterOptions::new(), Box::new(count))?;
        sender.send(&())?;
        heartbeaters.blocking_unregister("there".into())?;
        Ok(Ok(beats.load(Ordering::Relaxed)))
    }
}

fn registry() -> Registry {
    Registry::new().task::<Beat>().task::<RegisterThere>()
}
workfleet::test_worker!(registry());

/// Counts what it is asked for, and receives beats by itself.
#[derive(Default)]
struct Counting {
    events: AtomicUsize,
    registered: AtomicUsize,
    unregistered: AtomicUsize,
    beats: Arc<AtomicUsize>,
    tokens: Mutex<BTreeMap<Token, HeartbeatReceiver>>,
}

impl Counting {
    fn tokens(&self) -> MutexGuard<'_, BTreeMap<Token, HeartbeatReceiver>> {
        self.tokens.lock().expect("nobody panics")
    }

    fn counts(&self) -> [usize; 4] {
        [&self.events, &self.registered, &self.unregistered, &*self.beats]
            .map(|count| count.load(Ordering::Relaxed))
    }
}

impl HeartbeaterRegistry for Counting {
    fn new_event(&self) -> Event {
        self.events.fetch_add(1, Ordering::Relaxed);
        Event::new()
    }

    fn register(
        &self,
        token: Token,
        _options: HeartbeaterOptions,
        callback: HeartbeatCallback,
    ) -> Result<HeartbeatSender, RegisterError> {
        let mut tokens = self.tokens();
        if tokens.contains_key(&token) {
            return Err(RegisterError::taken(token));
        }
        self.registered.fetch_add(1, Ordering::Relaxed);
        let (beats, callback) = (Arc::clone(&self.beats), Mutex::new(callback));
        let receiver = HeartbeatReceiver::new(&token, move |details| {
            beats.fetch_add(1, Ordering::Relaxed);
            callback.lock().expect("it does not panic")(Report::Beat(details));
            Ok(())
        });
        let sender = receiver.sender();
        tokens.insert(token, receiver);
        Ok(sender)
    }

    fn unregister(&self, token: Token) -> Unregistering {
        let receiver = self.tokens().remove(&token);
        self.unregistered.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let receiver = receiver.ok_or(UnregisterError::unknown(token))?;
            receiver.flush().await;
            Ok(())
        })
    }
}

fn report_to(told: Sender<u64>) -> HeartbeatCallback {
    Box::new(move |report| {
        let Report::Beat(details) = report else { panic!("nothing else is registered for") };
        told.send(details.decode().expect("a number")).unwrap_or(());
    })
}

/// An event and a sender that the manager's heartbeaters have made work in its tasks.
fn check(pool: &Pool, counting: &Counting) {
    let heartbeaters = pool.heartbeaters().expect("they were given");
    let (told, numbers) = channel();
    let [begin, sent, end] = [(); 3].map(|()| heartbeaters.new_event());
    let sender = heartbeaters
        .register("import".into(), HeartbeaterOptions::new(), report_to(told))
        .expect("a new token");
    let beat = Beat {
        begin: begin.clone(),
        sender: sender.clone(),
        numbers: vec![1, 2, 3],
        sent: sent.clone(),
        end: end.clone(),
    };
    let handle = pool.submit(beat).expect("it is taken");
    begin.set().expect("it is at home here");
    sent.blocking_wait().expect("it is at home here");
    // The task still runs, and the flush asks its worker.
    heartbeaters.blocking_unregister("import".into()).expect("everybody answers");
    // Of a worker process the last beat comes for sure: later ones supersede those before.
    assert_eq!(numbers.iter().last(), Some(3));
    assert_eq!(sender.send(&4_u64), Err(HeartbeatError::NotConnected));
    end.set().expect("it is at home here");
    handle.wait().expect("it is done");
    let [events, registered, unregistered, beats] = counting.counts();
    assert_eq!([events, registered, unregistered], [3, 1, 1]);
    assert!((1..=3).contains(&beats), "{beats}");
}

#[test]
fn worker_processes_use_events_and_senders_of_a_substitute() {
    let counting = Arc::new(Counting::default());
    let builder = ProcessManager::builder(registry()).workers(1).heartbeaters(counting.clone());
    let manager = builder.start().expect("it starts");
    check(&manager, &counting);
    let there = manager.submit(RegisterThere).expect("it is taken").wait().expect("it says so");
    assert_eq!(
        there,
        Err("the manager's heartbeaters are in its program: a task gets a sender in its payload".to_owned())
    );
    manager.close(ClosePolicy::Join).expect("it closes");
}

#[test]
fn threads_use_a_substitute_from_within_too() {
    let counting = Arc::new(Counting::default());
    let builder = ThreadManager::builder(registry()).workers(1).heartbeaters(counting.clone());
    let manager = builder.start().expect("it starts");
    check(&manager, &counting);
    let there = manager.submit(RegisterThere).expect("it is taken").wait().expect("it says so");
    assert_eq!(there, Ok(1));
    assert_eq!(counting.counts()[1..3], [2, 2]);
    manager.close(ClosePolicy::Join).expect("it closes");
}

#[test]
fn a_task_in_place_uses_a_substitute() {
    let counting = Arc::new(Counting::default());
    let given: Arc<dyn HeartbeaterRegistry> = counting.clone();
    let manager = WithHeartbeaters::new(NullManager, given);
    let (told, numbers) = channel();
    let heartbeaters = manager.heartbeaters().expect("they were given");
    let (event, options) = (heartbeaters.new_event(), HeartbeaterOptions::new());
    let sender = heartbeaters.register("import".into(), options, report_to(told)).expect("a new token");
    event.set().expect("it is at home here");
    let cx = TaskContext::detached(manager, ());
    let [begin, end] = [(); 2].map(|()| event.clone());
    Beat { begin, sender, numbers: vec![1, 2], sent: event, end }.run(&cx).expect("it beats");
    heartbeaters.blocking_unregister("import".into()).expect("it is registered");
    assert_eq!(numbers.iter().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(RegisterThere.run(&cx).expect("it says so"), Ok(1));
    assert_eq!(counting.counts(), [1, 2, 2, 3]);

    let without = RegisterThere.run(&TaskContext::detached(NullManager, ())).expect("it says so");
    assert_eq!(without, Err("this manager was given no heartbeaters".to_owned()));
}

#[test]
fn a_manager_that_is_given_none_makes_its_own_and_keeps_them() {
    let manager = ThreadManager::builder(registry()).workers(1).start().expect("it starts");
    let made: Arc<dyn HeartbeaterRegistry> = manager.heartbeaters().expect("a thread");
    assert!(Arc::ptr_eq(&made, &Manager::heartbeaters(&manager).expect("they are there")));
    let there = manager.submit(RegisterThere).expect("it is taken").wait().expect("it says so");
    assert_eq!(there, Ok(1));
}

#[test]
fn what_a_program_has_given_is_dropped_by_it() {
    let counting = Arc::new(Counting::default());
    let manager = ProcessManager::builder(registry()).workers(1).heartbeaters(counting.clone());
    let manager = manager.start().expect("it starts");
    assert_eq!(Arc::strong_count(&counting), 2);
    manager.close(ClosePolicy::Join).expect("it closes");
    drop(manager);
    assert_eq!(Arc::strong_count(&counting), 1);
}
