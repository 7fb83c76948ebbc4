//! The `service` example as its users see it: the built program, its sockets and its signals.

#![cfg(all(feature = "worker-probe", feature = "worker-signal"))]

use std::{
    io::{self, BufRead, BufReader, Lines, Read, Write},
    net::{Shutdown, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

struct Service {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
    intake: String,
    probe: String,
    /// Dropped when the test has ended.
    _test: Sender<()>,
}

/// No test takes a tenth of this on a busy machine; a service that does hangs, and is killed.
const HANG_LIMIT: Duration = Duration::from_secs(120);

impl Service {
    fn start(arguments: &[&str]) -> Self {
        let test = std::env::current_exe().expect("this program");
        // target/debug/deps/service-… → target/debug/examples/service
        let directory: PathBuf = test.ancestors().nth(2).expect("a target directory").join("examples");
        let mut child = Command::new(directory.join("service"))
            .args(["--listen", "127.0.0.1:0", "--probe", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example is built");
        let (test, test_ends) = channel();
        let pid = Pid::from_child(&child);
        thread::spawn(move || {
            if test_ends.recv_timeout(HANG_LIMIT) == Err(RecvTimeoutError::Timeout) {
                // It still runs: the test waits for it. And if not, it is a zombie.
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        let mut says = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let first = says.next().expect("it says something").expect("text");
        let (intake, probe) = first
            .strip_prefix("service: lines to ")
            .and_then(|rest| rest.split_once(", probes to "))
            .unwrap_or_else(|| panic!("{first}"));
        let (intake, probe) = (intake.to_owned(), probe.to_owned());
        let mut service = Self { child, says, intake, probe, _test: test };
        service.until("service: 0 lines");
        service
    }

    /// Reads what it says up to a line that begins like this.
    fn until(&mut self, begin: &str) -> String {
        let mut lines = self.says.by_ref().map(|line| line.expect("text"));
        lines.find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("it never said {begin}"))
    }

    /// Sends lines and waits until the service has taken them, or has dropped the connection.
    fn send(&self, lines: &str) {
        self.try_send(lines).expect("it listens");
    }

    /// An error only if nobody listens.
    fn try_send(&self, lines: &str) -> io::Result<()> {
        let mut stream = TcpStream::connect(&self.intake)?;
        // The connection may be dropped at any of these. The service sends nothing: the last ends when it closes.
        let _ = stream.write_all(lines.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        Ok(())
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.probe).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// What it says at its end, on both outputs, and its exit code.
    fn finish(mut self) -> (String, String, Option<i32>) {
        let said: Vec<String> = self.says.by_ref().map(|line| line.expect("text")).collect();
        let mut complaints = String::new();
        let stderr = self.child.stderr.as_mut().expect("it is piped");
        stderr.read_to_string(&mut complaints).expect("text");
        (said.join("\n"), complaints, self.child.wait().expect("it is ours").code())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_counts_survives_a_failure_and_stops_cleanly_on_ctrl_c() {
    let service = Service::start(&["--tick-seconds", "3600"]);
    service.send("four score and seven\n");
    service.send("fail\n");
    // Until it has been restarted.
    let is_restarted =
        |line: &str| line.starts_with("  intake running for ") && line.ends_with(", restarts 1");
    while !service.get("/status").lines().any(is_restarted) {}
    while !service.get("/readyz").starts_with("HTTP/1.1 200 ") {}
    service.send("years ago\nour fathers\n");
    service.signal(Signal::INT);
    let (said, complaints, code) = service.finish();
    assert_eq!(said, "service: 3 lines, 8 words, the longest line has 20 bytes");
    let [restarted, ended] = complaints.lines().collect::<Vec<_>>()[..] else { panic!("{complaints}") };
    assert!(
        restarted
            .starts_with("workfleet: a child is restarted, because it failed: run failed: told to fail (")
    );
    assert_eq!((ended, code), ("service: normal shutdown", Some(0)));
}

#[test]
fn what_was_taken_is_counted_before_it_stops() {
    let service = Service::start(&["--tick-seconds", "3600"]);
    let lines = "one two three\n".repeat(10_000);
    service.send(&lines);
    service.signal(Signal::TERM);
    let (said, _, code) = service.finish();
    assert_eq!(
        (said.as_str(), code),
        ("service: 10000 lines, 30000 words, the longest line has 13 bytes", Some(0))
    );
}

#[test]
fn the_second_ctrl_c_ends_it_at_once() {
    // Neither of these times comes.
    let service =
        Service::start(&["--tick-seconds", "3600", "--work-ms", "3600000", "--grace-seconds", "3600"]);
    service.send("one line\n");
    service.signal(Signal::INT);
    // Until the first has been heard.
    while service.get("/readyz").starts_with("HTTP/1.1 200 ") {}
    service.signal(Signal::INT);
    let (_, complaints, code) = service.finish();
    assert!(complaints.starts_with("service: forced shutdown\nstopped in "), "{complaints}");
    assert!(complaints.contains("\ncounter was aborted after "), "{complaints}");
    assert_eq!(code, Some(130));
}

#[test]
fn a_failure_too_many_fails_the_service() {
    let service = Service::start(&["--tick-seconds", "3600"]);
    // One that comes while the intake fails goes with it: so this goes on until nobody listens any more.
    while service.try_send("fail\n").is_ok() {}
    let (_, complaints, code) = service.finish();
    assert!(
        complaints.contains("the budget of 5 restarts within 60s is spent: run failed: told to fail"),
        "{complaints}"
    );
    assert_eq!(code, Some(2));
}

#[test]
fn an_address_that_is_taken_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it has one").to_string();
    let test = std::env::current_exe().expect("this program");
    let directory: PathBuf = test.ancestors().nth(2).expect("a target directory").join("examples");
    let output = Command::new(directory.join("service"))
        .args(["--listen", &address, "--probe", "127.0.0.1:0"])
        .output()
        .expect("the example is built");
    assert_eq!(output.status.code(), Some(2));
}
