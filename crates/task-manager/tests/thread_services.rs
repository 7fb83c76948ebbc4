//! Services and their other halves where both live in one process: whoever sends is never called back before it has
//! returned, nobody's queue grows without a bound, and a mistake of one half costs nobody a worker.

mod support;

use std::{
    fs,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use support::{
    alone, assert_balanced,
    deeds::{self, deed},
    echo::{ECHO, ECHO_KINDS, Echo, EchoExtension, EchoService, PANIC_THERE, STRANGE},
    until,
};
use workfleet_task_manager::{
    ClosePolicy, Extension, MessageSendError, Peer, Service, ServiceSender, TaskHandle, ThreadManager,
    ThreadManagerBuilder, WorkerIncarnation,
};
use workfleet_wire::Kind;

fn builder(workers: usize, service: Arc<dyn Service>) -> ThreadManagerBuilder {
    let registry = deeds::registry().task::<Echo>();
    ThreadManager::builder(registry).workers(workers).grace(Duration::from_secs(3600)).service(service)
}

fn start(workers: usize) -> (Arc<EchoService>, ThreadManager) {
    let service = Arc::new(EchoService::default());
    let manager = builder(workers, service.clone()).start().expect("it starts");
    (service, manager)
}

fn join(manager: &ThreadManager) {
    assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
}

fn echoes(manager: &ThreadManager) -> bool {
    manager.submit(Echo(vec![1, 2])).expect("it is taken").wait().expect("it is done")
}

/// Says on which thread it is dropped. When a frame comes, it waits until its worker's thread has ended.
struct Outlasting {
    handles_a_frame: AtomicBool,
}

impl Extension for Outlasting {
    const KINDS: RangeInclusive<u8> = ECHO_KINDS;

    fn attach(line: ServiceSender) -> Self {
        line.send(ECHO, &[]).expect("there is a service");
        Self { handles_a_frame: AtomicBool::new(false) }
    }

    fn on_frame(&self, _kind: Kind, _payload: &[u8]) {
        self.handles_a_frame.store(true, Ordering::Release);
        until(|| !support::pool_threads().iter().any(|name| name.starts_with("workfleet-worke")));
    }
}

impl Drop for Outlasting {
    fn drop(&mut self) {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        if let Some(tell) = DROPPED.get() {
            // The test may have ended.
            let _ = tell.send(thread);
        }
    }
}

static DROPPED: OnceLock<Sender<String>> = OnceLock::new();

/// The worker has had its share of tasks, and its thread ends while the manager's thread hands over a frame.
#[test]
fn what_a_thread_leaves_is_not_dropped_on_the_managers_thread() {
    let _alone = alone();
    let (tell, dropped) = channel();
    assert!(DROPPED.set(tell).is_ok(), "no other test uses it");
    let builder = builder(1, Arc::new(EchoService::default())).tasks_per_worker(1);
    let manager = builder.start().expect("it starts");
    let attach = deed(|cx| {
        let extension = cx.extension::<Outlasting>();
        until(|| extension.handles_a_frame.load(Ordering::Acquire));
        Ok(String::new())
    });
    manager.submit(attach).expect("it is taken").wait().expect("it is done");
    assert_ne!(dropped.recv().expect("it is dropped"), "workfleet");
    join(&manager);
}

/// Passes on what it is sent, and answers when its test has seen that.
struct Slow {
    tell: Mutex<Sender<Told>>,
    go_on: Mutex<Receiver<()>>,
    gone: AtomicUsize,
}

/// Who sent a frame, and how long it is.
type Told = (Peer, usize);

/// A manager of one thread with such a service, what that is sent, and what lets it go on. Dropped in the reverse order,
/// a test that fails does not hang.
fn start_slow() -> (ThreadManager, Arc<Slow>, Receiver<Told>, Sender<()>) {
    let (tell, told) = channel();
    let (let_go, go_on) = channel();
    let service =
        Arc::new(Slow { tell: Mutex::new(tell), go_on: Mutex::new(go_on), gone: AtomicUsize::new(0) });
    let manager = builder(1, service.clone()).start().expect("it starts");
    (manager, service, told, let_go)
}

impl Service for Slow {
    fn kinds(&self) -> RangeInclusive<u8> {
        ECHO_KINDS
    }

    fn on_frame(&self, peer: &Peer, _kind: Kind, payload: &[u8]) {
        let tell = self.tell.lock().unwrap_or_else(PoisonError::into_inner);
        // The test may have ended.
        let _ = tell.send((peer.clone(), payload.len()));
        let _ = self.go_on.lock().unwrap_or_else(PoisonError::into_inner).recv();
    }

    fn on_worker_gone(&self, _incarnation: WorkerIncarnation) {
        self.gone.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether this thread of the process waits for something.
fn sleeps(thread: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    // The state stands behind the name, which is in parentheses and may hold anything.
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" S"))
}

/// A task that sends frames of one length.
struct Flood {
    task: TaskHandle<String>,
    /// The number of its thread.
    thread: i32,
    sent: Arc<AtomicUsize>,
    frames: usize,
}

impl Flood {
    /// Begins to send that many.
    fn begin(manager: &ThreadManager, frames: usize, len_bytes: usize) -> Self {
        let sent = Arc::new(AtomicUsize::new(0));
        let (tell_thread, thread) = channel();
        let count = Arc::clone(&sent);
        let floods = deed(move |cx| {
            let link = fs::read_link("/proc/thread-self")?;
            tell_thread.send(link.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok()))?;
            let echo = cx.extension::<EchoExtension>();
            for _ in 0..frames {
                echo.line.send(ECHO, &vec![0; len_bytes])?;
                count.fetch_add(1, Ordering::Release);
            }
            Ok(String::new())
        });
        let task = manager.submit(floods).expect("it is taken");
        let thread = thread.recv().expect("it begins").expect("it has a number");
        Self { task, thread, sent, frames }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Acquire)
    }

    /// Returns when the task has sent that many and waits, or has sent all.
    fn await_wait(&self, sent: usize) {
        until(|| self.sent() == self.frames || (self.sent() >= sent && sleeps(self.thread)));
    }
}

#[test]
fn a_task_waits_for_a_service_that_does_not_keep_up() {
    const FRAMES: usize = 20;
    const LEN_BYTES: usize = 600 * 1024;
    let _alone = alone();
    let (manager, _service, told, let_go) = start_slow();
    let flood = Flood::begin(&manager, FRAMES, LEN_BYTES);
    // The service has the first in its hands; two more are beyond 1 MiB, and the next waits.
    let (_, len_bytes) = told.recv().expect("it comes");
    assert_eq!(len_bytes, LEN_BYTES);
    flood.await_wait(3);
    assert_eq!(flood.sent(), 3);
    for taken in 2..=FRAMES {
        let_go.send(()).expect("it waits");
        told.recv().expect("it comes");
        assert!(flood.sent() <= taken + 2, "never more than that is on its way");
    }
    let_go.send(()).expect("it waits");
    let Flood { task, sent, .. } = flood;
    task.wait().expect("all of it went out");
    assert_eq!(sent.load(Ordering::Acquire), FRAMES);
    join(&manager);
}

#[test]
fn a_task_that_waits_for_a_service_goes_on_when_its_manager_has_closed() {
    let _alone = alone();
    let (manager, service, told, let_go) = start_slow();
    let (tell, result) = channel();
    let floods = deed(move |cx| {
        let echo = cx.extension::<EchoExtension>();
        let refused = (0..20).find_map(|_| echo.line.send(ECHO, &vec![0; 600 * 1024]).err());
        tell.send(refused)?;
        Ok(String::new())
    });
    let floods = manager.submit(floods).expect("it is taken");
    told.recv().expect("it comes");
    // From now on the service holds nobody up, but the task never sees all of its frames taken.
    std::thread::scope(|scope| {
        let closes = scope.spawn(|| manager.close(ClosePolicy::Kill).expect("it closes"));
        until(|| manager.send_message(&support::tasks::Text(String::new())).is_err());
        drop(let_go);
        assert_balanced(&closes.join().expect("no panic"));
    });
    match result.recv().expect("it goes on") {
        // The service was faster than the close, or not.
        None | Some(MessageSendError::AttemptEnded) => {}
        other => panic!("{other:?}"),
    }
    assert!(floods.is_finished());
    assert_eq!(service.gone.load(Ordering::Relaxed), 1);
}

#[test]
fn an_extension_is_sent_no_more_than_a_bounded_amount() {
    let _alone = alone();
    let (manager, _service, told, let_go) = start_slow();
    let once = deed(|cx| {
        cx.extension::<EchoExtension>().line.send(ECHO, b"x")?;
        Ok(String::new())
    });
    manager.submit(once).expect("it is taken").wait().expect("it is done");
    // While the service holds the manager's thread, nothing is handed over.
    let (peer, _) = told.recv().expect("it comes");
    assert_eq!(peer.worker(), "worker-0");
    let refused = (0..100).find_map(|_| peer.send(ECHO, &vec![0; 1 << 20]).err());
    match refused {
        Some(MessageSendError::Full { waiting_bytes, limit_bytes, .. }) => {
            assert!(
                waiting_bytes > limit_bytes && waiting_bytes <= limit_bytes + (1 << 20),
                "{waiting_bytes}"
            );
        }
        other => panic!("{other:?}"),
    }
    drop(let_go);
    let count = deed(|cx| {
        let answers = cx.extension::<EchoExtension>().take(1);
        Ok(answers.iter().all(|answer| answer.len() == 1 << 20).to_string())
    });
    assert_eq!(manager.submit(count).expect("it is taken").wait().expect("it is done"), "true");
    join(&manager);
    let refused = peer.send(ECHO, b"late");
    assert!(matches!(refused, Err(MessageSendError::WorkerGone)), "{refused:?}");
}

#[test]
fn a_frame_that_no_service_expects_is_an_error_of_its_sender() {
    let _alone = alone();
    let manager = ThreadManager::builder(deeds::registry()).workers(1).start().expect("it starts");
    let sends = deed(|cx| match cx.extension::<EchoExtension>().line.send(ECHO, b"x") {
        Err(MessageSendError::NoService { kind, .. }) => Ok(format!("no service for {}", kind.0)),
        other => Err(format!("{other:?}").into()),
    });
    let said = manager.submit(sends).expect("it is taken").wait().expect("it is done");
    assert_eq!(said, format!("no service for {}", ECHO.0));
    join(&manager);
}

#[test]
fn a_frame_that_no_extension_expects_or_that_makes_one_panic_harms_nobody() {
    let _alone = alone();
    let (service, manager) = start(1);
    assert!(echoes(&manager));
    let peer = service.peers.lock().expect("no panic")[0].clone();
    for kind in [STRANGE, PANIC_THERE, STRANGE] {
        peer.send(kind, b"x").expect("it is sent");
        assert!(echoes(&manager), "frames behind it are handed over");
    }
    assert!(service.gone.lock().expect("no panic").is_empty());
    join(&manager);
}

#[test]
fn a_service_hears_once_of_each_thread_that_is_gone_however_it_went() {
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        let (service, manager) = start(3);
        support::all_ready(&manager, 3);
        if policy == ClosePolicy::Kill {
            // One that is abandoned is gone, too.
            manager
                .schedule_with(support::tasks::Gate::Ignore, workfleet_task_manager::Priority(0))
                .expect("it is taken");
            assert_eq!(support::tasks::next_text(&manager), "begun");
        }
        assert!(service.gone.lock().expect("no panic").is_empty());
        manager.close(policy).expect("it closes");
        let mut gone = service.gone.lock().expect("no panic").clone();
        gone.sort_unstable();
        gone.dedup();
        assert_eq!((gone.len(), service.gone.lock().expect("no panic").len()), (3, 3));
    }
}

#[test]
fn an_abandoned_task_reaches_no_service_any_more() {
    let _alone = alone();
    let (service, manager) = start(1);
    let (tell_begun, begun) = channel();
    let (let_go, is_let_go) = channel::<()>();
    let (tell, told) = channel();
    let outlasts = deed(move |cx| {
        let echo = cx.extension::<EchoExtension>();
        tell_begun.send(())?;
        // Until the test drops its end.
        let _ = is_let_go.recv();
        tell.send(echo.line.send(ECHO, b"late"))?;
        Ok(String::new())
    });
    let outlasts = manager.submit(outlasts).expect("it is taken");
    begun.recv().expect("it begins");
    assert_eq!(manager.close(ClosePolicy::Kill).expect("it closes").abandoned.len(), 1);
    drop(let_go);
    let refused = told.recv().expect("it goes on");
    assert!(matches!(refused, Err(MessageSendError::AttemptEnded)), "{refused:?}");
    outlasts.wait().expect_err("it was abandoned");
    assert_eq!(service.frames.load(Ordering::Relaxed), 0);
}

#[test]
fn the_last_owner_may_be_a_service_of_the_pool() {
    struct Owner(Mutex<Option<ThreadManager>>, OnceLock<()>);
    impl Service for Owner {
        fn kinds(&self) -> RangeInclusive<u8> {
            ECHO_KINDS
        }
        fn on_frame(&self, _peer: &Peer, _kind: Kind, _payload: &[u8]) {
            drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
            let _ = self.1.set(());
        }
        fn on_worker_gone(&self, _incarnation: WorkerIncarnation) {}
    }
    let _alone = alone();
    let owner = Arc::new(Owner(Mutex::new(None), OnceLock::new()));
    let manager = builder(1, owner.clone()).start().expect("it starts");
    let sends = deed(|cx| {
        cx.extension::<EchoExtension>().line.send(ECHO, b"x")?;
        support::tasks::wait_for_cancellation(cx)?;
        cx.check_cancelled()?;
        Ok(String::new())
    });
    let mut owned = owner.0.lock().unwrap_or_else(PoisonError::into_inner);
    let sends = manager.submit(sends).expect("it is taken");
    *owned = Some(manager);
    drop(owned);
    let failure = sends.wait().expect_err("it is told to stop, or abandoned");
    assert_eq!(failure.cause, workfleet_task_manager::FailureCause::Cancelled);
    until(|| owner.1.get().is_some());
}

/// Answers every frame at once.
struct Answers(ServiceSender);

impl Extension for Answers {
    const KINDS: RangeInclusive<u8> = ECHO_KINDS;

    fn attach(line: ServiceSender) -> Self {
        Self(line)
    }

    fn on_frame(&self, kind: Kind, _payload: &[u8]) {
        // The manager may have closed.
        let _ = self.0.send(kind, b"answer");
    }
}

#[test]
fn an_extension_may_answer_while_too_much_waits_for_its_service() {
    let _alone = alone();
    let (manager, _service, told, let_go) = start_slow();
    let (tell_go_on, go_on) = channel::<()>();
    let floods = deed(move |cx| {
        let answers = cx.extension::<Answers>();
        answers.0.send(ECHO, b"x")?;
        go_on.recv()?;
        for _ in 0..2 {
            answers.0.send(ECHO, &vec![0; 600 * 1024])?;
        }
        Ok(String::new())
    });
    let floods = manager.submit(floods).expect("it is taken");
    // The service holds the manager's thread; behind it come a frame that is answered, and more than 1 MiB.
    let (peer, _) = told.recv().expect("it comes");
    peer.send(ECHO, b"question").expect("it is sent");
    tell_go_on.send(()).expect("it waits");
    floods.wait().expect("it is done");
    drop(let_go);
    let lens: Vec<usize> = (0..3).map(|_| told.recv().expect("it comes").1).collect();
    assert_eq!(lens, [600 * 1024, 600 * 1024, b"answer".len()]);
    join(&manager);
}

#[test]
fn halves_that_answer_each_other_without_end_keep_no_manager_from_closing() {
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        let (service, manager) = start(1);
        let begins = deed(|cx| {
            cx.extension::<Answers>().0.send(ECHO, b"x")?;
            Ok(String::new())
        });
        manager.submit(begins).expect("it is taken").wait().expect("it is done");
        until(|| service.frames.load(Ordering::Relaxed) > 100);
        assert_balanced(&manager.close(policy).expect("it closes"));
    }
}

#[test]
fn empty_frames_wait_in_no_larger_number_than_memory_bears() {
    const MANY: usize = 1_000_000;
    let _alone = alone();
    let (manager, _service, told, let_go) = start_slow();
    let flood = Flood::begin(&manager, MANY, 0);
    let (peer, _) = told.recv().expect("it comes");
    let refused = (0..MANY).find_map(|_| peer.send(ECHO, b"").err());
    assert!(matches!(refused, Some(MessageSendError::Full { .. })), "{refused:?}");
    flood.await_wait(2);
    assert!(flood.sent() < MANY, "it waits for the service");
    drop(let_go);
    assert_balanced(&manager.close(ClosePolicy::Kill).expect("it closes"));
    assert!(flood.task.is_finished());
}

#[test]
fn nothing_comes_of_a_thread_that_its_service_was_told_is_gone() {
    let _alone = alone();
    let service = Arc::new(EchoService::default());
    let manager = builder(1, service.clone()).tasks_per_worker(1).start().expect("it starts");
    let (tell, told) = channel();
    let leaves = deed(move |cx| {
        // What holds the worker's half alive outlasts its thread.
        tell.send((cx.proxy(), cx.extension::<EchoExtension>()))?;
        Ok(String::new())
    });
    manager.submit(leaves).expect("it is taken").wait().expect("it is done");
    let (_proxy, echo) = told.recv().expect("it was sent");
    until(|| service.gone.lock().expect("no panic").len() == 1);
    let refused = echo.line.send(ECHO, b"late");
    assert!(matches!(refused, Err(MessageSendError::AttemptEnded)), "{refused:?}");
    assert!(echoes(&manager), "the next thread is heard");
    assert_eq!(service.frames.load(Ordering::Relaxed), 2);
    join(&manager);
}

#[test]
fn an_extension_may_send_while_it_is_made_and_too_much_waits_for_its_service() {
    static MAKING: Mutex<Option<Sender<()>>> = Mutex::new(None);
    struct Floods(ServiceSender);
    impl Extension for Floods {
        const KINDS: RangeInclusive<u8> = ECHO.0..=ECHO.0;
        fn attach(line: ServiceSender) -> Self {
            Self(line)
        }
        fn on_frame(&self, _kind: Kind, _payload: &[u8]) {}
    }
    struct Greets(Result<(), MessageSendError>);
    impl Extension for Greets {
        const KINDS: RangeInclusive<u8> = PANIC_THERE.0..=PANIC_THERE.0;
        fn attach(line: ServiceSender) -> Self {
            drop(MAKING.lock().expect("no panic").take());
            Self(line.send(PANIC_THERE, b"made"))
        }
        fn on_frame(&self, _kind: Kind, _payload: &[u8]) {}
    }
    let _alone = alone();
    let (manager, _service, told, let_go) = start_slow();
    let (tell_making, making) = channel();
    *MAKING.lock().expect("no panic") = Some(tell_making);
    let (tell_go_on, go_on) = channel::<()>();
    let floods = deed(move |cx| {
        let floods = cx.extension::<Floods>();
        floods.0.send(ECHO, b"x")?;
        go_on.recv()?;
        for _ in 0..2 {
            floods.0.send(ECHO, &vec![0; 600 * 1024])?;
        }
        Ok(format!("{:?}", cx.extension::<Greets>().0))
    });
    let floods = manager.submit(floods).expect("it is taken");
    // Behind what the service holds come a frame for an extension and more than 1 MiB.
    let (peer, _) = told.recv().expect("it comes");
    peer.send(ECHO, b"x").expect("it is sent");
    tell_go_on.send(()).expect("it waits");
    // It is being made when its end is dropped.
    let _ = making.recv();
    drop(let_go);
    assert_eq!(floods.wait().expect("it is done"), "Ok(())");
    join(&manager);
}
