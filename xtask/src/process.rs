//! Runs other programs, and says which one failed and how.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Runs `command` to its end, with this program's own standard streams.
///
/// # Errors
/// It cannot be started, or does not end with success.
pub(crate) fn run(command: &mut Command) -> Result {
    eprintln!("    $ {}", describe(command));
    let status = command.status().map_err(|error| not_started(command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(format!("`{}` failed: {status}", describe(command))))
}

/// Runs `command` to its end and returns its standard output.
///
/// # Errors
/// It cannot be started, does not end with success (the error holds its standard error), or writes what is not UTF-8.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| not_started(command, &error))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!(
            "`{}` failed: {}\n{}",
            describe(command),
            output.status,
            stderr.trim_end()
        )));
    }
    String::from_utf8(output.stdout)
        .map_err(|error| Error::new(format!("the output of `{}` is not UTF-8: {error}", describe(command))))
}

/// The command as one would type it: variables set for it, program without its directory, arguments.
fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quote(value?))));
    variables
        .chain([quote(program.file_name().unwrap_or(program.as_os_str()))])
        .chain(command.get_args().map(quote))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn not_started(command: &Command, error: &io::Error) -> Error {
    let program = Path::new(command.get_program()).display();
    Error::new(match error.kind() {
        io::ErrorKind::NotFound => format!("`{program}` is missing, and `{}` needs it", describe(command)),
        _ => format!("cannot start `{program}`: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named() {
        let error = run(Command::new("no-such-tool-as-this").arg("--check")).unwrap_err().to_string();
        assert_eq!(error, "`no-such-tool-as-this` is missing, and `no-such-tool-as-this --check` needs it");
    }

    #[test]
    fn a_failing_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("cargo");
        command.arg("no such command").env("COLOUR", "light grey").stderr(Stdio::null());
        let error = run(&mut command).unwrap_err().to_string();
        assert!(
            error.starts_with("`COLOUR='light grey' cargo 'no such command'` failed: exit status: "),
            "{error}"
        );
    }

    #[test]
    fn the_output_of_a_failing_command_is_an_error_with_its_standard_error() {
        let error = output(Command::new("cargo").arg("no-such-command")).unwrap_err().to_string();
        assert!(error.contains("no such command: `no-such-command`"), "{error}");
    }
}
