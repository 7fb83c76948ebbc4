//! Several watches in one program, with real processes: the role at the end of this file is sent signals when its output says that
//! it is time.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
    sync::mpsc::{Sender, channel},
};

use rustix::process::{Pid, Signal, kill_process};
use workfleet_signals::{Second, Watch};

/// The role that this process plays: who watches.
const ROLE: &str = "WORKFLEET_TEST_ROLE";

/// What the role's own lines begin with, among those of the test harness.
const MARK: &str = "> ";

struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["program", "--exact", "--ignored", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::piped());
        command.stdin(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, lines }
    }

    fn says(&mut self) -> Option<String> {
        self.lines.find_map(|line| line.expect("text").strip_prefix(MARK).map(str::to_owned))
    }

    /// What it says next, in any order: two watches have a thread each.
    fn says_both(&mut self) -> Vec<String> {
        let mut said: Vec<_> = [self.says(), self.says()].into_iter().flatten().collect();
        said.sort();
        said
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// What it still says, and its exit code.
    fn finish(mut self) -> (Vec<String>, Option<i32>) {
        let rest = std::iter::from_fn(|| self.says()).collect();
        (rest, self.child.wait().expect("it is ours").code())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn all_hear_the_first_and_the_second_ends_the_process_if_one_wants_it() {
    for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut program = Program::start("hears+ends");
        assert_eq!(program.says().as_deref(), Some("ready"));
        program.signal(Signal::TERM);
        assert_eq!(program.says_both(), ["ends: first 15", "hears: first 15"]);
        program.signal(second);
        assert_eq!(program.finish(), (Vec::new(), Some(code)));
    }
}

#[test]
fn all_hear_the_second_if_none_wants_the_process_to_end_and_the_third_ends_it() {
    let mut program = Program::start("hears+also");
    assert_eq!(program.says().as_deref(), Some("ready"));
    program.signal(Signal::INT);
    assert_eq!(program.says_both(), ["also: first 2", "hears: first 2"]);
    program.signal(Signal::TERM);
    assert_eq!(program.says_both(), ["also: second 15", "hears: second 15"]);
    program.signal(Signal::INT);
    assert_eq!(program.finish(), (Vec::new(), Some(130)));
}

#[test]
fn one_that_ends_leaves_the_signals_to_the_other() {
    // Neither of them is ended by the first signal, and the second is for who is left.
    let mut program = Program::start("hears+ends-early");
    assert_eq!(program.says().as_deref(), Some("ready"));
    program.signal(Signal::INT);
    assert_eq!(program.says().as_deref(), Some("hears: first 2"));
    program.signal(Signal::TERM);
    assert_eq!(program.says().as_deref(), Some("hears: second 15"));
    program.signal(Signal::INT);
    assert_eq!(program.finish(), (Vec::new(), Some(130)));

    let mut program = Program::start("ends+hears-early");
    assert_eq!(program.says().as_deref(), Some("ready"));
    program.signal(Signal::INT);
    assert_eq!(program.says().as_deref(), Some("ends: first 2"));
    program.signal(Signal::TERM);
    assert_eq!(program.finish(), (Vec::new(), Some(143)));
}

#[test]
fn one_that_begins_after_the_first_signal_hears_it_at_once() {
    let mut program = Program::start("hears+ends-late");
    assert_eq!(program.says().as_deref(), Some("ready"));
    program.signal(Signal::INT);
    assert_eq!(program.says().as_deref(), Some("hears: first 2"));
    assert_eq!(program.says().as_deref(), Some("ends: first 2"));
    program.signal(Signal::TERM);
    assert_eq!(program.finish(), (Vec::new(), Some(143)));
}

#[test]
fn after_the_last_a_signal_ends_the_process_and_the_next_watch_begins_anew() {
    let mut program = Program::start("nobody");
    assert_eq!(program.says().as_deref(), Some("ready"));
    program.signal(Signal::INT);
    assert_eq!(program.finish(), (Vec::new(), Some(130)));

    let mut program = Program::start("anew");
    assert_eq!(program.says().as_deref(), Some("ready"));
    program.signal(Signal::INT);
    assert_eq!(program.says().as_deref(), Some("ends: first 2"));
    // Its watch has ended, and another has begun, which hears this.
    assert_eq!(program.says().as_deref(), Some("ready"));
    program.signal(Signal::TERM);
    assert_eq!(program.says().as_deref(), Some("ends: first 15"));
    program.signal(Signal::INT);
    assert_eq!(program.finish(), (Vec::new(), Some(130)));
}

fn say(what: &str) {
    println!("{MARK}{what}");
}

/// A watch that says what it hears, and then tells.
fn watch(name: &'static str, second: Second, tell: Sender<()>) -> Watch {
    let listen = move |mut heard: workfleet_signals::Heard| {
        let Some(signal) = heard.first() else { return };
        say(&format!("{name}: first {signal}"));
        // An error means that nobody waits for it.
        let _ = tell.send(());
        if second == Second::EndsProcess {
            return;
        }
        let Some(signal) = heard.second() else { return };
        heard.arm();
        say(&format!("{name}: second {signal}"));
    };
    Watch::begin("watch", second, listen).expect("signals can be caught")
}

#[test]
#[ignore = "a role of the tests above"]
fn program() -> ExitCode {
    let (tell, told) = channel();
    let hears = |tell| watch("hears", Second::IsHeard, tell);
    let ends = |tell| watch("ends", Second::EndsProcess, tell);
    let first_came = || told.recv().expect("there is a watch");
    let watches = match std::env::var(ROLE).expect("it is a role").as_str() {
        "hears+ends" => vec![hears(tell.clone()), ends(tell.clone())],
        "hears+also" => vec![hears(tell.clone()), watch("also", Second::IsHeard, tell.clone())],
        "hears+ends-early" => {
            let stays = hears(tell.clone());
            drop(ends(tell.clone()));
            vec![stays]
        }
        "ends+hears-early" => {
            let stays = ends(tell.clone());
            drop(hears(tell.clone()));
            vec![stays]
        }
        "hears+ends-late" => {
            let stays = hears(tell.clone());
            say("ready");
            first_came();
            let late = ends(tell.clone());
            wait(&[stays, late]);
        }
        "nobody" => {
            drop((hears(tell.clone()), ends(tell.clone())));
            Vec::new()
        }
        "anew" => {
            let before = ends(tell.clone());
            say("ready");
            first_came();
            drop(before);
            vec![ends(tell.clone())]
        }
        other => panic!("no role is called {other}"),
    };
    say("ready");
    wait(&watches)
}

/// Until a signal ends this process.
fn wait(_watches: &[Watch]) -> ! {
    // Or the test that started it.
    let _ = std::io::stdin().read_line(&mut String::new());
    std::process::exit(1)
}
