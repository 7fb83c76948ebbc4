"""aio-fluid: from before the start of 1000 idle QueueConsumerWorkers to after their stop, median, in µs.

`each` starts and stops every worker by itself, `group` one Workers of all.
"""

import asyncio
import logging
import statistics
import time

import measure

try:
    from fluid.utils.worker import QueueConsumerWorker, Workers
except Exception as error:
    measure.not_installed("aio-fluid", error)

WORKERS = 1_000
LAPS = 3


async def ignore(message):
    pass


async def group():
    children = [QueueConsumerWorker(ignore) for _ in range(WORKERS)]
    parent = Workers(*children)
    start = time.perf_counter()
    await parent.startup()
    while not all(child.is_running() for child in children):
        await asyncio.sleep(0.001)
    await parent.shutdown()
    took = time.perf_counter() - start
    assert all(child.is_stopped() for child in children)
    return took


async def each():
    workers = [QueueConsumerWorker(ignore) for _ in range(WORKERS)]
    start = time.perf_counter()
    await asyncio.gather(*(worker.startup() for worker in workers))
    await asyncio.gather(*(worker.shutdown() for worker in workers))
    took = time.perf_counter() - start
    assert all(worker.is_stopped() for worker in workers)
    return took


def once():
    logging.disable(logging.CRITICAL)
    lap = group if measure.argument("each") == "group" else each
    return statistics.median(asyncio.run(lap()) for _ in range(LAPS)) * 1e6


if __name__ == "__main__":
    measure.main("fluid_startstop", "µs", once, package="aio-fluid")
