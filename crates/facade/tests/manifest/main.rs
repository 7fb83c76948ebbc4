//! The `manifest` example as its users see it: the built program, beside GNU `sha256sum`.
//!
//! Nothing here waits for a time to pass: a test that needs a worker in the middle of a file gives it one that takes
//! long (it is sparse, and takes no room), and looks into `/proc` until the worker has it open.

#![cfg(target_os = "linux")]

mod limits;
mod outputs;
mod support;
mod trees;

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, fs::symlink, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::{TempDir, tempdir};

/// More than the files of one batch.
const SMALL_FILES: usize = 300;
/// What has a task of its own.
const LARGE_BYTES: u64 = (8 << 20) + 4711;
/// What no worker reads to its end before a test has done what it is about.
const ENDLESS_BYTES: u64 = 1 << 40;

#[test]
fn the_manifest_is_the_one_that_sha256sum_writes() {
    let tree = Tree::new();
    let output = run(["--workers", "2", "tree"], tree.path());
    assert_eq!((stderr(&output), output.status.code()), (String::new(), Some(0)));
    assert_same(&output.stdout, &tree.sha256sum());

    fs::write(tree.path().join("manifest"), &output.stdout).expect("it is written");
    let check = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "manifest"])
        .current_dir(tree.path())
        .output()
        .expect("sha256sum runs");
    assert!(check.status.success(), "{}", stderr(&check));
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_complete() {
    let tree = Tree::new();
    symlink("nowhere", tree.path().join("dangling")).expect("a link");
    let output = run(["gone\n\u{7f}", "tree", "dangling", "/dev/null"], tree.path());
    assert_eq!(
        stderr(&output),
        "manifest: gone\\n\\u{7f}: No such file or directory\n\
         manifest: dangling: No such file or directory\n\
         manifest: /dev/null: neither a regular file nor a directory\n"
    );
    assert_eq!(output.status.code(), Some(1));
    assert_same(&output.stdout, &tree.sha256sum());
}

#[test]
fn a_file_whose_name_means_standard_input_has_a_line_that_does_not() {
    let directory = tempdir().expect("a directory");
    let write = |name: &str| fs::write(directory.path().join(name), name).expect("it is written");
    write("-");
    write("-a");
    for arguments in
        [&["--output", "SUMS", "--", "-", "-a"][..], &["--output", "SUMS", "--", "-a", "-", "./-"]]
    {
        let output = run(arguments, directory.path());
        assert_eq!((stderr(&output), output.status.code()), (String::new(), Some(0)));
        let sums = fs::read_to_string(directory.path().join("SUMS")).expect("it is there");
        let names: Vec<_> = sums.lines().map(|line| &line[66..]).collect();
        assert_eq!(names, ["-a", "./-"]);
        let mut check = Command::new("sha256sum");
        check.args(["--check", "--strict", "--quiet", "SUMS"]).current_dir(directory.path());
        let check = check.stdin(Stdio::null()).output().expect("sha256sum runs");
        assert!(check.status.success(), "{}", stderr(&check));
    }
}

/// What the process that holds a lease is told to hold it on.
const LEASED: &str = "WORKFLEET_TEST_LEASED";

#[test]
fn a_file_under_a_lease_is_waited_for_as_sha256sum_waits() {
    let directory = tempdir().expect("a directory");
    let leased = directory.path().join("leased");
    fs::write(&leased, "content").expect("it is written");
    let mut holder = Command::new(std::env::current_exe().expect("this program"));
    holder.args(["lease_holder", "--exact", "--ignored", "--nocapture"]).env(LEASED, &leased);
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let lines = BufReader::new(holder.stdout.take().expect("it is piped")).lines();
    let mut said = lines.filter_map(|line| line.expect("text").strip_prefix("> ").map(str::to_owned));
    let first = said.next().expect("it tells");
    if let Some(reason) = first.strip_prefix("no lease: ") {
        eprintln!("NOT RUN: this file system has no leases: {reason}");
        holder.wait().expect("it is ours");
        return;
    }
    assert_eq!(first, "held");
    let program = Running::start(["leased"], directory.path());
    assert_eq!(said.next().as_deref(), Some("asked"));
    holder.stdin.take().expect("it is piped").write_all(b"go on\n").expect("it listens");
    let output = program.finish();
    assert_eq!((stderr(&output), output.status.code()), (String::new(), Some(0)));
    let expected = b"ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73  leased\n";
    assert_same(&output.stdout, expected);
    assert!(holder.wait().expect("it is ours").success());
}

#[test]
#[ignore = "a role of the test above"]
fn lease_holder() {
    let file = File::options().write(true).open(std::env::var_os(LEASED).expect("a file")).expect("it opens");
    let lease = |command: i32, argument: i32| {
        // SAFETY: the descriptor is open, and these commands take an integer.
        let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
        if answer < 0 { Err(std::io::Error::last_os_error()) } else { Ok(answer) }
    };
    // The request to give the lease up comes as this signal, which would end the program: the lease itself tells of it.
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    if let Err(error) = lease(libc::F_SETLEASE, libc::F_WRLCK) {
        println!("> no lease: {error}");
        return;
    }
    println!("> held");
    until(|| (lease(libc::F_GETLEASE, 0).expect("it has one") != libc::F_WRLCK).then_some(()));
    println!("> asked");
    std::io::stdin().read_line(&mut String::new()).expect("the test says so");
    lease(libc::F_SETLEASE, libc::F_UNLCK).expect("it is given up");
}

#[test]
fn an_output_file_is_replaced_and_does_not_list_itself() {
    let tree = Tree::new();
    let expected = tree.sha256sum();
    fs::write(tree.path().join("tree/SUMS"), "old").expect("it is written");
    for _ in 0..2 {
        let output = run(["--output", "tree/SUMS", "tree"], tree.path());
        assert_eq!((stderr(&output), output.status.code()), (String::new(), Some(0)));
        assert_eq!(output.stdout, b"");
        assert_same(&fs::read(tree.path().join("tree/SUMS")).expect("it is there"), &expected);
    }
    assert_eq!(tree.hidden(), BTreeSet::new());
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_read() {
    let tree = Tree::new();
    for (arguments, expected) in [
        (&["--output", "no/such/SUMS", "tree"][..], "manifest: cannot write no/such/SUMS: "),
        (&["--output", "tree", "tree"], "manifest: tree is not a regular file"),
        (&["--log-directory", "tree/empty", "tree"], "manifest: "),
        (&["--workers", "0", "tree"], "error: invalid value '0' for '--workers <N>'"),
        (&[], "error: the following required arguments were not provided"),
    ] {
        let output = run(arguments, tree.path());
        assert!(stderr(&output).starts_with(expected), "{arguments:?}: {}", stderr(&output));
        assert_eq!((output.stdout, output.status.code()), (Vec::new(), Some(2)), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_complain() {
    let tree = Tree::new();
    let mut program = Running::start(["tree"], tree.path());
    drop(program.child.stdout.take());
    let output = program.finish();
    assert_eq!((stderr(&output), output.status.code()), (String::new(), Some(2)));
}

#[test]
fn a_bar_says_how_many_files_are_done() {
    let tree = Tree::new();
    let output = run(["--progress", "always", "tree"], tree.path());
    let files = tree.files.len();
    assert!(stderr(&output).contains(&format!(" {files}/{files} files, ")), "{}", stderr(&output));
    assert_same(&output.stdout, &tree.sha256sum());
}

#[test]
fn killed_workers_change_nothing_in_the_manifest() {
    let tree = Tree::new();
    let slow = tree.endless("slow");
    let mut program = Running::start(["--workers", "2", "tree"], tree.path());

    // Its first attempt, and whatever the other worker is doing.
    let first = program.worker_with(&slow, &[]);
    let others = program.workers();
    for worker in &others {
        worker.signal(Signal::KILL);
    }
    assert!(others.contains(&first), "a worker is a child");

    // Its second attempt ends with its worker, and before it sees that the file has become short.
    let second = program.worker_with(&slow, &others);
    second.stop();
    tree.fill("slow", LARGE_BYTES);
    second.signal(Signal::KILL);

    let disturbed = program.finish();
    // A worker killed while it starts is one that did not start, and the library says so.
    let said = of_the_example(&stderr(&disturbed));
    assert_eq!((said.as_str(), disturbed.status.code()), ("", Some(0)));
    let undisturbed = run(["--workers", "2", "tree"], tree.path());
    assert_same(&disturbed.stdout, &undisturbed.stdout);
    assert_same(&disturbed.stdout, &tree.sha256sum());
}

#[test]
fn a_file_that_costs_three_workers_is_given_up_and_the_rest_is_complete() {
    let tree = Tree::new();
    let expected = tree.sha256sum();
    let deadly = tree.endless("deadly");
    let mut program = Running::start(["--workers", "2", "tree"], tree.path());
    let mut killed = Vec::new();
    for _ in 0..3 {
        let worker = program.worker_with(&deadly, &killed);
        worker.signal(Signal::KILL);
        killed.push(worker);
    }
    let output = program.finish();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.starts_with("manifest: tree/deadly: its task failed: its worker died\n"), "{said}");
    for worker in killed {
        assert!(said.contains(&format!("(pid {}) was ended by SIGKILL", worker.pid)), "{said}");
    }
    assert_same(&output.stdout, &expected);
}

#[test]
fn an_interruption_leaves_nothing_behind() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let tree = Tree::new();
        let endless = ["endless-1", "endless-2"].map(|name| tree.endless(name));
        let arguments = [
            OsStr::new("--workers=2"),
            "--output=tree/SUMS".as_ref(),
            endless[0].as_ref(),
            endless[1].as_ref(),
        ];
        let mut program = Running::start(arguments, tree.path());
        for file in &endless {
            program.worker_with(file, &[]);
        }
        let workers = program.workers();
        program.signal(signal);

        let output = program.finish();
        assert_eq!(stderr(&output), "manifest: interrupted: 2 of 2 files remain\n");
        assert_eq!((output.stdout, output.status.code()), (Vec::new(), Some(code)));
        assert!(!tree.path().join("tree/SUMS").exists());
        assert_eq!(tree.hidden(), BTreeSet::new());
        assert_eq!(workers.len(), 3, "two workers, and the guardian of the program");
        for worker in workers {
            assert_eq!(worker.state(), None, "it is dead and reaped");
        }
    }
}

#[test]
fn workers_do_not_outlive_a_program_that_is_killed() {
    let tree = Tree::new();
    let endless = tree.endless("endless");
    let mut program = Running::start(["--workers", "2", "--output", "tree/SUMS", "tree"], tree.path());
    program.worker_with(&endless, &[]);
    let workers = program.workers();
    program.signal(Signal::KILL);
    let output = program.finish();
    assert_eq!(output.status.signal(), Some(Signal::KILL.as_raw()));
    assert!(!tree.path().join("tree/SUMS").exists());
    assert_eq!(tree.hidden(), BTreeSet::new());
    for worker in workers {
        // They are nobody's children now: whoever adopts them reaps them, or does not.
        until(|| matches!(worker.state(), None | Some('Z' | 'X')).then_some(()));
    }
}

/// A directory with the directory `tree` in it.
struct Tree {
    directory: TempDir,
    /// Below `directory`.
    files: Vec<PathBuf>,
}

impl Tree {
    /// Names of all kinds, sizes of all kinds.
    fn new() -> Self {
        let mut tree = Self { directory: tempdir().expect("a directory"), files: Vec::new() };
        for number in 0..SMALL_FILES {
            tree.add(format!("tree/{}/small-{number}", number % 7), 97 * number as u64);
        }
        for name in [
            &b"tree/plain"[..],
            b"tree/ space",
            b"tree/*star",
            b"tree/-dash",
            b"tree/quote'\"$(x)`y`",
            b"tree/tab\t",
            b"tree/newline\nafter",
            b"tree/return\rafter",
            b"tree/both\r\n",
            b"tree/back\\slash",
            b"tree/back\\nslash-n",
            b"tree/\xff\xfe-not-utf-8\n",
            "tree/ünï-✓".as_bytes(),
            b"tree/dir\nectory/file",
            b"tree/dir\\ectory/\xff",
            b"tree/a-b",
            b"tree/a/b",
            b"tree/a.b",
        ] {
            tree.add(OsStr::from_bytes(name), name.len() as u64);
        }
        tree.add("tree/empty", 0);
        tree.add("tree/large", LARGE_BYTES);
        // These are passed over.
        symlink("plain", tree.path().join("tree/link")).expect("a link");
        symlink("a", tree.path().join("tree/link-to-directory")).expect("a link");
        fs::create_dir(tree.path().join("tree/nothing-in-it")).expect("a directory");
        tree
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn add(&mut self, name: impl AsRef<Path>, len_bytes: u64) {
        let path = self.path().join(&name);
        fs::create_dir_all(path.parent().expect("it is in a directory")).expect("a directory");
        fs::write(path, content(len_bytes)).expect("a file");
        self.files.push(name.as_ref().to_owned());
    }

    /// A file in the tree that takes forever to read.
    fn endless(&self, name: &str) -> PathBuf {
        let path = self.path().join("tree").join(name);
        File::create_new(&path).and_then(|file| file.set_len(ENDLESS_BYTES)).expect("a file");
        Path::new("tree").join(name)
    }

    /// Gives such a file content that can be read.
    fn fill(&self, name: &str, len_bytes: u64) {
        let path = self.path().join("tree").join(name);
        fs::write(path, content(len_bytes)).expect("a file");
    }

    /// What `sha256sum` says of every file that there is now, sorted by name.
    fn sha256sum(&self) -> Vec<u8> {
        let mut names = self.files.clone();
        names.extend(self.added());
        names.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
        let output = Command::new("sha256sum").arg("--").args(names).current_dir(self.path()).output();
        let output = output.expect("GNU sha256sum runs");
        assert!(output.status.success(), "{}", stderr(&output));
        output.stdout
    }

    /// The regular files that stand directly in `tree` and were not made with it.
    fn added(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path().join("tree")).expect("a directory");
        entries
            .map(|entry| entry.expect("an entry"))
            .filter(|entry| entry.file_type().expect("a type").is_file())
            .map(|entry| Path::new("tree").join(entry.file_name()))
            .filter(|name| !self.files.contains(name))
            .collect()
    }

    /// The names in `tree` that begin with a dot: what a program left there.
    fn hidden(&self) -> BTreeSet<OsString> {
        let entries = fs::read_dir(self.path().join("tree")).expect("a directory");
        entries
            .map(|entry| entry.expect("an entry").file_name())
            .filter(|name| name.as_bytes().starts_with(b"."))
            .collect()
    }
}

/// That many bytes, which repeat only after a long time.
fn content(len_bytes: u64) -> Vec<u8> {
    (0..len_bytes).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// The example in a process of its own, which ends with the test at the latest.
struct Running {
    child: Child,
}

impl Running {
    fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>, directory: &Path) -> Self {
        let program = program();
        let child = Command::new(&program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{} does not start: {error}; `cargo build --examples` makes it", program.display())
            });
        Self { child }
    }

    fn workers(&self) -> Vec<Worker> {
        children(self.child.id())
    }

    /// Waits until a worker, none of these, has a file open, and returns that worker.
    fn worker_with(&mut self, file: &Path, but: &[Worker]) -> Worker {
        until(|| {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                panic!("the program ended with {status} before a worker had opened {}", file.display());
            }
            self.workers().into_iter().find(|worker| !but.contains(worker) && worker.has_open(file))
        })
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is our child");
    }

    fn finish(mut self) -> Output {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let errors = self.child.stderr.take().expect("it is piped");
        thread::scope(|scope| {
            scope.spawn(|| read_all(Some(errors), &mut stderr));
            read_all(self.child.stdout.take(), &mut stdout);
        });
        let status: ExitStatus = self.child.wait().expect("it is our child");
        Output { status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(pipe: Option<impl Read>, into: &mut Vec<u8>) {
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(into).expect("a pipe is read");
    }
}

/// A worker process: its number may be another's later, but not with the same start.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Worker {
    pid: u32,
    start: String,
}

impl Worker {
    fn new(pid: u32) -> Option<Self> {
        Some(Self { pid, start: stat(format!("/proc/{pid}/stat"))?.1 })
    }

    fn has_open(&self, file: &Path) -> bool {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", self.pid)) else { return false };
        descriptors
            .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
            .any(|target| target.ends_with(file))
    }

    fn signal(&self, signal: Signal) {
        assert!(!matches!(self.state(), None | Some('Z' | 'X')), "worker {} is dead already", self.pid);
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).expect("it is a process id");
        kill_process(pid, signal).expect("it is alive");
    }

    /// Stops it, and waits until none of its threads runs.
    fn stop(&self) {
        self.signal(Signal::STOP);
        until(|| {
            let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).expect("it is alive");
            let is_stopped = |thread: &Path| stat(thread.join("stat")).is_none_or(|(state, _)| state == 'T');
            threads
                .map(|thread| thread.expect("an entry").path())
                .all(|thread| is_stopped(&thread))
                .then_some(())
        });
    }

    /// Its state as `/proc` tells it; none once it is reaped.
    fn state(&self) -> Option<char> {
        let (state, start) = stat(format!("/proc/{}/stat", self.pid))?;
        (start == self.start).then_some(state)
    }
}

/// The state and the start of a process or thread.
fn stat(path: impl AsRef<Path>) -> Option<(char, String)> {
    let stat = fs::read(path).ok()?;
    // The name in parentheses may contain anything.
    let after_name = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[after_name + 1..]).ok()?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // Fields 3 and 22 of the whole line.
    Some((state, fields.nth(18)?.to_owned()))
}

fn children(pid: u32) -> Vec<Worker> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|children| {
            children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .filter_map(Worker::new)
        .collect()
}

/// Looks until there is something to see.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        thread::yield_now();
    }
}

fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>, directory: &Path) -> Output {
    Running::start(arguments, directory).finish()
}

/// The example stands in a directory beside that of the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test.ancestors().nth(2).expect("a test is in `deps` in its profile's directory");
    profile.join("examples/manifest")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the example itself says; the library says on lines of its own which workers did not start.
fn of_the_example(said: &str) -> String {
    said.split_inclusive('\n').filter(|line| !line.starts_with("workfleet: ")).collect()
}

/// Compares line by line, so that a difference can be read.
fn assert_same(actual: &[u8], expected: &[u8]) {
    let lines = |text: &[u8]| -> Vec<String> {
        text.split_inclusive(|&byte| byte == b'\n').map(|line| line.escape_ascii().to_string()).collect()
    };
    assert_eq!(lines(actual), lines(expected));
}
