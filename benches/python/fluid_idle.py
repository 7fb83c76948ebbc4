"""aio-fluid's idle QueueConsumerWorkers.

`stop`: from the request to stop one to its end, median, in µs. `cpu`: the processor time that 1000 of them take in a
second, in µs. `memory`: the resident memory of one, in bytes.
"""

import asyncio
import logging
import statistics
import time

import measure

try:
    from fluid.utils.worker import QueueConsumerWorker
except Exception as error:
    measure.not_installed("aio-fluid", error)

STOPS = 15


async def ignore(message):
    pass


async def started(workers):
    workers = [QueueConsumerWorker(ignore) for _ in range(workers)]
    await asyncio.gather(*(worker.startup() for worker in workers))
    return workers


async def stop():
    samples = []
    for number in range(STOPS):
        [worker] = await started(1)
        # Somewhere within the half second for which it waits for a message.
        await asyncio.sleep(0.01 + 0.03 * number)
        start = time.perf_counter()
        await worker.shutdown()
        samples.append(time.perf_counter() - start)
    return statistics.median(samples) * 1e6


async def cpu():
    workers = await started(1_000)
    await asyncio.sleep(1)
    before = time.process_time()
    await asyncio.sleep(2)
    used = (time.process_time() - before) / 2 * 1e6
    await asyncio.gather(*(worker.shutdown() for worker in workers))
    return used


def resident_bytes():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("there is no VmRSS")


async def memory():
    workers = 5_000
    first = await started(1)
    before = resident_bytes()
    rest = await started(workers)
    used = (resident_bytes() - before) / workers
    await asyncio.gather(*(worker.shutdown() for worker in first + rest))
    return used


MEASURES = {"stop": (stop, "µs"), "cpu": (cpu, "µs"), "memory": (memory, "B")}


def once():
    logging.disable(logging.CRITICAL)
    return asyncio.run(MEASURES[measure.argument("stop")][0]())


if __name__ == "__main__":
    measure.main("fluid_idle", MEASURES[measure.argument("stop")][1], once, package="aio-fluid")
