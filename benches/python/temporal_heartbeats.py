"""temporalio's SharedStateManager over a multiprocessing manager: heartbeats from worker processes.

`send`: one send of many in a row, mean, in ns. `alone-p50`, `alone-p99`: one send with nothing else under way, in ns.
`delivered`: beats over 1,000 tokens from 2 processes that have reached their callback, per second, until every token
is unregistered. `unregister`, `unregister-flooded`: unregistering a token whose sender in another process has just
beaten, or floods in two, median, in µs.
"""

import asyncio
import concurrent.futures
import multiprocessing
import statistics
import time

import measure

try:
    from temporalio.worker import SharedStateManager
except Exception as error:
    measure.not_installed("temporalio", error)

SENDS = 5_000
SENDS_ALONE = 300
# What was busy before a measurement falls asleep meanwhile.
REST_SECONDS = 2e-3
TOKENS = 1_000
DELIVERED_EACH = 5_000
UNREGISTERED = 200
UNREGISTERED_FLOODED = 20


def send_many(sender, token, count):
    """The mean time of one, in ns."""
    start = time.perf_counter_ns()
    for number in range(count):
        sender.send_heartbeat(token, number)
    return (time.perf_counter_ns() - start) / count


def send_alone(sender, token, count):
    """The time of each, in ns."""
    samples = []
    for number in range(count):
        time.sleep(REST_SECONDS)
        start = time.perf_counter_ns()
        sender.send_heartbeat(token, number)
        samples.append(time.perf_counter_ns() - start)
    return samples


def send_round_robin(sender, tokens, count):
    for number in range(count):
        sender.send_heartbeat(tokens[number % len(tokens)], number)


def flood(sender, tokens, started):
    send_round_robin(sender, tokens, len(tokens))
    started.set()
    while True:
        send_round_robin(sender, tokens, len(tokens))


class Beats:
    """A shared state manager whose callbacks count."""

    def __init__(self, workers):
        self.multiprocessing_manager = multiprocessing.Manager()
        self.loop = asyncio.get_running_loop()
        self.pool = concurrent.futures.ProcessPoolExecutor(workers)
        self.manager = SharedStateManager.create_from_multiprocessing(
            self.multiprocessing_manager, concurrent.futures.ThreadPoolExecutor(1)
        )
        self.seen = 0

    def count(self, *details):
        self.seen += 1

    async def register(self, token):
        return await self.manager.register_heartbeater(token, self.count)

    def in_worker(self, function, *arguments):
        return self.loop.run_in_executor(self.pool, function, *arguments)


async def send(beats):
    sender = await beats.register(b"token")
    await beats.in_worker(send_many, sender, b"token", 100)
    return await beats.in_worker(send_many, sender, b"token", SENDS)


async def alone(beats):
    sender = await beats.register(b"token")
    await beats.in_worker(send_alone, sender, b"token", 20)
    return sorted(await beats.in_worker(send_alone, sender, b"token", SENDS_ALONE))


async def alone_p50(beats):
    return statistics.median(await alone(beats))


async def alone_p99(beats):
    return (await alone(beats))[int(SENDS_ALONE * 0.99)]


async def delivered(beats):
    tokens = [b"token/%d" % number for number in range(TOKENS)]
    senders = [await beats.register(token) for token in tokens]
    # Starts the processes.
    await asyncio.gather(*(beats.in_worker(send_round_robin, senders[0], tokens, 100) for _ in range(2)))
    start = time.perf_counter()
    await asyncio.gather(
        *(beats.in_worker(send_round_robin, senders[0], tokens, DELIVERED_EACH) for _ in range(2))
    )
    for token in tokens:
        await beats.manager.unregister_heartbeater(token)
    took = time.perf_counter() - start
    assert beats.seen == 2 * DELIVERED_EACH + 200, beats.seen
    return 2 * DELIVERED_EACH / took


async def timed_unregister(beats, token):
    start = time.perf_counter()
    await beats.manager.unregister_heartbeater(token)
    return time.perf_counter() - start


async def unregister(beats):
    # One stays: without any, what polls the queue ends.
    await beats.register(b"other")
    samples = []
    for number in range(UNREGISTERED):
        token = b"token/%d" % number
        sender = await beats.register(token)
        await asyncio.sleep(REST_SECONDS)
        await beats.in_worker(send_many, sender, token, 1)
        samples.append(await timed_unregister(beats, token))
    assert beats.seen == UNREGISTERED, beats.seen
    return statistics.median(samples) * 1e6


async def unregister_flooded(beats):
    tokens = [b"token/%d" % number for number in range(UNREGISTERED_FLOODED + 1)]
    senders = [await beats.register(token) for token in tokens]
    started = [beats.multiprocessing_manager.Event() for _ in range(2)]
    for each in started:
        beats.in_worker(flood, senders[0], tokens, each)
    for each in started:
        await beats.loop.run_in_executor(None, each.wait)
    # The first stays: without any, what polls the queue ends.
    samples = [await timed_unregister(beats, token) for token in tokens[1:]]
    return statistics.median(samples) * 1e6


MEASURES = {
    "send": (send, 1, "ns"),
    "alone-p50": (alone_p50, 1, "ns"),
    "alone-p99": (alone_p99, 1, "ns"),
    "delivered": (delivered, 2, "beats/s"),
    "unregister": (unregister, 1, "µs"),
    "unregister-flooded": (unregister_flooded, 2, "µs"),
}


async def run(function, workers):
    return await function(Beats(workers))


def once():
    function, workers, _ = MEASURES[measure.argument("send")]
    return asyncio.run(run(function, workers))


if __name__ == "__main__":
    measure.main("temporal_heartbeats", MEASURES[measure.argument("send")][2], once, package="temporalio")
    measure.end_at_once()
