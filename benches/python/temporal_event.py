"""temporalio's SharedStateManager over a multiprocessing manager: an event that processes share.

`is-set`: one call in a worker process, mean, in ns. `wake`: from setting it here to the end of a wait for it in a
worker process, by the clock that both share, nothing else under way, median, in µs. `wake-back`: the other way.
"""

import concurrent.futures
import multiprocessing
import statistics
import time

import measure

try:
    from temporalio.worker import SharedStateManager
except Exception as error:
    measure.not_installed("temporalio", error)

CALLS = 10_000
WAKES = 300
# What was busy before a measurement falls asleep meanwhile, and who waits waits by then.
REST_SECONDS = 2e-3


def call_is_set(event, count):
    """The mean time of one, in ns."""
    start = time.perf_counter_ns()
    for _ in range(count):
        event.is_set()
    return (time.perf_counter_ns() - start) / count


def wait_for_each(events, woken):
    for event in events:
        event.wait()
        woken.send(time.monotonic_ns())


def set_each(events, asked, set_at):
    for event in events:
        asked.recv()
        time.sleep(REST_SECONDS)
        start = time.monotonic_ns()
        event.set()
        set_at.send(start)


def is_set(manager, pool):
    event = manager.new_event()
    pool.submit(call_is_set, event, 100).result()
    return pool.submit(call_is_set, event, CALLS).result()


def start(function, *arguments):
    # By hand: a pipe does not travel to a pool's process that is there.
    multiprocessing.Process(target=function, args=arguments, daemon=True).start()


def wake(manager, pool):
    events = [manager.new_event() for _ in range(WAKES)]
    here, there = multiprocessing.Pipe(duplex=False)
    start(wait_for_each, events, there)
    samples = []
    for event in events:
        time.sleep(REST_SECONDS)
        set_at = time.monotonic_ns()
        event.set()
        samples.append(here.recv() - set_at)
    return statistics.median(samples) / 1e3


def wake_back(manager, pool):
    events = [manager.new_event() for _ in range(WAKES)]
    asked, ask = multiprocessing.Pipe(duplex=False)
    here, there = multiprocessing.Pipe(duplex=False)
    start(set_each, events, asked, there)
    samples = []
    for event in events:
        ask.send(None)
        event.wait()
        woken_at = time.monotonic_ns()
        samples.append(woken_at - here.recv())
    return statistics.median(samples) / 1e3


MEASURES = {"is-set": (is_set, "ns"), "wake": (wake, "µs"), "wake-back": (wake_back, "µs")}


def once():
    manager = SharedStateManager.create_from_multiprocessing(multiprocessing.Manager())
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        return MEASURES[measure.argument("is-set")][0](manager, pool)


if __name__ == "__main__":
    measure.main("temporal_event", MEASURES[measure.argument("is-set")][1], once, package="temporalio")
    measure.end_at_once()
