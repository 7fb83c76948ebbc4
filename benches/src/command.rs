//! Runs the programs that are measured: waits for their end, keeps what they print, optionally on one processor.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use crate::affinity::pin_to_one_cpu;
use crate::error::{Error, chain};
use crate::figure::{self, Unit};
use crate::{interrupt, roles};

/// The exit code by which a measuring program says that what it measures is not installed.
pub(crate) const EXIT_NOT_INSTALLED: u8 = 77;

/// The exit code by which it says that what it measures cannot do what is asked; its standard error says why.
pub(crate) const EXIT_UNABLE: u8 = 78;

/// Which processors a measurement may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// All that the bench itself may use.
    Anywhere,
    /// One, with everything that the measurement starts.
    OneCpu,
}

/// A program to run, with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    program: OsString,
    args: Vec<OsString>,
}

/// What a program that succeeded left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// What it printed on standard output.
    pub(crate) stdout: String,
    /// From before its start until it had ended and nothing of it held its output open.
    pub(crate) took: Duration,
}

impl Program {
    /// A program by its path, or by its name as the shell would find it.
    pub(crate) fn new(program: impl Into<OsString>) -> Program {
        Program { program: program.into(), args: Vec::new() }
    }

    /// This executable again.
    pub(crate) fn own() -> Result<Program, Error> {
        let path = std::env::current_exe().map_err(Error::io("find this executable"))?;
        Ok(Program::new(path))
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Program {
        self.args.push(arg.into());
        self
    }

    /// The program itself, or this executable's role that binds itself to one processor and becomes it.
    pub(crate) fn placed(self, placement: Placement) -> Result<Program, Error> {
        if placement == Placement::Anywhere {
            return Ok(self);
        }
        let mut pinned = Program::own()?.arg(roles::ON_ONE_CPU).arg(self.program);
        pinned.args.extend(self.args);
        Ok(pinned)
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Result<Finished, Error> {
        interrupt::check()?;
        let started = Instant::now();
        let output = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| start_error(&self.program, source))?;
        let took = started.elapsed();
        interrupt::check()?;
        if output.status.success() {
            return Ok(Finished { stdout: String::from_utf8_lossy(&output.stdout).into_owned(), took });
        }
        Err(self.ended(&output))
    }

    /// Starts it, with pipes to talk with it.
    pub(crate) fn spawn_attended(&self) -> Result<Child, Error> {
        Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| start_error(&self.program, source))
    }

    /// That it ended otherwise than it should have.
    pub(crate) fn ended(&self, output: &Output) -> Error {
        let stderr = last_lines(&String::from_utf8_lossy(&output.stderr));
        match output.status.code().map(u8::try_from) {
            Some(Ok(EXIT_NOT_INSTALLED)) => Error::NotInstalled(stderr),
            Some(Ok(EXIT_UNABLE)) => Error::Unable(stderr),
            _ => Error::Ended { program: self.program.clone(), status: output.status, stderr },
        }
    }

    /// Runs it to its end and returns the figure that it printed.
    pub(crate) fn measure(&self, unit: Unit) -> Result<f64, Error> {
        let printed = self.run()?.stdout;
        match figure::parse(printed.trim_end(), unit) {
            Some(value) => Ok(value),
            None => Err(Error::NoFigure { program: self.program.clone(), printed, unit: unit.label() }),
        }
    }
}

/// The role behind [`Program::placed`]: becomes the given program, on one processor.
pub(crate) fn become_on_one_cpu(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(program) = args.next() else {
        eprintln!("no program to run on one processor");
        return ExitCode::FAILURE;
    };
    if let Err(error) = pin_to_one_cpu() {
        eprintln!("{}", chain(&error));
        return ExitCode::FAILURE;
    }
    // `exec` returns only if it failed.
    let error = start_error(&program, Command::new(&program).args(args).exec());
    eprintln!("{}", chain(&error));
    exit_code(&error)
}

/// What a program of ours that ended with this error exits with.
pub(crate) fn exit_code(error: &Error) -> ExitCode {
    match error {
        Error::NotInstalled(_) => ExitCode::from(EXIT_NOT_INSTALLED),
        Error::Unable(_) => ExitCode::from(EXIT_UNABLE),
        _ => ExitCode::FAILURE,
    }
}

fn start_error(program: &OsStr, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::NotFound {
        Error::NotInstalled(format!("{} not found", program.display()))
    } else {
        Error::Start { program: program.to_owned(), source }
    }
}

/// The end of what a program wrote, on one line: where it says why it failed.
fn last_lines(text: &str) -> String {
    const LINES: usize = 3;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join(" / ")
}
