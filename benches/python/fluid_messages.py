"""aio-fluid's QueueConsumerWorker: messages per second through a callback that counts, all sent before the start."""

import asyncio
import logging
import time

import measure

try:
    from fluid.utils.worker import QueueConsumerWorker
except Exception as error:
    measure.not_installed("aio-fluid", error)

MESSAGES = 100_000


async def run():
    done = asyncio.Event()
    seen = 0

    async def on_message(number):
        nonlocal seen
        seen += number == seen
        if seen == MESSAGES:
            done.set()

    worker = QueueConsumerWorker(on_message)
    for number in range(MESSAGES):
        worker.send(number)
    start = time.perf_counter()
    await worker.startup()
    await done.wait()
    took = time.perf_counter() - start
    await worker.shutdown()
    return MESSAGES / took


def once():
    logging.disable(logging.CRITICAL)
    return asyncio.run(run())


if __name__ == "__main__":
    measure.main("fluid_messages", "messages/s", once, package="aio-fluid")
