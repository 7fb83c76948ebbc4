//! Every way in which a manager or a worker can fail to start, and in which a connection can go wrong: each has its own
//! typed error, and none of them hangs.

mod support;

use std::{
    env, fs,
    fs::File,
    io::{self, Read, Write},
    net::Shutdown,
    ops::RangeInclusive,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::PermissionsExt, net::UnixStream},
    },
    path::PathBuf,
    process::{self, Command, Output, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::{
    process::{Resource, Rlimit, Signal, getrlimit, setrlimit},
    stdio::stdin,
};
use serde::{Deserialize, Serialize};
use support::{
    close, only_worker,
    process::{all_threads_stopped, await_death, is_alive, signal_child, to_pid},
    until,
    watchdog::watchdog,
};
use workfleet_task_manager::{
    ExitStatus, FailureCause, KillReason, ManagerStartError, Peer, ProcessManager, ProcessManagerBuilder,
    Registry, Service, StartFailure, Task, TaskContext, TaskError, TaskSpec, WorkerIncarnation, init,
    init_test_worker, kinds,
};
use workfleet_wire::{Kind, blocking, encode_frame, encode_header};

/// Yields its process.
#[derive(Debug, Serialize, Deserialize)]
struct Where;
impl TaskSpec for Where {
    const NAME: &'static str = "where";
    type Output = u32;
}
impl Task for Where {
    fn run(self, _cx: &TaskContext) -> Result<u32, TaskError> {
        Ok(process::id())
    }
}

/// In its first attempts, writes bytes into the worker's connection, behind everything that was sent before.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Corrupt {
    bytes: Vec<u8>,
    attempts: u32,
}
impl TaskSpec for Corrupt {
    const NAME: &'static str = "corrupt";
    type Output = u32;
}
impl Task for Corrupt {
    fn run(self, cx: &TaskContext) -> Result<u32, TaskError> {
        if cx.attempt() <= self.attempts {
            cx.flush()?;
            own_connection()?.write_all(&self.bytes)?;
            loop {
                thread::park();
            }
        }
        Ok(cx.attempt())
    }
}

/// The connection of the worker that this process is.
fn own_connection() -> Result<UnixStream, TaskError> {
    let mark = env::var("WORKFLEET_WORKER")?;
    let (_device, inode) = mark.split_once(':').ok_or("a mark of another form")?;
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        if fs::read_link(&path).is_ok_and(|to| to.as_os_str() == &*format!("socket:[{inode}]")) {
            let number: i32 = path.file_name().and_then(|name| name.to_str()).ok_or("no name")?.parse()?;
            // SAFETY: the worker's connection is open as long as its process.
            let socket = unsafe { BorrowedFd::borrow_raw(number) };
            return Ok(socket.try_clone_to_owned()?.into());
        }
    }
    Err("the connection is not there".into())
}

/// In its first attempt, takes care that nothing can be written to its worker any more, and stops it, so that it does not
/// find that out itself.
#[derive(Debug, Serialize, Deserialize)]
struct Deafen;
impl TaskSpec for Deafen {
    const NAME: &'static str = "deafen";
    type Output = u32;
}
impl Task for Deafen {
    fn run(self, cx: &TaskContext) -> Result<u32, TaskError> {
        if cx.attempt() == 1 {
            own_connection()?.shutdown(Shutdown::Read)?;
            rustix::process::kill_process(rustix::process::getpid(), Signal::STOP)?;
            // Another of its threads may be the first to be stopped.
            loop {
                thread::park();
            }
        }
        Ok(cx.attempt())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Other;
impl TaskSpec for Other {
    const NAME: &'static str = "other";
    type Output = ();
}
impl Task for Other {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        Ok(())
    }
}

/// A second type under the name of [`Where`].
#[derive(Debug, Serialize, Deserialize)]
struct Impostor;
impl TaskSpec for Impostor {
    const NAME: &'static str = Where::NAME;
    type Output = ();
}
impl Task for Impostor {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        Ok(())
    }
}

fn registry() -> Registry {
    Registry::new().task::<Where>().task::<Corrupt>().task::<Deafen>()
}

/// Arguments that make this test program play a role. The harness skips the tests of that name: there are none.
fn role(role: &str) -> [String; 4] {
    ["workfleet_worker".into(), "--nocapture".into(), "--skip".into(), format!("role={role}")]
}

/// A manager whose one worker plays a role, and that does not wait for what may pass.
fn played(name: &str) -> ProcessManagerBuilder {
    ProcessManager::builder(registry()).workers(1).arguments(role(name)).outage_patience(Duration::ZERO)
}

/// A manager of ordinary workers.
fn ordinary() -> ProcessManagerBuilder {
    ProcessManager::builder(registry()).arguments(["workfleet_worker", "--nocapture"])
}

/// What a worker process of this test program is: a worker, or what its role says.
#[test]
fn workfleet_worker() {
    let role = env::args().find_map(|argument| argument.strip_prefix("role=").map(str::to_owned));
    let Some(role) = role else {
        return init_test_worker(&registry(), module_path!());
    };
    match role.split_once(':').unwrap_or((&role, "")) {
        ("other-registry", _) => init(&Registry::new().task::<Other>()),
        ("session-fails", _) => init(&registry().session(|| Err::<(), _>("no table today".into()))),
        ("session-panics", _) => {
            init(&registry().session(|| -> Result<(), _> { panic!("the table is gone") }))
        }
        ("session-exits", _) => init(&registry().session(|| -> Result<(), _> { process::exit(9) })),
        ("session-hangs", _) => init(&registry().session(|| -> Result<(), _> {
            loop {
                thread::park();
            }
        })),
        ("session-unless", file) => {
            let file = PathBuf::from(file);
            init(&registry().session(move || match file.exists() {
                true => Err("the table is locked".into()),
                false => Ok(()),
            }));
        }
        ("starts-first", _) => {
            let error = ProcessManager::builder(registry()).start().map(drop).expect_err("a worker");
            assert!(matches!(error, ManagerStartError::InitNotReached), "{error}");
            eprintln!("start said: {error}");
            process::exit(42);
        }
        ("version", version) => {
            let mut manager = greet(version.parse().expect("a number"), 0);
            let _ = manager.read_to_end(&mut Vec::new());
        }
        ("garbage", _) => send(b"GET / HTTP/1.1\r\nHost: workfleet\r\n\r\n"),
        ("huge", _) => send(&encode_header(kinds::HELLO, u64::MAX)),
        ("idle-first", _) => send(&encode_header(kinds::IDLE, 0)),
        ("hello-of-one-byte", _) => send(&[&encode_header(kinds::HELLO, 1)[..], &[1]].concat()),
        ("half-a-greeting", _) => {
            connection().write_all(&encode_header(kinds::HELLO, 100)).expect("it is sent");
            process::exit(5);
        }
        // The guardian of the program runs the same.
        ("deaf-at-first", _) if env::var_os("WORKFLEET_GUARDIAN").is_some() => init(&registry()),
        ("deaf-at-first", file) => match File::create_new(file) {
            Ok(_) => be_deaf(),
            Err(_) => init(&registry()),
        },
        ("lets-go", _) => {
            drop(connection());
            rustix::stdio::dup2_stdin(File::open("/dev/null").expect("nothing")).expect("it is replaced");
            loop {
                thread::park();
            }
        }
        ("few-descriptors", _) => with_few_descriptors(),
        ("no-descriptors-later", _) => without_descriptors_later(),
        ("few-processes", _) => with_few_processes(),
        ("no-processes-later", _) => without_processes_later(),
        (other, _) => panic!("no role {other}"),
    }
}

/// The connection with the manager.
fn connection() -> UnixStream {
    stdin().try_clone_to_owned().expect("a descriptor").into()
}

/// Takes the manager's greeting and sends one of this version.
fn greet(version: u16, digest: u64) -> UnixStream {
    let mut manager = connection();
    let mut reader = blocking::Reader::new(&manager);
    assert_eq!(blocking::receive_bytes(&mut reader).expect("a greeting").kind, kinds::WELCOME);
    let mut payload = version.to_le_bytes().to_vec();
    // Behind the digest no names, and none left out.
    workfleet_wire::message::encode_into(&(digest, 0_u8, false), &mut payload).expect("numbers");
    blocking::send_bytes(&mut manager, kinds::HELLO, &payload).expect("it is sent");
    manager
}

/// Is a worker that is ready, to which nothing can be written, and that goes on all the same.
fn be_deaf() {
    let mut manager = connection();
    let mut reader = blocking::Reader::new(&manager);
    let welcome = blocking::receive_bytes(&mut reader).expect("a greeting");
    // Its version, and the digest of its registry, a number of as many bytes as it takes.
    let digest_bytes = welcome.payload[2..].iter().position(|byte| byte & 0x80 == 0).expect("an end") + 1;
    let hello = [&welcome.payload[..2 + digest_bytes], &[0, 0]].concat();
    manager.shutdown(Shutdown::Read).expect("it is open");
    blocking::send_bytes(&mut manager, kinds::HELLO, &hello).expect("it is sent");
    blocking::send_bytes(&mut manager, kinds::IDLE, b"").expect("it is sent");
    loop {
        thread::park();
    }
}

/// Sends bytes instead of a greeting, and stays until the manager ends the connection or the process.
fn send(bytes: &[u8]) {
    let mut manager = connection();
    manager.write_all(bytes).expect("it is sent");
    let _ = manager.read_to_end(&mut Vec::new());
}

/// Why not one worker started.
fn start_failure(builder: ProcessManagerBuilder) -> StartFailure {
    match builder.start() {
        Err(ManagerStartError::Workers(failure)) => failure,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it started"),
    }
}

fn start_error(builder: ProcessManagerBuilder) -> ManagerStartError {
    builder.start().map(drop).expect_err("it does not start")
}

const NO_ARGUMENTS: [&str; 0] = [];

#[test]
fn a_program_that_never_calls_init_is_given_up() {
    let _watchdog = watchdog();
    let limit = Duration::from_millis(100);
    let builder = played("").program("/bin/sleep").arguments(["1000"]).workers(2).init_limit(limit);
    match start_failure(builder) {
        StartFailure::InitNotReached { after, stderr_tail, .. } => {
            assert_eq!((after, &*stderr_tail), (limit, ""));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_that_ends_at_once_has_died() {
    let _watchdog = watchdog();
    match start_failure(played("").program("/bin/true").arguments(NO_ARGUMENTS)) {
        StartFailure::Died { certificate, .. } => {
            assert_eq!((certificate.status, certificate.killed_because), (ExitStatus::Exited(0), None));
            assert_eq!((&*certificate.worker, certificate.charged), ("worker-0", None));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_that_complains_and_ends_is_quoted() {
    let _watchdog = watchdog();
    let failure =
        start_failure(played("").program("/bin/sh").arguments(["-c", "echo no licence >&2; exit 3"]));
    assert!(failure.to_string().contains("no licence"), "{failure}");
    match failure {
        StartFailure::Died { certificate, .. } => {
            assert_eq!(
                (certificate.status, &*certificate.stderr_tail),
                (ExitStatus::Exited(3), "no licence")
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_test_harness_without_the_entry_has_died() {
    let _watchdog = watchdog();
    match start_failure(played("").arguments(["no_test_has_this_name"])) {
        StartFailure::Died { certificate, .. } => assert_eq!(certificate.status, ExitStatus::Exited(0)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_that_starts_a_manager_before_init_breeds_nothing() {
    let _watchdog = watchdog();
    match start_failure(played("starts-first")) {
        StartFailure::Died { certificate, .. } => {
            assert_eq!(certificate.status, ExitStatus::Exited(42), "{certificate}");
            assert!(certificate.stderr_tail.contains("call init first in main"), "{certificate}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_protocol_version_is_named() {
    let _watchdog = watchdog();
    match start_failure(played("version:999")) {
        StartFailure::Version { ours, theirs, .. } => assert_eq!((ours == theirs, theirs), (false, 999)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_registry_is_refused() {
    let _watchdog = watchdog();
    let failure = start_failure(played("other-registry"));
    let StartFailure::Registry { only_ours, only_theirs, .. } = &failure else { panic!("{failure:?}") };
    let ours: Vec<_> = registry().names().map(str::to_owned).collect();
    assert_eq!((only_ours, only_theirs), (&ours, &vec!["other".to_owned()]));
    let text = failure.to_string();
    assert!(text.contains(&format!("only the manager has {:?}", ours[0])), "{text}");
    assert!(text.ends_with("only the worker has \"other\""), "{text}");
}

#[test]
fn a_session_that_fails_says_why() {
    let _watchdog = watchdog();
    for (name, words) in [("session-fails", "no table today"), ("session-panics", "the table is gone")] {
        match start_failure(played(name)) {
            StartFailure::Session { reason, .. } => assert!(reason.contains(words), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_session_that_exits_has_died() {
    let _watchdog = watchdog();
    match start_failure(played("session-exits")) {
        StartFailure::Died { certificate, .. } => assert_eq!(certificate.status, ExitStatus::Exited(9)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_that_hangs_is_given_up() {
    let _watchdog = watchdog();
    let limit = Duration::from_millis(100);
    match start_failure(played("session-hangs").session_limit(limit)) {
        StartFailure::SessionTimeout { after, .. } => assert_eq!(after, limit),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_greeting_violates_the_protocol() {
    let _watchdog = watchdog();
    for name in ["garbage", "huge", "idle-first", "hello-of-one-byte"] {
        let failure = start_failure(played(name));
        assert!(matches!(failure, StartFailure::Violation { .. }), "{name}: {failure:?}");
    }
}

#[test]
fn a_worker_that_ends_within_its_greeting_has_died() {
    let _watchdog = watchdog();
    match start_failure(played("half-a-greeting")) {
        StartFailure::Died { certificate, .. } => assert_eq!(certificate.status, ExitStatus::Exited(5)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_that_lets_go_of_its_connection_is_killed() {
    let _watchdog = watchdog();
    match start_failure(played("lets-go").grace(Duration::from_millis(100))) {
        StartFailure::Died { certificate, .. } => {
            assert_eq!(certificate.status, ExitStatus::Signaled(libc::SIGKILL));
            assert_eq!(certificate.killed_because, Some(KillReason::ConnectionEnded));
            assert!(!is_alive(certificate.pid));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_that_cannot_be_run_is_reported_with_the_systems_reason() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().expect("a directory");
    let no_program = directory.path().join("text");
    fs::write(&no_program, "no program").expect("a file");
    fs::set_permissions(&no_program, fs::Permissions::from_mode(0o644)).expect("its mode");
    let missing = directory.path().join("missing");
    for (program, kind) in [(no_program, io::ErrorKind::PermissionDenied), (missing, io::ErrorKind::NotFound)]
    {
        match start_failure(played("").program(program)) {
            StartFailure::Spawn { source, .. } => assert_eq!(source.kind(), kind),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn settings_beyond_their_limits_are_named() {
    let builder = || ProcessManager::builder(registry());
    let refused = [
        ("workers", builder().workers(0)),
        ("workers", builder().workers(4097)),
        ("priority_levels", builder().priority_levels(0)),
        ("priority_levels", builder().priority_levels(129)),
        ("crash_limit", builder().crash_limit(0)),
        ("frame_limit", builder().frame_limit(4095)),
        ("frame_limit", builder().frame_limit((4 << 30) + 1)),
        ("silence_limit", builder().silence_limit(Duration::ZERO)),
        ("silence_limit", builder().silence_limit(Duration::MAX)),
    ];
    for (name, builder) in refused {
        let error = start_error(builder);
        assert!(error.to_string().starts_with(name), "{error}");
        assert!(matches!(error, ManagerStartError::Setting { .. }), "{error}");
    }
}

#[test]
fn a_registry_at_odds_with_itself_is_refused() {
    let error = start_error(ProcessManager::builder(registry().task::<Impostor>()));
    assert!(matches!(error, ManagerStartError::Registry(_)), "{error}");
}

struct Claims(RangeInclusive<u8>);
impl Service for Claims {
    fn kinds(&self) -> RangeInclusive<u8> {
        self.0.clone()
    }

    fn on_frame(&self, _peer: &Peer, _kind: Kind, _payload: &[u8]) {}

    fn on_worker_gone(&self, _incarnation: WorkerIncarnation) {}
}

#[test]
fn services_that_claim_what_is_not_free_are_refused() {
    let refused: [&[RangeInclusive<u8>]; 5] = [
        &[0x40..=0x4f, 0x4f..=0x50],
        &[0x40..=0x4f, 0x41..=0x42],
        &[0x1f..=0x20],
        &[0x67..=0x68],
        #[expect(clippy::reversed_empty_ranges, reason = "an empty range is what is tested")]
        &[0x41..=0x40],
    ];
    for ranges in refused {
        let mut builder = ProcessManager::builder(registry());
        for range in ranges {
            builder = builder.service(Arc::new(Claims(range.clone())));
        }
        let last = &ranges[ranges.len() - 1];
        match start_error(builder) {
            ManagerStartError::ServiceKinds { first, last: end, .. } => assert_eq!(first..=end, last.clone()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_log_directory_that_cannot_be_made_is_an_error() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = start_error(ProcessManager::builder(registry()).log_directory(file.path().join("logs")));
    match error {
        ManagerStartError::LogDirectory(source) => assert_eq!(source.kind(), io::ErrorKind::NotADirectory),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tasks_fail_as_never_started_while_no_worker_starts_and_run_once_one_does() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().expect("a directory");
    let lock = directory.path().join("lock");
    let role = format!("session-unless:{}", lock.display());
    let manager = played(&role).start().expect("the first session is made");
    let submit = || manager.submit(Where).expect("it is taken");
    let first = submit().wait().expect("it is run");

    File::create(&lock).expect("a file");
    signal_child(first, Signal::KILL);
    await_death(first);
    let waiting: Vec<_> = (0..10).map(|_| submit()).collect();
    for handle in waiting {
        let failure = handle.wait().expect_err("no worker starts");
        assert_eq!((failure.attempt, failure.deaths.len()), (0, 0));
        match &failure.cause {
            FailureCause::NeverStarted { reason, .. } => {
                assert!(reason.contains("the table is locked"), "{reason}");
            }
            other => panic!("{other}"),
        }
    }
    fs::remove_file(&lock).expect("it is there");
    // One more start may be failing right now.
    let recovered = loop {
        match submit().wait() {
            Ok(pid) => break pid,
            Err(failure) => {
                assert!(matches!(failure.cause, FailureCause::NeverStarted { .. }), "{failure}");
            }
        }
    };
    assert_ne!(recovered, first);
    let report = close(&manager);
    assert_eq!(report.tasks.done, 2);
}

#[test]
fn one_worker_that_starts_is_enough() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().expect("a directory");
    // The first to make its session takes the slot of all others.
    let role = format!("session-unless:{}", directory.path().join("lock").display());
    let manager = played(&role).workers(4).start().expect("it starts");
    File::create(directory.path().join("lock")).expect("a file");
    for _ in 0..10 {
        manager.submit(Where).expect("it is taken").wait().expect("it is run");
    }
    close(&manager);
}

/// Frames that a worker must not send, once it is greeted.
fn violations() -> Vec<(&'static str, Vec<u8>)> {
    let frame = |kind: Kind, payload: &[u8]| {
        let mut bytes = Vec::new();
        encode_frame(kind, payload, &mut bytes);
        bytes
    };
    vec![
        ("no frame", vec![0xff; 64]),
        ("a hostile length", encode_header(kinds::MESSAGE, 1 << 60).to_vec()),
        (
            "a length just beyond the limit",
            encode_header(kinds::RESULT, (64 << 20) + (64 + 1024) + (64 << 10) + 1).to_vec(),
        ),
        ("an unknown kind", frame(Kind(0x00), b"")),
        ("a kind of the other direction", frame(kinds::WELCOME, b"hello")),
        ("a result of nothing", frame(kinds::RESULT, b"")),
        ("a result that does not decode", frame(kinds::RESULT, &[0xff; 30])),
        ("a failure that does not decode", frame(kinds::FAILURE, &[0xff; 30])),
        ("a message that does not decode", frame(kinds::MESSAGE, &[0xff; 30])),
        ("a return that does not decode", frame(kinds::RETURNED, &[0xff; 30])),
        ("a return of more than there is", frame(kinds::RETURNED, &[0xff, 0xff, 0xff, 0xff, 0x0f, 1])),
        ("a heartbeat that does not decode", frame(kinds::HEARTBEAT, &[0xff; 30])),
        ("a heartbeat with more details than may be", frame(kinds::HEARTBEAT, &too_large_a_heartbeat())),
        ("a second greeting", frame(kinds::HELLO, &[1, 0, 0])),
        ("a second readiness", frame(kinds::IDLE, b"")),
        ("a frame of the other program's protocol", frame(kinds::DONE_NEXT, b"")),
        ("a frame of no service", frame(Kind(0x58), b"hello")),
        ("a priority beyond the levels", frame(Kind(0x82), &[1, 0, 0, 0])),
        ("a task of no type", frame(Kind(0x80), &[1, 0, 99, 0])),
    ]
}

fn too_large_a_heartbeat() -> Vec<u8> {
    let details = vec![0_u8; (64 << 10) + 1];
    workfleet_wire::message::encode(&(1_u64, Some(details))).expect("bytes")
}

#[test]
fn a_worker_that_violates_the_protocol_is_killed_and_its_task_tried_again() {
    let _watchdog = watchdog();
    let manager = ordinary().start().expect("it starts");
    for (what, bytes) in violations() {
        let once = Corrupt { bytes, attempts: 1 };
        let always = Corrupt { attempts: u32::MAX, ..once.clone() };
        let once = manager.submit(once).expect("it is taken");
        let always = manager.submit(always).expect("it is taken");
        let behind = manager.submit(Where).expect("it is taken");
        assert_eq!(once.wait().expect(what), 2, "{what}");
        let failure = always.wait().expect_err(what);
        assert_eq!(failure.cause, FailureCause::WorkerDied, "{what}");
        assert_eq!(failure.deaths.len(), 3, "{what}");
        for death in &failure.deaths {
            assert_eq!(death.killed_because, Some(KillReason::ProtocolViolated), "{what}");
            assert_eq!(death.charged, Some(failure.task), "{what}");
        }
        behind.wait().expect(what);
    }
    close(&manager);
}

/// The first write to it fails, and nothing of it is to be waited for: not its silence, which takes an hour.
#[test]
fn a_worker_that_cannot_be_written_to_is_replaced_at_once() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().expect("a directory");
    let role = format!("deaf-at-first:{}", directory.path().join("was-deaf").display());
    let manager = played(&role)
        .silence_limit(Duration::from_secs(3600))
        .outage_patience(Duration::from_secs(60))
        .start()
        .expect("it is ready");
    let deaf = only_worker(&manager).expect("it has just started");
    let task = manager.submit(Where).expect("it is taken");
    assert_ne!(task.wait().expect("it is run by the next"), deaf);
    assert!(!is_alive(deaf));
    close(&manager);
}

/// The same with a task in hand: it is charged, as with any death, and what was to be written is run by the next worker.
#[test]
fn a_worker_that_cannot_be_written_to_any_more_is_reaped_at_once() {
    let _watchdog = watchdog();
    let manager = ordinary().workers(1).silence_limit(Duration::from_secs(3600)).start().expect("it starts");
    let deaf = only_worker(&manager).expect("it has just started");
    let deafens = manager.submit(Deafen).expect("it is taken");
    until(|| !is_alive(deaf) || all_threads_stopped(deaf));
    let behind = manager.submit(Where).expect("it is taken");
    assert_ne!(behind.wait().expect("it is run by the next"), deaf);
    assert_eq!(deafens.wait().expect("it is run again"), 2);
    close(&manager);
}

/// Stale or made-up leases are nobody's: they change nothing.
#[test]
fn reports_of_leases_that_do_not_stand_are_ignored() {
    let _watchdog = watchdog();
    let manager = ordinary().start().expect("it starts");
    let mut bytes = Vec::new();
    for lease in [0_u64, 1, 1 << 63, u64::MAX] {
        let mut payload = Vec::new();
        workfleet_wire::message::encode_into(&(lease, 0_u64, [0_u8; 0].as_slice()), &mut payload)
            .expect("numbers");
        encode_frame(kinds::RESULT, &payload, &mut bytes);
        payload.clear();
        workfleet_wire::message::encode_into(&vec![lease], &mut payload).expect("numbers");
        encode_frame(kinds::RETURNED, &payload, &mut bytes);
        for details in [None, Some([1_u8].as_slice())] {
            payload.clear();
            workfleet_wire::message::encode_into(&(lease, details), &mut payload).expect("numbers");
            encode_frame(kinds::HEARTBEAT, &payload, &mut bytes);
        }
    }
    // So that this worker is found out.
    bytes.extend_from_slice(&encode_header(kinds::IDLE, 0));
    let task = manager.submit(Corrupt { bytes, attempts: 1 }).expect("it is taken");
    assert_eq!(task.wait().expect("the second attempt does nothing"), 2);
    assert_eq!(close(&manager).tasks.done, 1);
}

/// Runs this test program in a process of its own, as `name`, with a standard input and variables of its own.
fn run(name: &str, set_up: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(role(name)).stdin(Stdio::null());
    set_up(&mut command);
    command.output().expect("it runs")
}

fn assert_success(output: &Output) {
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    assert!(said.contains("1 passed"), "{said}\n{complained}");
}

#[test]
fn a_marker_that_a_program_has_inherited_makes_it_no_worker() {
    let _watchdog = watchdog();
    let (_ours, theirs) = UnixStream::pair().expect("sockets");
    let inode = rustix::fs::fstat(&_ours).expect("its state");
    let marks = ["", "1", "1:2", "🦀", &format!("{}:{}", inode.st_dev, inode.st_ino)];
    for mark in marks {
        assert_success(&run_plainly(|command| {
            command.env("WORKFLEET_WORKER", mark);
        }));
        // A socket, but not the one that the mark names.
        let socket = theirs.try_clone().expect("a descriptor");
        assert_success(&run_plainly(|command| {
            command.env("WORKFLEET_WORKER", mark).stdin(std::os::fd::OwnedFd::from(socket));
        }));
    }
}

/// Runs the test that calls `init`, and nothing else.
fn run_plainly(set_up: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["workfleet_worker", "--exact"]).stdin(Stdio::null());
    set_up(&mut command);
    command.output().expect("it runs")
}

#[test]
fn a_start_with_few_descriptors_left_fails_with_the_systems_reason() {
    let _watchdog = watchdog();
    assert_success(&run("few-descriptors", |_| ()));
}

#[test]
fn without_descriptors_tasks_fail_and_with_them_they_run_again() {
    let _watchdog = watchdog();
    assert_success(&run("no-descriptors-later", |_| ()));
}

#[test]
fn a_start_with_few_processes_allowed_fails_with_the_systems_reason() {
    let _watchdog = watchdog();
    assert_success(&run("few-processes", |_| ()));
}

#[test]
fn without_permission_to_start_processes_tasks_fail_and_with_it_they_run_again() {
    let _watchdog = watchdog();
    assert_success(&run("no-processes-later", |_| ()));
}

/// A manager of a process that plays a role itself. It does not wait for what may pass.
fn one_worker() -> ProcessManagerBuilder {
    ProcessManager::builder(registry()).workers(1).outage_patience(Duration::ZERO)
}

/// Whether the system refused something, and what it said.
fn refusal(error: &ManagerStartError) -> Option<io::ErrorKind> {
    match error {
        ManagerStartError::Runtime(source) => Some(source.kind()),
        ManagerStartError::Workers(StartFailure::Spawn { source, .. }) => Some(source.kind()),
        _ => None,
    }
}

/// Opens files until no descriptor is left.
fn exhaust() -> Vec<File> {
    let mut files = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                return files;
            }
        }
    }
}

fn allow(resource: Resource, current: u64) {
    let limit = Rlimit { current: Some(current), maximum: getrlimit(resource).maximum };
    setrlimit(resource, limit).expect("it is lower than the maximum");
}

fn with_few_descriptors() {
    allow(Resource::Nofile, 64);
    let mut held = exhaust();
    let mut started = false;
    for free in 0..40_usize {
        match one_worker().start() {
            Ok(manager) => {
                started = true;
                // Also when its worker cannot be replaced.
                let pid = only_worker(&manager).expect("it has just started");
                signal_child(pid, Signal::KILL);
                await_death(pid);
                let _ = manager.submit(Where).expect("it is taken").wait();
            }
            Err(error) => {
                assert!(!started, "{free} are fewer than before: {error}");
                let code = std::error::Error::source(&error).map(|source| format!("{source:?}"));
                assert!(refusal(&error).is_some(), "{free}: {error:?}");
                assert!(code.is_some_and(|code| code.contains("24")), "{free}: {error:?}");
            }
        }
        // A start that nobody waits for any more may still hold some.
        until(|| exhaust().len() == free);
        held.pop();
    }
    assert!(started);
}

fn without_descriptors_later() {
    let all = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let manager = one_worker().start().expect("it starts");
    let pid = manager.submit(Where).expect("it is taken").wait().expect("it is run");
    // What is open stays open, and nothing can be opened.
    allow(Resource::Nofile, 3);
    rustix::process::kill_process(to_pid(pid), Signal::KILL).expect("it is there");
    let failure = loop {
        // The worker may be about to die.
        if let Err(failure) = manager.submit(Where).expect("it is taken").wait() {
            break failure;
        }
    };
    match &failure.cause {
        FailureCause::NeverStarted { reason, .. } => assert!(reason.contains("open files"), "{reason}"),
        other => panic!("{other}"),
    }
    allow(Resource::Nofile, all);
    assert_recovers(&manager);
}

fn assert_recovers(manager: &ProcessManager) {
    while let Err(failure) = manager.submit(Where).expect("it is taken").wait() {
        assert!(matches!(failure.cause, FailureCause::NeverStarted { .. }), "{failure}");
    }
    close(manager);
}

/// Becomes a user that has no other processes, where that is possible: a limit on processes counts all of a user's,
/// and does not bind root.
fn become_somebody() {
    if rustix::process::getuid().is_root() {
        let user = 1_000_000 + process::id();
        // SAFETY: changes the user of every thread of this process, which no other thread relies on.
        assert_eq!(unsafe { libc::setuid(user) }, 0, "{}", io::Error::last_os_error());
    }
}

fn with_few_processes() {
    become_somebody();
    let all = getrlimit(Resource::Nproc).current.unwrap_or(u64::MAX);
    for allowed in 1..10 {
        allow(Resource::Nproc, allowed);
        match one_worker().start() {
            Ok(manager) => drop(manager),
            // It started, and was not allowed its threads.
            Err(ManagerStartError::Workers(StartFailure::Died { certificate, .. })) => {
                assert!(
                    certificate.stderr_tail.contains("temporarily unavailable"),
                    "{allowed}: {certificate}"
                );
            }
            Err(error) => {
                assert_eq!(refusal(&error), Some(io::ErrorKind::WouldBlock), "{allowed}: {error:?}");
            }
        }
        allow(Resource::Nproc, all);
    }
    let manager = one_worker().start().expect("it may");
    close(&manager);
}

fn without_processes_later() {
    become_somebody();
    let all = getrlimit(Resource::Nproc).current.unwrap_or(u64::MAX);
    let manager = one_worker().start().expect("it starts");
    let pid = manager.submit(Where).expect("it is taken").wait().expect("it is run");
    allow(Resource::Nproc, 1);
    signal_child(pid, Signal::KILL);
    await_death(pid);
    let failure = manager.submit(Where).expect("it is taken").wait().expect_err("no worker starts");
    match &failure.cause {
        FailureCause::NeverStarted { reason, .. } => {
            assert!(reason.contains("temporarily unavailable"), "{reason}");
        }
        other => panic!("{other}"),
    }
    allow(Resource::Nproc, all);
    assert_recovers(&manager);
}

/// A worker that is told another version than its own says so, to its manager and on standard error.
#[test]
fn a_worker_of_another_manager_says_why_it_does_not_start() {
    let _watchdog = watchdog();
    let (manager, worker) = UnixStream::pair().expect("sockets");
    let state = rustix::fs::fstat(&worker).expect("its state");
    let mut welcome = Vec::new();
    encode_frame(kinds::WELCOME, &999_u16.to_le_bytes(), &mut welcome);
    send_with_page(&manager, &welcome);
    let output = run_plainly(|command| {
        command
            .arg("--nocapture")
            .env("WORKFLEET_WORKER", format!("{}:{}", state.st_dev, state.st_ino))
            .stdin(std::os::fd::OwnedFd::from(worker));
    });
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(70), "{complaint}");
    assert!(complaint.contains("the manager speaks protocol version 999"), "{complaint}");
    let mut reader = blocking::Reader::new(&manager);
    assert_eq!(blocking::receive_bytes(&mut reader).expect("a greeting").kind, kinds::HELLO);
}

/// Sends bytes with a descriptor, as a manager sends its greeting.
fn send_with_page(socket: &UnixStream, bytes: &[u8]) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let page = tempfile::tempfile().expect("a file");
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [page.as_fd()];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let sent = sendmsg(socket, &[io::IoSlice::new(bytes)], &mut ancillary, SendFlags::empty());
    assert_eq!(sent.expect("it is sent"), bytes.len());
}
