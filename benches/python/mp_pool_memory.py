"""multiprocessing.Pool(2).apply_async while both workers are busy: resident bytes for each waiting task."""

import multiprocessing
import signal

import measure

WORKERS = 2
FEW = 10_000
MANY = 100_000
PAYLOAD_BYTES = 16


def wait_for_ever(_):
    signal.pause()


def small(payload):
    return payload[0]


def once():
    pool = multiprocessing.Pool(WORKERS)
    for _ in range(WORKERS):
        pool.apply_async(wait_for_ever, (0,))
    results = []
    before = 0
    for number in range(MANY):
        if number == FEW:
            before = measure.resident_bytes()
        # A payload of its own for each, as in what it is compared with.
        results.append(pool.apply_async(small, (bytes([number % 256]) * PAYLOAD_BYTES,)))
    after = measure.resident_bytes()
    return (after - before) / (MANY - FEW) - PAYLOAD_BYTES


if __name__ == "__main__":
    measure.main("mp_pool_memory", "B/task", once)
    measure.end_at_once()
