//! What a worker process sees of its program. This is such a program, which makes what it needs of its arguments before it
//! calls `init`, and at the same time the tests that run it: without a harness, whose arguments would be in the way.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    process::{self, Command, Output, Stdio},
};

use serde::{Deserialize, Serialize};
use workfleet_task_manager::{
    ClosePolicy, ProcessManager, ProcessManagerBuilder, Registry, Task, TaskContext, TaskError, TaskSpec,
    init,
};

/// Says that this process is the program, and which part of it is to be played.
const PART: &str = "WORKFLEET_TEST_PART";

fn main() {
    match env::var(PART) {
        Ok(part) => program(&part),
        Err(_) => tests(),
    }
}

/// What a program makes of its arguments: strictly, as a parser of arguments does.
fn parse() -> Result<OsString, String> {
    let mut arguments = env::args_os().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        (None, None, None) => Ok("default.bin".into()),
        (Some(flag), Some(file), None) if flag == "--file" => Ok(file),
        _ => Err(format!("Usage: surroundings [--file FILE], not {:?}", env::args_os().collect::<Vec<_>>())),
    }
}

/// The file that a worker works on.
struct Table(OsString);

/// What a task asks of its surroundings.
#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    /// The name of the file that the session was made of.
    File,
    /// All arguments.
    Arguments,
    /// What a list of processes shows.
    ProcessName,
}

impl TaskSpec for Ask {
    const NAME: &'static str = "ask";
    type Output = Vec<Vec<u8>>;
}

impl Task for Ask {
    fn run(self, cx: &TaskContext) -> Result<Vec<Vec<u8>>, TaskError> {
        Ok(match self {
            Self::File => vec![cx.session::<Table>()?.0.as_bytes().to_vec()],
            Self::Arguments => env::args_os().map(OsString::into_vec).collect(),
            Self::ProcessName => vec![fs::read("/proc/self/comm")?],
        })
    }
}

fn program(part: &str) {
    let file = match parse() {
        Ok(file) => file,
        Err(usage) => {
            eprintln!("{usage}");
            process::exit(2);
        }
    };
    let registry = Registry::new().task::<Ask>().session(move || Ok(Table(file.clone())));
    init(&registry);
    let builder = ProcessManager::builder(registry).workers(1);
    match part {
        "plain" => check(builder, parse().expect("its arguments"), &env::args_os().collect::<Vec<_>>()),
        "told" => {
            let own = env::args_os().next().expect("its name");
            let told = [own.as_os_str(), OsStr::new("--file"), OsStr::new("told.bin")].map(OsString::from);
            check(builder.arguments(["--file", "told.bin"]), "told.bin".into(), &told);
        }
        "wrong" => {
            let error = builder.arguments(["--no-such-option"]).start().map(drop).expect_err("it is refused");
            assert!(format!("{error:?}").contains("Usage: surroundings"), "{error:?}");
        }
        other => panic!("no part {other}"),
    }
}

/// A worker has these arguments, its name too, and made its session of that file.
fn check(builder: ProcessManagerBuilder, file: OsString, arguments: &[OsString]) {
    let manager = builder.start().expect("it starts");
    let ask = |ask| manager.submit(ask).expect("it is taken").wait().expect("it is done");
    assert_eq!(ask(Ask::File), [file.into_vec()]);
    assert_eq!(
        ask(Ask::Arguments),
        arguments.iter().map(|each| each.as_bytes().to_vec()).collect::<Vec<_>>()
    );
    assert_eq!(ask(Ask::ProcessName), [b"wf:worker-0\n"]);
    manager.close(ClosePolicy::Join).expect("it closes");
}

/// The tests of this file, as a harness would have them.
const TESTS: &[(&str, fn())] = &[
    ("a_worker_has_the_arguments_of_its_program", a_worker_has_the_arguments_of_its_program),
    ("the_builder_may_say_otherwise", the_builder_may_say_otherwise),
];

fn tests() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let listing = arguments.iter().any(|argument| argument == "--list");
    let filters: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    for (name, test) in TESTS {
        if listing {
            println!("{name}: test");
        } else if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
}

/// Runs the program in a part, which has to end well.
fn run(part: &str, set_up: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new("/proc/self/exe");
    command.env(PART, part).stdin(Stdio::null());
    set_up(&mut command);
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{part}: {}\n{said}", output.status);
    output
}

fn a_worker_has_the_arguments_of_its_program() {
    run("plain", |_| ());
    run("plain", |command| {
        command.args(["--file", "big.bin"]);
    });
    run("plain", |command| {
        command.args([OsStr::new("--file"), OsStr::from_bytes(b"\xff no text \n \xfe")]);
    });
}

fn the_builder_may_say_otherwise() {
    run("told", |_| ());
    run("wrong", |command| {
        command.args(["--file", "big.bin"]);
    });
}
