"""multiprocessing: messages per second from 2 processes to a reader. Argument: `Queue` or `SimpleQueue`."""

import multiprocessing
import time

import measure

MESSAGES = 100_000
WORKERS = 2


def chatter(queue, start):
    start.wait()
    for number in range(MESSAGES):
        queue.put(number)


def once(kind):
    queue = getattr(multiprocessing, kind)()
    # The one who waits for the processes is the last to arrive.
    barrier = multiprocessing.Barrier(WORKERS + 1)
    processes = [multiprocessing.Process(target=chatter, args=(queue, barrier)) for _ in range(WORKERS)]
    for process in processes:
        process.start()
    barrier.wait()
    start = time.perf_counter()
    total = sum(queue.get() for _ in range(WORKERS * MESSAGES))
    took = time.perf_counter() - start
    for process in processes:
        process.join()
    assert total == WORKERS * MESSAGES * (MESSAGES - 1) // 2, total
    return WORKERS * MESSAGES / took


if __name__ == "__main__":
    kind = measure.argument("Queue")
    measure.main(f"mp_{kind}", "messages/s", lambda: once(kind))
