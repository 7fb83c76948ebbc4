//! Which versions are measured: of crates from the lock file that this binary was built with, of programs
//! from what they say.

use std::process::Command;

const LOCK_FILE: &str = include_str!("../Cargo.lock");

/// `name version` of a crate in this binary.
pub(crate) fn of_crate(name: &str) -> String {
    match locked_version(LOCK_FILE, name) {
        Some(version) => format!("{name} {version}"),
        None => name.to_owned(),
    }
}

/// The first line of `program --version`, or the program's name if it does not tell.
pub(crate) fn of_program(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let line = output.ok().and_then(|output| {
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().next().map(|line| line.trim().to_owned())
    });
    line.filter(|line| !line.is_empty()).unwrap_or_else(|| program.to_owned())
}

fn locked_version<'a>(lock_file: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = lock_file.lines();
    lines.find(|line| *line == format!("name = \"{name}\""))?;
    lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_tells_what_is_measured() {
        assert!(locked_version(LOCK_FILE, "procspawn").is_some_and(|version| version.starts_with("1.")));
        assert_eq!(locked_version(LOCK_FILE, "no-such-crate"), None);
    }
}
