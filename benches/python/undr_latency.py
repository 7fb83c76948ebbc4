"""undr.task.ProcessManager, 2 workers: from scheduling one task to the message that it sends, median, in µs.

Its tasks have no results, so the task sends one message back; messages() then ends by itself.
"""

import statistics
import time

import measure

try:
    import undr.task
except Exception as error:
    measure.not_installed("undr", error)

TASKS = 15
WORKERS = 2


class AddOne(undr.task.Task):
    def __init__(self, number):
        self.number = number

    def run(self, session, manager):
        manager.send_message(self.number + 1)


def round_trip(manager, number):
    """The time until the message is there; what messages() needs afterwards to notice its end is not counted."""
    took = None
    start = time.perf_counter()
    manager.schedule(AddOne(number))
    for message in manager.messages():
        took = time.perf_counter() - start
        assert message == number + 1, message
    return took


def once():
    manager = undr.task.ProcessManager(workers=WORKERS)
    for number in range(3):
        round_trip(manager, number)
    samples = [round_trip(manager, number) for number in range(TASKS)]
    manager.close(undr.task.ProcessManager.ClosePolicy.JOIN)
    return statistics.median(samples) * 1e6


if __name__ == "__main__":
    measure.main("undr_latency", "µs", once, package="undr")
