//! Programs that are the first process of their PID namespace, as in a container.

use std::process::{Command, ExitStatus};

/// A command that runs what is appended to it as the first process of a PID namespace of its own, with the `/proc` of that.
pub(crate) fn first_of_a_namespace() -> Command {
    let mut command = Command::new("unshare");
    // Without the rights of root, those of a user namespace do.
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    let mut probe = Command::new(command.get_program());
    let possible = probe.args(command.get_args()).arg("true").status();
    assert!(
        possible.as_ref().is_ok_and(ExitStatus::success),
        "this system allows no PID namespace, so this test proves nothing here: {possible:?}"
    );
    command
}
