//! What stands on a program's standard error, and what does not: this test binary runs parts of itself as programs.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    os::fd::AsRawFd,
    process::{Command, Stdio},
    thread,
};

use tracing::{Event, Metadata, Subscriber, span};

/// Names the part that this test binary plays as a program.
const PART: &str = "WORKFLEET_TEST_PART";

/// The part, where this is such a program. It says by `done` that it has got to its end.
#[test]
fn program() {
    let Ok(part) = env::var(PART) else { return };
    match part.as_str() {
        "says" => say(),
        "is heard" => {
            tracing::subscriber::set_global_default(Listener).expect("it is the only one");
            say();
        }
        "is heard on one thread" => tracing::subscriber::with_default(Listener, || {
            workfleet_notice::warn!("heard");
            thread::spawn(|| workfleet_notice::warn!("unheard")).join().expect("it ends");
        }),
        "says at once" => thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    for number in 0..LINES {
                        workfleet_notice::warn!(thread, number, "{}", "x".repeat(3000));
                    }
                });
            }
        }),
        "dies of signals" => {
            let signals = [libc::SIGPIPE, libc::SIGXFSZ];
            // SAFETY: no handler is installed, and none is lost.
            signals.iter().for_each(|&signal| unsafe {
                libc::signal(signal, libc::SIG_DFL);
            });
            say();
            // SAFETY: the pointer is to a set that outlives the calls, and all-zero is a valid one.
            unsafe {
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigpending(&raw mut set);
                assert_eq!(
                    signals.map(|signal| libc::sigismember(&raw const set, signal)),
                    [0, 0],
                    "pending"
                );
                libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set);
                assert_eq!(
                    signals.map(|signal| libc::sigismember(&raw const set, signal)),
                    [0, 0],
                    "blocked"
                );
            }
        }
        "goes on when it is asked" => {
            for number in 0..LINES {
                workfleet_notice::warn!(number, "{}", "x".repeat(3000));
            }
            done();
            io::stdin().read_line(&mut String::new()).expect("it is asked");
            workfleet_notice::warn!("the last");
        }
        "has something else there" => {
            // SAFETY: nothing of this program uses it any more.
            assert_eq!(unsafe { libc::close(2) }, 0);
            let file = File::create(env::var("WORKFLEET_TEST_FILE").expect("a path")).expect("it is made");
            assert_eq!(file.as_raw_fd(), 2);
            say();
            std::mem::forget(file);
        }
        "has nothing there" => {
            // SAFETY: as above.
            assert_eq!(unsafe { libc::close(2) }, 0);
            say();
        }
        other => panic!("no part {other}"),
    }
    done();
}

const THREADS: usize = 4;
const LINES: usize = 50;

fn say() {
    let (error, lines) = (io::Error::from(io::ErrorKind::BrokenPipe), 3);
    workfleet_notice::warn!("nothing but a text");
    workfleet_notice::error!(%error, ?error, lines, path = %"a/b", after = ?Some(1), sum = lines + 1, "{} {lines}", "a text",);
}

const SAID: &str = "workfleet: nothing but a text\n\
    workfleet: a text 3 (error=broken pipe, error=Kind(BrokenPipe), lines=3, path=a/b, after=Some(1), sum=4)\n";

fn done() {
    println!("\ndone");
}

/// Hears everything, and keeps nothing.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        println!("heard {}", event.metadata().target());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn command(part: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["program", "--exact", "--nocapture"]).env(PART, part);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove(workfleet_notice::VARIABLE);
    command
}

/// What it prints and what stands on its standard error, once it has got to its end.
fn run(command: &mut Command) -> (String, String) {
    let output = command.output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    let (said, stderr) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success() && said.contains("\ndone\n"), "{}\n{said}\n{stderr}", output.status);
    (said, stderr)
}

#[test]
fn what_nobody_hears_is_written_there() {
    assert_eq!(run(&mut command("says")).1, SAID);
}

#[test]
fn what_a_subscriber_hears_is_not() {
    let (said, stderr) = run(&mut command("is heard"));
    assert_eq!((said.matches("heard standard_error").count(), &*stderr), (2, ""));
}

#[test]
fn what_a_subscriber_of_another_thread_does_not_hear_is_written() {
    let (said, stderr) = run(&mut command("is heard on one thread"));
    assert_eq!((said.matches("heard standard_error").count(), &*stderr), (1, "workfleet: unheard\n"));
}

#[test]
fn it_can_be_switched_off() {
    assert_eq!(run(command("says").env(workfleet_notice::VARIABLE, "off")).1, "");
    assert_eq!(run(command("says").env(workfleet_notice::VARIABLE, "on")).1, SAID);
}

#[test]
fn lines_of_many_threads_come_whole() {
    let mut child = command("says at once").spawn().expect("it starts");
    let lines: Vec<String> = {
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        stderr.lines().map(|line| line.expect("it is text")).collect()
    };
    assert!(child.wait().expect("it ends").success());
    let mut missing = 0;
    for line in &lines {
        let (text, rest) = line.split_once(" (thread=").expect("it has its fields");
        assert_eq!(text, format!("workfleet: {}", "x".repeat(3000)));
        missing += lost(rest);
    }
    // What is lost at the very end is told by no line.
    assert!(lines.len() + missing <= THREADS * LINES, "{} and {missing}", lines.len());
    assert!(!lines.is_empty());
}

/// How many lines are missing before this one, as it says itself.
fn lost(line: &str) -> usize {
    let Some((_, note)) = line.split_once(" [") else { return 0 };
    note.split(' ').next().expect("a number").parse().expect("a number")
}

#[test]
fn a_reader_that_is_gone_ends_nothing() {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    run(command("dies of signals").stderr(writer));
}

#[test]
fn a_file_that_may_not_grow_ends_nothing() {
    let path = env::temp_dir().join(format!("workfleet-notice-{}", std::process::id()));
    let file = File::create(&path).expect("it is made");
    // The shell is there on every Unix; its unit is 512 bytes, or 1024.
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", "ulimit -f 0; exec \"$0\" program --exact --nocapture"]);
    limited.arg(env::current_exe().expect("this program")).env(PART, "dies of signals");
    run(limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file));
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "");
    fs::remove_file(path).expect("it is there");
}

#[test]
fn a_reader_that_does_not_read_holds_up_nobody_and_learns_what_is_missing() {
    let mut child = command("goes on when it is asked").spawn().expect("it starts");
    let mut said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    // It gets there although nobody has read anything.
    assert!(said.by_ref().any(|line| line.expect("it is text") == "done"));
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    // What the reader takes at once is more than the last line, so there is room for that.
    let mut first = String::new();
    stderr.read_line(&mut first).expect("it is text");
    assert!(first.ends_with(" (number=0)\n"), "{first}");
    child.stdin.take().expect("it is piped").write_all(b"\n").expect("it waits");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("it is text");
    let mut rest: Vec<&str> = rest.lines().collect();
    let last = rest.pop().expect("there is a last");
    assert!(last.starts_with("workfleet: the last ["), "{last}");
    assert_eq!(1 + rest.len() + lost(last), LINES, "{last}");
    assert!(rest.len() < LINES, "a pipe holds no more");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn what_has_its_number_is_left_alone() {
    let path = env::temp_dir().join(format!("workfleet-notice-other-{}", std::process::id()));
    run(command("has something else there").env("WORKFLEET_TEST_FILE", &path));
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "");
    fs::remove_file(path).expect("it is there");
    run(&mut command("has nothing there"));
}
