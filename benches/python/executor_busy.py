"""concurrent.futures.ProcessPoolExecutor(2): the share of the ideal time that busy tasks use, in %.

Argument: how long a task takes, in microseconds.
"""

import concurrent.futures
import time

import measure
from spin import spin

WORKERS = 2


def busy(number, seconds):
    spin(seconds)
    return number


def once(seconds):
    tasks = int(1.0 * WORKERS / seconds)
    with concurrent.futures.ProcessPoolExecutor(WORKERS) as pool:
        for future in [pool.submit(busy, number, seconds) for number in range(200)]:
            future.result()
        start = time.perf_counter()
        futures = [pool.submit(busy, number, seconds) for number in range(tasks)]
        for number, future in enumerate(futures):
            assert future.result() == number, number
        took = time.perf_counter() - start
    return 100 * seconds * tasks / WORKERS / took


if __name__ == "__main__":
    measure.main("executor_busy", "%", lambda: once(int(measure.argument("1000")) / 1e6))
