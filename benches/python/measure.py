"""What the measuring scripts share: one figure, printed as the line `name value unit`, or the reason why not.

Asked for `--version`, a script prints what it would measure. What is not installed ends it with code 77.
"""

import platform
import sys

NOT_INSTALLED = 77


def argument(default):
    """The script's own argument, if one is given."""
    given = [argument for argument in sys.argv[1:] if argument != "--version"]
    return given[0] if given else default


def not_installed(package, error):
    print(f"{package} does not import in {sys.executable}: {error}", file=sys.stderr)
    sys.exit(NOT_INSTALLED)


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
