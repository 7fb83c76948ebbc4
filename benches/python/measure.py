"""What the measuring scripts share: one figure, printed as the line `name value unit`, or the reason why not.

Asked for `--version`, a script prints what it would measure. What is not installed ends it with code 77, what
cannot do such a thing with code 78.
"""

import contextlib
import os
import platform
import signal
import sys

NOT_INSTALLED = 77
UNABLE = 78


def argument(default):
    """The script's own argument, if one is given."""
    given = [argument for argument in sys.argv[1:] if argument != "--version"]
    return given[0] if given else default


def not_installed(package, error):
    print(f"{package} does not import in {sys.executable}: {error}", file=sys.stderr)
    sys.exit(NOT_INSTALLED)


def end_at_once(code=0):
    """Ends this process and its children: a pool with a killed worker may wait forever on the way out."""
    sys.stdout.flush()
    sys.stderr.flush()
    for thread in os.listdir("/proc/self/task"):
        # Threads end meanwhile, and what watches the pool reaps.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/self/task/{thread}/children") as file:
                for child in file.read().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(child), signal.SIGKILL)
    os._exit(code)


def unable(reason):
    """Says why there is no figure."""
    print(reason, file=sys.stderr)
    end_at_once(UNABLE)


def resident_bytes():
    """What of this process is in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def stay_idle():
    """For what is watched from outside: ready, and nothing more until standard input ends."""
    print("ready", flush=True)
    sys.stdin.read()


def main(name, unit, once, package=None):
    """Prints the figure that `once()` returns. `package` is measured; without it, the standard library."""
    # Units are not all ASCII, and the locale may be.
    sys.stdout.reconfigure(encoding="utf-8")
    if "--version" in sys.argv[1:]:
        print(_version(package))
    else:
        print(name, once(), unit)


def _version(package):
    python = f"Python {platform.python_version()}"
    if package is None:
        return python
    import importlib.metadata

    return f"{package} {importlib.metadata.version(package)}, {python}"
