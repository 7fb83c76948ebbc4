"""What the scripts share that kill a worker of a pool: `executor`, `loky` or `pool`, by the script's argument."""

import concurrent.futures.process

import measure


def executor(which, workers):
    """The executor of that name, and the error by which a task ends whose worker died."""
    if which == "loky":
        import loky

        return loky.ProcessPoolExecutor(workers), loky.process_executor.TerminatedWorkerError
    broken = concurrent.futures.process.BrokenProcessPool
    return concurrent.futures.ProcessPoolExecutor(workers), broken


def main(name, unit, once):
    """Prints the figure that `once(which)` returns."""
    which = measure.argument("executor")
    if which == "loky":
        try:
            import loky
        except ImportError as error:
            measure.not_installed("loky", error)
    measure.main(name, unit, lambda: once(which), package="loky" if which == "loky" else None)
    measure.end_at_once()
