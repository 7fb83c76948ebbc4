"""multiprocessing.Pool(2).imap_unordered, chunks of 1: the share of the ideal time that busy tasks use, in %.

Argument: how long a task takes, in microseconds.
"""

import multiprocessing
import time

import measure
from spin import spin

WORKERS = 2


def busy(task):
    number, seconds = task
    spin(seconds)
    return number


def once(seconds):
    tasks = int(1.0 * WORKERS / seconds)
    with multiprocessing.Pool(WORKERS) as pool:
        list(pool.imap_unordered(busy, ((number, seconds) for number in range(200))))
        start = time.perf_counter()
        total = sum(pool.imap_unordered(busy, ((number, seconds) for number in range(tasks))))
        took = time.perf_counter() - start
    assert total == tasks * (tasks - 1) // 2, total
    return 100 * seconds * tasks / WORKERS / took


if __name__ == "__main__":
    measure.main("mp_pool_busy", "%", lambda: once(int(measure.argument("1000")) / 1e6))
