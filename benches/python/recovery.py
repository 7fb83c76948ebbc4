"""A task's worker is killed with SIGKILL: from there to the task's next attempt, in µs.

Argument: the pool, `executor`, `loky` or `pool`. Each has no such attempt, and the reason that is given is what it
does instead.
"""

import multiprocessing
import os
import signal
import tempfile
import time

import measure
import pools

WORKERS = 2
LIMIT_SECONDS = 3


def victim(path):
    """Says where it runs; on a second attempt returns when that began."""
    began = time.monotonic()
    if os.path.exists(path):
        return began
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)
    signal.pause()


def kill(path):
    while not os.path.exists(path):
        time.sleep(1e-4)
    with open(path) as file:
        pid = int(file.read())
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return killed


def once(which):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "victim")
        if which == "pool":
            result = multiprocessing.Pool(WORKERS).apply_async(victim, (path,))
            waits, error = result.get, multiprocessing.TimeoutError
            instead = f"no result after {LIMIT_SECONDS} s: the task is gone, and who waits for it waits forever"
        else:
            pool, error = pools.executor(which, WORKERS)
            waits = pool.submit(victim, path).result
            instead = "the task is not tried again, and the whole pool is broken"
        killed = kill(path)
        try:
            return (waits(timeout=LIMIT_SECONDS) - killed) * 1e6
        except error:
            pass
    measure.unable(instead)


if __name__ == "__main__":
    pools.main("recovery", "µs", once)
