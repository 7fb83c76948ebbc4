"""concurrent.futures.ProcessPoolExecutor(2): submit all, then every result; no-op tasks per second."""

import concurrent.futures
import time

import measure

TASKS = 10_000
WORKERS = 2


def noop(number):
    return number + 1


def once():
    with concurrent.futures.ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(noop, range(100)))
        start = time.perf_counter()
        futures = [pool.submit(noop, number) for number in range(TASKS)]
        for number, future in enumerate(futures):
            assert future.result() == number + 1, number
        return TASKS / (time.perf_counter() - start)


if __name__ == "__main__":
    measure.main("process_pool_executor", "tasks/s", once)
