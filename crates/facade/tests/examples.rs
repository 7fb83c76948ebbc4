//! The smaller examples as their users see them: the built programs, with real input.

#![cfg(unix)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::tempdir;

/// An example stands in a directory beside that of the tests.
fn program(example: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test.ancestors().nth(2).expect("a test is in `deps` in its profile's directory");
    profile.join("examples").join(example)
}

fn command(example: &str, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program(example));
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    // Failures print their backtraces where there are any.
    command.env("RUST_BACKTRACE", "0");
    command
}

fn run(example: &str, directory: &Path, arguments: &[&str]) -> Output {
    let output = command(example, directory, arguments).output();
    output.unwrap_or_else(|error| panic!("{example}: {error}; `cargo build --examples` makes it"))
}

/// What it printed, sorted by lines, and its exit code; it has no complaints.
fn sorted(output: &Output) -> (Vec<String>, Option<i32>) {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let mut lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    (lines, output.status.code())
}

fn write(directory: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let file = directory.join(name);
        fs::create_dir_all(file.parent().expect("it is in a directory")).expect("a directory");
        fs::write(file, content).expect("it is written");
    }
}

#[test]
fn a_crawl_reads_each_page_once_and_names_broken_links() {
    let directory = tempdir().expect("a directory");
    write(
        directory.path(),
        &[
            ("outside.md", "never read"),
            (
                "site/index.html",
                r#"<a href="a.md#part">a</a> <a href='no'> <a href="b/">b</a> <a href="gone.html">"#,
            ),
            ("site/a.md", "[home](/index.html) [b](b/index.html) [notes](notes.txt) [out](../outside.md)"),
            (
                "site/b/index.html",
                r#"<script>f('<a href="${x}">')</script> <a href="../a.md"> <a href="c.html?x=1"> <a href="https://example.org/x">"#,
            ),
            (
                "site/b/c.html",
                r#"<a href="c.html"> <a href="../notes.txt"> <a href="../picture.png"> <a href="/no/d">"#,
            ),
            ("site/notes.txt", "[not](a-link)"),
            ("site/picture.png", "no page"),
            ("site/unlinked.md", "never read"),
        ],
    );
    let broken = ["broken: /no/d in b/c.html", "broken: gone.html in index.html"];
    let pages = [
        ("a.md: 4 links", 1),
        ("b/c.html: 4 links", 2),
        ("b/index.html: 3 links", 1),
        ("index.html: 3 links", 0),
        ("notes.txt: 0 links", 2),
    ];
    for start in ["site", "site/index.html"] {
        let (lines, code) = sorted(&run("priorities", directory.path(), &[start]));
        let (found, rest) = lines.split_at(pages.len());
        let parts = |line: &String| line.split_once(' ').map(|(n, page)| (page.to_owned(), n.parse()));
        let mut found: Vec<_> = found.iter().filter_map(parts).collect();
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for ((page, distance), (expected, shortest)) in found.iter().zip(pages) {
            assert_eq!(page, expected);
            // Which of several ways is gone first is the workers' business.
            assert!((shortest..=5).contains(distance.as_ref().expect("a number")), "{page}: {distance:?}");
        }
        assert_eq!((found.len(), rest, code), (pages.len(), &broken.map(str::to_owned)[..], Some(1)));
    }
    let (lines, code) = sorted(&run("priorities", directory.path(), &["site/unlinked.md"]));
    assert_eq!((lines, code), (vec!["0 unlinked.md: 0 links".to_owned()], Some(0)));
}

#[test]
fn a_large_site_is_read_once_however_its_pages_are_linked() {
    const PAGES: usize = 300;
    let directory = tempdir().expect("a directory");
    for page in 0..PAGES {
        let link = |step: usize| format!("<a href=\"{}.html\">", (page * step + step) % PAGES);
        let links: String = (1..=20).map(link).collect();
        fs::write(directory.path().join(format!("{page}.html")), links).expect("it is written");
    }
    let (lines, code) = sorted(&run("priorities", directory.path(), &["0.html"]));
    let mut pages: Vec<_> = lines.iter().map(|line| line.split(' ').nth(1).expect("a page")).collect();
    pages.sort_unstable();
    let read = pages.len();
    pages.dedup();
    assert_eq!((pages.len(), read, code), (PAGES, PAGES, Some(0)));
}

#[test]
fn a_file_is_copied_once_it_is_verified_and_a_failing_link_is_named() {
    let directory = tempdir().expect("a directory");
    write(
        directory.path(),
        &[("a", "content"), ("b", ""), ("blocked", "x"), ("copies/blocked/in", "the way")],
    );
    let output = run("chain", directory.path(), &["copies", "a", "b", "gone", "blocked"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "a: 7 bytes, ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73",
            "b: 0 bytes, e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "gone: copy failed: No such file or directory (os error 2)",
        ]
    );
    assert!(lines[3].starts_with("blocked: publish failed: ") && lines.len() == 4, "{lines:?}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(names(&directory.path().join("copies")), ["a", "b", "blocked"]);
    assert_eq!(fs::read_to_string(directory.path().join("copies/a")).expect("it is there"), "content");
}

/// Its content is another whenever it is read.
#[cfg(target_os = "linux")]
#[test]
fn a_copy_that_differs_from_its_original_is_not_published() {
    let directory = tempdir().expect("a directory");
    let output = run("chain", directory.path(), &["copies", "/proc/sys/kernel/random/uuid"]);
    let (lines, code) = sorted(&output);
    let expected = "/proc/sys/kernel/random/uuid: compare failed: the copy differs from its original";
    assert_eq!((lines, code), (vec![expected.to_owned()], Some(1)));
    assert_eq!(names(&directory.path().join("copies")), [""; 0]);
}

/// Its file is a pipe that does not end.
#[cfg(target_os = "linux")]
#[test]
fn signals_end_a_copy_that_does_not_come_to_its_end() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let directory = tempdir().expect("a directory");
    let pipe = directory.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let mut program = command("chain", directory.path(), &["copies", "pipe"]);
    let mut program = program.stdout(Stdio::null()).spawn().expect("it starts");
    // It opens once the copy does.
    let _writer = fs::OpenOptions::new().write(true).open(&pipe).expect("it has a reader");
    let pid = Pid::from_raw(program.id().cast_signed()).expect("a process");
    for signal in [Signal::INT, Signal::TERM] {
        kill_process(pid, signal).expect("it is there");
    }
    let status = program.wait().expect("it can be reaped");
    // Whichever comes second.
    assert!(matches!(status.code(), Some(130 | 143)), "{status}");
    assert!(!names(&directory.path().join("copies")).contains(&"pipe".to_owned()));
}

fn names(directory: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(directory).expect("it is there").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

/// The service in a process of its own, which ends with the test at the latest.
struct Service {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    stderr: BufReader<std::process::ChildStderr>,
    address: String,
}

impl Service {
    fn start() -> Self {
        let mut command = command("attach-to-async", Path::new("."), &["127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("it says where it listens");
        let address = line.trim_end().strip_prefix("listening on ").expect("an address").to_owned();
        Self { child, stdout, stderr, address }
    }

    fn connect(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(&self.address).expect("it listens"))
    }

    fn next_word(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).expect("it tells what its tasks say");
        line
    }

    fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it is our child");
    }

    /// What it printed last, and its exit code.
    fn finish(mut self) -> (String, Option<i32>) {
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).expect("it is text");
        (text, self.child.wait().expect("it is our child").code())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(client: &mut BufReader<TcpStream>, line: &str) {
    client.get_mut().write_all(format!("{line}\n").as_bytes()).expect("it is sent");
}

fn reply(client: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).expect("it replies");
    line
}

#[test]
fn a_service_answers_and_an_interrupt_lets_what_runs_come_to_its_end() {
    let mut service = Service::start();
    let mut one = service.connect();
    for (below, primes) in [("0", "0"), ("10", "4"), ("1000", "168")] {
        ask(&mut one, below);
        assert_eq!(reply(&mut one), format!("{primes}\n"));
        assert!(service.next_word().ends_with(&format!(" counts below {below}\n")));
    }
    ask(&mut one, "many");
    assert_eq!(reply(&mut one), "error: invalid digit found in string\n");

    // It runs when the interrupt comes, and for long enough behind it.
    let mut other = service.connect();
    ask(&mut other, "1000000");
    assert!(service.next_word().ends_with(" counts below 1000000\n"));
    service.interrupt();
    assert_eq!(reply(&mut one), "", "it is not waited for: it has asked for nothing");
    assert_eq!(reply(&mut other), "78498\n");
    assert_eq!(reply(&mut other), "");
    let (report, code) = service.finish();
    assert!(report.starts_with("4 tasks: 4 done, 0 failed, 0 cancelled, 0 returned, 0 pending;"), "{report}");
    assert_eq!(code, Some(0));
}

#[test]
fn a_second_interrupt_ends_the_service_at_once() {
    let mut service = Service::start();
    let mut client = service.connect();
    ask(&mut client, "18446744073709551615");
    assert!(service.next_word().ends_with(" counts below 18446744073709551615\n"));
    let mut idle = service.connect();
    ask(&mut idle, "10");
    assert_eq!(reply(&mut idle), "4\n");
    service.interrupt();
    // Its end shows that the first has been heard.
    assert_eq!(reply(&mut idle), "");
    service.interrupt();
    let (report, code) = service.finish();
    assert!(report.starts_with("2 tasks: 1 done, 0 failed, 1 cancelled, 0 returned, 0 pending;"), "{report}");
    assert_eq!(code, Some(0));
}

#[test]
fn a_killed_search_goes_on_from_its_last_beat() {
    let directory = tempdir().expect("a directory");
    let output = run("resume", directory.path(), &["1000000"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr).lines().filter(|line| line.contains("panicked")).count(),
        0
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let [killed, went_on, found] = text.lines().collect::<Vec<_>>()[..] else {
        panic!("three lines: {text}")
    };
    let last = |line: &str| line.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0_u64);
    assert!(killed.starts_with("killed process ") && last(killed) > 1_000_000 / 3, "{killed}");
    assert!(went_on.starts_with("attempt 2 went on at ") && last(went_on) >= last(killed), "{went_on}");
    // As a table of record holders says.
    assert_eq!(found, "837799 takes 524 steps, the most of all numbers below 1000000");
    assert!(output.status.success());
}
