//! What the tests of trees, outputs and limits share: directories for anybody, `find` and `sha256sum` beside the example, and the
//! example under another user, in another mount namespace and under limits.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::{TempDir, tempdir};

use super::{program, stderr};

/// Nobody, in most systems; nothing but its numbers is needed.
const OTHER: u32 = 65534;

/// A directory that every user may write to, with the example in it as `../manifest` of the directory `here`, where it works.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { directory: tempdir().expect("a directory") };
        fs::copy(program(), place.program()).expect("`cargo build --examples` makes it");
        fs::create_dir(place.at("")).expect("a directory");
        for (path, mode) in [(place.directory.path(), 0o755), (&place.at(""), 0o777)] {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
        }
        place
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.directory.path().join("manifest")
    }

    /// A name in the directory where it works.
    pub(crate) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join("here").join(name)
    }

    /// Writes a file, and makes the directories for it.
    pub(crate) fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().expect("it is in a directory")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).expect("it is there")
    }

    pub(crate) fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.at(name), Permissions::from_mode(mode)).expect("it is ours");
    }

    /// A command that works here, as a user whom permissions hold back.
    pub(crate) fn as_other(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command(program);
        if rustix::process::geteuid().is_root() {
            command.uid(OTHER).gid(OTHER);
        }
        command
    }

    /// Gives everything below a name to the user of [`as_other`](Self::as_other).
    pub(crate) fn give(&self, name: &str) {
        if rustix::process::geteuid().is_root() {
            let owner = format!("{OTHER}:{OTHER}");
            let status = self.command("chown").args(["-R", &owner, name]).status();
            assert!(status.expect("it starts").success());
        }
    }

    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.at("")).stdin(Stdio::null()).env("LC_ALL", "C");
        command
    }

    /// Runs a script of the shell, to which `$M` is the example.
    pub(crate) fn shell(&self, script: &str) -> Output {
        self.shell_in(self.command("sh"), script)
    }

    /// The same in a mount namespace of its own.
    pub(crate) fn shell_with_mounts(&self, script: &str) -> Output {
        let mut command = self.command("unshare");
        // Without the rights of root, those of a user namespace do.
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh"]);
        let output = self.shell_in(command, &format!("mount -t tmpfs none \"$MOUNTS\" && {{ {script}\n}}"));
        let said = stderr(&output);
        let refused = ["unshare:", "mount:"].iter().any(|program| said.starts_with(program));
        assert!(!refused, "this system allows no mounts, so this test proves nothing here: {said}");
        output
    }

    fn shell_in(&self, mut command: Command, script: &str) -> Output {
        let mounts = self.directory.path().join("mounts");
        fs::create_dir_all(&mounts).expect("a directory");
        command
            .args(["-c", script])
            .env("M", self.program())
            .env("MOUNTS", mounts)
            .output()
            .expect("it starts")
    }

    /// What of a directory's names begins with a dot: what a program left there.
    pub(crate) fn hidden(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(name)).expect("a directory");
        entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with('.'))
            .collect()
    }
}

/// What the shell has to do to get the manifest of these trees without the example.
pub(crate) const REFERENCE: &str =
    "reference() { find \"$@\" -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum --; }\n";

/// What a program said and how it ended: standard output, standard error, code.
pub(crate) fn ended(output: &Output) -> (String, String, Option<i32>) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), stderr(output), output.status.code())
}

pub(crate) fn lines(text: &[u8]) -> Vec<String> {
    text.split_inclusive(|&byte| byte == b'\n').map(|line| line.escape_ascii().to_string()).collect()
}
