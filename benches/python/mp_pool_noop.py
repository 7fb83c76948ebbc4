"""multiprocessing.Pool(2).imap_unordered: no-op tasks per second, the pool already up. Argument: the chunk size."""

import multiprocessing
import time

import measure

WORKERS = 2


def noop(number):
    return number + 1


def once(chunk):
    # Enough for half a second either way.
    tasks = 20_000 if chunk == 1 else 1_000_000
    with multiprocessing.Pool(WORKERS) as pool:
        list(pool.imap_unordered(noop, range(100)))
        start = time.perf_counter()
        total = sum(pool.imap_unordered(noop, range(tasks), chunksize=chunk))
        took = time.perf_counter() - start
    assert total == tasks * (tasks + 1) // 2, total
    return tasks / took


if __name__ == "__main__":
    chunk = int(measure.argument("1"))
    measure.main(f"mp_pool_chunk_{chunk}", "tasks/s", lambda: once(chunk))
