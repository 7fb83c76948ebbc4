"""A worker of two is killed in the middle of 101 tasks of 1 ms: how many of them give no result.

Argument: the pool, `executor`, `loky` or `pool`.
"""

import concurrent.futures
import multiprocessing
import os
import signal
import time

import pools
from spin import spin

TASKS = 101
WORKERS = 2
SECONDS = 1e-3
# Far beyond what all of them take together: who has not answered by then never will.
LIMIT_SECONDS = 3


def busy(number):
    spin(SECONDS)
    return number


def warm_up(_):
    return os.getpid()


def left(deadline):
    return max(0, deadline - time.monotonic())


def with_executor(pool, broken):
    list(pool.map(warm_up, range(20)))
    victim = list(pool._processes)[0]
    futures = [pool.submit(busy, number) for number in range(TASKS)]
    futures[TASKS // 2].result()
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + LIMIT_SECONDS
    lost = 0
    for number, future in enumerate(futures):
        try:
            assert future.result(left(deadline)) == number
        except (broken, concurrent.futures.TimeoutError):
            lost += 1
    return lost


def with_pool():
    pool = multiprocessing.Pool(WORKERS)
    pool.map(warm_up, range(20))
    results = [pool.apply_async(busy, (number,)) for number in range(TASKS)]
    results[TASKS // 2].get()
    os.kill(pool._pool[0].pid, signal.SIGKILL)
    # One task never ends; all others neither, if the killed worker held the lock of their queue.
    deadline = time.monotonic() + LIMIT_SECONDS
    lost = 0
    for number, result in enumerate(results):
        try:
            assert result.get(left(deadline)) == number
        except multiprocessing.TimeoutError:
            lost += 1
    return lost


def once(which):
    if which == "pool":
        return with_pool()
    return with_executor(*pools.executor(which, WORKERS))


if __name__ == "__main__":
    pools.main("killed", "tasks", once)
